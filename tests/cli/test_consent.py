"""Nothing changes before somebody has seen what changes and agreed."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.app import main
from cli.terminal import Terminal
from tests.cli.rig import Ran, Rig
from tests.cli.rig_clients import azure
from tests.local.dps.rig import OTHER_KEY, group

UPDATE = ("enrollment-group", "update", "--eid", "g1")
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def put(rig: Rig, **members: Any) -> None:
    await azure(rig, lambda client: client.enrollment_group.create_or_update("g1", group("g1", **members)))


async def status(rig: Rig) -> str:
    return str(await azure(rig, lambda client: client.enrollment_group.get("g1")["provisioningStatus"]))


class Person:
    """Somebody at a pseudo-terminal."""

    def __init__(self, keyboard: int) -> None:
        self._keyboard = keyboard
        self.seen = ""

    async def sees(self, text: str) -> None:
        async def read() -> None:
            while text not in self.seen:
                self.seen += (await asyncio.to_thread(os.read, self._keyboard, 65536)).decode()

        await asyncio.wait_for(read(), 20)

    def types(self, text: str) -> None:
        os.write(self._keyboard, text.encode())


@asynccontextmanager
async def at_terminal(
    rig: Rig, *words: str, **environment: str
) -> AsyncIterator[tuple[Person, asyncio.Task[Ran]]]:
    """A command whose questions go to a person; its results to a file."""
    keyboard, screen = os.openpty()
    out = io.StringIO()
    with os.fdopen(screen, "r+b", buffering=0) as raw:
        stream = io.TextIOWrapper(raw, write_through=True)
        terminal = Terminal(
            stdin=stream, stdout=out, stderr=stream, environment={"TERM": "xterm", "COLUMNS": "80"}
        )

        def work() -> Ran:
            code = main(["--state", str(rig.state), *words], terminal=terminal, environment=environment)
            return Ran(code, out.getvalue(), "")

        running = asyncio.create_task(asyncio.to_thread(work))
        yield Person(keyboard), running
        await asyncio.wait_for(running, 20)
        stream.detach()
    os.close(keyboard)


async def test_a_change_is_shown_and_made_when_agreed_to(rig: Rig) -> None:
    await put(rig)
    async with at_terminal(rig, *UPDATE, "--ps", "disabled") as (person, running):
        await person.sees("go on? [y/N]")
        assert '- provisioningStatus: "enabled"' in person.seen
        assert '+ provisioningStatus: "disabled"' in person.seen
        assert await status(rig) == "enabled"
        person.types("y\n")
        assert (await running).code == 0
    assert await status(rig) == "disabled"


@pytest.mark.parametrize("answer", ["n\n", "\n", "what?\n", "\x04"])
async def test_nothing_but_yes_is_consent(rig: Rig, answer: str) -> None:
    await put(rig)
    async with at_terminal(rig, *UPDATE, "--ps", "disabled") as (person, running):
        await person.sees("go on? [y/N]")
        person.types(answer)
        assert (await running).code == 7
    assert await status(rig) == "enabled"


async def test_what_somebody_else_changes_meanwhile_is_kept_and_no_second_question_asked(rig: Rig) -> None:
    await put(rig)
    async with at_terminal(rig, *UPDATE, "--ps", "disabled") as (person, running):
        await person.sees("go on? [y/N]")
        other = await azure(rig, lambda client: dict(client.enrollment_group.get("g1")))
        other = {**other, "initialTwin": {"tags": {"site": "n"}}, "attestation": group()["attestation"]}
        await azure(
            rig,
            lambda client: client.enrollment_group.create_or_update("g1", other, if_match=other["etag"]),
        )
        person.types("y\n")
        assert (await running).code == 0
    made = await azure(rig, lambda client: dict(client.enrollment_group.get("g1")))
    assert (made["provisioningStatus"], made["initialTwin"]) == ("disabled", {"tags": {"site": "n"}})


async def test_another_difference_is_asked_about_again(rig: Rig) -> None:
    await put(rig)
    async with at_terminal(rig, *UPDATE, "--tags", '{"site": "s"}') as (person, running):
        await person.sees("go on? [y/N]")
        other = await azure(rig, lambda client: dict(client.enrollment_group.get("g1")))
        other = {**other, "initialTwin": {"tags": {"site": "n"}}, "attestation": group()["attestation"]}
        await azure(
            rig,
            lambda client: client.enrollment_group.create_or_update("g1", other, if_match=other["etag"]),
        )
        person.types("y\n")
        await person.sees('- initialTwin.tags.site: "n"')
        person.types("n\n")
        assert (await running).code == 7
    made = await azure(rig, lambda client: dict(client.enrollment_group.get("g1")))
    assert made["initialTwin"] == {"tags": {"site": "n"}}


async def test_without_a_terminal_and_without_yes_nothing_changes(rig: Rig) -> None:
    await put(rig)
    for words in (
        (*UPDATE, "--ps", "disabled"),
        ("enrollment-group", "delete", "--eid", "g1", "--discard-keys"),
    ):
        ran = await rig.run(*words, stdin="y\n")
        assert (ran.code, "--yes" in ran.err, "--dry-run" in ran.err) == (7, True, True)
    assert await status(rig) == "enabled"


async def test_a_dry_run_shows_and_writes_nothing(rig: Rig) -> None:
    await put(rig)
    for words in (
        (*UPDATE, "--ps", "disabled", "--sk", OTHER_KEY),
        ("enrollment-group", "create", "--eid", "g2"),
        ("enrollment-group", "delete", "--eid", "g1", "--discard-keys"),
        ("enrollment", "create", "--eid", "d", "--at", "symmetricKey", "--yes"),
    ):
        ran = await rig.run(*words, "--dry-run")
        assert (ran.code, ran.out, "nothing was changed" in ran.err) == (0, "", True)
        assert ("- " in ran.err or "+ " in ran.err, OTHER_KEY in ran.err) == (True, False)
    assert not [call for call in rig.calls if call.startswith("DELETE")]
    assert len([call for call in rig.calls if call.startswith("PUT")]) == 1  # that of `put`


async def test_ctrl_c_at_the_question_ends_at_once_and_changes_nothing(rig: Rig) -> None:
    await put(rig)
    keyboard, screen = os.openpty()
    process = subprocess.Popen(  # noqa: ASYNC220 - asyncio's would take the terminal's place
        [sys.executable, "-m", "cli", "--state", str(rig.state), *UPDATE, "--ps", "disabled"],
        cwd=ROOT,
        stdin=screen,
        stderr=screen,
        stdout=subprocess.DEVNULL,
    )
    try:
        person = Person(keyboard)
        await person.sees("go on? [y/N]")
        process.send_signal(signal.SIGINT)
        await person.sees("interrupted")
        assert await asyncio.to_thread(process.wait, 20) == 130
        assert "Traceback" not in person.seen
    finally:
        process.kill()
        process.wait()
        os.close(screen)
        os.close(keyboard)
    assert await status(rig) == "enabled"
