"""Node's azure-iot-provisioning-service, unmodified: every operation of its API."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients_of_dps.served import Served
from tests.local.dps.rig import HUBS, PRIMARY, group, individual, symmetric

FOLDER = Path(__file__).parents[1] / "node"
QUERY = {"query": "*"}


class NodeClient:
    """The client in its process; calls it by name."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, name: str, *args: Any) -> Any:
        return await self._ask({"call": name, "args": args})

    async def pages(self, name: str, *args: Any) -> list[list[dict[str, Any]]]:
        told: list[list[dict[str, Any]]] = await self._ask({"query": name, "args": args})
        return told

    async def refused(self, name: str, *args: Any) -> int:
        """The status of a call that must fail."""
        with pytest.raises(RefusedError) as refusal:
            await self(name, *args)
        assert refusal.value.status is not None, refusal.value
        return refusal.value.status

    async def _ask(self, command: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        assert line, "the client's process has ended; its message is above"
        told = json.loads(line)
        if "error" in told:
            raise RefusedError(told["error"])
        return told["result"]


class RefusedError(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['name']}: {error['message']}")
        self.status: int | None = error.get("status")


@pytest_asyncio.fixture
async def node(served: Served) -> AsyncIterator[NodeClient]:
    if not (FOLDER / "node_modules" / "azure-iot-provisioning-service").is_dir():
        pytest.fail(
            "azure-iot-provisioning-service is not installed: `./run test` installs it", pytrace=False
        )
    process = await asyncio.create_subprocess_exec(
        os.environ.get("NODE", "node"),
        *(str(FOLDER / "service.js"), str(served.address.port)),
        env={
            **os.environ,
            "NODE_EXTRA_CA_CERTS": str(served.ca),
            "CONNECTION_STRING": served.dps.connection_string("localhost"),
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield NodeClient(process)
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 20)


KINDS = [
    ("IndividualEnrollment", individual, "registrationId"),
    ("EnrollmentGroup", group, "enrollmentGroupId"),
]


@pytest.mark.parametrize(("noun", "body", "id_member"), KINDS, ids=[kind[0] for kind in KINDS])
async def test_an_enrollment_lives_and_dies(node: NodeClient, noun: str, body: Any, id_member: str) -> None:
    made = await node(f"createOrUpdate{noun}", body("one", iotHubs=[HUBS[0]]))
    assert made[id_member] == "one"
    assert made["attestation"] == symmetric()
    read = await node(f"get{noun}", "one")
    assert (read["etag"], read["iotHubs"]) == (made["etag"], [HUBS[0]])
    changed = await node(f"createOrUpdate{noun}", {**read, "provisioningStatus": "disabled"})
    assert (changed["provisioningStatus"], changed["etag"] != made["etag"]) == ("disabled", True)
    assert await node(f"get{noun}AttestationMechanism", "one") == symmetric()
    assert await node.refused(f"createOrUpdate{noun}", read) == 412
    assert await node.refused(f"createOrUpdate{noun}", body("one")) == 409
    assert await node.refused(f"delete{noun}", "one", made["etag"]) == 412
    assert await node(f"delete{noun}", changed) is None
    assert await node.refused(f"get{noun}", "one") == 404
    assert await node.refused(f"get{noun}AttestationMechanism", "one") == 404
    assert await node.refused(f"delete{noun}", "one") == 404


@pytest.mark.parametrize(("noun", "body", "id_member"), KINDS, ids=[kind[0] for kind in KINDS])
async def test_queries_come_in_pages(node: NodeClient, noun: str, body: Any, id_member: str) -> None:
    names = [f"one-{number}" for number in range(5)]
    for name in names:
        await node(f"createOrUpdate{noun}", body(name))
    pages = await node.pages(f"create{noun}Query", QUERY, 2)
    assert [[each[id_member] for each in page] for page in pages] == [names[:2], names[2:4], names[4:]]
    assert len(await node.pages(f"create{noun}Query", QUERY)) == 1


async def test_bulk_operations_tell_what_failed(node: NodeClient) -> None:
    items = [individual(f"dev-{number}") for number in range(10)]
    made = await node("runBulkEnrollmentOperation", {"mode": "create", "enrollments": items})
    assert made["isSuccessful"] is True
    again = await node("runBulkEnrollmentOperation", {"mode": "create", "enrollments": items[:2]})
    assert again["isSuccessful"] is False
    assert [error["errorCode"] // 1000 for error in again["errors"]] == [409, 409]
    too_many = {"mode": "delete", "enrollments": [*items, individual("dev-10")]}
    assert await node.refused("runBulkEnrollmentOperation", too_many) == 400


async def test_registration_states_are_read_listed_and_deleted(served: Served, node: NodeClient) -> None:
    await node("createOrUpdateEnrollmentGroup", group("g1"))
    for number in range(3):
        await served.register(f"dev-{number}")
    state = await node("getDeviceRegistrationState", "dev-0")
    assert (state["status"], state["substatus"]) == ("assigned", "initialAssignment")
    pages = await node.pages("createEnrollmentGroupDeviceRegistrationStateQuery", QUERY, "g1", 2)
    assert [[each["registrationId"] for each in page] for page in pages] == [["dev-0", "dev-1"], ["dev-2"]]
    assert await node.refused("deleteDeviceRegistrationState", "dev-0", "another") == 412
    assert await node("deleteDeviceRegistrationState", state) is None
    assert await node("deleteDeviceRegistrationState", "dev-1") is None
    assert await node.refused("getDeviceRegistrationState", "dev-0") == 404


async def test_an_individual_enrollment_shows_its_registration(served: Served, node: NodeClient) -> None:
    await node("createOrUpdateIndividualEnrollment", individual("dev-1", deviceId="mine"))
    await served.register("dev-1", PRIMARY)
    state = (await node("getIndividualEnrollment", "dev-1"))["registrationState"]
    assert (state["deviceId"], state["status"]) == ("mine", "assigned")


async def test_bad_input_reaches_the_caller_as_400(node: NodeClient) -> None:
    assert await node.refused("createOrUpdateEnrollmentGroup", group(allocationPolicy="custom")) == 400
    assert await node.refused("createOrUpdateEnrollmentGroup", group("no good id")) == 400
