"""`job`: background work is listed with its progress, stopped, resumed and switched off, never silently."""

import pytest

from clients.clock import SystemClock
from clients.tables import TableAccount
from lifecycle.jobs import JobStore
from tests.cli.placing import App

pytestmark = pytest.mark.asyncio(loop_scope="package")

HOSTILE = "\x1b[31mline=1+1"


async def created(app: App, *ids: str) -> None:
    account = TableAccount.from_connection_string(app.environment["STATE_TABLES"])
    store = JobStore(account.table("jobs"), app.environment["DPS_NAME"], SystemClock())
    for each in ids:
        assert (await store.create(each, "audit", by="kim", subject=HOSTILE)).new
    await account.close()


async def test_jobs_are_listed_shown_stopped_and_resumed(app: App) -> None:
    await created(app, "audit:1", "audit:2")
    listed = (await app.run("job", "list")).json
    assert [(job["id"], job["state"], job["progress"]) for job in listed] == [
        ("audit:1", "waiting", "0 steps"),
        ("audit:2", "waiting", "0 steps"),
    ]
    table = await app.run("job", "list", "-o", "table")
    assert "\x1b" not in table.out
    assert (await app.run("job", "stop", "audit:1")).code == 7
    assert (await app.run("job", "stop", "audit:1", "--by", "lee", "--yes")).json["state"] == "stopped"
    assert (await app.run("job", "show", "audit:1")).json["subject"] == HOSTILE
    assert (await app.run("job", "resume", "audit:1", "--yes")).json["state"] == "waiting"
    past = (await app.run("job", "history")).json
    assert [(each["what"], each["job"]) for each in past] == [("resumed", "audit:1"), ("stopped", "audit:1")]
    assert past[1]["by"] == "lee"


async def test_kill_switch_is_seen_in_every_list_until_it_is_taken_back(app: App) -> None:
    said = await app.run("job", "off", "--why", "a bad deploy", "--by", "kim", "--yes")
    assert said.json["allJobs"]["by"] == "kim"
    await app.run("job", "off", "--kind", "purge", "--yes")
    listed = await app.run("job", "list")
    assert "all jobs are switched off" in listed.err
    assert "a bad deploy" in listed.err
    assert "jobs of kind purge are switched off" in listed.err
    left = (await app.run("job", "on", "--yes")).json
    assert (left["allJobs"], list(left["kinds"])) == (None, ["purge"])
    assert (await app.run("job", "on", "--kind", "purge", "--yes")).json["kinds"] == {}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "nobody"), 4),
        (("stop", "nobody", "--yes"), 4),
        (("off", "--kind", "nonsense", "--yes"), 2),
        (("history", "--top", "0"), 2),
    ],
)
async def test_what_cannot_be_is_refused_with_its_code(app: App, words: tuple[str, ...], code: int) -> None:
    assert (await app.run("job", *words)).code == code
