"""All that the Azure CLI's reference has is here, under its names; docs/commands.md says what shows it."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from cli.app import application
from cli.errors import ExitCode
from tests.cli.seeds import COMMANDS, Parameter

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "commands.md").read_text()
TESTS = {
    node.name
    for path in FOLDER.glob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
}
PARAMETERS = sorted({parameter for found in COMMANDS.values() for parameter in found})


def rows(heading: str) -> list[list[str]]:
    """The cells of the page's table whose first column has that heading."""
    _, _, table = PAGE.partition(f"| {heading} |")
    lines = table.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names_of(cells: list[str]) -> set[str]:
    return set(re.findall(r"`(--?[a-z-]+)`", cells[0]))


def options(root: App, command: str) -> dict[str, Any]:
    """Name -> its argument, those of every command among them."""
    app = root
    for word in command.split():
        app = app[word]
    arguments = [*app.assemble_argument_collection(), *root.meta.assemble_argument_collection()]
    return {name: argument for argument in arguments if argument.parse for name in argument.names}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_the_options_of_the_reference_with_their_values(command: str) -> None:
    root = application()
    have = options(root, command)
    for names, values in COMMANDS[command]:
        if names == ("--help", "-h"):
            assert set(names) <= set(root.help_flags)
            continue
        held = [have.get(name) for name in names]
        assert all(argument is not None and argument is held[0] for argument in held), names
        assert set(values) <= set(held[0].parameter.choices or ())  # type: ignore[union-attr]  # asserted above


def test_the_page_has_each_command_of_the_reference_with_what_shows_it() -> None:
    told = {cells[0].strip("`"): cells[-1] for cells in rows("az iot dps …")}
    assert told.keys() == COMMANDS.keys()
    for command, shown in told.items():
        tests = re.findall(r"`(test_\w+)`", shown)
        assert tests, command
        assert set(tests) <= TESTS, command


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter[0][0])
def test_the_page_has_each_option_of_the_reference_with_what_shows_it(parameter: Parameter) -> None:
    names, values = parameter
    described = [cells for cells in rows("option") if names_of(cells) >= set(names)]
    described.sort(
        key=lambda cells: len(names_of(cells))
    )  # a group's id has the names of a device's, and more
    assert described, names
    assert described[1:] == [] or len(names_of(described[0])) < len(names_of(described[1]))
    _, meaning, shown = described[0]
    assert all(f"`{value}`" in meaning for value in values)
    tests = re.findall(r"`(test_\w+)`", shown)
    assert tests, names
    assert set(tests) <= TESTS


def test_the_page_has_each_exit_code_with_its_meaning() -> None:
    assert rows("exit code") == [[str(code.value), code.meaning] for code in ExitCode]


def test_the_page_has_each_option_that_the_reference_lacks() -> None:
    ours: set[str] = set()
    root = application()
    for command, parameters in COMMANDS.items():
        theirs = {name for names, _ in parameters for name in names}
        ours |= {name for name in options(root, command) if name.startswith("--")} - theirs
    assert [name for name in sorted(ours) if f"`{name}" not in PAGE] == []
