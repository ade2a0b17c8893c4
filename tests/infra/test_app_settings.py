"""The app settings in Bicep are those that the code reads: each role has what it needs, and nothing else."""

import pytest

from settings import TABLE, Setting, Settings
from tests.infra.reading import INFRA, MAIN, Expression, Value, template

OPERATORS_ONLY = {
    "DPS_CONNECTION_STRING",  # instead of a login; the app has an identity
    "WEBHOOK_KEY",
    "CA_FILE",  # for emulators, and for proxies that an operator sits behind
}
"""Settings that no deployed app gets."""

NEEDS = {
    "allocation": {
        "AVOID_HUBS_AFTER_MINUTES",
        "COLD_POLICY",
        "LEDGER_SECONDS",
        "REQUEST_SECONDS",
        "STATE_MAX_AGE_SECONDS",
        "STATE_REFRESH_SECONDS",
    },
    "lifecycle": {
        "ARM_URL",
        "AUDIT_NOTIFY_URL",
        "AUDIT_SCHEDULE",
        "DPS_HOST",
        "DPS_ID_SCOPE",
        "DPS_RESOURCE_ID",
        "HUBS",
        "LEDGER_KEEP_DAYS",
        "RETENTION_SCHEDULE",
        "ROTATION_SCHEDULE",
        "STATISTICS_SCHEDULE",
        "VAULT_RESOURCE_ID",
        "VAULT_URL",
        "WEBHOOK_URL",
    },
}
"""What one role needs and the other does not."""

BOTH = {"APP_ROLE", "DPS_NAME", "IDENTITY_CLIENT_ID", "POLICY_FILE", "STATE_TABLES"}

GROUP = "/subscriptions/s/resourceGroups/g/providers"
ROLES = sorted(NEEDS)
NAMES = {setting.name for setting in TABLE}

HOST = {
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
}
"""What the Functions host reads."""

NOT_FOR_FLEX = {
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "TZ",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_TIME_ZONE",
}
"""What a Flex Consumption app must not have (seen in the Azure CLI's migration list; documented)."""


def given(role: str) -> dict[str, Value]:
    """The settings that main.bicep gives to an app, before an operator's own."""
    written = MAIN.modules[f"{role}App"].params["appSettings"]
    assert isinstance(written, Expression)
    assert written.startswith("union({")
    assert written.endswith(f", {role}Settings)")
    [node] = [
        n for n in MAIN.nodes("object_property") if n.text and n.text.decode() == f"appSettings: {written}"
    ]
    [arguments] = [n for n in node.named_children[1].named_children if n.type == "arguments"]
    from tests.infra.reading import value

    settings = value(arguments.named_children[0])
    assert isinstance(settings, dict)
    return settings


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_each_setting_is_given_to_the_roles_that_need_it_or_is_for_operators(setting: Setting) -> None:
    wanted = [role for role in ROLES if setting.name in BOTH | NEEDS[role]]
    assert wanted or setting.name in OPERATORS_ONLY, (
        f"settings.py has a new row {setting.name}. Say in tests/infra/test_app_settings.py which role needs "
        "it, and give it to that app in infra/main.bicep; or list it as for operators only"
    )
    assert [role for role in ROLES if setting.name in given(role)] == wanted, (
        f"infra/main.bicep: give {setting.name} to the app settings of {' and '.join(wanted) or 'no app'}"
    )


@pytest.mark.parametrize("role", ROLES)
def test_each_setting_that_is_given_is_read(role: str) -> None:
    assert set(given(role)) <= NAMES


def test_the_lists_here_name_settings_that_exist() -> None:
    assert OPERATORS_ONLY | BOTH | NEEDS["allocation"] | NEEDS["lifecycle"] <= NAMES


@pytest.mark.parametrize("role", ROLES)
def test_a_value_that_is_written_out_is_the_default_of_the_table(role: str) -> None:
    defaults = {setting.name: setting.default for setting in TABLE} | {"APP_ROLE": role}
    literal = {name: each for name, each in given(role).items() if not isinstance(each, Expression)}
    assert {name: defaults[name] for name in literal} == literal


@pytest.mark.parametrize("role", ROLES)
def test_the_app_starts_with_what_it_is_given(role: str) -> None:
    computed = {
        "POLICY_FILE": "",
        "DPS_NAME": "provs-abc",
        "DPS_HOST": "provs-abc.azure-devices-provisioning.net",
        "DPS_RESOURCE_ID": f"{GROUP}/Microsoft.Devices/provisioningServices/p",
        "ARM_URL": "https://management.azure.com/",
        "DPS_ID_SCOPE": "0ne000ABCDE",
        "VAULT_RESOURCE_ID": f"{GROUP}/Microsoft.KeyVault/vaults/kv-abc",
        "VAULT_URL": "https://kv-abc.vault.azure.net/",
        "WEBHOOK_URL": "https://func-allocation-abc.azurewebsites.net/api/allocate",
        "STATE_TABLES": "https://ststateabc.table.core.windows.net",
        "IDENTITY_CLIENT_ID": "0e0e0e0e-0000-0000-0000-000000000000",
        "AUDIT_NOTIFY_URL": "https://example.webhook.office.com/x",
    }
    environment = {}
    for name, each in given(role).items():
        environment[name] = computed[name] if isinstance(each, Expression) else str(each)
    read = Settings.read(environment)
    assert read.role == role
    assert read.state_tables


def test_secrets_come_from_the_vault_alone() -> None:
    for role in ROLES:
        for setting in TABLE:
            written = given(role).get(setting.name, "")
            if setting.secret and setting.name != "STATE_TABLES":
                assert written == "" or "'@Microsoft.KeyVault(SecretUri=" in str(written), setting.name
        assert given(role)["STATE_TABLES"] == "state.outputs.tableEndpoint"
    tables = template(INFRA / "modules" / "storage.bicep").outputs["tableEndpoint"]
    assert tables == "'https://${account.name}.table.${environment().suffixes.storage}'"


def test_the_host_gets_what_it_reads_by_identity_and_nothing_that_flex_refuses() -> None:
    host = template(INFRA / "modules" / "function-app.bicep").variables["hostSettings"]
    assert isinstance(host, dict)
    assert set(host) == HOST
    assert host["AzureWebJobsStorage__credential"] == "managedidentity"
    assert NOT_FOR_FLEX.isdisjoint({*host, *given("allocation"), *given("lifecycle")})
    assert HOST.isdisjoint(NAMES)


def test_worker_host_and_package_agree_on_telemetry() -> None:
    """OpenTelemetry takes three things together; with one or two of them telemetry is lost."""
    root = INFRA.parent
    has = {
        "host.json: telemetryMode": '"telemetryMode": "OpenTelemetry"' in (root / "host.json").read_text(),
        "requirements.txt": "\nazure-monitor-opentelemetry==" in (root / "requirements.txt").read_text(),
        "function-app.bicep: PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": (
            "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY: 'true'"
            in template(INFRA / "modules" / "function-app.bicep").text
        ),
    }
    assert len(set(has.values())) == 1, f"all of these or none: {has}; and list the setting in HOST"
