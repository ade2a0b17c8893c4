"""The commands of the pages, typed against `./run local`: they work, and print what stands there."""

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.field import Field, Operator, stack
from tests.docs.pages import DOCS, README, blocks

PAGES = [page for page in (README, *DOCS) if any(block.mark == "run" for block in blocks(page))]
LONG = ("rotate-keys", "webhook-key")
"""Rotations are paced by the machine's clock. Last, too: the very last replaces the state file's key."""
PAGES.sort(key=lambda page: (page.stem in LONG, page.stem))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stack, as README's first block starts it."""
    [start] = [block for block in blocks(README) if block.mark == "stack"]
    [command] = start.commands
    run, local, *arguments = shlex.split(command)
    assert (run, local) == ("./run", "local")
    with stack(arguments, tmp_path_factory.mktemp("stack")) as file:
        yield file


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=[pytest.mark.soak] * (page.stem in LONG)) for page in PAGES],
)
def test_each_command_of_a_page_works_and_prints_what_stands_there(
    page: Path, state: Path, tmp_path: Path
) -> None:
    with ExitStack() as ends:
        field = Field(state, ends.enter_context(Operator(state, tmp_path)), tmp_path)
        field.clear()
        for block in blocks(page):
            if block.mark == "file":
                field.write(block)
            elif block.mark == "run":
                field.prepare(block)
                said = field.run(block)
                assert block.shown is None or agrees(block.shown, said), (
                    f"{page.name}:{block.line} prints\n{said}"
                )


def agrees(shown: str, said: str) -> bool:
    """Whether a page shows what was printed: … stands for any text, on a line of its own for any lines."""
    lines = [line.rstrip() for line in shown.splitlines()]
    pattern = "".join(
        r"(?:[^\n]*\n)*?"
        if line == "…"
        else re.escape(" ".join(line.split())).replace("…", r"[^\n]*?") + r"\n"
        for line in lines
    )
    flat = "".join(" ".join(line.split()) + "\n" for line in said.splitlines())
    return re.fullmatch(pattern, flat) is not None
