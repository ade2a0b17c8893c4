"""`audit`: started, shown, exported, suppressed, and what exit codes tell a pipeline."""

import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import html5lib
import pytest

from clients.clock import SystemClock
from clients.tables import TableAccount
from lifecycle.audit.checks import CHECKS
from lifecycle.audit.finding import Finding
from lifecycle.audit.report import Run, Suppression
from lifecycle.audit.runs import RunStore, Stored
from lifecycle.audit.suppressions import Suppressions
from lifecycle.jobs import JobStore, switch_off
from tests.cli.placing import App
from tests.cli.rig_clients import azure
from tests.lifecycle.audit.sample import NOW, busy_archive, finding, run_at
from tests.local.dps.rig import PRIMARY, SECONDARY, custom, group, individual

pytestmark = pytest.mark.asyncio(loop_scope="package")

SOON = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%d")
FAILED = "DPS-REC-001"
EXPIRED = "DPS-CRED-001"


@asynccontextmanager
async def tables(app: App) -> AsyncIterator[TableAccount]:
    account = TableAccount.from_connection_string(app.environment["STATE_TABLES"])
    yield account
    await account.close()


async def keep(app: App, run: Run, findings: Sequence[Finding]) -> None:
    """A run in the table, as the engine leaves it."""
    dps = app.environment["DPS_NAME"]
    counts: dict[str, int] = {}
    for each in findings:
        counts[each.check] = counts.get(each.check, 0) + 1
    async with tables(app) as account:
        store = RunStore(account.table("audit"), dps)
        await store.add(run.id, findings)
        await store.end(Stored(replace(run, dps=dps, found=counts)))


async def two_nights(app: App) -> None:
    archive = busy_archive()
    for run in archive.kept.values():
        of_run = [each for (of, _), found in archive.found.items() if of == run.id for each in found]
        await keep(app, run, of_run)


async def suppress(app: App, check: str, resource: str, *words: str) -> int:
    ran = await app.run(
        "audit", "suppress", check, resource, "--reason", "known", "--until", SOON, "--yes", *words
    )
    return ran.code


async def test_a_run_is_shown_the_worst_first_with_what_is_new(app: App) -> None:
    await two_nights(app)
    shown = await app.run("audit", "show")
    found = shown.json
    assert len(found) == 150
    assert {each["status"] for each in found} == {"new", "recurring"}
    assert "5 new, 145 recurring, 2 resolved" in shown.err
    assert "not read to its end: vault (" in shown.err
    table = (await app.run("audit", "show", "-o", "table", "--severity", "high")).out
    rows = [line.split()[0] for line in table.splitlines() if line.startswith((" critical", " high"))]
    assert rows == ["critical", "critical", "high", "high"]


async def test_findings_are_filtered(app: App) -> None:
    await two_nights(app)
    for words, count in (
        (("--check", "dps-cred-001"), 1),
        (("--status", "new"), 5),
        (("--status", "resolved"), 2),
        (("--status", "new", "resolved"), 7),
        (("--resource", "PRESS-001"), 10),
        (("--top", "3"), 3),
        (("audit-20260313", "--severity", "critical"), 1),
    ):
        assert len((await app.run("audit", "show", *words)).json) == count, words


async def test_hostile_names_reach_no_terminal_and_no_spreadsheet(app: App) -> None:
    evil = ("=cmd|'/c calc'!A1", "\x1b]0;owned\x07", "\u202egpj.exe", "[bold red]")
    await keep(app, run_at(), [finding(FAILED, text, error=text) for text in evil])
    for form in ("table", "csv", "tsv", "json", "yaml", "jsonl"):
        ran = await app.run("audit", "show", "-o", form)
        for sign in ("\x1b", "\x07", "\u202e"):
            assert sign not in ran.out + ran.err, form
    assert "\n'=cmd" in (await app.run("audit", "show", "-o", "csv", "--query", "[].[resource]")).out
    assert "[bold red]" in (await app.run("audit", "show", "-o", "table")).out


async def test_a_report_is_written_for_its_owner_alone_and_whole(app: App) -> None:
    await two_nights(app)
    for form in ("html", "json", "jsonl", "sarif", "markdown"):
        file = app.rig.folder / f"report.{form}"
        file.write_text("an older one, for everybody")
        file.chmod(0o644)
        ran = await app.run("audit", "export", "--format", form, "--to", str(file))
        assert ran.code == 0, ran.err
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "registration:press-0001" in file.read_text()
        assert (await app.run("audit", "export", "--format", form)).out == file.read_text()
    assert sorted(path.name for path in app.rig.folder.glob(".*report*")) == []
    page = html5lib.parse((app.rig.folder / "report.html").read_text(), namespaceHTMLElements=False)
    assert [node.text for node in page.iter("h1")] == [app.environment["DPS_NAME"]]


async def test_a_report_that_cannot_be_written_is_told_before_anything_is_lost(app: App) -> None:
    await two_nights(app)
    for place, problem in ((".", "is a folder"), ("nowhere/report.html", "cannot be written")):
        ran = await app.run("audit", "export", "--to", str(app.rig.folder / place))
        assert (ran.code, problem in ran.err) == (2, True)


async def test_a_pipeline_fails_on_what_is_bad_enough_and_open(app: App) -> None:
    await keep(app, run_at(), [finding(FAILED, "registration:a"), finding(EXPIRED, "ca:root")])
    for words in (("audit", "show"), ("audit", "export")):
        assert (await app.run(*words)).code == 0
        failed = await app.run(*words, "--fail-on", "high")
        assert (failed.code, "1 open finding as bad as that" in failed.err) == (1, True)
        assert "ca:root" in failed.out
    assert await suppress(app, EXPIRED, "ca:*") == 0
    assert (await app.run("audit", "show", "--fail-on", "high")).code == 0
    assert (await app.run("audit", "show", "--fail-on", "low")).code == 1
    assert (await app.run("audit", "show", "--top", "0", "--fail-on", "medium")).code == 1


async def test_a_suppressed_finding_stays_in_every_report(app: App) -> None:
    await keep(app, run_at(), [finding(EXPIRED, "ca:root")])
    assert await suppress(app, EXPIRED, "ca:root", "--by", "jana") == 0
    [shown] = (await app.run("audit", "show")).json
    assert (shown["suppressed"]["by"], shown["suppressed"]["reason"]) == ("jana", "known")
    assert len((await app.run("audit", "show", "--status", "suppressed")).json) == 1
    for form in ("html", "json", "jsonl", "sarif", "markdown"):
        out = (await app.run("audit", "export", "--format", form)).out
        assert "ca:root" in out
        assert "known" in out


async def test_suppressions_are_listed_with_what_they_cover_and_taken_back(app: App) -> None:
    await two_nights(app)
    assert await suppress(app, FAILED, "registration:press-00*") == 0
    [listed] = (await app.run("audit", "suppress", "--list")).json
    assert (listed["check"], listed["covers"], listed["expired"]) == (FAILED, 100, False)
    gone = ("audit", "suppress", FAILED, "registration:press-00*", "--remove", "--yes")
    assert (await app.run(*gone)).code == 0
    assert (await app.run(*gone)).code == 4
    assert (await app.run("audit", "suppress", "--list")).json == []


async def test_a_suppression_is_shown_with_what_it_covers_before_it_is_made(app: App) -> None:
    await two_nights(app)
    words = ("audit", "suppress", FAILED, "*", "--reason", "known", "--until", SOON)
    for consent, code in ((("--dry-run",), 0), ((), 7)):
        ran = await app.run(*words, *consent)
        assert (ran.code, "it covers 140 findings of the latest run" in ran.err) == (code, True)
    assert (await app.run("audit", "suppress", "--list")).json == []


async def test_what_cannot_be_suppressed_is_refused_with_the_fix(app: App) -> None:
    whole = {"--reason": "known", "--until": SOON}
    for check, options, fix in (
        ("DPS-CRED-999", whole, "`audit checks` lists them"),
        (EXPIRED, {**whole, "--until": "31.12."}, "2026-12-31"),
        (EXPIRED, {**whole, "--until": "2020-01-01"}, "name a day to come"),
        (EXPIRED, {**whole, "--until": "2999-01-01"}, "within a year"),
        (EXPIRED, {"--reason": "known"}, "--reason and --until"),
        (EXPIRED, {**whole, "--reason": "key c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0="}, "looks like a key"),
    ):
        words = [word for pair in options.items() for word in pair]
        ran = await app.run("audit", "suppress", check, "ca:a", *words, "--yes")
        assert (ran.code, fix in ran.err) == (2, True), ran.err
    assert (await app.run("audit", "suppress", "--list", "--remove")).code == 2
    assert (await app.run("audit", "suppress")).code == 2


async def test_every_check_is_in_the_catalogue(app: App) -> None:
    listed = (await app.run("audit", "checks")).json
    assert [each["id"] for each in listed] == [check.id for check in CHECKS]
    assert all(each["why"] and each["fix"] and each["source"] for each in listed)
    worst = (await app.run("audit", "checks", "--severity", "critical")).json
    assert {each["severity"] for each in worst} == {"critical"}


async def test_without_a_run_there_is_nothing_to_show(app: App) -> None:
    for words in (("show",), ("export",), ("show", "audit-20990101")):
        ran = await app.run("audit", *words)
        assert (ran.code, "run" in ran.err) == (4, True)


async def test_a_run_is_a_job_of_which_there_is_one_at_a_time(app: App) -> None:
    options = ("--sample-keys", "5", "--certificate-days", "40", "--quota-percent", "62.5")
    environment = {**app.environment, "AUDIT_CERTIFICATE_DAYS": "7", "AUDIT_KEY_AGE_DAYS": "100"}
    ran = await app.rig.run("audit", "run", "--by", "kim", "--webhooks", *options, environment=environment)
    started = ran.json
    assert started["state"] == "waiting"
    again = await app.run("audit", "run")
    assert again.json["run"] == started["run"]
    assert "no other is started beside it" in again.err
    async with tables(app) as account:
        store = JobStore(account.table("jobs"), app.environment["DPS_NAME"], SystemClock())
        job = await store.find(started["run"])
    assert job is not None
    assert (job.kind, job.by, job.params["webhook"]) == ("audit", "kim", True)
    told = job.params["thresholds"]
    assert {name: told[name] for name in ("sample_keys", "certificate_days", "renewal_days")} == {
        "sample_keys": 5,
        "certificate_days": 40,
        "renewal_days": 120,
    }
    assert (told["quota_share"], told["key_age_days"]) == (0.625, 100)
    assert (await app.run("audit", "run", "--fail-on", "high")).code == 2


async def test_an_option_out_of_its_range_is_refused_by_its_name(app: App) -> None:
    ran = await app.run("audit", "run", "--never-registered-days", "0")
    assert (ran.code, "--never-registered-days: set it to a whole number from 1" in ran.err) == (2, True)


async def test_a_run_that_is_waited_for_is_made_here_and_shown(app: App) -> None:
    plain = group("line", allocationPolicy="hashed")
    await azure(app.rig, lambda client: client.enrollment_group.create_or_update("line", plain))
    await app.rig.register("dev-1")
    ran = await app.run("audit", "run", "--wait")
    assert "2 new" in ran.err
    # Its vault was asked too, and has no secret of the group.
    assert {(each["check"], each["resource"], each["status"]) for each in ran.json} == {
        ("DPS-CRED-015", "group:line", "new"),
        ("DPS-CRED-018", "group:line", "new"),
    }
    assert (await app.run("audit", "show")).json == ran.json


async def test_the_kill_switch_holds_a_run_that_is_waited_for(app: App) -> None:
    async with tables(app) as account:
        store = JobStore(account.table("jobs"), app.environment["DPS_NAME"], SystemClock())
        await switch_off(store, by="kim", why="a drill")
    ran = await app.run("audit", "run", "--wait")
    assert (ran.code, "the kill switch is set by kim (a drill)" in ran.err) == (1, True)


async def test_an_expired_suppression_is_told(app: App) -> None:
    await keep(app, run_at(), [finding(EXPIRED, "ca:root")])
    async with tables(app) as account:
        kept = Suppressions(account.table("audit"), app.environment["DPS_NAME"], SystemClock())
        await kept.put(Suppression(EXPIRED, "ca:root", "known", "jana", NOW, NOW + timedelta(days=1)))
    ran = await app.run("audit", "show", "--fail-on", "critical")
    assert ran.code == 1
    assert "was suppressed until 2026-03-15 and counts again" in ran.err
    [listed] = (await app.run("audit", "suppress", "--list")).json
    assert listed["expired"] is True


async def test_no_key_that_an_audit_met_is_in_anything_it_writes(app: App) -> None:
    canary = "canary-function-key-0123456789"
    nowhere = f"https://localhost:1/api/allocate?code={canary}"
    await app.enroll("line", f"{nowhere}&x=<b>")
    asks = {"customAllocationDefinition": {"webhookUrl": nowhere, "apiVersion": "2021-10-01"}}
    alone = individual("alone", **{**custom(), **asks})
    await azure(app.rig, lambda client: client.enrollment.create_or_update("alone", alone))
    ran = [
        await app.run("audit", "run", "--wait", "--webhooks", "--sample-keys", "9", "--debug", "--verbose")
    ]
    found = {(each["check"], each["resource"]) for each in ran[0].json}
    weak, unreachable = "DPS-CRED-015", "DPS-ALLOC-006"  # their keys were read, and their webhooks called
    resources = ("group:line", "individual:alone")
    assert found >= {(check, resource) for check in (weak, unreachable) for resource in resources}
    ran += [await app.run("audit", "show", "-o", form) for form in ("table", "csv", "yaml")]
    ran += [
        await app.run("audit", "export", "--format", form)
        for form in ("html", "json", "jsonl", "sarif", "markdown")
    ]
    account = app.environment["STATE_TABLES"].partition("AccountKey=")[2].partition(";")[0]
    for each in ran:
        assert each.code == 0, each.err
        for secret in (canary, PRIMARY, SECONDARY, account, "SharedAccessKey=", "sig="):
            assert secret not in each.out + each.err
