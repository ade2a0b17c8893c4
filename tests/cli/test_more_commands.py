"""docs/commands.md tells of each command beyond the Azure CLI's, and its example is one that is read."""

import ast
import re
from pathlib import Path

import pytest

from cli.app import application
from lifecycle.enrollments.files import KeyFrom, KeysFrom, read

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "commands.md").read_text()
SECTION = PAGE.partition("## Devices, certificates, webhook, files\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| `([^`]+)` \| .* \| `(\w+)` \|$", SECTION, re.MULTILINE)
TESTS = {
    node.name
    for path in FOLDER.glob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
}
NOUNS = ("device", "webhook", "escrow", "export", "apply")


def test_each_command_stands_on_the_page_with_a_test_that_shows_it() -> None:
    root = application()
    have = {"enrollment-group roll-certificate", "enrollment roll-certificate"}
    for noun in NOUNS:
        verbs = [each for each in root[noun] if not each.startswith("-")]
        have |= {f"{noun} {verb}" for verb in verbs} if verbs else {noun}
    told = {re.sub(r" (--|\[|[A-Z]).*", "", command) for command, _ in ROWS}
    assert told == have
    assert {test for _, test in ROWS} <= TESTS


@pytest.mark.parametrize("noun", [*NOUNS[:3], "enrollment-group", "enrollment"])
def test_each_command_that_the_page_names_exists(noun: str) -> None:
    root = application()
    for command, _ in ROWS:
        words = command.split()
        if words[0] == noun:
            assert root[words[0]][words[1]] is not None


def test_the_example_of_a_file_is_read() -> None:
    [shown] = re.findall(r"```yaml\n(enrollmentGroupId:.*?)```", SECTION, re.DOTALL)
    [wanted] = read(shown, "commands.md")
    assert (wanted.keys, wanted.webhook_key) == (KeysFrom("keep"), KeyFrom("setting"))
