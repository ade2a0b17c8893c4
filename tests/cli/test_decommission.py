"""`decommission`: a plan changes nothing, a run wants the group's name, the app's ticks do the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.waiting import Silent
from clients.auth import ConnectionString
from clients.clock import SystemClock
from clients.dps import DpsClient
from clients.ports import RateShare
from job_ports import decommission_ports
from lifecycle.decommission.job import decommission_kind, pace_of
from lifecycle.jobs import JobStore, switch_off, tick
from lifecycle.rates import Rate, Rates
from local.dps.records import Registration
from tests.cli.placing import App
from tests.cli.rig import HUBS, run
from tests.cli.rig_clients import azure
from tests.cli.test_consent import at_terminal
from tests.lifecycle.rotation.app import wiring_of
from tests.local.dps.rig import PRIMARY, SECONDARY, group

pytestmark = pytest.mark.asyncio(loop_scope="package")

RATES = {"decommission": {Rate.DPS: 0.95, Rate.HUB_REGISTRY: 0.45, Rate.HUB_QUERY: 0.7}}
"""Wide: what the pace of the rates costs is not what these tests are about."""
RUN = ("decommission", "run", "line-a", "--execute", "--confirm", "line-a", "--by", "kim")


async def enrolled(app: App, *names: str, **members: Any) -> None:
    """A group with records of devices that no hub has."""
    document = group("line-a", **members)
    await azure(app.rig, lambda client: client.enrollment_group.create_or_update("line-a", document))
    for name in names:
        put(app, name)


def put(app: App, name: str, **members: Any) -> None:
    old = datetime.now(UTC) - timedelta(days=100)
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
    app.rig.cloud.dps.store.registrations.put(name, replace(record, **members))


@asynccontextmanager
async def worker(app: App) -> AsyncIterator[tuple[Any, JobStore, Rates]]:
    """The app's kind of job over its own clients, for which no registration is ever under way."""
    wiring = wiring_of(app.rig.state, app.environment["STATE_TABLES"], app.environment)
    keys = ConnectionString.parse(app.rig.connection_string)

    def dps(share: RateShare) -> DpsClient:
        return wiring.dps(share, host=keys.host, auth=keys.auth(SystemClock()))

    async def webhook() -> None:
        """Not known."""

    name = app.environment["DPS_NAME"]
    ports = replace(decommission_ports(wiring, name, dps, webhook, telemetry=Silent()), settle=timedelta())
    rates = Rates(wiring.clock, RATES)
    yield decommission_kind(ports, pace_of(rates)), JobStore(wiring.table("jobs"), name, wiring.clock), rates
    await wiring.close()


async def work(app: App) -> None:
    async with worker(app) as (kind, jobs, rates):
        for _ in range(20):
            await tick([kind], jobs, rates, Silent())
            if not (await jobs.current()).jobs:
                return
        raise AssertionError(f"it does not end: {(await jobs.current()).jobs}")


async def test_a_plan_counts_and_changes_nothing(app: App) -> None:
    await enrolled(app, "dev-1", "dev-2")
    for words in (("plan", "line-a"), ("run", "--eid", "line-a")):
        ended = (await app.run("decommission", *words, "--wait")).json
        assert ended["dryRun"] is True
        assert (ended["plan"]["records"], ended["plan"]["goes"], ended["plan"]["problem"]) == (2, 2, "")
    changes = [call for call in app.rig.calls if call.startswith(("DELETE", "PUT"))]
    assert changes == ["PUT /enrollmentGroups/line-a"]  # the one that made it


async def test_a_run_takes_the_group_its_records_and_keeps_its_keys(app: App) -> None:
    await enrolled(app, "dev-1", "dev-2")
    begun = await app.run(*RUN)
    assert (begun.json["state"], begun.json["group"], begun.json["dryRun"]) == ("waiting", "line-a", False)
    assert "identities at the hubs are left" in begun.err
    again = await app.run(*RUN)
    assert again.code != 0
    assert "already" in again.err
    assert [each["run"] for each in (await app.run("decommission", "status")).json] == [begun.json["run"]]
    await work(app)
    told = await app.run("decommission", "status", begun.json["run"])
    assert (told.json["state"], told.json["by"], told.json["result"]["deleted"]) == ("done", "kim", 2)
    assert told.json["result"]["groupDeleted"] is True
    assert app.rig.cloud.dps.group("line-a") is None
    assert app.rig.cloud.dps.registration("dev-1") is None
    shown = (await app.run("purge", "archive", "show", begun.json["run"])).json
    assert [(each["registration"]["registrationId"], each["reason"], each["outcome"]) for each in shown] == [
        ("dev-1", "decommissioned", "deleted"),
        ("dev-2", "decommissioned", "deleted"),
    ]
    kept = (await app.run("escrow", "show", "line-a")).json
    assert kept[0]["version"] == told.json["result"]["keys"]["version"]
    for key in (PRIMARY, SECONDARY):
        assert key not in f"{begun} {told} {shown} {kept}"
    missing = await app.run(*RUN)
    assert (missing.code, "line-a" in missing.err) == (4, True)


async def test_of_two_who_ask_at_the_same_moment_one_gets_a_run_and_it_archives_each_record_once(
    app: App,
) -> None:
    await enrolled(app, "dev-1", "dev-2")
    asked = await asyncio.gather(*(app.run(*RUN) for _ in range(2)))
    assert sorted(each.code == 0 for each in asked) == [False, True], [each.err for each in asked]
    [refused] = [each.err for each in asked if each.code]
    assert "wait for its end" in refused or "try again in a minute" in refused
    [begun] = (await app.run("decommission", "status")).json
    await work(app)
    shown = (await app.run("purge", "archive", "show", begun["run"])).json
    assert sorted(each["registration"]["registrationId"] for each in shown) == ["dev-1", "dev-2"]


async def test_a_device_in_use_is_named_and_nothing_changes(app: App) -> None:
    await enrolled(app, "dev-1")
    put(app, "new-\x1b[2J", updated=datetime.now(UTC))
    begun = (await app.run(*RUN)).json
    await work(app)
    told = await app.run("decommission", "status", begun["run"])
    assert told.json["state"] == "failed"
    assert "nothing was changed: 1 device" in told.json["problem"]
    assert "\x1b" not in told.out + told.err
    held = app.rig.cloud.dps.group("line-a")
    assert held is not None
    assert not held.disabled


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("run", "line a", "--execute"), "--enrollment-id"),
        (("plan", "../x"), "--enrollment-id"),
        (("run", "line-a", "--execute", "--confirm", "line-b"), "--confirm"),
        (("plan", "line-a", "--most", "0"), "--most"),
        (("plan", "line-a", "--rules", "nowhere.yaml"), "rules"),
    ],
)
async def test_bad_input_is_refused_before_any_call(app: App, words: tuple[str, ...], named: str) -> None:
    ran = await app.run("decommission", *words)
    assert ran.code == 2
    assert named in ran.err
    assert app.rig.calls == []


async def test_nobody_who_types_the_name_means_no_run(app: App) -> None:
    await enrolled(app, "dev-1")
    refused = await app.run("decommission", "run", "line-a", "--execute")
    assert refused.code == 7
    assert "--confirm line-a" in refused.err
    async with at_terminal(app.rig, *RUN[:4], **app.environment) as (person, running):
        await person.sees("type the group's id")
        person.types("line-b\n")
    assert running.result().code == 7
    async with at_terminal(app.rig, *RUN[:4], **app.environment) as (person, running):
        await person.sees("type the group's id")
        person.types("line-a\n")
    assert running.result().json["state"] == "waiting"


async def test_without_a_vault_the_keys_must_be_given_up_in_so_many_words(app: App) -> None:
    await enrolled(app, "dev-1")
    login = {"DPS_CONNECTION_STRING": app.rig.connection_string, "CA_FILE": str(app.rig.ca)}
    refused = await run(*RUN, environment={**app.environment, **login})
    assert refused.code == 2
    assert "--no-escrow" in refused.err
    begun = await run(*RUN, "--no-escrow", environment={**app.environment, **login})
    assert begun.json["state"] == "waiting"
    assert "its keys are discarded" in begun.err


async def test_the_kill_switch_stops_it(app: App) -> None:
    await enrolled(app, "dev-1")
    async with worker(app) as (_, jobs, _rates):
        await switch_off(jobs, by="lee", why="a storm", kind="decommission")
    stopped = await app.run("decommission", "plan", "line-a", "--wait")
    assert stopped.code != 0
    assert "kill switch is set by lee" in stopped.err
