"""README tells the truth: each setting, event, policy member and option stands in it, and no link is dead."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from allocation.policy.compile import compile_policy
from allocation.policy.document import PolicyDocument, read_document
from clients.telemetry import EVENTS
from settings import TABLE, Setting

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_each_setting_stands_with_its_default_and_meaning(setting: Setting) -> None:
    default = f" `{setting.default}` " if setting.default else " "
    assert f"| `{setting.name}` |{default}| {setting.meaning} |" in README


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_stands_with_its_meaning(event: str) -> None:
    assert f"| `{event}` | {EVENTS[event]} |" in README


def members(model: type[BaseModel], path: str = "") -> list[str]:
    """The leaves of a document's model, as README writes them."""
    found = []
    for name, field in model.model_fields.items():
        inner = re.findall(r"allocation\.policy\.document\.(\w+)", str(field.annotation))
        many = "[]" if str(field.annotation).startswith("list") else ""
        if inner and inner[0] != "Twin":
            found += members(
                getattr(sys.modules["allocation.policy.document"], inner[0]), f"{path}{name}{many}."
            )
        else:
            found.append(path + name)
    return found


def test_each_member_of_a_policy_is_described() -> None:
    named = members(PolicyDocument)
    assert "rules[].when.registration_id" in named
    assert [name for name in named if f"| `{name}` |" not in README] == []


def test_the_policy_shown_is_a_policy() -> None:
    [shown] = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    compiled = compile_policy(read_document(shown))
    assert len(compiled.rules) == 3


def test_each_option_of_run_local_is_described() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "local", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    options = set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}
    assert options
    assert [option for option in sorted(options) if option not in README] == []


def test_each_command_of_run_is_described() -> None:
    usage = subprocess.run([ROOT / "run", "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  (\w+) ", usage, re.MULTILINE)
    assert {"demo", "local", "test", "bench", "soak", "lint"} <= set(commands)
    assert [command for command in commands if f"./run {command}" not in README] == []


def test_each_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
