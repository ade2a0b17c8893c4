"""`purge`: a plan changes nothing, a run deletes only when told, and the archive says what it deleted."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from clients.clock import SystemClock
from clients.tables import TableAccount
from lifecycle.jobs import JobStore, switch_off
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.rules import Reason
from local.dps.records import Registration
from provisioning.hubs import hub_key
from tests.cli.placing import App
from tests.cli.rig import HUBS
from tests.cli.rig_clients import azure
from tests.local.dps.rig import group

pytestmark = pytest.mark.asyncio(loop_scope="package")

RULES = "purge:\n  quarantine_days: 2\n  most_percent: 100\n"


@asynccontextmanager
async def tables(app: App) -> AsyncIterator[TableAccount]:
    account = TableAccount.from_connection_string(app.environment["STATE_TABLES"])
    yield account
    await account.close()


async def stale(app: App, *names: str) -> None:
    """Records of a group whose devices are on no hub."""
    await azure(app.rig, lambda client: client.enrollment_group.create_or_update("line-a", group("line-a")))
    old = datetime.now(UTC) - timedelta(days=100)
    for name in names:
        record = Registration(
            registration_id=name,
            group="line-a",
            created=old,
            updated=old,
            etag='"1"',
            status="assigned",
            assigned_hub=HUBS[0],
            device_id=name,
        )
        app.rig.cloud.dps.store.registrations.put(name, record)


async def mark(app: App, *names: str) -> None:
    """As an earlier run would have left them."""
    when = datetime.now(UTC) - timedelta(days=5)
    async with tables(app) as account:
        marks = Marks(account.table("purge"), app.environment["DPS_NAME"])
        for name in names:
            hub = hub_key(HUBS[0])
            await marks.put(Mark(name, name, "line-a", Reason.DEVICE_GONE, '"1"', hub, when, "p-0", ""))


def rules(app: App, text: str = RULES) -> str:
    file = app.rig.folder / "rules.yaml"
    file.write_text(text)
    return str(file)


async def test_a_plan_tells_what_a_run_would_do_and_changes_nothing(app: App) -> None:
    await stale(app, "stale-1", "stale-2")
    for words in (("plan",), ("run",)):
        ended = (await app.run("purge", *words, "--rules", rules(app), "--wait")).json
        assert ended["dryRun"] is True
        assert ended["plan"]["stale"] == {"device-gone": {"line-a": 2}}
        assert ended["plan"]["samples"] == {"device-gone": ["stale-1", "stale-2"]}
    assert not [call for call in app.rig.calls if call.startswith("DELETE")]
    assert (await app.run("purge", "marked")).json == []


async def test_a_run_deletes_what_was_marked_and_the_archive_shows_it(app: App) -> None:
    await stale(app, "stale-1")
    await mark(app, "stale-1")
    assert [each["registration"] for each in (await app.run("purge", "marked")).json] == ["stale-1"]
    refused = await app.run("purge", "run", "--rules", rules(app), "--execute", "--wait")
    assert refused.code == 7
    assert "if they are still stale: 1;" in refused.err
    words = ("purge", "run", "--rules", rules(app), "--execute", "--wait", "--yes", "--by", "kim")
    ended = (await app.run(*words)).json
    assert (ended["dryRun"], ended["deleted"], ended["passes"]) == (False, 1, 2)
    assert app.rig.cloud.dps.registration("stale-1") is None
    assert (await app.run("purge", "marked")).json == []
    runs = (await app.run("purge", "archive", "list")).json
    shown = (await app.run("purge", "archive", "show", runs[0]["run"])).json
    assert [(each["registration"]["registrationId"], each["outcome"]) for each in shown] == [
        ("stale-1", "deleted")
    ]
    file = app.rig.folder / "archive.jsonl"
    assert (await app.run("purge", "archive", "export", "--to", str(file))).code == 0
    assert json.loads(file.read_text())["group"] == "line-a"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    known = (await app.run("purge", "status", runs[0]["run"])).json
    assert (known["state"], known["by"], known["result"]["deleted"]) == ("done", "kim", 1)


async def test_of_two_purges_that_are_asked_for_at_the_same_moment_there_is_one(app: App) -> None:
    words = ("purge", "run", "--rules", rules(app), "--execute", "--yes")
    asked = await asyncio.gather(*(app.run(*words) for _ in range(2)))
    assert sorted(each.code == 0 for each in asked) == [False, True], [each.err for each in asked]
    assert len((await app.run("purge", "status")).json) == 1


async def test_without_wait_the_job_is_written_and_no_other_is_started_beside_it(app: App) -> None:
    first = (await app.run("purge", "plan")).json
    assert (first["state"], first["dryRun"]) == ("waiting", True)
    assert [each["run"] for each in (await app.run("purge", "status")).json] == [first["run"]]
    again = await app.run("purge", "run", "--execute", "--yes")
    assert again.code != 0
    assert "already" in again.err


@pytest.mark.parametrize(
    ("text", "named"),
    [("quiet_days: 0", "purge.quiet_days"), ("purge:\n  quietdays: 1", "quietdays"), ("a: [", "--rules")],
)
async def test_bad_rules_are_refused_before_any_call(app: App, text: str, named: str) -> None:
    ran = await app.run("purge", "run", "--rules", rules(app, text), "--execute", "--yes")
    assert ran.code == 2
    assert named in ran.err
    assert app.rig.calls == []


async def test_the_rules_in_force_are_shown(app: App) -> None:
    shown = (await app.run("purge", "rules", "--rules", rules(app))).json
    assert (shown["quarantine_days"], shown["quiet_days"]) == (2, 30)


async def test_the_kill_switch_and_a_missing_run_are_told(app: App) -> None:
    missing = await app.run("purge", "archive", "show", "nowhere")
    assert missing.code != 0
    assert "nowhere" in missing.err
    async with tables(app) as account:
        store = JobStore(account.table("jobs"), app.environment["DPS_NAME"], SystemClock())
        await switch_off(store, by="lee", why="a storm", kind="purge")
    stopped = await app.run("purge", "plan", "--wait")
    assert stopped.code != 0
    assert "kill switch is set by lee" in stopped.err
