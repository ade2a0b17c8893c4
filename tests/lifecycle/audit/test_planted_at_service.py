"""Every check finds its fault in a service that has it, and a service without it has no finding.

The audit runs as the app composes it, over the whole cloud and this app's own webhook.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import zip_longest
from typing import Any

import pytest

from lifecycle.audit.checks import CHECKS
from lifecycle.audit.finding import Source
from local.switches import SWITCHES, Switches
from tests.lifecycle.audit.cloud_rig import API, HOST, HUB_A, HUB_B, CloudRig
from tests.lifecycle.audit.engine_rig import Report
from tests.lifecycle.audit.faults_at_service import FAULTS, HOUR, furnish, home_of
from tests.lifecycle.audit.made import NOW


def test_every_check_has_its_fault() -> None:
    assert list(FAULTS) == [check.id for check in CHECKS]


@asynccontextmanager
async def serving(hubs: tuple[str, ...] = (), **options: Any) -> AsyncIterator[CloudRig]:
    rig = CloudRig((HUB_A, HUB_B, *hubs), **options)
    try:
        yield rig
    finally:
        await rig.aclose()


async def first_audit(rig: CloudRig, **thresholds: Any) -> Report:
    """Of the furnished service, on the first of June."""
    await rig.clock.advance((NOW - rig.clock.now()).total_seconds())
    await furnish(rig)
    await rig.clock.advance(2 * HOUR)
    return await rig.audit("audit:1", **thresholds)


@pytest.mark.parametrize("check", FAULTS)
async def test_a_fault_in_the_service_is_found_by_its_check_alone(check: str) -> None:
    fault = FAULTS[check]
    async with serving(fault.hubs, **fault.settings) as rig:
        if check == "DPS-QUOTA-006":
            rig.aside = [each for name in fault.hubs if (each := rig.service.unlink(name)) is not None]
        if fault.early is not None:
            await fault.early(rig)
        before = await first_audit(rig, **fault.thresholds)
        assert fault.early is not None or before.about == []
        await rig.clock.advance(22 * HOUR + fault.late)
        await fault.plant(rig)
        await rig.clock.advance(0 if fault.meanwhile else HOUR + 60)
        after = await rig.audit("audit:2", webhooks=fault.webhooks, **fault.thresholds, **fault.last)
        assert set(after.about) == {(check, fault.at), *fault.along}


async def test_a_service_as_it_should_be_has_no_finding_and_every_check_is_evaluated() -> None:
    async with serving() as rig:
        await first_audit(rig)
        await rig.clock.advance(23 * HOUR)
        report = await rig.audit("audit:2", sample_keys=100)
        assert report.about == []
        assert report.run.not_evaluated == ()
        assert report.run.sources == frozenset(Source)


@pytest.mark.parametrize("device_there", [True, False])
@pytest.mark.parametrize("kept", [True, False])
async def test_record_of_a_deleted_individual_enrollment_is_found_where_dps_keeps_it(
    kept: bool, device_there: bool
) -> None:
    switches = Switches()
    switches.set("dps.enrollment_delete_drops_registration", not kept)
    async with serving(switches=switches) as rig:
        await first_audit(rig)
        home = await home_of(rig, "solo")
        await delete_solo(rig)
        if not device_there:
            await rig.at_hub("DELETE", home, "solo")
        await rig.clock.advance(HOUR)
        for audit in ("audit:2", "audit:3"):
            report = await rig.audit(audit)
            if kept:
                assert report.about == [("DPS-REC-008", "registration:solo")]
                assert report.findings[0].evidence["enrollment"] == "individual"
                assert report.findings[0].fix == "./run dps purge plan"
            else:
                assert report.about == ([("DPS-REC-006", f"device:{home}/solo")] if device_there else [])


async def test_record_of_an_enrollment_that_no_audit_listed_is_found_by_its_device() -> None:
    switches = Switches()
    switches.set("dps.enrollment_delete_drops_registration", False)
    async with serving(switches=switches) as rig:
        await rig.clock.advance((NOW - rig.clock.now()).total_seconds())
        await furnish(rig)
        await delete_solo(rig)
        await rig.clock.advance(2 * HOUR)
        report = await rig.audit("audit:1")
        (orphan,) = [each for each in report.findings if each.check == "DPS-REC-008"]
        assert orphan.resource == "registration:solo"
        assert orphan.fix == "./run dps enrollment registration delete --registration-id solo"


async def delete_solo(rig: CloudRig) -> None:
    gone = await rig.http.delete(f"https://{HOST}/enrollments/solo", params=API)
    gone.raise_for_status()


def otherwise(service: str) -> list[tuple[str, Any]]:
    """Each position of each switch but the plain ones."""
    named = [switch for switch in SWITCHES if switch.name.startswith(service)]
    return [(switch.name, position) for switch in named for position in switch.options[1:]]


@pytest.mark.parametrize(
    "set_so",
    [*zip_longest(otherwise("dps."), otherwise("hub."))],
    ids=lambda pair: "+".join(dict(filter(None, pair))),
)
async def test_a_service_as_it_should_be_has_no_finding_under_any_switch(set_so: Any) -> None:
    switches = Switches()
    for name, position in filter(None, set_so):
        switches.set(name, position)
    async with serving(switches=switches) as rig:
        assert (await first_audit(rig)).about == []
        await rig.clock.advance(23 * HOUR)
        await rig.at_hub("PUT", HUB_A, "comes-and-goes")
        await rig.at_hub("DELETE", HUB_A, "comes-and-goes")
        assert (await rig.register_in("line-a", "dev-3"))["status"] == "assigned"
        assert (await rig.audit("audit:2")).about == []
