"""Whole runs over the emulators: what goes, what stays, what stops it, and what is there afterwards."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from clients.arm import Unknown
from lifecycle.decommission.told import Told
from lifecycle.enrollments import change as changes
from lifecycle.enrollments import revocation
from lifecycle.jobs import JobRow
from tests.lifecycle.decommission.rig import FAILED, GROUP, QUIET, SETTLE, TOLD, DecommissionRig, rigged
from tests.lifecycle.enrollments.rig import HUBS, KEYS, PRIMARY, SECONDARY, WEBHOOK, group
from tests.lifecycle.purge.rig import GONE_HUB, POLICY, Given


async def test_a_group_goes_with_its_records_and_its_keys_are_kept() -> None:
    rig = await rigged(**QUIET)
    row = await rig.decommission()
    assert rig.broken == []
    assert not rig.group_there()
    assert rig.group_there("line-b")
    assert [rig.there(name) for name in QUIET] == [False, False, False]
    assert rig.there("live-b")
    assert await rig.kept() == KEYS
    assert await rig.went() == sorted(QUIET)
    assert {each.reason for each in await rig.archived()} == {"decommissioned"}
    assert (row.result["deleted"], row.result["groupDeleted"], row.result["left"]) == (3, True, {})
    assert row.result["keys"]["secret"].startswith("escrow-rig-group-line-a")
    assert [rig.identity(HUBS[0], name) is not None for name in QUIET] == [True, False, False]
    assert max(Counter(rig.deletes).values()) == 1
    assert await rig.rows_left() == []
    [told] = [fields for name, fields in rig.told.events if name == "decommission_ended"]
    assert (told["deleted"], told["left"], told["keys"]) == (3, 0, True)
    texts = f"{rig.told.events} {row}"
    assert PRIMARY not in texts
    assert SECONDARY not in texts


async def test_its_rotation_ends_with_it_and_that_of_another_group_goes_on() -> None:
    rig = await rigged(quiet={})
    await rig.adopt()
    await rig.adopt("line-b")
    row = await rig.decommission(replace(TOLD, dry_run=True), job="decommission-0")
    assert row.result["rotation"] is None
    assert await rig.rotations.find(GROUP) is not None
    row = await rig.decommission()
    assert row.result["rotation"] == "ended; its secrets stay in the vault"
    assert [each.group for each in (await rig.rotations.all()).rows] == ["line-b"]


async def test_a_dry_run_counts_and_changes_nothing() -> None:
    rig = await rigged(**QUIET, busy={"seen": timedelta(minutes=1)})
    row = await rig.decommission(replace(TOLD, dry_run=True))
    plan = row.result["plan"]
    assert (plan["records"], plan["goes"], plan["stays"], plan["samples"]) == (
        4,
        3,
        {"active": 1},
        {"active": ["busy"]},
    )
    assert plan["statuses"] == {"assigned": 3, "failed": 1}
    assert "1 device ('busy') in use" in plan["problem"]
    assert (row.result["dryRun"], row.result["groupDeleted"], row.result["deleted"]) == (True, False, 0)
    assert {call[1] for call in rig.calls} <= {"GET", "POST"}
    assert rig.group_there()
    assert await rig.archived() == []


async def test_a_plan_says_what_a_run_then_takes() -> None:
    rig = await rigged(**{f"quiet-{number:03}": {} for number in range(60)})
    plan = (await rig.decommission(replace(TOLD, dry_run=True), job="decommission-0")).result["plan"]
    rig.calls.clear()
    began = rig.now
    await rig.decommission()
    took = (rig.now - began) / timedelta(minutes=1)
    hubs = sum(count for (where, _, _), count in rig.calls.items() if where.startswith("hub-"))
    assert rig.dps_calls() <= plan["dpsCalls"] <= 1.25 * rig.dps_calls()
    assert abs(hubs - plan["hubCalls"]) <= took  # tags are asked for anew in each slice
    assert plan["minutes"] <= took, (took, plan)


BUSY: dict[str, dict[str, Any]] = {
    "seen lately": {"seen": timedelta(days=1)},
    "registered lately": {"age": timedelta(days=1), "seen": None},
    "at a hub that does not answer": {"hub": GONE_HUB},
    "tagged": {"tags": {"purge": "never"}},
    "failed and alive somewhere": {"hub": None, "status": "disabled"},
}


@pytest.mark.parametrize("members", BUSY.values(), ids=BUSY)
async def test_a_device_in_use_stops_it_before_anything_changes(members: dict[str, Any]) -> None:
    rig = await rigged(quiet={}, busy=members)
    if members.get("hub", "") is None:
        rig.device("busy", HUBS[1], seen=timedelta(hours=1))
    row = await rig.decommission(ends=FAILED)
    assert row.problem.startswith("nothing was changed: 1 device ('busy')")
    assert {call[1] for call in rig.calls} <= {"GET", "POST"}
    assert rig.group_there()
    assert await rig.archived() == []
    await rig.decommission(replace(TOLD, even_active=True), job="decommission-2")
    assert not rig.there("busy")
    assert not rig.group_there()
    assert rig.broken == []


async def test_with_even_active_no_hub_is_called() -> None:
    rig = await rigged(busy={"seen": timedelta(minutes=1)}, lost={"hub": GONE_HUB})
    rig.linked = Unknown("no rights")
    await rig.decommission(replace(TOLD, even_active=True))
    assert await rig.went() == ["busy", "lost"]
    assert not [where for where, _, _ in rig.calls if where.startswith("hub-")]


async def test_records_without_a_hub_need_the_linked_hubs() -> None:
    rig = await rigged(failed=QUIET["failed"])
    rig.linked = Unknown("no rights")
    row = await rig.decommission(ends=FAILED)
    assert "no hub could say" in row.problem


async def test_an_excluded_record_or_group_stops_it_even_with_even_active() -> None:
    rig = await rigged(quiet={})
    for policy, named in (
        (replace(POLICY, exclude=("qui*",)), "purge.exclude"),
        (replace(POLICY, exclude_groups=("line-*",)), "purge.exclude_groups"),
    ):
        told = replace(TOLD, even_active=True, policy=policy)
        row = await rig.decommission(told, ends=FAILED, job=f"decommission-{len(named)}")
        assert named in row.problem
    assert rig.there("quiet")
    assert {call[1] for call in rig.calls} <= {"GET", "POST"}


async def test_more_records_than_may_go_stop_it_before_anything_changes() -> None:
    rig = await rigged(one={}, two={})
    row = await rig.decommission(replace(TOLD, policy=replace(POLICY, most=1)), ends=FAILED)
    assert "2 records would go, of at most 1" in row.problem
    assert "--most 2" in row.problem
    assert {call[1] for call in rig.calls} <= {"GET", "POST"}


async def test_a_device_with_an_individual_enrollment_keeps_its_record() -> None:
    rig = await rigged(quiet={}, own={}, blocked={})
    await rig.individual("own")
    await rig.individual("blocked", provisioningStatus="disabled")
    row = await rig.decommission()
    assert await rig.went() == ["quiet"]
    assert rig.there("own")
    assert rig.there("blocked")
    assert row.result["left"] == {"individual-enrollment": 2}
    assert (await rig.dps().individuals.get("blocked")) is not None
    assert not rig.group_there()


async def test_individual_enrollments_that_fill_more_than_a_page_are_looked_up_one_by_one() -> None:
    rig = DecommissionRig(Given(dps={"max_page_size": 7}))
    await rig.group(GROUP)
    for number in range(9):
        await rig.individual(f"other-{number}")
    await rig.individual("own")
    for name in ("own", *(f"quiet-{number}" for number in range(9))):
        rig.record(name)
    await rig.decommission()
    assert await rig.went() == [f"quiet-{number}" for number in range(9)]
    assert rig.there("own")


async def test_a_revoked_device_stays_out() -> None:
    rig = await rigged(quiet={}, revoked={})
    blocking = revocation.blocking("revoked", keys=_keys(), at=rig.now, why="stolen")
    await changes.create(rig.individuals(), blocking)
    await rig.decommission()
    assert (await rig.register("revoked"))["status"] in ("disabled", 401)
    assert await rig.dps().individuals.get("revoked") is not None


def _keys() -> Any:
    from provisioning.keys import SymmetricKey

    return SymmetricKey(b"1" * 64), SymmetricKey(b"2" * 64)


async def test_a_group_by_certificates_needs_no_vault() -> None:
    rig = DecommissionRig()
    rig.keys_first = False
    await rig.x509()
    rig.record("quiet")
    row = await rig.decommission(ports=replace(rig.of(), vault=None))
    assert not rig.group_there()
    assert row.result["keys"] is None


async def test_without_a_vault_keys_are_only_given_up_where_that_was_said() -> None:
    rig = await rigged(quiet={})
    ports = replace(rig.of(), vault=None)
    row = await rig.decommission(replace(TOLD, dry_run=True), ports=ports, job="decommission-0")
    assert "nowhere to go" in row.result["plan"]["keys"]
    assert "--no-escrow" in row.result["plan"]["problem"]
    row = await rig.decommission(ports=ports, ends=FAILED)
    assert "--no-escrow" in row.problem
    assert {call[1] for call in rig.calls} <= {"GET", "POST"}
    rig.keys_first = False
    row = await rig.decommission(replace(TOLD, escrow=False), ports=ports, job="decommission-2")
    assert not rig.group_there()
    assert row.result["keys"] is None
    assert await rig.kept() is None


async def test_keys_that_are_rotated_meanwhile_are_the_ones_that_are_kept() -> None:
    rig = await rigged(quiet={})
    rotated = {"primaryKey": SECONDARY, "secondaryKey": PRIMARY}
    rig.keys_first = False

    async def rotate(_: JobRow) -> None:
        if not rig.there("quiet") and rig.group_there():

            def edit(document: dict[str, Any]) -> dict[str, Any]:
                return {**document, "attestation": {"type": "symmetricKey", "symmetricKey": rotated}}

            await changes.change(rig.groups(), GROUP, edit)

    await rig.decommission(between=rotate)
    assert await rig.kept() == rotated


async def test_a_masked_webhook_is_not_written_and_a_group_that_is_disabled_need_not_be() -> None:
    rig = DecommissionRig(Given(dps={"mask_webhook_url_on_get": True}))
    await changes.create(rig.groups(), group(enrollmentGroupId=GROUP))
    rig.record("quiet")
    row = await rig.decommission(ends=FAILED)
    assert "masks" in row.problem
    assert "disable it yourself" in row.problem
    assert ("dps", "PUT", "enrollmentGroups") not in rig.calls
    rig.webhook_url = WEBHOOK
    await rig.decommission(job="decommission-2")
    assert not rig.group_there()


async def test_a_group_that_is_disabled_already_is_not_written() -> None:
    rig = await rigged(quiet={})
    await rig.status("disabled")
    await rig.wait(hours=1)
    began = rig.now
    row = await rig.decommission()
    assert ("dps", "PUT", "enrollmentGroups") not in rig.calls
    assert rig.now - began < SETTLE
    assert row.result["plan"]["status"] == "disabled"


async def test_a_group_that_is_not_there_or_not_the_one_that_was_seen_is_refused() -> None:
    rig = await rigged(quiet={})
    row = await rig.decommission(replace(TOLD, group="line-x"), ends=FAILED)
    assert "'line-x' is not there" in row.problem
    row = await rig.decommission(
        replace(TOLD, made="2001-01-01T00:00:00Z"), ends=FAILED, job="decommission-2"
    )
    assert "made anew since you looked" in row.problem


@pytest.mark.parametrize(
    "params",
    [{}, {"group": 7}, {"group": "a/b"}, {"group": GROUP, "policy": {"quiet_days": 0}}],
)
def test_parameters_that_cannot_be_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"group|quiet_days"):
        Told.read(params)


def test_what_is_not_said_outright_is_the_careful_choice() -> None:
    told = Told.read({"group": GROUP, "dry_run": 0, "escrow": None, "even_active": 1})
    assert (told.dry_run, told.escrow, told.even_active) == (True, True, False)


async def test_tokens_that_expire_begin_the_listing_anew() -> None:
    rig = DecommissionRig(
        Given(dps={"continuation_lifetime": 60.0, "max_page_size": 7}, hub={"max_page_size": 7})
    )
    await rig.group(GROUP)
    for number in range(40):
        rig.record(f"quiet-{number:02}")
    row = await rig.decommission()
    assert row.result["deleted"] == 40
    assert rig.broken == []


async def test_a_hub_that_is_down_for_a_while_is_waited_for() -> None:
    rig = await rigged(quiet={})
    down_until = rig.now + timedelta(minutes=4)

    async def down(request: httpx.Request) -> None:
        if request.url.host == HUBS[0] and rig.now < down_until:
            raise httpx.ConnectError("down")

    rig.before.append(down)
    await rig.decommission()
    assert await rig.went() == ["quiet"]
