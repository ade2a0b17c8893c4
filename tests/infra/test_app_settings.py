"""The app settings in Bicep are those that the code reads: each role has what it needs, and nothing else."""

import json

import pytest

from allocation.request import BODY_LIMIT
from settings import TABLE, Setting, Settings
from tests.infra.reading import INFRA, MAIN, Expression, Value, template

OPERATORS_ONLY = {
    "DPS_CONNECTION_STRING",  # instead of a login; the app has an identity
    "WEBHOOK_KEY",
    "WEBHOOK_SITE_ID",  # the app has no rights on its own keys
    "CA_FILE",  # for emulators, and for proxies that an operator sits behind
}
"""Settings that no deployed app gets."""

NEEDS = {
    "allocation": {
        "ALLOWED_ENROLLMENTS",
        "ALLOWED_ENROLLMENTS_MODE",
        "AVOID_HUBS_AFTER_MINUTES",
        "CALLER_PROXIES",
        "CALLER_RANGES",
        "CALLER_RANGES_MODE",
        "COLD_POLICY",
        "LEDGER_SECONDS",
        "REQUEST_SECONDS",
        "STATE_MAX_AGE_SECONDS",
        "STATE_REFRESH_SECONDS",
    },
    "lifecycle": {
        "ARM_URL",
        "AUDIT_CERTIFICATE_DAYS",
        "AUDIT_KEEP_RUNS",
        "AUDIT_KEY_AGE_DAYS",
        "AUDIT_NEVER_REGISTERED_DAYS",
        "AUDIT_NOTIFY_URL",
        "AUDIT_QUOTA_PERCENT",
        "AUDIT_SAMPLE_KEYS",
        "AUDIT_SCHEDULE",
        "AUDIT_WEBHOOK_KEY_AGE_DAYS",
        "CANARY_PREFIX",
        "DPS_HOST",
        "DPS_ID_SCOPE",
        "DPS_RESOURCE_ID",
        "HUBS",
        "HUB_UNITS",
        "LEDGER_KEEP_DAYS",
        "PURGE_DRY_RUN",
        "PURGE_RULES_FILE",
        "PURGE_SCHEDULE",
        "RETENTION_SCHEDULE",
        "ROTATION_SCHEDULE",
        "STATISTICS_SCHEDULE",
        "VAULT_RESOURCE_ID",
        "VAULT_URL",
        "WEBHOOK_KEY_MAX_AGE_DAYS",
        "WEBHOOK_KEY_SECRET",
        "WEBHOOK_URL",
    },
}
"""What one role needs and the other does not."""

BOTH = {
    "APP_ROLE",
    "DPS_NAME",
    "IDENTITY_CLIENT_ID",
    "POLICY_FILE",
    "STATE_TABLES",
    "TELEMETRY_IDS",
    "TELEMETRY_ID_KEY",
}

GROUP = "/subscriptions/0e0e0e0e-0000-0000-0000-000000000000/resourceGroups/g/providers"
ROLES = sorted(NEEDS)
NAMES = {setting.name for setting in TABLE}

HOST = {
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "PYTHON_ENABLE_OPENTELEMETRY",
}
"""What the Functions host and its Python worker read."""

SHARED = {"APPLICATIONINSIGHTS_CONNECTION_STRING", "PYTHON_ENABLE_OPENTELEMETRY"}
"""What the app reads as well; the host's part of the template gives it."""

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
    assert wanted or setting.name in OPERATORS_ONLY | SHARED, (
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
        "CALLER_PROXIES": "1",
        "DPS_NAME": "provs-abc",
        "DPS_HOST": "provs-abc.azure-devices-provisioning.net",
        "DPS_RESOURCE_ID": f"{GROUP}/Microsoft.Devices/provisioningServices/p",
        "ARM_URL": "https://management.azure.com/",
        "DPS_ID_SCOPE": "0ne000ABCDE",
        "VAULT_RESOURCE_ID": f"{GROUP}/Microsoft.KeyVault/vaults/kv-abc",
        "VAULT_URL": "https://kv-abc.vault.azure.net/",
        "WEBHOOK_KEY_SECRET": "webhook-key",
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


def test_the_host_takes_no_body_that_the_webhook_refuses_for_its_size() -> None:
    limits = {role: MAIN.modules[f"{role}App"].params["bodyLimit"] for role in ROLES}
    assert limits == {"allocation": BODY_LIMIT, "lifecycle": 2 * 1024 * 1024}
    host = template(INFRA / "modules" / "function-app.bicep").variables["hostSettings"]
    assert isinstance(host, dict)
    assert host["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"] == "string(bodyLimit)"


def test_a_front_door_is_counted_among_the_proxies() -> None:
    assert given("allocation")["CALLER_PROXIES"] == "empty(frontDoorId) ? '0' : '1'"


def test_the_host_gets_what_it_reads_by_identity_and_nothing_that_flex_refuses() -> None:
    host = template(INFRA / "modules" / "function-app.bicep").variables["hostSettings"]
    assert isinstance(host, dict)
    assert set(host) == HOST
    assert host["AzureWebJobsStorage__credential"] == "managedidentity"
    assert NOT_FOR_FLEX.isdisjoint({*host, *given("allocation"), *given("lifecycle")})
    assert HOST & NAMES == SHARED


def test_worker_host_and_package_agree_on_telemetry() -> None:
    """OpenTelemetry takes three things together; with one or two of them telemetry is lost or comes twice."""
    root = INFRA.parent
    requirements = (root / "requirements.txt").read_text()
    assert json.loads((root / "host.json").read_text())["telemetryMode"] == "OpenTelemetry"
    assert "\nazure-monitor-opentelemetry-exporter==" in requirements
    host = template(INFRA / "modules" / "function-app.bicep")
    held = host.variables["hostSettings"]
    assert isinstance(held, dict)
    assert held["PYTHON_ENABLE_OPENTELEMETRY"] == "true"
    assert held["APPLICATIONINSIGHTS_CONNECTION_STRING"] == "insightsConnectionString"
    # With it the worker would set up a second exporter, before the first function, and trace every URL.
    assert "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY" not in host.text + MAIN.text
    assert "\nazure-monitor-opentelemetry==" not in requirements


def test_the_app_exports_where_the_template_says_so() -> None:
    exporting = {"PYTHON_ENABLE_OPENTELEMETRY": "true", "APPLICATIONINSIGHTS_CONNECTION_STRING": "x"}
    assert Settings.read(exporting).python_enable_opentelemetry
    assert not Settings.read({}).python_enable_opentelemetry
