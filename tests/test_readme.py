"""README tells the truth: each setting, event, command and option stands there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from cyclopts import App
from pydantic import BaseModel

from allocation.policy import compile_policy, lint, read_document
from allocation.policy.document import Outcome, PolicyDocument
from cli.app import application
from clients.telemetry import EVENTS
from local.iothub.events import DEVICE_CREATED, DEVICE_DELETED
from local.issuer import Role
from local.issuer.roles import BUILT_IN
from local.topics import EVENT_FUNCTIONS
from local.vault import EXPIRED, NEAR_EXPIRY, NEW_VERSION
from settings import TABLE, Setting

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
POLICY = (ROOT / "docs" / "policy.md").read_text()
STACK = (ROOT / "local" / "README.md").read_text()


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_each_setting_stands_with_its_default_and_meaning(setting: Setting) -> None:
    default = f" `{setting.default}` " if setting.default else " "
    assert f"| `{setting.name}` |{default}| {setting.meaning} |" in README


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_stands_with_its_meaning(event: str) -> None:
    assert f"| `{event}` | {EVENTS[event]} |" in README


def models(annotation: Any) -> list[type[BaseModel]]:
    """The models within a type: of `list[Hub] | None`, Hub."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models(part)]


def members(model: type[BaseModel], path: str = "") -> dict[str, str]:
    """The members of a document's model as the page writes them, with their descriptions."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        found[path + (field.alias or name)] = str(field.description)
        many = "[]" if "list[" in str(field.annotation) else ""
        for inner in models(field.annotation):
            if inner not in (model, Outcome):
                found |= members(inner, f"{path}{field.alias or name}{many}.")
    return found


@pytest.mark.parametrize("member", members(PolicyDocument))
def test_each_member_of_a_policy_is_described(member: str) -> None:
    assert f"| `{member}` | {members(PolicyDocument)[member]} |" in POLICY


def test_the_members_of_a_policy_are_all_looked_at() -> None:
    assert {
        "hubs[].weight",
        "regions",
        "rules[].when.payload[].in",
        "rules[].when.not",
        "rules[].place.canary.to.tags",
        "rules[].place.region.from",
        "rules[].twin.desired",
        "rules[].reject.reason",
        "default",
    } <= members(PolicyDocument).keys()


@pytest.mark.parametrize(("page", "rules"), [(README, 3), (POLICY, 4)], ids=["README", "policy"])
def test_the_policy_shown_is_a_policy(page: str, rules: int) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    document = read_document(shown)
    assert lint(document) == ()
    assert len(compile_policy(document).rules) == rules


def test_each_option_of_run_local_is_described() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "local", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    options = set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}
    assert options
    described = set(re.findall(r"--[a-z-]+", "".join(re.findall(r"^\| (`--.*?) \|", STACK, re.MULTILINE))))
    assert sorted(options) == sorted(described)


def test_each_command_of_run_is_described() -> None:
    usage = subprocess.run([ROOT / "run", "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  (\w+) ", usage, re.MULTILINE)
    assert {"demo", "local", "test", "bench", "soak", "lint"} <= set(commands)
    assert [command for command in commands if f"./run {command}" not in README] == []


def commands(app: App, words: tuple[str, ...] = ()) -> set[str]:
    """What can be typed after `./run dps`, without options."""
    names = [name for name in app if not name.startswith("-")]
    return (
        set().union(*(commands(app[name], (*words, name)) for name in names)) if names else {" ".join(words)}
    )


def test_each_command_of_the_operators_is_in_the_table() -> None:
    """A row names nouns with their verbs, or commands without: `hub` `list` `drain`, or `export`, `apply`."""
    table = README.partition("\n## Commands\n")[2].partition("\n## ")[0]
    told: list[str] = []
    for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE):
        for part in cell.split(", "):
            noun, *verbs = re.findall(r"`([^`]+)`", part)
            told += [f"{noun} {verb}" for verb in verbs] or [noun]
    assert len(told) == len(set(told))
    assert set(told) == commands(application())


def test_the_example_of_an_exploration_runs_and_says_what_stands_there(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", STACK, re.DOTALL)
    [said] = re.findall(r"example\.py\n(.*?)```", STACK, re.DOTALL)
    file = tmp_path / "example.py"
    file.write_text(program)
    ran = subprocess.run(
        [sys.executable, file],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == said


def test_the_mistake_that_the_example_warns_of_is_found(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", STACK, re.DOTALL)
    file = tmp_path / "example.py"
    file.write_text("".join(line for line in program.splitlines(True) if "attestationmechanism" not in line))
    ran = subprocess.run(
        [sys.executable, file],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "devices of the group are locked out\n  path: dps.put_without_keys=regenerate" in ran.stderr


@pytest.mark.parametrize("each", BUILT_IN, ids=lambda each: each.name)
def test_each_built_in_role_is_named(each: Role) -> None:
    words = each.name.removeprefix("Device Provisioning Service ").removeprefix("IoT Hub ")
    assert words.removeprefix("Key Vault ") in " ".join(STACK.split())


def test_each_source_and_type_of_events_is_named() -> None:
    for kind in (DEVICE_CREATED, DEVICE_DELETED, NEW_VERSION, NEAR_EXPIRY, EXPIRED):
        assert kind.rpartition(".")[2] in STACK
    for each in EVENT_FUNCTIONS:
        assert f"`{each.function}`" in STACK
