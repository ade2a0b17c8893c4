"""What a run says of how far it is: of the phase that it is at, and with a total only where that is known."""

from datetime import timedelta

import httpx
import pytest

from lifecycle.jobs import Progress, State, show, tick
from lifecycle.purge.job import create
from lifecycle.purge.progress import progress
from lifecycle.purge.state import State as Checkpoint
from lifecycle.purge.state import Tally
from tests.lifecycle.purge.rig import NAME, Given, PurgeRig, aged
from tests.lifecycle.purge.test_old_evidence import WORLD


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Checkpoint(tally=Tally(pages=3)), "individual enrollments: 3 pages"),
        (Checkpoint(phase="groups", tally=Tally(population=900, aside=100)), "listing: 1,000 records"),
        (
            Checkpoint(phase="evidence", tally=Tally(population=900, aside=100)),
            "asking hubs: 900 of 1,000 records",
        ),
        (Checkpoint(phase="orphans", at=1, gone=[["a"], ["b"]]), "orphans: 1 of 2 old listings"),
        (Checkpoint(phase="weigh", looked=7), "weighing: 7 marks"),
        (
            Checkpoint(phase="act", deleted=30, left={"moved": 2}, tally=Tally(due={"orphan": 40})),
            "deleting: 32 of 40 deletes",
        ),
        (
            Checkpoint(phase="act", passed=2, deleted=41, before_act=40, tally=Tally(due={"failed": 4})),
            "deleting, pass 2: 41 of 44 deletes",
        ),
        (Checkpoint(phase="groups", passed=2, deleted=40), "listing, pass 2: 0 records"),
    ],
)
def test_each_phase_is_told_in_its_own_words(state: Checkpoint, told: str) -> None:
    assert str(progress(state)) == told


async def test_a_run_is_never_at_its_end_before_it_is() -> None:
    rig = PurgeRig(Given(dps={"max_page_size": 10}))
    await rig.group("line-a")
    for number in range(60):
        rig.record(f"d{number:02}", device=number % 3 == 0)
    await rig.purge("purge-0", WORLD)
    await rig.wait(days=3)
    kind, store, rates = rig.kind(rig.ports())
    await create(store, "purge-1", aged(WORLD, keep_tags=()), by="test", dry_run=False)
    said: list[Progress] = []

    async def slowly(request: httpx.Request) -> None:
        await rig.clock.advance(9)

    rig.before.append(slowly)
    while (row := await show(store, "purge-1")).state is not State.DONE:
        await tick([kind], store, rates, rig.told)
        said.append((await show(store, "purge-1")).progress)
        await rig.clock.advance(timedelta(minutes=1).total_seconds())
    phases = {each.phase for each in said}
    assert phases >= {"asking hubs", "deleting"}
    assert any(each.endswith("pass 2") for each in phases)
    for each in said[:-1]:
        if each.phase in ("asking hubs", "deleting"):
            assert each.total in (60, 40)
        if each.phase == "asking hubs":
            assert each.done < 60
    assert str(row.progress) == "40 of 40 deletes"
    assert [key async for key in rig.memory.scan(f"{NAME}|purge|listed|purge-1")] == []
