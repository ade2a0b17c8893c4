"""A revoked device is out at DPS and its hubs, whoever dies meanwhile; readmitting undoes just that."""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from lifecycle.enrollments import change as changes
from lifecycle.enrollments import revocation
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.devices import Done, Places, look, readmit, revoke
from lifecycle.enrollments.diff import Difference
from local.explore import Life, Run, explore
from local.hub import migrate
from local.switches import Switches
from provisioning.keys import SymmetricKey
from provisioning.registrations import Registration
from tests.lifecycle.enrollments.cloud import CloudRig
from tests.lifecycle.enrollments.rig import HUBS, group

DEVICE = "Dev-1"
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
KEYS = (SymmetricKey(b"\7" * 64), SymmetricKey(b"\x08" * 64))
OWN_KEY = base64.b64encode(b"k" * 32).decode()
PLAIN = {"allocationPolicy": "hashed", "customAllocationDefinition": None}


async def agreed(_: tuple[Difference, ...]) -> None:
    """Yes."""


async def revoked(places: Places, *, why: str = "stolen", consent: Any = agreed) -> Done:
    blocking = revocation.blocking(DEVICE, keys=KEYS, at=NOW, why=why)
    return await revoke(places, DEVICE, blocking, at=NOW, why=why, consent=consent)


async def registered(switches: Switches | None = None) -> tuple[CloudRig, str]:
    """A device of a group, on a hub; and which."""
    rig = CloudRig(switches)
    await changes.create(rig.groups(), group(**PLAIN))
    state = await rig.register(DEVICE)
    assert state["status"] == "assigned"
    return rig, state["assignedHub"]


def check_out(rig: CloudRig) -> None:
    """Neither DPS nor any hub lets it in."""
    held = rig.service.enrollment(DEVICE)
    assert held is not None
    assert held.disabled
    for hub in HUBS:
        device = rig.identity(hub, DEVICE)
        assert device is None or device.identity.status == "disabled", hub


async def check_in(rig: CloudRig, hub: str) -> None:
    device = rig.identity(hub, DEVICE)
    assert device is not None
    assert device.identity.status == "enabled"
    assert (await rig.register(DEVICE))["status"] == "assigned"


async def test_a_revoked_device_is_out_everywhere_and_a_readmitted_one_in_again() -> None:
    rig, hub = await registered()
    done = await revoked(rig.places())
    assert (done.enrollment, done.whole, done.pending) == ("made", True, False)
    assert {each.hub: each.outcome for each in done.hubs}[hub] == "disabled"  # type: ignore[index]
    check_out(rig)
    assert (await rig.register(DEVICE))["status"] in (401, "disabled")
    check_out(rig)
    assert rig.identity(hub, DEVICE).identity.entry.status_reason == "revoked by dps-fleet: stolen"  # type: ignore[union-attr]

    back = await readmit(rig.places(), DEVICE, consent=agreed)
    assert (back.enrollment, back.whole) == ("deleted", True)
    assert rig.service.enrollment(DEVICE) is None
    await check_in(rig, hub)
    await rig.aclose()


async def test_both_say_beforehand_what_they_will_do_and_do_nothing_without_consent() -> None:
    rig, hub = await registered()
    shown: list[tuple[Difference, ...]] = []

    class No(Exception):
        pass

    async def refuse(planned: tuple[Difference, ...]) -> None:
        shown.append(planned)
        raise No

    with pytest.raises(No):
        await revoked(rig.places(), consent=refuse)
    assert rig.service.enrollment(DEVICE) is None
    paths = [each.path for each in shown[0]]
    assert f"hubs.{hub}.{DEVICE}.status" in paths
    assert "provisioningStatus" in paths
    assert KEYS[0].reveal() not in repr(shown)
    await revoked(rig.places())
    with pytest.raises(No):
        await readmit(rig.places(), DEVICE, consent=refuse)
    check_out(rig)
    await rig.aclose()


async def test_a_devices_own_enrollment_is_disabled_and_enabled_and_otherwise_untouched() -> None:
    rig = CloudRig()
    document = {
        "registrationId": DEVICE,
        "deviceId": "Pump.7",
        "attestation": {
            "type": "symmetricKey",
            "symmetricKey": {"primaryKey": OWN_KEY, "secondaryKey": OWN_KEY},
        },
        "optionalDeviceInformation": {"owner": "line 3"},
        "iotHubs": [HUBS[0]],
        "allocationPolicy": "static",
        "memberOfANewerVersion": 1,
    }
    await changes.create(rig.individuals(), document)
    assert (await rig.register(DEVICE, OWN_KEY))["deviceId"] == "Pump.7"
    before = await changes.with_keys(rig.individuals(), DEVICE)
    done = await revoked(rig.places(linked=()))
    assert (done.enrollment, done.whole) == ("disabled", True)
    assert rig.identity(HUBS[0], "Pump.7").identity.status == "disabled"  # type: ignore[union-attr]
    back = await readmit(rig.places(linked=()), DEVICE, consent=agreed)
    assert back.enrollment == "enabled"
    after = await changes.with_keys(rig.individuals(), DEVICE)
    assert before is not None
    assert after is not None
    moving = ("etag", "lastUpdatedDateTimeUtc")
    assert {**after, **{name: before[name] for name in moving}} == before
    await rig.aclose()


async def test_an_enrollment_that_somebody_else_disabled_is_never_deleted() -> None:
    rig, _ = await registered()
    foreign = revocation.blocking(DEVICE, keys=KEYS, at=NOW, why="")
    foreign["optionalDeviceInformation"] = {"note": "by hand"}
    await changes.create(rig.individuals(), foreign)
    assert (await revoked(rig.places())).enrollment == "already"
    assert (await readmit(rig.places(), DEVICE, consent=agreed)).enrollment == "enabled"
    assert rig.service.enrollment(DEVICE) is not None
    await rig.aclose()


async def test_device_that_was_never_revoked_is_readmitted_without_any_change() -> None:
    rig, hub = await registered()
    assert (await readmit(rig.places(), DEVICE, consent=agreed)).enrollment == "none"
    own = {"primaryKey": OWN_KEY, "secondaryKey": OWN_KEY}
    document = {"registrationId": DEVICE, "attestation": {"type": "symmetricKey", "symmetricKey": own}}
    await changes.create(rig.individuals(), document)
    before = await rig.individuals().read(DEVICE)
    assert (await readmit(rig.places(), DEVICE, consent=agreed)).enrollment == "already"
    assert await rig.individuals().read(DEVICE) == before
    assert rig.identity(hub, DEVICE) is not None
    await rig.aclose()


async def test_a_block_that_was_given_keys_of_its_own_since_is_not_deleted() -> None:
    rig, _ = await registered()
    await revoked(rig.places())

    def rekeyed(document: Document) -> Document:
        document["attestation"]["symmetricKey"]["primaryKey"] = OWN_KEY
        return document

    await changes.change(rig.individuals(), DEVICE, rekeyed)
    assert (await readmit(rig.places(), DEVICE, consent=agreed)).enrollment == "enabled"
    held = await changes.with_keys(rig.individuals(), DEVICE)
    assert held is not None
    assert revocation.mark_of(held) is None
    await rig.aclose()


async def test_identity_that_somebody_else_disabled_stays_disabled() -> None:
    rig, hub = await registered()
    client = rig.hub_client(hub)  # type: ignore[arg-type]
    device = await client.device(DEVICE)
    assert device is not None
    await client.set_status(DEVICE, "disabled", device.etag, "unpaid")
    await revoked(rig.places())
    back = await readmit(rig.places(), DEVICE, consent=agreed)
    outcome = {each.hub: each for each in back.hubs}[hub]  # type: ignore[index]
    assert (outcome.outcome, "unpaid" in outcome.problem) == ("left alone", True)
    assert rig.identity(hub, DEVICE).identity.status == "disabled"  # type: ignore[union-attr]
    await rig.aclose()


async def test_registration_that_ends_on_another_hub_meanwhile_is_caught() -> None:
    rig, hub = await registered()
    other = next(each for each in HUBS if each != hub)
    places = rig.places(linked=())

    def moves() -> None:
        """What a registration does that was accepted before the enrollment was there."""
        source = rig.hubs[hub].hub
        keys = source.devices[DEVICE].identity.entry.keys
        migrate(DEVICE, source, rig.hubs[other].hub, keys=keys, now=NOW)
        record = rig.service.registration(DEVICE)
        assert record is not None
        rig.service.store.registrations.put(DEVICE.lower(), replace(record, assigned_hub=other, etag="moved"))

    class Records:
        reads = 0

        async def get(self, registration_id: str) -> Registration | None:
            self.reads += 1
            if self.reads == 2:  # after the hubs that were known then had been seen to
                moves()
            return await places.records.get(registration_id)

    done = await revoked(replace(places, records=Records()))
    assert done.whole
    check_out(rig)
    assert rig.identity(other, DEVICE) is not None
    await rig.aclose()


async def test_hub_that_fails_is_told_of_and_the_device_is_out_at_dps_all_the_same() -> None:
    rig, hub = await registered()

    class Down(httpx.AsyncBaseTransport):
        inner = rig.transport()

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.host == hub:
                return httpx.Response(403, json={"Message": "ErrorCode:IotHubForbidden"})
            return await self.inner.handle_async_request(request)

    done = await revoked(rig.places(Down()))
    assert not done.whole
    assert rig.service.enrollment(DEVICE) is not None
    again = await revoked(rig.places())
    assert (again.enrollment, again.whole) == ("already", True)
    check_out(rig)
    half = await readmit(rig.places(Down()), DEVICE, consent=agreed)
    assert not half.whole
    assert rig.service.enrollment(DEVICE) is not None, "what says that something is left to do stays"
    assert (await readmit(rig.places(), DEVICE, consent=agreed)).whole
    await check_in(rig, hub)
    await rig.aclose()


async def test_revoking_under_every_switch_and_crash_ends_with_the_device_out_and_never_in_again() -> None:
    async def scenario(run: Run) -> None:
        rig, hub = await registered(Switches(run))
        out = False

        async def work(life: Life) -> None:
            nonlocal out
            held = rig.service.enrollment(DEVICE)
            if out := out or (held is not None and held.disabled):
                assert held is not None, "a crash let the device in again"
            transport = life.transport(rig.transport())
            done = await revoked(rig.places(transport))
            assert done.whole

        await run.live(work)
        check_out(rig)
        assert (await rig.register(DEVICE))["status"] in (401, "disabled")
        assert rig.identity(hub, DEVICE) is not None
        await rig.aclose()

    report = await explore(scenario)
    report.check()
    assert report.runs > 20


async def test_readmitting_under_every_switch_and_crash_ends_with_the_device_in() -> None:
    async def scenario(run: Run) -> None:
        rig, hub = await registered(Switches(run))
        await revoked(rig.places(linked=()))

        async def work(life: Life) -> None:
            done = await readmit(
                rig.places(life.transport(rig.transport()), linked=()), DEVICE, consent=agreed
            )
            assert done.whole

        await run.live(work)
        assert rig.service.enrollment(DEVICE) is None
        device = rig.identity(hub, DEVICE)
        assert device is not None
        assert device.identity.status == "enabled"
        await rig.aclose()

    (await explore(scenario)).check()


async def test_what_is_known_of_a_device_is_gathered() -> None:
    rig, hub = await registered()
    found = await look(rig.places(), DEVICE)
    assert found.enrollment is None
    assert found.record is not None
    assert found.record.assigned_hub == hub
    there = {each.hub: each.device for each in found.identities}
    assert {each for each, device in there.items() if device} == {hub}
    nobody = await look(rig.places(), "nobody")
    assert (nobody.enrollment, nobody.record) == (None, None)
    await rig.aclose()


async def test_reason_fits_a_hub_whatever_was_typed() -> None:
    reason = revocation.status_reason("lost \u202e" + "x" * 300)
    assert len(reason) == 128
    assert reason.isascii()
