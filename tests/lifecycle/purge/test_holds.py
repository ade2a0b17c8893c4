"""One run at a time has a group, or all records, however many ask for it at once."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from lifecycle.decommission.job import ask as ask_for_decommission
from lifecycle.decommission.job import create as create_decommission
from lifecycle.decommission.job import decommission_kind, name_of
from lifecycle.decommission.job import pace_of as decommission_pace
from lifecycle.jobs import Created, JobStore, State, show, tick
from lifecycle.purge.holds import ASKING, EVERYTHING, Held, Holds
from lifecycle.purge.job import ask, create
from lifecycle.rates import Rates
from tests.lifecycle.decommission.rig import GROUP, QUIET, TOLD, DecommissionRig, rigged
from tests.lifecycle.purge.rig import NAME, POLICY, PurgeRig


def asking(rig: PurgeRig) -> tuple[JobStore, Holds]:
    """What one process has of its own."""
    return JobStore(rig.memory, NAME, rig.moving), Holds(rig.memory, NAME)


def outcomes(asked: list[Created | Held]) -> tuple[int, int]:
    new = [each for each in asked if isinstance(each, Created) and each.new]
    return len(new), len([each for each in asked if isinstance(each, Held)])


async def decommissions(rig: DecommissionRig, count: int) -> list[Created | Held]:
    """So many people ask in the same moment, each for a run of another second."""
    return await asyncio.gather(
        *(
            ask_for_decommission(
                *asking(rig), name_of(GROUP.upper(), rig.now + timedelta(seconds=number)), TOLD, by="kim"
            )
            for number in range(count)
        )
    )


async def test_of_many_who_ask_for_a_group_at_once_one_gets_it_and_it_is_archived_once() -> None:
    rig = await rigged(**QUIET)
    asked = await decommissions(rig, 8)
    assert outcomes(asked) == (1, 7)
    await ended(rig)
    assert outcomes(await decommissions(rig, 3)) == (1, 2), "what has ended holds nothing"


async def ended(rig: DecommissionRig) -> None:
    """Two workers of the app tick at once, until nothing is left to do."""
    workers = [
        (decommission_kind(rig.of(), decommission_pace(rates)), JobStore(rig.memory, NAME, rig.moving), rates)
        for rates in (Rates(rig.moving), Rates(rig.moving))
    ]
    jobs = workers[0][1]
    for _ in range(60):
        await asyncio.gather(*(tick([kind], store, rates, rig.told) for kind, store, rates in workers))
        await rig.clock.advance(60)
        if not (await jobs.current()).jobs:
            break
    assert not rig.group_there()
    assert await rig.went() == sorted(QUIET)
    assert max(Counter((each.id, each.document["etag"]) for each in await rig.archived()).values()) == 1
    assert max(Counter(rig.deletes).values()) == 1


async def test_of_two_runs_that_nobody_asked_about_the_second_changes_nothing() -> None:
    """As a version of before would have written them, or a race that this one does not know."""
    rig = await rigged(**QUIET)
    jobs, _ = asking(rig)
    for number in (1, 2):
        await create_decommission(jobs, f"decommission-{number}", TOLD, by="kim")
    await ended(rig)
    states = [(await show(jobs, f"decommission-{number}")) for number in (1, 2)]
    assert sorted(each.state for each in states) == [State.DONE, State.FAILED]
    [problem] = [each.problem for each in states if each.state is State.FAILED]
    assert "nothing was changed: decommission-" in problem
    assert [row.key async for row in rig.memory.scan(f"{NAME}|purge|holds")] == []


async def test_of_two_purges_the_second_deletes_and_archives_nothing() -> None:
    rig = PurgeRig()
    await rig.group("line-a")
    for number in range(60):  # more than a hub of one unit lets one slice delete
        rig.record(f"d{number:02}", device=False)
    await rig.purge("purge-0")
    await rig.wait(days=3)
    kind, jobs, rates = rig.kind(rig.ports())
    for number in (1, 2):
        await create(jobs, f"purge-{number}", POLICY, by="kim", dry_run=False)
    for _ in range(30):
        await tick([kind], jobs, rates, rig.told)
        await rig.clock.advance(60)
        if not (await jobs.current()).jobs:
            break
    assert [(await show(jobs, f"purge-{number}")).state for number in (1, 2)] == [State.DONE, State.FAILED]
    assert "purge-1 is at it" in (await show(jobs, "purge-2")).problem
    assert Counter(each.id for each in await rig.archived()) == {f"d{number:02}": 1 for number in range(60)}


async def test_a_person_and_a_timer_that_ask_for_a_purge_at_once_get_one() -> None:
    rig = PurgeRig()
    asked = await asyncio.gather(
        *(ask(*asking(rig), f"purge:{number}", POLICY, by="kim", dry_run=False) for number in range(5))
    )
    assert outcomes(asked) == (1, 4)
    again = await ask(*asking(rig), (await asking(rig)[0].current()).jobs[0].id, POLICY, by="timer")
    assert isinstance(again, Created)
    assert not again.new


@pytest.mark.parametrize("late", [True, False])
async def test_one_who_died_before_its_run_was_made_holds_it_for_a_minute(late: bool) -> None:
    rig = PurgeRig()
    jobs, holds = asking(rig)
    assert await holds.take(EVERYTHING, "purge:lost", jobs) is None
    held = await ask(jobs, holds, "purge:next", POLICY, by="kim", dry_run=False)
    assert isinstance(held, Held)
    assert "asked for within the last minute" in str(held)
    await rig.wait(seconds=ASKING.total_seconds() + 1)
    made = await ask(jobs, holds, "purge:next", POLICY, by="kim", dry_run=False)
    assert isinstance(made, Created)
    if late:  # it had only slept
        await create(jobs, "purge:lost", POLICY, by="lee", dry_run=False)
    kind, store, rates = rig.kind(rig.ports())
    for _ in range(4):
        await tick([kind], store, rates, rig.told)
        await rig.clock.advance(60)
    assert (await show(jobs, "purge:next")).state is State.DONE
    if late:
        assert (await show(jobs, "purge:lost")).state in (State.DONE, State.FAILED)
