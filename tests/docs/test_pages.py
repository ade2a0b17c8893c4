"""What the pages name exists (commands, options, settings, headings); blocks are run, or say why not."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError, MissingArgumentError

from cli.app import application
from provisioning.error_codes import error_code
from settings import TABLE
from tests.docs.field import bare
from tests.docs.pages import DOCS, README, ROOT, blocks

FOLDERS = [ROOT / "local" / "README.md", ROOT / "infra" / "README.md"]
PAGES = [README, *DOCS, *FOLDERS]
ROOT_APP = application()
MARKS = {"run", "azure", "stack", "elsewhere"}
OF_AZ = {"--resource-group", "--function-name", "--key-name", "--key-value", "--key-type"}
OF_RUN = {"--keep", "--store", "--json", "--only", "--quick"}
"""Options of the demo, the stack and the benchmark that the pages name by themselves."""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands_of(page: Path) -> Iterator[str]:
    """Each `./run dps …` of a page, in blocks and in text; not what a command printed in quotes."""
    joined = re.sub(r"\\\n\s*", "", page.read_text())
    for found in re.findall(r"(?<!\")\./run dps ([^`\n|]+)", joined):
        if not found.startswith("…"):
            words = found.replace("{noun}", "enrollment-group")  # a fix of the audit, for either
            yield re.split(r" {2,}#| …|, then |; | \|", words)[0].strip()


def parsed(words: list[str]) -> None:
    """Raise if this is no command with its options; what is left out, as in a sentence, is no error."""
    with suppress(MissingArgumentError):
        ROOT_APP.parse_args(list(bare(words)), exit_on_error=False, print_error=False, help_on_error=False)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    wrong = []
    for command in commands_of(page):
        try:
            parsed(shlex.split(command))
        except (CycloptsError, ValueError) as error:
            wrong.append(f"{command}: {error}")
    assert wrong == []


def test_a_command_or_an_option_that_is_not_there_is_found() -> None:
    for words in (["hub", "drian", "hub-a"], ["hub", "drain", "hub-a", "--by-force"], ["fleet"]):
        with pytest.raises(CycloptsError):
            parsed(words)


def nouns() -> dict[str, App]:
    root = application()
    return {name: root[name] for name in root if not name.startswith("-")}


def verbs(noun: App) -> set[str]:
    return {name for name in noun if not name.startswith("-")}


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_each_command_in_short_exists(page: Path) -> None:
    """`hub drain HUB` in a sentence: its noun is one of ours, so its verb has to be."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    known = nouns()
    for span in re.findall(r"`([a-z][a-z -]+)", text):
        noun, _, rest = span.partition(" ")
        verb = rest.split(" ")[0]
        if noun in known and re.fullmatch(r"[a-z-]+", verb) and verbs(known[noun]):
            assert verb in verbs(known[noun]), span


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_each_option_in_a_sentence_exists(page: Path) -> None:
    every = OF_AZ | OF_RUN | set(application().help_flags)
    waiting: list[App] = [application(), application().meta]
    while waiting:
        app = waiting.pop()
        waiting += [app[name] for name in app if not name.startswith("-")]
        if app.default_command is not None:
            every |= {name for each in app.assemble_argument_collection() for name in each.names}
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`(--[a-z-]+)", text)) - every == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_block_has_a_language(page: Path) -> None:
    assert [f"{block.page}:{block.line}" for block in blocks(page) if not block.language] == []


@pytest.mark.parametrize("page", [README, *DOCS], ids=named)
def test_each_block_says_what_it_is(page: Path) -> None:
    """Commands are run by the tests, or need Azure, and say so."""
    for block in blocks(page):
        where = f"{block.page}:{block.line}"
        if block.language == "sh":
            assert block.mark in MARKS, f"{where}: commands without `<!-- run -->` or the like before them"
        if block.mark == "run":
            assert block.language == "sh", where
            assert all(command.startswith("./run dps ") for command in block.commands), where
        if block.mark == "azure":
            assert re.search(r"^(az|azd) |\$\(azd ", block.text, re.MULTILINE), f"{where}: needs no Azure"


def test_there_are_blocks_of_both_kinds() -> None:
    every = [block for page in DOCS for block in blocks(page)]
    assert len([block for block in every if block.mark == "run"]) >= 40
    assert len([block for block in every if block.shown]) >= 30
    assert len([block for block in every if block.mark == "azure"]) >= 8


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_link_leads_to_a_page_and_its_heading(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]+))?\)", page.read_text()):
        if path.startswith("http"):
            continue
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), path
        assert target.is_relative_to(ROOT), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_file_that_a_page_names_exists(page: Path) -> None:
    files = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|sh|bicep|yaml|yml|json))\b[^`]*`", page.read_text())
    assert [file for file in files if not (ROOT / file).exists() and not (page.parent / file).exists()] == []


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_each_setting_that_a_page_names_exists(page: Path) -> None:
    known = {setting.name for setting in TABLE}
    prefixes = {name.partition("_")[0] for name in known}
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[a-z]+)?`", page.read_text()):
        ours = name.partition("_")[0] in prefixes and not name.startswith(
            ("DPS_FLEET_", "APPLICATIONINSIGHTS_", "PYTHON_")
        )
        assert name in known or not ours, name


def test_each_symptom_is_on_the_page_and_known() -> None:
    page = (ROOT / "docs" / "troubleshoot.md").read_text()
    for code in (400207, 400208, 400209, 401002, 404204, 404201, 429):
        assert f"`{code}`" in page
        assert error_code(code) is not None
    for code in re.findall(r"`(\d{3}|\d{6})`", page):
        assert error_code(int(code)) is not None, code


def test_every_page_is_named_in_the_table_at_the_top() -> None:
    top = README.read_text().partition("\n## What the demo shows")[0]
    table = top.partition("| page | for |")[2]
    assert [page.name for page in DOCS if f"(docs/{page.name})" not in table] == []
