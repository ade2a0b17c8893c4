"""Who may do what: the least each app needs, no shared key anywhere, and what is public is so on purpose."""

import json
import re

import pytest

from tests.infra.reading import INFRA, MAIN, Expression, Resource, Template, templates

ROLE_IDS = {
    "Device Provisioning Service Data Contributor": "dfce44e4-17b7-4bd1-a6d1-04996ec95633",
    "Device Provisioning Service Data Reader": "10745317-c249-44a1-a5ce-3a4353c0bbd8",
    "IoT Hub Data Contributor": "4fc6c259-987e-4a07-842e-c321cc9d413f",
    "IoT Hub Data Reader": "b447c946-2db7-41ec-983d-d8bf3b1c77e3",
    "IoT Hub Registry Contributor": "4ea46cd5-c1b2-4a8e-910b-273211f9ce47",
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Storage Table Data Reader": "76199698-9eea-4c19-bc75-cec21354c6b6",
}
"""Of Azure's built-in roles (documented, or seen in several public templates)."""

GRANTED = {
    ("dps-access.bicep", "lifecyclePrincipalId", "dps", "lifecycleRole"),
    ("dps-access.bicep", "lifecyclePrincipalId", "dps", "Reader"),
    ("dps-access.bicep", "operatorsPrincipalId", "dps", "Device Provisioning Service Data Contributor"),
    ("dps-access.bicep", "operatorsPrincipalId", "dps", "Reader"),
    ("dps-link.bicep", "principalId", "hub", "IoT Hub Data Contributor"),
    ("hub-access.bicep", "lifecyclePrincipalId", "hub", "IoT Hub Data Reader"),
    ("hub-access.bicep", "lifecyclePrincipalId", "hub", "IoT Hub Registry Contributor"),
    ("hub-access.bicep", "operatorsPrincipalId", "hub", "IoT Hub Data Reader"),
    ("hub-access.bicep", "operatorsPrincipalId", "hub", "IoT Hub Registry Contributor"),
    ("monitoring.bicep", "principalId", "insights", "Monitoring Metrics Publisher"),
    ("state-access.bicep", "allocationPrincipalId", "read[i]", "Storage Table Data Reader"),
    ("state-access.bicep", "allocationPrincipalId", "written[i]", "Storage Table Data Contributor"),
    ("state-access.bicep", "eventsPrincipalId", "container", "Storage Blob Data Contributor"),
    ("state-access.bicep", "lifecyclePrincipalId", "account", "Storage Table Data Contributor"),
    ("state-access.bicep", "operatorsPrincipalId", "account", "Storage Table Data Contributor"),
    ("storage.bicep", "ownerPrincipalId", "account", "Storage Blob Data Owner"),
    ("vault.bicep", "lifecyclePrincipalId", "vault", "lifecycleRole"),
    ("vault.bicep", "operatorsPrincipalId", "vault", "Key Vault Secrets Officer"),
}
"""Every right that is given: the file, to whom, over what, as which role."""


def of_type(type_: str) -> list[Resource]:
    found = [
        each for one in templates() for each in one.resources if each.type == type_ and not each.existing
    ]
    assert found
    return found


def properties(resource: Resource) -> dict[str, object]:
    held = resource.body["properties"]
    assert isinstance(held, dict)
    return dict(held)


def test_role_ids_are_azures() -> None:
    assert json.loads((INFRA / "roles.json").read_text()) == ROLE_IDS


def test_no_id_of_a_role_stands_anywhere_else() -> None:
    guid = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    assert [one.file.name for one in templates() if re.search(guid, one.text)] == []


def test_every_right_is_one_of_the_list() -> None:
    granted = set()
    for each in of_type("Microsoft.Authorization/roleAssignments"):
        held = properties(each)
        definition = str(held["roleDefinitionId"])
        start = "subscriptionResourceId('Microsoft.Authorization/roleDefinitions', "
        assert definition.startswith(start), each.place
        role = definition.removeprefix(start).removesuffix(")")
        named = re.fullmatch(r"roles(?:\['(.+)'\]|\.(\w+))", role)
        role = (named[1] or named[2]) if named else role
        granted.add((each.file.name, str(held["principalId"]), str(each.body["scope"]), role))
        # Two assignments of one name would be one: all that tells them apart is in it.
        assert str(held["principalId"]) in str(each.body["name"]), each.place
        assert definition.removeprefix(start).removesuffix(")") in str(each.body["name"]), each.place
        # Without it, a principal that was made a moment ago may not be found yet.
        assert held["principalType"] in ("ServicePrincipal", "operatorsPrincipalType"), each.place
    assert granted == GRANTED


def test_the_roles_of_the_lifecycle_app_depend_on_what_it_may_do() -> None:
    expected = {
        "vault": ("Key Vault Secrets Officer", "Key Vault Secrets User"),
        "dps-access": (
            "Device Provisioning Service Data Contributor",
            "Device Provisioning Service Data Reader",
        ),
    }
    for name, (change, read) in expected.items():
        [one] = [each for each in templates() if each.file.stem == name]
        chosen = f"lifecycleAccess == 'change' ? roles['{change}'] : roles['{read}']"
        assert one.variables["lifecycleRole"] == chosen


def test_who_disables_identities_at_hubs_and_deletes_canaries_may_change_their_registries() -> None:
    # `rotate identities --disable` and canaries run in the lifecycle app, `device revoke` at an operator's.
    changes = {
        file.relative_to(INFRA.parent).as_posix()
        for file in (INFRA.parent / "lifecycle").rglob("*.py")
        if re.search(r"hub\.(?:delete|set_status)\(|hub\(hub\)\.set_status\(", file.read_text())
    }
    assert changes == {
        "lifecycle/enrollments/devices.py",
        "lifecycle/rotation/canary.py",
        "lifecycle/rotation/identities.py",
    }
    [access] = [each for each in templates() if each.file.stem == "hub-access"]
    assert "resource lifecycleRegistry " in access.text
    condition = r"resource lifecycleRegistry '[^']+' = if \(lifecycleAccess == 'change'\) \{"
    assert re.search(condition, access.text), "with `read`, audits only"
    assert MAIN.modules["hubAccess"].params["lifecycleAccess"] == "lifecycleAccess"


def test_the_allocation_app_has_rights_on_its_tables_its_host_and_telemetry_alone() -> None:
    principal = "identities.outputs.allocationPrincipalId"
    holders = {
        (symbol, name)
        for symbol, module in MAIN.modules.items()
        for name, each in module.params.items()
        if each == principal or (isinstance(each, list) and principal in each)
    }
    assert holders == {
        ("allocationHost", "ownerPrincipalId"),
        ("monitoring", "publisherPrincipalIds"),
        ("stateAccess", "allocationPrincipalId"),
    }


def test_no_app_may_write_the_account_that_holds_the_others_package() -> None:
    owners = {
        symbol: module.params["ownerPrincipalId"]
        for symbol, module in MAIN.modules.items()
        if module.path.name == "storage.bicep"
    }
    assert owners == {
        "allocationHost": "identities.outputs.allocationPrincipalId",
        "lifecycleHost": "identities.outputs.lifecyclePrincipalId",
        "state": "",
    }
    for role in ("allocation", "lifecycle"):
        assert MAIN.modules[f"{role}App"].params["hostBlobEndpoint"] == f"{role}Host.outputs.blobEndpoint"
        assert MAIN.modules[f"{role}App"].params["identityId"] == f"identities.outputs.{role}Id"


KEYS = ("listKeys", "listAccountSas", "listServiceSas", "AccountKey", "SharedAccessKey", "connectionString:")


@pytest.mark.parametrize("one", templates(), ids=lambda one: one.file.name)
def test_no_key_is_read_or_written(one: Template) -> None:
    assert [word for word in KEYS if word in one.text] == []
    assert re.search(r"\blist\w*\(", one.text) is None


def test_accounts_have_no_shared_keys_and_no_public_blobs() -> None:
    for each in of_type("Microsoft.Storage/storageAccounts"):
        held = properties(each)
        assert held["allowSharedKeyAccess"] is False
        assert held["allowBlobPublicAccess"] is False
        assert held["allowCrossTenantReplication"] is False
        assert held["defaultToOAuthAuthentication"] is True
        assert held["supportsHttpsTrafficOnly"] is True
        assert held["minimumTlsVersion"] == "TLS1_2"
    for each in of_type("Microsoft.Storage/storageAccounts/blobServices/containers"):
        assert properties(each)["publicAccess"] == "None"


def test_the_vault_knows_roles_only_and_keeps_what_is_deleted() -> None:
    [vault] = of_type("Microsoft.KeyVault/vaults")
    held = properties(vault)
    assert held["enableRbacAuthorization"] is True
    assert held["enablePurgeProtection"] is True
    assert held["enableSoftDelete"] is True
    assert held["softDeleteRetentionInDays"] == 90
    assert "accessPolicies" not in held


def test_apps_and_telemetry_are_entered_by_identity_over_tls() -> None:
    for each in of_type("Microsoft.Web/sites"):
        held = properties(each)
        assert held["httpsOnly"] is True
        site = held["siteConfig"]
        assert isinstance(site, dict)
        assert (site["minTlsVersion"], site["scmMinTlsVersion"], site["ftpsState"]) == (
            "1.2",
            "1.2",
            "Disabled",
        )
        identity = each.body["identity"]
        assert isinstance(identity, dict)
        assert identity["type"] == "UserAssigned"
    for each in of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies"):
        assert properties(each)["allow"] is False
    for each in of_type("Microsoft.Insights/components"):
        assert properties(each)["DisableLocalAuth"] is True


STATES_PUBLIC_ACCESS = {
    "Microsoft.Devices/IotHubs": ("publicNetworkAccess",),
    "Microsoft.Devices/provisioningServices": ("publicNetworkAccess",),
    "Microsoft.Insights/components": ("publicNetworkAccessForIngestion", "publicNetworkAccessForQuery"),
    "Microsoft.KeyVault/vaults": ("publicNetworkAccess", "networkAcls"),
    "Microsoft.OperationalInsights/workspaces": (
        "publicNetworkAccessForIngestion",
        "publicNetworkAccessForQuery",
    ),
    "Microsoft.Storage/storageAccounts": ("publicNetworkAccess", "networkAcls"),
    "Microsoft.Web/sites": ("publicNetworkAccess",),
}


@pytest.mark.parametrize("type_", STATES_PUBLIC_ACCESS)
def test_public_access_is_stated_where_it_can_be(type_: str) -> None:
    for each in of_type(type_):
        assert set(STATES_PUBLIC_ACCESS[type_]) <= set(properties(each)), each.place


def test_hubs_of_a_new_dps_are_linked_by_identity() -> None:
    [dps] = of_type("Microsoft.Devices/provisioningServices")
    linked = properties(dps)["iotHubs"]
    assert isinstance(linked, Expression)
    assert "authenticationType: 'UserAssigned'" in linked
    assert "connectionString" not in linked


def test_what_is_tagged_for_azd_is_all_that_can_be() -> None:
    taggable = {"Microsoft.Web/sites", "Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults"}
    for type_ in taggable:
        for each in of_type(type_):
            assert "tags" in each.body, each.place
    assert MAIN.variables["tags"] == {"azd-env-name": "environmentName"}
