"""Our own DPS client and clients nobody here wrote read what the other has written."""

from typing import Any

import pytest
from azure.iot.deviceprovisioning import DeviceProvisioningClient

from clients.auth import ConnectionString
from clients.clock import SystemClock
from clients.connections import Connections
from clients.dps import DpsClient
from clients.outcomes import Deleted
from clients.pacing import UnpacedShare
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment
from provisioning.keys import SymmetricKey
from tests.clients_of_dps.served import Served, in_thread
from tests.clients_of_dps.test_node_service_client import NodeClient, node
from tests.local.dps.rig import HUBS, PRIMARY, custom, group, individual, symmetric

__all__ = ["node"]

TWIN = {"tags": {"site": "a"}, "properties": {"desired": {"interval": 60}}}
RICH = {
    **custom(),
    "iotHubs": [HUBS[0]],
    "initialTwin": TWIN,
    "capabilities": {"iotEdge": True},
    "provisioningStatus": "disabled",
    "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
}


def ours(served: Served, connections: Connections) -> DpsClient:
    login = ConnectionString.parse(served.connection_string)
    return DpsClient(
        login.host,
        auth=login.auth(SystemClock()),
        connections=connections,
        share=UnpacedShare(),
        clock=SystemClock(),
        jitter=lambda: 0.0,
    )


KINDS = pytest.mark.parametrize(
    ("noun", "member", "read", "body"),
    [
        ("IndividualEnrollment", "individuals", IndividualEnrollment, individual),
        ("EnrollmentGroup", "groups", EnrollmentGroup, group),
    ],
    ids=["individual", "group"],
)


@KINDS
async def test_node_reads_what_ours_wrote_and_ours_what_node_wrote(
    served: Served, node: NodeClient, noun: str, member: str, read: Any, body: Any
) -> None:
    connections = Connections(ca_file=served.ca)
    calls = getattr(ours(served, connections), member)
    made = await calls.create(read.read(body("one", **RICH)))
    found = await node(f"get{noun}", "one")
    assert {name: found[name] for name in RICH} == RICH
    assert found["etag"] == made.etag
    assert await node(f"get{noun}AttestationMechanism", "one") == symmetric()
    changed = await node(
        f"createOrUpdate{noun}", {**found, "attestation": symmetric(), "iotHubs": list(HUBS[1:])}
    )
    back = await calls.with_keys("one")
    assert (back.iot_hubs, back.etag) == (HUBS[1:], changed["etag"])
    assert back.keys.primary.reveal() == PRIMARY
    assert back.initial_twin.tags == TWIN["tags"]
    await calls.replace(read.read(back.wire() | {"provisioningStatus": "enabled"}))
    again = await node(f"get{noun}", "one")
    assert (again["provisioningStatus"], again["customAllocationDefinition"]) == (
        "enabled",
        RICH["customAllocationDefinition"],
    )
    await connections.close()


@KINDS
async def test_python_reads_what_ours_wrote_and_ours_what_python_wrote(
    served: Served, noun: str, member: str, read: Any, body: Any
) -> None:
    connections = Connections(ca_file=served.ca)
    calls = getattr(ours(served, connections), member)
    await calls.create(read.read(body("one", **RICH)))
    told: dict[str, Any] = {}

    def work() -> None:
        with DeviceProvisioningClient.from_connection_string(
            served.connection_string, connection_verify=str(served.ca), retry_total=0
        ) as client:
            operations = client.enrollment if member == "individuals" else client.enrollment_group
            told["found"] = operations.get("one")
            told["keys"] = operations.get_attestation_mechanism("one")
            operations.create_or_update("two", body("two", **RICH))

    await in_thread(work)
    assert {name: told["found"][name] for name in RICH} == RICH
    assert told["keys"] == symmetric()
    one, two = await calls.with_keys("one"), await calls.with_keys("two")
    assert one.wire() | {"etag": two.etag, read.ID_MEMBER: "two"} == two.wire()
    assert await calls.delete("two", two.etag) == Deleted()
    await connections.close()


async def test_a_device_registers_with_a_key_that_ours_derived(served: Served) -> None:
    connections = Connections(ca_file=served.ca)
    client = ours(served, connections)
    made = await client.groups.create(
        EnrollmentGroup.read(group("g", attestation={"type": "symmetricKey"}, iotHubs=[HUBS[0]]))
    )
    assert made.keys is not None
    assert isinstance(made.keys.primary, SymmetricKey)
    await served.register("Dev-1", made.keys.primary.derive("Dev-1").reveal())
    [record] = [one async for one in client.registrations.of_group("G")]
    assert (record.key, record.hub, record.status) == ("dev-1", HUBS[0], "assigned")
    await connections.close()
