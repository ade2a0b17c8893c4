"""Python's azure-iot-deviceprovisioning, unmodified: every operation."""

from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.clients_of_dps.served import Served, in_thread
from tests.local.dps.rig import HUBS, group, individual, symmetric

try:
    from azure.iot.deviceprovisioning import DeviceProvisioningClient
except ImportError:
    pytest.fail("azure-iot-deviceprovisioning is not installed: `./run test` installs it", pytrace=False)

QUERY = {"query": "SELECT *"}
KINDS = [
    ("enrollment", individual, "registrationId", "enrollments"),
    ("enrollment_group", group, "enrollmentGroupId", "enrollmentGroups"),
]
each_kind = pytest.mark.parametrize(
    ("noun", "body", "id_member", "bulk_member"), KINDS, ids=[kind[0] for kind in KINDS]
)


def client_of(served: Served) -> Any:
    return DeviceProvisioningClient.from_connection_string(
        served.connection_string, connection_verify=str(served.ca), retry_total=0
    )


def refused(call: Callable[..., Any], *args: Any, **options: Any) -> int | None:
    with pytest.raises(HttpResponseError) as refusal:
        call(*args, **options)
    return refusal.value.status_code


@each_kind
async def test_an_enrollment_lives_and_dies(
    served: Served, noun: str, body: Any, id_member: str, bulk_member: str
) -> None:
    def work() -> None:
        with client_of(served) as client:
            operations = getattr(client, noun)
            made = operations.create_or_update("one", body("one", iotHubs=[HUBS[0]]))
            assert (made[id_member], made["attestation"]) == ("one", symmetric())
            assert operations.get("one")["etag"] == made["etag"]
            changed = operations.create_or_update(
                "one", body("one", provisioningStatus="disabled"), if_match=made["etag"]
            )
            assert changed["provisioningStatus"] == "disabled"
            assert operations.get_attestation_mechanism("one") == symmetric()
            assert refused(operations.create_or_update, "one", body("one"), if_match=made["etag"]) == 412
            assert refused(operations.create_or_update, "one", body("one")) == 409
            assert refused(operations.delete, "one", if_match=made["etag"]) == 412
            assert refused(operations.create_or_update, "two", body("two", allocationPolicy="custom")) == 400
            assert operations.delete("one", if_match="*") is None
            for call in (operations.get, operations.get_attestation_mechanism, operations.delete):
                with pytest.raises(ResourceNotFoundError):
                    call("one")

    await in_thread(work)


@each_kind
async def test_queries_page_and_bulk_fills_and_empties(
    served: Served, noun: str, body: Any, id_member: str, bulk_member: str
) -> None:
    def work() -> None:
        with client_of(served) as client:
            operations = getattr(client, noun)
            names = [f"one-{number}" for number in range(7)]
            items = [body(name) for name in names]
            created = operations.run_bulk_operation({"mode": "create", bulk_member: items})
            assert created == {"isSuccessful": True, "errors": []}
            pages = [list(page) for page in operations.query(QUERY, top=3).by_page()]
            assert [[each[id_member] for each in page] for page in pages] == [
                names[:3],
                names[3:6],
                names[6:],
            ]
            assert len(list(operations.query(QUERY))) == 7
            stale = [{**items[0], "etag": '"stale"'}, {**items[1], "etag": pages[0][1]["etag"]}]
            told = operations.run_bulk_operation({"mode": "updateIfMatchETag", bulk_member: stale})
            assert [(each[id_member], each["errorCode"] // 1000) for each in told["errors"]] == [
                (names[0], 412)
            ]
            assert operations.run_bulk_operation({"mode": "update", bulk_member: items})["isSuccessful"]
            assert operations.run_bulk_operation({"mode": "delete", bulk_member: items})["isSuccessful"]
            assert list(operations.query(QUERY)) == []

    await in_thread(work)


async def test_registration_states_are_read_listed_and_deleted(served: Served) -> None:
    def prepare() -> None:
        with client_of(served) as client:
            client.enrollment_group.create_or_update("g1", group("g1"))

    def work() -> None:
        with client_of(served) as client:
            states = client.device_registration_state
            pages = [list(page) for page in states.query("g1", top=2).by_page()]
            assert [[each["registrationId"] for each in page] for page in pages] == [["d-0", "d-1"], ["d-2"]]
            state = states.get("d-0")
            assert state["status"] == "assigned"
            assert refused(states.delete, "d-0", if_match="another") == 412
            assert states.delete("d-0", if_match=state["etag"]) is None
            assert refused(states.get, "d-0") == 404
            assert refused(lambda: list(states.query("nobody"))) == 404

    await in_thread(prepare)
    for number in range(3):
        await served.register(f"d-{number}")
    await in_thread(work)


async def test_a_wrong_key_is_401(served: Served) -> None:
    def work() -> None:
        policy, host = served.dps.policies[0], served.address.host
        wrong = "A" * len(policy.primary_key)
        connection = f"HostName={host};SharedAccessKeyName={policy.name};SharedAccessKey={wrong}"
        with DeviceProvisioningClient.from_connection_string(
            connection, connection_verify=str(served.ca), retry_total=0
        ) as client:
            assert refused(client.enrollment.get, "one") == 401

    await in_thread(work)
