"""What the timer of the purge sets going, by which rules, and what it does where they cannot be used."""

import asyncio
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest

from background import Background
from clients.ports import Table
from clients.telemetry import EVENTS
from lifecycle.errors import InvalidOption
from lifecycle.jobs import JobRow, stop
from lifecycle.purge.heard import HeardStore, ask
from lifecycle.purge.job import create
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules_file import load_rules, read_rules
from lifecycle.rates import Rate, Rates
from local.world import ManualClock
from settings import Settings, SettingsError
from tests.lifecycle.purge.rig import Told
from tests.memory_table import MemoryTable
from wiring import Wiring

RULES = "purge:\n  quarantine_days: 3\n  exclude: [keep-*]\n"


class Kept(Wiring):
    """Wiring whose tables are in memory."""

    def __init__(self, settings: Settings, clock: ManualClock) -> None:
        super().__init__(settings, clock)
        self.tables: dict[str, MemoryTable] = defaultdict(MemoryTable)

    def table(self, name: str) -> Table:
        return self.tables[name]


class Timer:
    """The app's background work, as its composition root makes it of settings."""

    def __init__(self, rules: Path | None = None, **settings: str) -> None:
        self.clock, self.told = ManualClock(), Told()
        wiring = Kept(Settings.read({"DPS_HOST": "dps.example", "DPS_NAME": "dps-1", **settings}), self.clock)
        self.rates = Rates(self.clock)
        self.background = Background(
            wiring,
            self.told,
            self.rates,
            None,
            "worker",
            purge_rules=rules,
        )

    async def jobs(self) -> list[JobRow]:
        return [job for job in (await self.background.jobs.current()).jobs if job.kind == "purge"]

    def events(self) -> list[str]:
        return [name for name, _ in self.told.events]


@pytest.mark.parametrize(("setting", "dry_run"), [({}, True), ({"PURGE_DRY_RUN": "False"}, False)])
async def test_the_timer_asks_for_one_run_which_deletes_only_where_the_settings_say_so(
    setting: dict[str, str], dry_run: bool, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    timer = Timer(file, **setting)
    await timer.background.purge()
    await timer.background.purge()  # the same moment again
    [job] = await timer.jobs()
    assert job.params["dry_run"] is dry_run
    assert PurgePolicy.read(job.params["policy"]) == PurgePolicy(quarantine_days=3, exclude=("keep-*",))
    assert job.by == "timer"
    assert timer.events() == []


async def test_without_a_file_the_defaults_hold() -> None:
    timer = Timer()
    await timer.background.purge()
    [job] = await timer.jobs()
    assert PurgePolicy.read(job.params["policy"]) == PurgePolicy()


async def test_a_run_that_has_not_ended_is_not_joined_by_another() -> None:
    timer = Timer()
    await create(timer.background.jobs, "by-hand", PurgePolicy(), by="kim")
    await stop(timer.background.jobs, "by-hand", by="kim")
    await timer.clock.advance(timedelta(days=1).total_seconds())
    await timer.background.purge()
    assert [job.id for job in await timer.jobs()] == ["by-hand"]
    assert timer.told.events == [("purge_not_begun", {"run": "by-hand", "state": "stopped", "problem": ""})]


BAD: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "value": (b"quiet_days: 0", ("purge.quiet_days: is 0", "write a whole number from 1")),
    "name": (b"purge:\n  quietdays: 9", ("'quietdays' is no setting", "quiet_days")),
    "syntax": (b"a: [", ("rules", "line 1")),
    "empty": (b"", ("the file has no settings", "do without the file")),
    "blank section": (b"purge:\n", ("the file has no settings",)),
    "no text": (b"\xff\xfe\x00", ("PURGE_RULES_FILE", "UTF-8")),
    "long": (b"exclude: [" + b"x" * 120 + (b", " + b"x" * 120) * 200 + b"]", ("in all", "wildcards")),
}


@pytest.mark.parametrize(("text", "named"), BAD.values(), ids=BAD)
async def test_rules_that_cannot_be_used_run_nothing_and_are_told_with_the_fix(
    text: bytes, named: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_bytes(text)
    timer = Timer(file, PURGE_DRY_RUN="false")
    assert timer.events() == ["purge_rules_unusable"], "told when the app starts, and at each due time"
    await timer.background.purge()
    assert await timer.jobs() == []
    assert timer.events() == ["purge_rules_unusable"] * 2
    problem = str(timer.told.events[-1][1]["problem"])
    assert all(each in problem for each in named), problem
    await timer.background.audit()  # everything else goes on
    with pytest.raises(InvalidOption):
        load_rules(file)


async def test_a_file_that_is_not_deployed_runs_nothing() -> None:
    timer = Timer(Path("nowhere.yaml"))
    await timer.background.purge()
    assert await timer.jobs() == []
    assert "'nowhere.yaml' cannot be read (FileNotFoundError)" in str(timer.told.events[-1][1])


DELETED = {
    "id": "e-1",
    "topic": "/hubs/hub-a",
    "subject": "devices/dev-1",
    "eventType": "Microsoft.Devices.DeviceDeleted",
    "data": {"hubName": "hub-a", "deviceId": "dev-1"},
}


async def test_an_event_waits_for_no_turn_of_a_rate_and_is_looked_at_by_one_job() -> None:
    timer = Timer()
    timer.rates.share("purge", Rate.DPS).slow(60)
    for _ in range(3):
        await asyncio.wait_for(timer.background.hub_event(DELETED), 5)
    assert timer.clock.sleeping == 0
    assert timer.events() == ["device_deleted"] * 3
    assert await timer.jobs() == []
    jobs = timer.background.jobs
    heard = HeardStore(timer.background._wiring.table("purge"), "dps-1")
    asked = [await ask(jobs, heard) for _ in range(2)]
    assert [each is not None and each.new for each in asked] == [True, False]
    assert [job.params for job in await timer.jobs()] == [{"do": "heard"}]


def test_a_file_is_read_alike_with_and_without_the_section() -> None:
    assert read_rules("quarantine_days: 3") == read_rules('{"purge": {"quarantine_days": 3}}')


@pytest.mark.parametrize("text", ["yes", "1", "dry"])
def test_a_dry_run_that_is_neither_true_nor_false_stops_the_app(text: str) -> None:
    with pytest.raises(SettingsError, match=r"PURGE_DRY_RUN.*true or false"):
        Settings.read({"PURGE_DRY_RUN": text})


def test_what_a_purge_tells_is_described() -> None:
    told = {"purge_not_begun", "purge_rules_unusable"}
    assert told <= EVENTS.keys()
