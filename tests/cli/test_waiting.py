"""What stands beside the bar of a job that somebody waits for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cli.waiting import NotEnded, how_far, new_run
from lifecycle.jobs import Created, JobRow, Progress, State
from lifecycle.jobs.row import Pace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = JobRow("purge-1", "purge", "", {}, State.RUNNING, "kim", NOW, NOW, NOW, Pace(NOW))


@pytest.mark.parametrize(
    ("progress", "per_second", "part", "said"),
    [
        (Progress(12_000, None, "records"), None, 0.0, "12,000 records"),
        (Progress(300, 1_200, "deletes"), None, 0.25, "300 of 1,200 deletes"),
        (Progress(300, 1_200, "deletes"), 5.0, 0.25, "300 of 1,200 deletes, about 3 min 0 s left"),
        (Progress(0, 0, "deletes"), 5.0, 0.0, "0 of 0 deletes, about 0 s left"),
        (Progress(30, 120, "ids", "by id"), None, 0.25, "by id: 30 of 120 ids"),
    ],
)
def test_a_job_that_is_waited_for_says_how_far_it_is_and_how_long_it_takes(
    progress: Progress, per_second: float | None, part: float, said: str
) -> None:
    row = replace(JOB, progress=progress, pace=Pace(NOW, progress.done, per_second))
    assert how_far(row) == (part, said)


@pytest.mark.parametrize("taken", [0, 1, 9])
async def test_a_run_asked_for_in_the_second_of_a_plan_is_one_of_its_own(taken: int) -> None:
    async def ask(at: datetime) -> Created:
        return Created(replace(JOB, id=f"run-{at:%S}"), new=at >= NOW + timedelta(seconds=taken))

    assert (await new_run(ask, NOW)).id == f"run-0{taken}"


async def test_a_command_that_made_no_run_says_so() -> None:
    async def ask(at: datetime) -> Created:
        return Created(replace(JOB, id=f"run-{at:%S}"), new=False)

    with pytest.raises(NotEnded, match="nothing was begun"):
        await new_run(ask, NOW)
