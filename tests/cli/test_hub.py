"""`hub`: states by command, and a drain told from registrations and the hub's own list."""

import pytest

from cli.connect import state_settings
from tests.cli.placing import App, webhook
from tests.cli.rig import HUBS, run

pytestmark = pytest.mark.asyncio(loop_scope="package")

A, B, C = HUBS


async def fill(app: App, url: str, count: int = 12, **members: object) -> None:
    await app.enroll("line", url, **members)
    for number in range(count):
        await app.rig.register(f"dev-{number:02}")


async def states(app: App) -> dict[str, str]:
    return {each["hub"]: each["state"] for each in (await app.run("hub", "list")).json}


async def test_every_linked_hub_is_listed_with_state_and_limits(app: App) -> None:
    await app.activate(f"hubs: [{{name: {A}, weight: 3, capacity: 100, headroom: 10, region: westeurope}}]")
    await app.run("hub", "cordon", "hub-a", "--note", "\x1b[31mwhy", "--by", "kim", "--yes")
    listed = {each["hub"]: each for each in (await app.run("hub", "list")).json}
    assert set(listed) == set(HUBS)
    told = listed[A]
    assert (told["state"], told["by"], told["limit"], told["weight"], told["region"], told["linked"]) == (
        "cordoned", "kim", 90, 3, "westeurope", True,
    )  # fmt: skip
    assert told["note"] == "\x1b[31mwhy"
    table = await app.run("hub", "list", "-o", "table")
    assert ("\x1b" in table.out, "\\x1b[31mwhy" in table.out) == (False, True)


async def test_a_state_is_shown_before_it_is_changed_and_needs_consent(app: App) -> None:
    for words, code in ((("--dry-run",), 0), ((), 7)):
        ran = await app.run("hub", "cordon", A, *words)
        assert (ran.code, '- state: "open"' in ran.err, '+ state: "cordoned"' in ran.err) == (
            code,
            True,
            True,
        )
    assert (await states(app))[A] == "open"
    assert (await app.run("hub", "cordon", A.upper(), "--yes")).json["state"] == "cordoned"
    again = await app.run("hub", "cordon", A)
    assert (again.code, "already; nothing was changed" in again.err) == (0, True)
    assert (await app.run("hub", "disable", A, "--no-survey", "--yes")).json["state"] == "disabled"
    assert (await app.run("hub", "uncordon", A, "--yes")).json["state"] == "open"


@pytest.mark.parametrize(("name", "code"), [("hub-x", 4), ("a/b", 2), ("", 2), ("hub a", 2)])
async def test_a_slip_in_a_hubs_name_closes_nothing(app: App, name: str, code: int) -> None:
    for command in ("cordon", "drain", "uncordon", "disable"):
        assert (await app.run("hub", command, name, "--yes")).code == code
    assert set((await states(app)).values()) == {"open"}


async def test_a_cordoned_hub_gets_no_new_device_and_keeps_those_it_has(app: App) -> None:
    async with webhook(app) as url:
        await fill(app, url)
        before = app.homes()
        assert set(before.values()) == set(HUBS)
        await app.run("hub", "cordon", A, "--yes")
        for number in range(12, 24):
            await app.rig.register(f"dev-{number:02}")
        for device in before:
            await app.rig.register(device)
    after = app.homes()
    assert {device: after[device] for device in before} == before
    assert A not in {hub for device, hub in after.items() if device not in before}


async def test_a_drain_tells_its_least_time_and_ends_when_the_hub_lists_no_device(app: App) -> None:
    async with webhook(app) as url:
        await fill(app, url)
        its_own = [device for device, hub in app.homes().items() if hub == A]
        dry = await app.run("hub", "drain", A, "--dry-run")
        assert (dry.code, f"{len(its_own)} devices leave {A}" in dry.err) == (0, True)
        assert "in 1 minutes at the soonest" in dry.err
        ran = (await app.run("hub", "drain", A, "--yes")).json
        assert (ran["canLeave"], ran["etaMinutes"], ran["blocked"]) == (len(its_own), 1, [])
        assert (ran["listed"], ran["drained"]) == (len(its_own), False)
        others = {device: hub for device, hub in app.homes().items() if hub != A}
        for device in app.homes():
            await app.rig.register(device)
    after = app.homes()
    assert A not in after.values()
    assert {device: after[device] for device in others} == others
    done = await app.run("hub", "drain", A)
    assert (done.json["drained"], done.json["listed"], done.json["canLeave"]) == (True, 0, 0)
    assert "it is drained" in done.err


async def test_what_holds_devices_back_is_told_by_enrollment(app: App) -> None:
    async with webhook(app) as url:
        await app.activate(
            "rules:\n"
            f"  - {{name: bolted, when: {{registration_id: dev-00}}, place: {{pinned: {A}}}}}\n"
            f"  - {{name: narrow, when: {{registration_id: dev-01}}, place: {{hubs: [{A}]}}}}\n"
            f"default: {{place: {{hubs: [{A}, {B}]}}}}\n"
        )
        await fill(app, url, reprovisionPolicy={"updateHubAssignment": True, "migrateDeviceData": True})
        on_a = [device for device, hub in app.homes().items() if hub == A]
        ran = (await app.run("hub", "drain", A, "--dry-run", "-o", "none")).err
        assert "1 devices of group line are held: rule bolted pins it to this hub" in ran
        assert "1 devices of group line are held: no other hub takes it under rule narrow" in ran
        assert f"{len(on_a) - 2} devices leave {A}" in ran
        await app.run("enrollment-group", "update", "--gid", "line", "--rp", "never", "--yes")
        ran = (await app.run("hub", "drain", A, "--dry-run")).err
        assert f"{len(on_a)} devices of group line are held: its reprovision policy is never" in ran
        await app.run("enrollment-group", "update", "--gid", "line", "--ps", "disabled", "--yes")
        assert "the enrollment is disabled" in (await app.run("hub", "drain", A, "--dry-run")).err


async def test_what_only_devices_tell_is_taken_from_the_ledger_or_left_open(app: App) -> None:
    text = "rules: [{name: r, when: {payload: [{path: model, eq: x}]}, reject: {reason: x}}]"
    async with webhook(app) as url:
        await fill(app, url, 6)
        on_a = sum(hub == A for hub in app.homes().values())
        await app.activate(text)
        ran = (await app.run("hub", "drain", A, "--dry-run")).err
        assert f"{on_a} devices of group line are held: whether it leaves is open" in ran
        assert "payload.model" in ran
        for device in app.homes():
            await app.rig.register(device)
        assert f"{on_a} devices leave {A}" in (await app.run("hub", "drain", A, "--dry-run")).err


async def test_a_hub_that_cannot_be_asked_is_not_called_drained(app: App) -> None:
    elsewhere = {"HUBS": f"{A}={app.rig.cloud.vault_address.url}"}  # who answers there is no hub
    environment = state_settings(app.rig.state) | app.environment | elsewhere
    ran = await run("hub", "drain", A, "--yes", environment=environment)
    assert (ran.json["drained"], "whether the hub is drained is not known" in ran.err) == (None, True)


async def test_statistics_are_never_asked_whether_a_hub_is_drained(app: App) -> None:
    began = app.rig.cloud.world.clock.now()
    assert (await app.run("hub", "drain", A, "--yes")).json["drained"] is True
    journal = app.rig.cloud.world.journal  # of the whole package: an audit before asks for statistics
    asked = [call.path for name in (A, "hub-a") for call in journal.of(name) if call.at >= began]
    assert any("/devices/query" in path for path in asked)
    assert not any("/statistics" in path for path in asked)


async def test_a_rollback_of_the_policy_opens_no_hub(app: App) -> None:
    await app.activate("hubs: []")
    await app.run("hub", "drain", A, "--no-survey", "--yes")
    await app.run("policy", "rollback", "--yes")
    assert (await states(app))[A] == "draining"
