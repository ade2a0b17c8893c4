"""The history of jobs does not grow for ever."""

from datetime import timedelta

from background import JOBS_KEPT
from lifecycle.jobs import Failed, JobKind, Slice, SliceResult, history, tick
from tests.lifecycle.purge.test_schedule import Timer


async def refused(_: Slice) -> SliceResult:
    return Failed("no")


async def test_what_happened_to_jobs_long_ago_is_forgotten_and_no_more() -> None:
    timer = Timer()
    jobs = timer.background.jobs
    for job in ("old", "new"):
        await jobs.create(job, "toy", by="kim")
        await tick([JobKind("toy", refused)], jobs, timer.rates, timer.told)
        await timer.clock.advance(JOBS_KEPT.total_seconds() / 2)
    await jobs.create("waits", "toy", by="kim", not_before=timer.clock.now() + timedelta(days=1))
    await timer.clock.advance(1)
    await timer.background.forget_old_jobs()
    assert [each.job for each in await history(jobs)] == ["new"]
    assert await jobs.find("old") is None
    assert [job.id for job in (await jobs.current()).jobs] == ["waits"]
