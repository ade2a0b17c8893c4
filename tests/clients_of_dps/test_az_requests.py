"""The requests that `az iot dps` sends (extension azure-iot 0.25.0), replayed as they were recorded.

Its query texts are printed Python objects, bodies are often empty, and twins nest one level deeper in
`additional_properties` at each update.
"""

import base64
import json
from typing import Any

import pytest

from local.dps.keys import derive_key
from tests.local.dps.rig import WEBHOOK, Rig

HEADERS = {
    "Accept": "application/json",
    "Cache-Control": "no-cache, must-revalidate",
    "accept_language": "en-US",
}
QUERY = {"query": "{'additional_properties': {}, 'query': 'SELECT *'}"}


async def az(rig: Rig, method: str, path: str, body: Any = None, **headers: str) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    answer = await rig.call(method, path, content, **HEADERS, content_type="application/json", **headers)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def twin(inner: dict[str, Any]) -> dict[str, Any]:
    collection: dict[str, Any] = {
        "additionalProperties": {},
        "version": None,
        "count": None,
        "metadata": None,
    }
    return {
        "additional_properties": inner,
        "tags": {**collection, "site": "x"},
        "properties": {"additional_properties": {}, "desired": {**collection, "rate": 3}},
    }


def created(id_member: str, name: str) -> dict[str, Any]:
    return {
        "additional_properties": {},
        id_member: name,
        "attestation": {"type": "symmetricKey", "symmetricKey": {}},
        "capabilities": {"iotEdge": False},
        "initialTwin": twin({}),
        "provisioningStatus": "enabled",
        "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": True},
        "allocationPolicy": "custom",
        "customAllocationDefinition": {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"},
        "iotHubHostName": None,
        "etag": None,
        "createdDateTimeUtc": None,
    }


@pytest.mark.parametrize(
    ("path", "id_member"), [("enrollmentGroups", "enrollmentGroupId"), ("enrollments", "registrationId")]
)
async def test_create_show_list_update_and_delete(rig: Rig, path: str, id_member: str) -> None:
    made = await az(rig, "PUT", f"/{path}/Fleet-1", created(id_member, "Fleet-1"))
    keys = made["attestation"]["symmetricKey"]
    assert [len(base64.b64decode(key)) for key in keys.values()] == [64, 64]
    assert [each[id_member] for each in await az(rig, "POST", f"/{path}/query", QUERY)] == ["Fleet-1"]

    nested: dict[str, Any] = {}
    for spelled in (f"/{path}/fleet-1", f"/{path.lower()}/FLEET-1", f"/{path.upper()}/Fleet-1/"):
        shown = await az(rig, "GET", spelled)
        mechanism = await az(rig, "POST", f"{spelled.rstrip('/')}/attestationmechanism")
        assert mechanism["symmetricKey"] == keys
        nested = {"additional_properties": nested}
        body = {**shown, "attestation": mechanism, "initialTwin": twin(nested)}
        updated = await az(rig, "PUT", spelled, body, if_match="*")
        assert (updated[id_member], updated["etag"] != shown["etag"]) == ("Fleet-1", True)
    shown = await az(rig, "GET", f"/{path}/fleet-1")
    assert shown["initialTwin"]["additional_properties"] == nested
    assert shown["initialTwin"]["tags"] == {"additionalProperties": {}, "site": "x"}
    await az(rig, "DELETE", f"/{path}/fleet-1", if_match="*")


async def test_registrations_are_listed_with_an_empty_body(rig: Rig) -> None:
    body = {
        **created("enrollmentGroupId", "fleet"),
        "allocationPolicy": "hashed",
        "customAllocationDefinition": None,
    }
    made = await az(rig, "PUT", "/enrollmentGroups/fleet", body)
    key = made["attestation"]["symmetricKey"]["primaryKey"]
    await rig.register("dev-1", derive_key(key, "dev-1"))
    listed = await az(rig, "POST", "/registrations/fleet/query")
    assert [each["registrationId"] for each in listed] == ["dev-1"]
    assert (await az(rig, "GET", "/registrations/dev-1", {}))["etag"] == listed[0]["etag"]
    await az(rig, "DELETE", "/registrations/dev-1", if_match="*")


async def test_a_webhook_without_a_definition_is_refused_as_az_shows_it(rig: Rig) -> None:
    body = {**created("enrollmentGroupId", "fleet"), "customAllocationDefinition": {"webhookUrl": None}}
    answer = await rig.call("PUT", "/enrollmentGroups/fleet", body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 400004)
