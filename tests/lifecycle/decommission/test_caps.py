"""As many registrations as the operator said lose their records, and no more, whatever comes meanwhile."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from lifecycle.decommission.told import Told
from lifecycle.jobs import JobRow, State
from local.explore import Life, Run, explore
from local.explore.paths import CRASH
from tests.lifecycle.decommission.rig import FAILED, GROUP, TOLD, DecommissionRig, rigged
from tests.lifecycle.purge.rig import POLICY, Given, Journal


def most(count: int) -> Told:
    return replace(TOLD, policy=replace(POLICY, most=count))


CAME: dict[str, Any] = {"status": "disabled", "hub": None, "age": timedelta()}
"""What a device leaves that tries to register through a disabled group."""


@pytest.mark.parametrize("page", [1, 250])
async def test_a_group_that_grows_between_the_survey_and_the_first_delete_loses_no_record(page: int) -> None:
    rig = DecommissionRig(Given(dps={"max_page_size": page}))
    await rig.group(GROUP)
    for name in ("one", "two"):
        rig.record(name)

    async def grow(request: httpx.Request) -> None:
        """Right before the group is disabled."""
        if request.method == "PUT" and request.url.path == f"/enrollmentGroups/{GROUP}":
            rig.before.remove(grow)
            for name in ("three", "four"):
                rig.record(name, status="failed", hub=None)

    rig.before.append(grow)
    row = await rig.decommission(most(3), ends=FAILED)
    assert (
        "4 records would go, of at most 3: the survey counted 2, and more came. None was deleted"
        in row.problem
    )
    assert f"decommission run {GROUP} --execute --most 4" in row.problem
    assert rig.deletes == []
    assert await rig.archived() == []
    assert rig.group_there()
    row = await rig.decommission(most(4), job="decommission-2")
    assert row.result["deleted"] == 4
    assert rig.broken == []


async def test_a_device_that_registered_between_the_survey_and_the_first_delete_stops_it_before_that() -> (
    None
):
    rig = await rigged(quiet={}, back={})

    async def register(request: httpx.Request) -> None:
        if request.method == "PUT" and request.url.path == f"/enrollmentGroups/{GROUP}":
            rig.before.remove(register)
            rig.record("back", age=timedelta(), seen=timedelta())

    rig.before.append(register)
    row = await rig.decommission(ends=FAILED)
    assert "1 device ('back') in use" in row.problem
    assert "none was deleted" in row.problem
    assert rig.deletes == []


async def test_what_comes_while_records_are_deleted_goes_up_to_the_cap_and_then_it_ends() -> None:
    rig = await rigged(**{f"quiet-{number}": {} for number in range(4)})

    async def come(request: httpx.Request) -> None:
        """With each delete another device tries."""
        if request.method == "DELETE" and request.url.path.startswith("/registrations/quiet"):
            rig.record(f"new-{len(rig.deletes)}", **CAME)

    rig.before.append(come)
    row = await rig.decommission(most(6), ends=FAILED)
    assert "6 registrations lost their records, of at most 6, and there are more ('new-" in row.problem
    assert "came after 4 were counted. The group is disabled and was not deleted" in row.problem
    assert f"decommission run {GROUP} --execute --most 2" in row.problem
    assert len(rig.deletes) == len(await rig.went()) == 6
    assert rig.group_there()
    rig.before.remove(come)
    row = await rig.decommission(most(2), job="decommission-2")
    assert row.result["deleted"] == 2
    assert not rig.group_there()


async def test_a_registration_that_comes_back_counts_once() -> None:
    rig = await rigged(one={}, two={})
    back = 0

    async def again(request: httpx.Request) -> None:
        """A refused device tries again and again, while the operator's cap is just what was counted."""
        nonlocal back
        if request.url.path == f"/registrations/{GROUP}/query" and rig.deletes and back < 5:
            back += 1
            rig.record("one", **CAME)

    rig.before.append(again)
    row = await rig.decommission(most(2))
    assert back == 5
    assert not rig.group_there()
    assert row.result["deleted"] > 2
    assert set(await rig.went()) == {"one", "two"}


@pytest.mark.parametrize("queryable", [True, False])
async def test_over_the_cap_what_came_while_the_group_was_deleted_is_left_and_told(queryable: bool) -> None:
    rig = DecommissionRig(Given(dps={"orphans_queryable": queryable}))
    await rig.group(GROUP)
    rig.record("quiet")
    rig.record("odd", hub=None)  # assigned, and to no hub: it cannot be read, and stays
    done: list[str] = []

    async def meanwhile(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path == f"/enrollmentGroups/{GROUP}" and not done:
            done.append("now")
            rig.record("odd", hub=None, status="failed")

    rig.before.append(meanwhile)
    row = await rig.decommission(most(1), ends=FAILED)
    assert "was deleted; left is 1 that came meanwhile ('odd')" in row.problem
    assert "registration delete" in row.problem
    assert rig.there("odd")
    assert (await rig.went(), rig.group_there()) == (["quiet"], False)
    assert (row.result["groupDeleted"], row.result["left"]) == (True, {"over-most": 1})
    assert await rig.rows_left() == []


async def over_the_cap(run: Run) -> None:
    """While two records go, two more come, of which one may go."""
    rig = await rigged(one={}, two={})

    async def come(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path.endswith("/two"):
            for name in ("three", "four"):
                if not rig.there(name):
                    rig.record(name, **CAME)

    rig.before.append(come)
    try:

        async def process(life: Life) -> None:
            ports = rig.of(life.transport(Journal(rig)), life.port(rig.memory, "table"))
            await rig.decommission(most(3), ports=ports, ends=FAILED)

        await run.live(process)
        assert len(set(await rig.went())) == 3
        assert rig.broken == []
        assert rig.group_there()
        assert await rig.rows_left() == []
    finally:
        await rig.aclose()


async def test_a_death_at_the_end_lets_no_more_go_than_may() -> None:
    whole = Run(crashes=1)
    await over_the_cap(whole)
    last = len(whole.taken)
    for call in range(last - 11, last + 1):
        await over_the_cap(Run(named={f"{CRASH}{call}": "before"}, crashes=1))


@pytest.mark.soak
async def test_no_death_lets_more_go_than_may() -> None:
    (await explore(over_the_cap, most_runs=100_000)).check()


SEEN: dict[str, str] = {
    "listing": "records",
    "asking hubs": "records",
    "counting again": "records",
    "purge": "deletes",
    "by id": "ids",
}


async def test_each_phase_says_how_far_it_is_and_none_says_all_before_it_has() -> None:
    count = 40
    rig = DecommissionRig(Given(dps={"max_page_size": 7, "orphans_queryable": False}))
    await rig.group(GROUP)
    for number in range(count):
        rig.record(f"quiet-{number:02}")
    said: list[JobRow] = []

    async def slow(request: httpx.Request) -> None:
        await rig.clock.advance(12)

    async def look(row: JobRow) -> None:
        said.append(row)

    rig.before.append(slow)
    row = await rig.decommission(between=look)
    by_phase = {row.progress.phase: row.progress for row in said}
    for phase, unit in SEEN.items():
        assert by_phase[phase].unit == unit, by_phase
    for each in said:
        done, total = each.progress.done, each.progress.total
        if each.progress.phase in ("purge", "by id"):
            assert total == count
            assert done <= count
    early = next(row.progress for row in said if row.progress.phase == "by id")
    assert early.done < count, "a group that is gone is not the end"
    assert (row.state, row.progress.phase) == (State.DONE, "")
