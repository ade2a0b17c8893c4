"""docs/threat-model.md: what it says is held somewhere, its commands exist, and no right is left out."""

import re
import shlex
from pathlib import Path

import pytest

from cli.app import application
from settings import TABLE
from tests.infra.reading import INFRA, template
from tests.infra.test_rights import GRANTED

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "threat-model.md"
TEXT = PAGE.read_text()
REFERENCES = sorted(set(re.findall(r"`([\w./-]+\.(?:py|bicep))::(\w+)`", TEXT)))


def test_the_page_points_at_what_holds_it() -> None:
    assert len(REFERENCES) > 60
    assert TEXT.count("::") == len(re.findall(r"`[\w./-]+\.(?:py|bicep)::\w+`", TEXT)) + TEXT.count(
        "`file::name`"
    )


@pytest.mark.parametrize(("file", "name"), REFERENCES, ids=lambda each: each.rpartition("/")[2])
def test_what_it_points_at_is_there(file: str, name: str) -> None:
    source = (ROOT / file).read_text()
    if file.startswith("tests/"):
        assert re.search(rf"^(?:async )?def {name}\(", source, re.MULTILINE)
        assert name.startswith("test_")
    elif file.endswith(".py"):
        assert re.search(rf"^\s*(?:async def {name}\(|def {name}\(|{name} =)", source, re.MULTILINE)
    else:
        assert re.search(rf"(?:\bresource {name} '|\b{name}: )", source)


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head."""
    part = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    "heading", ["Who can call what", "Hostile text", "Forged events", "Limits", "Supply chain"]
)
def test_each_row_says_what_holds_it(heading: str) -> None:
    found = rows(heading)
    assert len(found) >= 3
    assert [row for row in found if "::" not in row[-1]] == []


def test_each_right_of_the_apps_is_told_of() -> None:
    """By its assignment, or by what gives it: a right that is new must be thought about here."""
    told = {name for file, name in REFERENCES if file.endswith(".bicep")}
    by_text = {
        ("dps-access.bicep", "Reader"),  # which hubs are linked; no key is in it (clients/arm.py)
        ("monitoring.bicep", "Monitoring Metrics Publisher"),
        ("storage.bicep", "Storage Blob Data Owner"),
        ("dps-link.bicep", "IoT Hub Data Contributor"),  # the DPS's own, not ours
    }
    for file, principal, _, role in GRANTED:
        if "operators" in principal or (file, role) in by_text:
            continue
        symbols = [
            each.symbol
            for each in template(INFRA / "modules" / file).resources
            if each.type == "Microsoft.Authorization/roleAssignments" and principal in str(each.body["name"])
        ]
        assert told & set(symbols), (file, principal, role)


def test_each_stolen_thing_has_what_undoes_it() -> None:
    part = TEXT.partition("\n## What a stolen thing gives\n")[2].partition("\n## ")[0]
    things = part.split("\n### ")[1:]
    assert len(things) >= 12
    for thing in things:
        assert re.search(r"^Gives: ", thing, re.MULTILINE), thing.partition("\n")[0]
        assert re.search(r"^Undo: ", thing, re.MULTILINE), thing.partition("\n")[0]


def test_its_commands_are_there() -> None:
    commands = re.findall(r"\./run dps ([^`\n|;]+)", TEXT)
    assert len(commands) > 10
    root = application()
    for command in commands:
        root.parse_args(shlex.split(command), exit_on_error=False, print_error=False, help_on_error=False)


def test_its_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
    for page in (ROOT / "docs").glob("*.md"):
        assert set(re.findall(r"\]\(threat-model\.md#([^)]+)\)", page.read_text())) <= anchors


def test_the_settings_and_alerts_it_names_exist() -> None:
    names = set(re.findall(r"`([A-Z][A-Z_]{6,})`", TEXT)) | set(re.findall(r'"([A-Z_]+)=', TEXT))
    assert names - {setting.name for setting in TABLE} == set()
    alerts = {file.stem for file in (INFRA / "queries").glob("*.kql")}
    assert {"requests-doubted", "webhook-failing"} <= alerts
    assert all(f"`{name}`" in TEXT for name in ("requests-doubted", "webhook-failing"))
