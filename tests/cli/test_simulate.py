"""`simulate` and `explain`: what would happen, before it does, and what did."""

import json
from pathlib import Path

import pytest

from tests.cli.placing import App, webhook
from tests.cli.rig import HUBS, run
from tests.local.dps.rig import OTHER_KEY, symmetric

pytestmark = pytest.mark.asyncio(loop_scope="package")

A, B, C = HUBS


def draft(folder: Path, text: str) -> str:
    file = folder / "draft.yaml"
    file.write_text(text)
    return str(file)


def devices(folder: Path, count: int = 300, current: str = "") -> str:
    file = folder / "devices.csv"
    lines = [f"dev-{number:04},{current},{' '.join(HUBS)}\n" for number in range(count)]
    file.write_text("registrationId,currentHub,linkedHubs\n" + "".join(lines))
    return str(file)


CANARY = f"""
hubs: [{{name: {A}}}, {{name: {B}}}, {{name: {C}, tags: [canary]}}]
default: {{place: {{hubs: [{A}, {B}], canary: {{share: SHARE, to: {{tags: [canary]}}}}}}}}
"""


async def test_what_a_simulation_foretells_is_what_happens(app: App, tmp_path: Path) -> None:
    moves, wider = tmp_path / "moves.jsonl", draft(tmp_path, CANARY.replace("SHARE", "0.6"))
    async with webhook(app) as url:
        await app.activate(CANARY.replace("SHARE", "0.1"))
        await app.enroll("line", url)
        for number in range(24):
            await app.rig.register(f"dev-{number:02}")
        before = app.homes()
        told = (await app.run("simulate", wider, "--ledger", "--moves", str(moves))).json
        of_group = (await app.run("simulate", wider, "--group", "line")).json
        await app.activate(CANARY.replace("SHARE", "0.6"))
        for device in before:
            await app.rig.register(device)
    after = app.homes()
    moved = {device: hub for device, hub in after.items() if hub != before[device]}
    foretold = {
        each["registrationId"]: each["to"] for each in map(json.loads, moves.read_text().splitlines())
    }
    assert moved
    assert foretold == moved
    assert (told["devices"], told["moved"]) == (24, len(moved))
    assert (of_group["moved"], of_group["moves"]) == (told["moved"], told["moves"])
    again = await app.run("simulate", wider, "--ledger", "--max-moves", "0")
    assert (again.code, again.json["moved"]) == (0, 0)


async def test_a_file_is_replayed_without_any_service(tmp_path: Path) -> None:
    text = f"hubs: [{{name: {A}, weight: 2}}]"
    ran = await run("simulate", draft(tmp_path, text), "--devices", devices(tmp_path))
    found = ran.json
    assert {each["to"] for each in found["moves"]} == {A}
    assert sum(each["devices"] for each in found["moves"]) == found["moved"] > 0
    assert {each["hub"] for each in found["hubs"]} == set(HUBS)
    assert "compared with the packaged policy" in ran.err
    same = draft(tmp_path, text)
    again = (await run("simulate", same, "--devices", devices(tmp_path), "--against", same)).json
    assert (again["moved"], again["moves"], again["examples"]) == (0, [], [])


@pytest.mark.parametrize(
    ("limit", "code"),
    [("0", 1), ("0%", 1), ("20%", 1), ("60%", 0), ("299", 0), ("-1", 2), ("x", 2), ("101%", 2)],
)
async def test_the_exit_code_holds_a_limit_for_ci(tmp_path: Path, limit: str, code: int) -> None:
    words = (draft(tmp_path, f"hubs: [{{name: {A}, weight: 8}}]"), "--devices", devices(tmp_path))
    ran = await run("simulate", *words, f"--max-moves={limit}")
    assert ran.code == code
    assert ("--max-moves" in ran.err) is bool(code)


async def test_devices_that_cannot_be_decided_count_against_the_limit(tmp_path: Path) -> None:
    text = "rules: [{name: r, when: {payload: [{path: site, eq: x}]}}]"
    ran = await run("simulate", draft(tmp_path, text), "--devices", devices(tmp_path, 10), "--max-moves", "5")
    assert (ran.code, json.loads(ran.out)["undecidable"]) == (1, {"payload.site": 10})


async def test_a_fleet_file_drains_a_hub_for_the_draft_alone(tmp_path: Path) -> None:
    same = draft(tmp_path, "hubs: []")
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(f"hubs: [{{name: {A}, state: draining, devices: 500}}]")
    words = ("--devices", devices(tmp_path, 40, A), "--against", same, "--fleet", str(fleet))
    found = (await run("simulate", same, *words)).json
    assert (found["moved"], {each["from"] for each in found["moves"]}) == (40, {A})
    assert found["leavingTheirHub"] == {"before": 0, "after": 40}
    [row] = [each for each in found["hubs"] if each["hub"] == A]
    assert (row["loadBefore"], row["loadAfter"]) == (500, 460)


@pytest.mark.parametrize("form", ["table", "csv", "json", "yaml", "jsonl", "tsv"])
async def test_hostile_text_of_devices_is_escaped_in_every_form(tmp_path: Path, form: str) -> None:
    file, moves = tmp_path / "d.jsonl", tmp_path / "moves.jsonl"
    hostile = {"registrationId": "\x1b[31m\u202e", "linkedHubs": ["=x\x1b.example", A]}
    file.write_text(json.dumps(hostile) + "\n")
    words = (
        draft(tmp_path, f"hubs: [{{name: {A}, weight: 900}}]"),
        "--devices",
        str(file),
        "--moves",
        str(moves),
    )
    ran = await run("simulate", *words, "-o", form)
    text = ran.out + ran.err + moves.read_text()
    assert ran.code == 0
    assert [sign for sign in "\x1b\u202e" if sign in text] == []


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "one of --devices"),
        (("--ledger", "--devices", "x"), 2, "one of --devices"),
        (("--ledger",), 2, "STATE_TABLES"),
        (("--devices", "nowhere.csv"), 2, "cannot be read"),
        (("--devices", "BROKEN"), 1, "line 2"),
        (("--devices", "GOOD", "--fleet", "BROKEN"), 1, "fleet"),
        (("--devices", "GOOD", "--against", "nowhere"), 2, "--against"),
        (("--devices", "GOOD", "--moves", "no/such/folder"), 2, "--moves"),
    ],
)
async def test_what_cannot_be_replayed_is_told(
    tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"registrationId": "d", "linkedHubs": ["a"]}\nnothing\n')
    names = {"BROKEN": str(broken), "GOOD": devices(tmp_path, 3)}
    ran = await run("simulate", draft(tmp_path, "hubs: []"), *(names.get(word, word) for word in words))
    assert (ran.code, told in ran.err) == (code, True), ran.err


async def test_a_group_that_is_not_there_is_missing(app: App, tmp_path: Path) -> None:
    ran = await app.run("simulate", draft(tmp_path, "hubs: []"), "--group", "nobody")
    assert (ran.code, "nobody" in ran.err) == (4, True)


async def test_explain_tells_the_last_decision_and_what_it_would_be_now(app: App) -> None:
    async with webhook(app) as url:
        await app.enroll("line", url)
        await app.rig.register("dev-1")
    home = app.homes()["dev-1"]
    told = (await app.run("explain", "DEV-1")).json
    [answer] = told["answers"]
    assert (answer["hub"], answer["rule"], answer["enrollment"]) == (home, "default", "group:line")
    assert answer["trail"][0] == "match: rule 'default'"
    assert told["registration"] == {"status": "assigned", "assignedHub": home, "errorCode": None}
    assert (told["now"]["hub"], told["now"]["why"], told["now"]["moves"]) == (home, "stay", False)
    await app.run("hub", "drain", home, "--no-survey", "--yes")
    now = (await app.run("explain", "dev-1")).json["now"]
    assert (now["hub"] != home, now["moves"]) == (True, True)
    await app.activate("rules: [{name: r, when: {payload: [{path: x, eq: 1}]}}]")
    now = (await app.run("explain", "dev-1")).json["now"]
    assert (now["outcome"], "payload.x" in now["why"]) == ("undecidable", True)
    await app.activate("rules: [{name: gone, reject: {reason: stolen}}]")
    now = (await app.run("explain", "dev-1", "-o", "json")).json["now"]
    assert (now["outcome"], now["why"], now["rule"]) == ("rejected", "stolen", "gone")


async def test_explain_goes_by_the_registration_where_the_ledger_has_nothing(app: App) -> None:
    async with webhook(app) as url:
        await app.enroll("line", url)
        await app.enroll("other", url, attestation=symmetric(OTHER_KEY))
        await app.rig.register("dev-2")
    other = App(app.rig, app.environment | {"DPS_NAME": "another"})
    told = (await other.run("explain", "dev-2")).json
    assert (told["answers"], told["registration"]["status"]) == ([], "assigned")
    assert told["now"]["outcome"] == "undecidable"
    assert (await app.run("explain", "nobody")).code == 4
    assert (await app.run("explain", "a b")).code == 2
    assert (await app.run("explain", "dev-2", "--answers", "0")).code == 2


async def test_explain_without_a_dps_tells_what_the_ledger_has(app: App) -> None:
    async with webhook(app) as url:
        await app.enroll("line", url)
        await app.rig.register("dev-3")
    ran = await run("explain", "dev-3", environment=app.environment)
    assert (ran.json["registration"], len(ran.json["answers"])) == (None, 1)
    assert "the DPS's own records are not looked at" in ran.err
