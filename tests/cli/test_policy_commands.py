"""docs/commands.md tells of each command and option of the policy, with a test that shows it."""

import ast
import re
from inspect import Parameter
from pathlib import Path

import pytest

from allocation.fleet_file import FleetFile, FleetHub
from cli.app import application

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "commands.md").read_text()
SECTION = PAGE.partition("## Policy, hubs, simulation\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| `([^`]+)` \| .* \| `(\w+)` \|$", SECTION, re.MULTILINE)
ELSEWHERE = {"--yes", "--dry-run"}
TESTS = {
    node.name
    for path in FOLDER.glob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.AsyncFunctionDef)
}


def commands() -> set[str]:
    root = application()
    nouns = {
        f"{noun} {verb}" for noun in ("policy", "hub") for verb in root[noun] if not verb.startswith("-")
    }
    return nouns | {"explain", "simulate"}


def test_each_command_stands_on_the_page_with_a_test_that_shows_it() -> None:
    assert {re.sub(r" (\[|[A-Z]).*", "", command) for command, _ in ROWS} == commands()
    assert {test for _, test in ROWS} <= TESTS


@pytest.mark.parametrize("command", sorted(commands()))
def test_each_option_stands_there(command: str) -> None:
    app = application()
    for word in command.split():
        app = app[word]
    arguments = [each for each in app.assemble_argument_collection() if each.parse]
    # What may stand alone has an option's name too: --file, --hub, --draft.
    named = {
        each.names[0] for each in arguments if each.field_info.kind is Parameter.KEYWORD_ONLY
    } - ELSEWHERE
    assert [name for name in sorted(named) if f"`{name}" not in SECTION] == []


@pytest.mark.parametrize("model", [FleetFile, FleetHub])
def test_each_member_of_a_fleet_file_is_described(model: type[FleetFile] | type[FleetHub]) -> None:
    prefix = "hubs[]." if model is FleetHub else ""
    for name, field in model.model_fields.items():
        assert f"| `{prefix}{name}` | {field.description} |" in PAGE
