"""What would make a purge or a decommissioning delete the wrong record, or never end."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from lifecycle.audit.snapshot import Listed
from lifecycle.purge.archive import CHUNK, Archive, archived
from lifecycle.purge.rules import Evidence as Known
from lifecycle.purge.rules import Kept, Reason, Why, suspect
from local.iothub.device import Entry
from provisioning.registrations import Registration, same_version
from tests.lifecycle.decommission.rig import FAILED, TOLD
from tests.lifecycle.decommission.rig import rigged as of_group
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.purge.rig import LONG, NAME, POLICY, Journal, PurgeRig, aged


class Rewritten(httpx.AsyncBaseTransport):
    """The way to everything; what DPS says of records comes another way."""

    def __init__(self, rig: PurgeRig, rewrite: Any) -> None:
        self._inner = Journal(rig)
        self._rewrite = rewrite

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        path = request.url.path
        if request.method == "DELETE" or not path.startswith("/registrations/") or answer.status_code != 200:
            return answer
        await answer.aread()
        found, listing = answer.json(), path.endswith("/query")
        for each in found if listing else [found]:
            self._rewrite(each, listing)
        headers = {k: v for k, v in answer.headers.items() if k.startswith("x-ms")}
        return httpx.Response(200, json=found, headers=headers)


async def rigged(*names: str) -> PurgeRig:
    rig = PurgeRig()
    await rig.group("line-a")
    for name in names:
        rig.record(name, device=False)
    return rig


async def for_good(rig: PurgeRig, rewrite: Any) -> None:
    ports = rig.ports(Rewritten(rig, rewrite))
    for number in range(2):
        await rig.purge(f"purge-{number}", ports=ports)
        await rig.wait(days=3)


async def test_quotes_around_an_etag_that_one_answer_has_and_another_has_not_mean_nothing() -> None:
    rig = await rigged("stale")

    def unquoted(record: dict[str, Any], listing: bool) -> None:
        record["etag"] = record["etag"].strip('"') if listing else record["etag"]

    await for_good(rig, unquoted)
    assert not rig.there("stale")
    assert [each for _, each in rig.deletes] == [f'"{1:08}"'], "sent as the last look had it"


@pytest.mark.parametrize("etag", ["*", '"*"', '""', " "])
async def test_a_record_whose_etag_guards_nothing_is_never_deleted(etag: str) -> None:
    rig = await rigged("stale")

    def odd(record: dict[str, Any], _: bool) -> None:
        record["etag"] = etag

    await for_good(rig, odd)
    assert rig.there("stale")
    assert rig.deletes == []
    group = await of_group(quiet={})
    await group.decommission(ports=group.of(Rewritten(group, odd)))
    assert group.there("quiet")


async def test_an_assigned_record_that_does_not_name_its_device_is_never_deleted() -> None:
    """Ids of registrations know no case, those of devices do: the hub has it under the other spelling."""
    rig = await rigged("dev-1")
    rig.device("Dev-1", HUBS[0], seen=timedelta(minutes=1))

    def nameless(record: dict[str, Any], _: bool) -> None:
        record.pop("deviceId", None)

    await for_good(rig, nameless)
    assert rig.there("dev-1")
    group = await of_group(**{"dev-1": {"device": False}})
    group.device("Dev-1", HUBS[0], seen=timedelta(minutes=1))
    await group.decommission(ports=group.of(Rewritten(group, nameless)))
    assert group.there("dev-1")


async def test_a_device_of_iot_edge_is_not_taken_for_silent() -> None:
    """A hub need not hear of it, nor of one behind it (Azure/iotedge#1711)."""
    rig = PurgeRig()
    await rig.group("line-a")
    rig.record("edge", device=False)
    rig.at(HUBS[0]).add(Entry("edge", iot_edge=True), rig.now - LONG)
    rig.record("plain")
    await rig.purge_for_good(aged(POLICY, old_days=90))
    assert (rig.there("edge"), rig.there("plain")) == (True, False)
    assert await rig.marks() == {}
    group = await of_group(edge={"device": False})
    group.at(HUBS[0]).add(Entry("edge", iot_edge=True), group.now - LONG)
    row = await group.decommission(ends=FAILED)
    assert "of IoT Edge, or behind such a device" in row.problem
    await group.decommission(replace(TOLD, even_active=True), job="decommission-2")
    assert not group.there("edge")


async def test_a_device_that_its_record_does_not_name_is_looked_for_as_the_audit_knew_it() -> None:
    """An individual enrollment may give its device another id, which a failed record need not say."""
    rig = PurgeRig()
    await rig.group("line-a")
    await rig.group("old-line")
    rig.record("reg-1", None, hub=None, status="failed")
    rig.device("pump-7", HUBS[1], seen=timedelta(hours=1))
    await rig.remember("old-line", Listed("reg-1", device="pump-7"))
    await rig.drop_group("old-line")
    await rig.purge_for_good()
    assert rig.there("reg-1")


HUGE: dict[str, Any] = {
    "a future member": {
        "chain": ["".join(chr(0x4E00 + (n * 7919 + at) % 20_000) for n in range(9_000)) for at in range(9)]
    },
    "many members": {
        f"member{n}": "".join(chr(0x4E00 + (n * at) % 20_000) for at in range(3_000)) for n in range(40)
    },
    "long texts": {"errorMessage": "".join(chr(0x4E00 + at % 20_000) for at in range(30_000))},
}


@pytest.mark.parametrize("members", HUGE.values(), ids=HUGE)
async def test_records_that_say_too_much_fit_the_archive_all_the_same(members: dict[str, Any]) -> None:
    rig = await rigged()
    found = [
        Registration.read({"registrationId": f"dev-{n}", "etag": '"1"', "status": "failed", **members})
        for n in range(CHUNK)
    ]
    entries = [archived(each, "line-a", Reason.FAILED, rig.now) for each in found]
    archive = Archive(rig.memory, NAME)
    assert await archive.add("purge-1", 0, entries) is entries
    kept = [each async for each in archive.records("purge-1")]
    assert [(each.id, each.document["etag"]) for each in kept] == [(each.id, '"1"') for each in found]


@pytest.mark.parametrize(
    ("one", "other", "same"), [('"a"', "a", True), ("a", "b", False), ("A", "a", False), ('"a"', '"a"', True)]
)
def test_versions_compare_without_quotes_alone(one: str, other: str, same: bool) -> None:
    assert same_version(one, other) is same


def test_what_is_not_told_keeps_a_record() -> None:
    rig = PurgeRig()
    when = (rig.now - LONG).isoformat()
    for members in ({"deviceId": "d"}, {"assignedHub": HUBS[0]}):
        document = {"registrationId": "d", "etag": "1", "status": "assigned", "lastUpdatedDateTimeUtc": when}
        record = Registration.read(document | members)
        assert suspect(Known(record, "line-a"), POLICY, rig.now) == Kept(Why.UNREADABLE)
