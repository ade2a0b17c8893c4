"""`policy`: checked offline, put in force whole or not at all, and taken back."""

import json
from pathlib import Path
from typing import Any

import pytest

from allocation.policy import read_document, schema
from tests.cli.placing import App
from tests.cli.rig import HUBS, Rig, run

pytestmark = pytest.mark.asyncio(loop_scope="package")

GOOD = f"""
hubs:
  - {{name: {HUBS[0]}, weight: 2}}
  - {{name: {HUBS[1]}}}
"""
OTHER = GOOD + "rules: [{name: stolen, when: {registration_id: x-*}, reject: {reason: stolen}}]\n"


def written(folder: Path, text: str) -> str:
    file = folder / "policy.yaml"
    file.write_text(text)
    return str(file)


async def test_a_good_policy_is_valid_without_any_setting(tmp_path: Path) -> None:
    ran = await run("policy", "validate", written(tmp_path, GOOD))
    assert (ran.json["problems"], ran.json["hubs"]) == ([], 2)
    assert "the policy loads" in ran.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hubs: [{name: a, wieght: 2}]", ["hubs.0.wieght", "did you mean 'weight'"]),
        ("hubs: [{name: a, weight: -1}]", ["hubs.0.weight", "-1"]),
        ("rules: [{name: r, place: {canary: {share: 1.5, to: {tags: [x]}}}}]", ["share", "1.5"]),
        ("hubs: [", ["line"]),
    ],
)
async def test_what_does_not_load_is_told_by_path_value_and_fix(
    tmp_path: Path, text: str, told: list[str]
) -> None:
    ran = await run("policy", "validate", written(tmp_path, text))
    assert (ran.code, ran.out) == (1, "")
    assert [each for each in told if each not in ran.err] == []


async def test_errors_that_devices_would_meet_fail_and_warnings_do_when_strict(tmp_path: Path) -> None:
    unreachable = "rules: [{name: all, reject: {reason: x}}, {name: b, when: {edge: true}}]"
    ran = await run("policy", "validate", written(tmp_path, unreachable), "-o", "table")
    assert (ran.code, "rules.1" in ran.out, "never reached" in ran.out) == (1, True, True)
    warned = GOOD.replace("weight: 2", "headroom: 5")
    loose = await run("policy", "validate", written(tmp_path, warned))
    assert (loose.code, json.loads(loose.out)["problems"][0]["severity"]) == (0, "warning")
    assert (await run("policy", "validate", written(tmp_path, warned), "--strict")).code == 1


@pytest.mark.parametrize(
    ("path", "told"),
    [("nowhere.yaml", "cannot be read"), (".", "cannot be read"), ("raw", "no text in UTF-8")],
)
async def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path, path: str, told: str) -> None:
    (tmp_path / "raw").write_bytes(b"\xff\xfe\x00")
    ran = await run("policy", "validate", str(tmp_path / path))
    assert (ran.code, told in ran.err) == (2, True)


async def test_hostile_text_of_a_policy_is_escaped(tmp_path: Path) -> None:
    hostile = json.dumps(
        {"hubs": [{"name": "a", "tags": ["\x1b[31m\u202e"]}], "rules": [{"name": "\x1b]0;x"}] * 2}
    )
    for form in ("json", "table"):
        ran = await run("policy", "validate", written(tmp_path, hostile), "-o", form)
        assert "\x1b" not in ran.out + ran.err
        assert "\u202e" not in ran.out + ran.err


async def test_the_schema_is_that_of_the_document() -> None:
    assert (await run("policy", "schema")).json == schema()


async def test_commands_that_need_state_name_the_setting(tmp_path: Path) -> None:
    for words in (
        ("show",),
        ("history",),
        ("rollback", "--yes"),
        ("activate", written(tmp_path, GOOD), "--yes"),
    ):
        ran = await run("policy", *words)
        assert (ran.code, "STATE_TABLES is not set" in ran.err) == (2, True)


async def test_a_policy_is_put_in_force_shown_and_taken_back(app: App, tmp_path: Path) -> None:
    nothing = await app.run("policy", "show")
    assert (nothing.json, "packaged policy is in force" in nothing.err) == ({}, True)
    first = await app.activate(GOOD)
    assert (first["number"], first["how"], first["by"]) == (1, "activate", "kim")
    second = await app.activate(OTHER)
    shown = await app.run("policy", "show", "-o", "yaml")
    assert read_document(shown.out) == read_document(OTHER)
    assert f"version {second['version']}" in shown.err
    assert (await app.run("policy", "show", first["version"])).json["hubs"][0]["weight"] == 2
    back = await app.run("policy", "rollback", "--by", "lee", "--yes")
    assert (back.json["version"], back.json["how"]) == (first["version"], "rollback")
    assert '- rules.stolen: {"name": "stolen"' in back.err
    assert (await app.run("policy", "rollback", "--yes")).json["version"] == "packaged"
    assert (await app.run("policy", "rollback", "--yes")).code == 4
    again = (await app.run("policy", "activate", "--version", second["version"], "--yes")).json
    assert again["version"] == second["version"]
    history = (await app.run("policy", "history")).json
    assert [(each["number"], each["how"]) for each in history] == [
        (5, "activate"), (4, "rollback"), (3, "rollback"), (2, "activate"), (1, "activate"),
    ]  # fmt: skip
    assert len((await app.run("policy", "history", "--top", "2")).json) == 2


async def test_a_change_is_shown_rule_by_rule_and_needs_consent(app: App, tmp_path: Path) -> None:
    await app.activate(GOOD)
    file = written(tmp_path, OTHER.replace("weight: 2", "weight: 5"))
    for words, code in ((("--dry-run",), 0), ((), 7)):
        ran = await app.run("policy", "activate", file, *words)
        assert ran.code == code
        assert f"- hubs.{HUBS[0]}.weight: 2.0" in ran.err
        assert f"+ hubs.{HUBS[0]}.weight: 5.0" in ran.err
        assert "+ rules.stolen: " in ran.err
    assert len((await app.run("policy", "history")).json) == 1


async def test_what_is_in_force_already_is_left_alone(app: App) -> None:
    first = await app.activate(GOOD)
    assert (await app.activate(GOOD + "# laid out otherwise\n"))["number"] == first["number"]


async def test_a_policy_with_errors_goes_live_only_when_told_to(app: App, tmp_path: Path) -> None:
    file = written(tmp_path, "rules: [{name: r, place: {tags: [none-has-it]}}]")
    ran = await app.run("policy", "activate", file, "--yes")
    assert (ran.code, "rules.0.place.tags.0" in ran.err, "--despite-errors" in ran.err) == (1, True, True)
    assert (await app.run("policy", "history")).json == []
    assert (await app.run("policy", "activate", file, "--yes", "--despite-errors")).code == 0


async def test_hubs_that_are_not_linked_are_told_of(app: App, tmp_path: Path) -> None:
    ran = await app.run("policy", "activate", written(tmp_path, "hubs: [{name: hub-x.example}]"), "--yes")
    assert (ran.code, "not linked to the DPS" in ran.err, "hub-x.example" in ran.err) == (0, True, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("activate", "--version", "0123456789ab", "--yes"), 4),
        (("show", "0123456789ab"), 4),
        (("show", "a|b"), 2),
        (("activate", "--yes"), 2),
    ],
)
async def test_versions_that_are_not_there_have_their_code(
    app: App, words: tuple[str, ...], code: int
) -> None:
    assert (await app.run("policy", *words)).code == code


async def test_tables_that_do_not_answer_are_try_again(rig: Rig) -> None:
    where = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0LXNlY3JldA==;TableEndpoint=http://127.0.0.1:9/a"
    ran = await rig.run("policy", "history", environment={"STATE_TABLES": where})
    assert (ran.code, "c2VjcmV0" in ran.err + ran.out) == (6, False)
    broken: dict[str, Any] = {"STATE_TABLES": "AccountName=a;AccountKey=not base64 at all"}
    ran = await rig.run("policy", "history", environment=broken)
    assert (ran.code, "not base64" in ran.err) == (2, False)
