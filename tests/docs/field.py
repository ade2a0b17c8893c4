"""What the pages speak of: a local stack, an operator who types commands, devices, and time that passes."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import create_default_context
from types import TracebackType
from typing import Any, Self

from cli.app import application
from local.admin import TOKEN_HEADER
from local.clients import CallFailedError, Device, ServiceClient, connect
from local.dps.keys import derive_key
from tests.docs.pages import ROOT, Block
from tests.docs.quick_stack import SETTINGS

SPANS = {"d": timedelta(days=1), "m": timedelta(minutes=1)}
LOOKS = 40
"""How often at most something is looked for."""
PAUSE_SECONDS = 3.0
"""Between two looks at slices, whose calls are paced by the machine's clock, whatever the date."""


@dataclass(frozen=True)
class Said:
    """What a command wrote."""

    code: int
    out: str
    err: str


@contextmanager
def stack(arguments: Sequence[str], folder: Path) -> Iterator[Path]:
    """A stack as `./run local` with these arguments starts it, in that folder; its state file."""
    given = list(arguments)
    state = folder / given[given.index("--state") + 1]
    given[given.index("--state") + 1] = str(state)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.docs.quick_stack", *given],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("ready:"):
                    break
            else:
                raise AssertionError("".join(said))
            yield state
        finally:
            process.terminate()
            process.communicate(timeout=60)


class Operator:
    """Types `./run dps …` in a folder, and agrees to what is asked."""

    def __init__(self, state: Path, folder: Path) -> None:
        self._state = state
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.docs.operator"],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder), "USER": "kim", **SETTINGS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def types(self, line: str, *, more: Sequence[str] = (), ahead: float = 0.0) -> Said:
        """One line of a page."""
        run, dps, *words = shlex.split(line)
        assert (run, dps) == ("./run", "dps"), f"not one of our commands: {line}"
        words += more
        return self._send(
            words
            if {"--yes", "--dry-run"} & set(words)
            else words + ["--yes"] * ("--yes" in options_of(words)),
            ahead,
        )

    def looks(self, line: str, *, ahead: float = 0.0) -> Said:
        """A command that asks nothing, as often as it takes."""
        return self._send(shlex.split(line), ahead)

    def _send(self, words: list[str], ahead: float) -> Said:
        stated = [] if "--state" in words else ["--state"]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        where = [
            str(self._state) if before == "--state" else word
            for before, word in zip(["", *words], words, strict=False)
        ]
        order = {"ahead": ahead, "words": [*stated, *([str(self._state)] * len(stated)), *where]}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the operator's process died of: {words}"
        return Said(**json.loads(answer))


class Field:
    """What can be so before a block, and the running of it."""

    def __init__(self, state: Path, operator: Operator, folder: Path) -> None:
        self._state: dict[str, Any] = json.loads(state.read_text())
        self._operator = operator
        self._folder = folder
        self._moved = 0.0
        self._kept: dict[str, str] = {}
        self._needs: Mapping[str, Callable[[str], object]] = {
            "enrolled": self._enroll,
            "attached": self._attach,
            "stale": self._make_stale,
            "register": self._register,
            "pass": self._pass,
            "until": self._until,
            "meanwhile": lambda _: None,
            "ends": lambda _: None,
            "with": lambda _: None,
            "keep": lambda _: None,
        }

    def clear(self) -> None:
        """What earlier pages left behind goes, so that each page tells its own story."""
        listed = self._operator.types("./run dps enrollment-group list", ahead=self._ahead())
        groups = [each["enrollmentGroupId"] for each in json.loads(listed.out)]

        async def delete(service: ServiceClient) -> None:
            for group in groups:
                await service.delete_group(group)

        asyncio.run(self._as_service(delete))
        for hub in self._state["hubs"]:
            self._operator.types(f"./run dps hub uncordon {hub}", ahead=self._moved)

    def prepare(self, block: Block) -> None:
        """Make so what the comment before a block says."""
        for word, rest in block.needs:
            assert word in self._needs, f"{block.page}:{block.line}: {word} is no word for what has to be so"
            self._needs[word](rest)

    def run(self, block: Block) -> str:
        """Type a block's commands, and return what they wrote: notes first, as on a terminal."""
        needs = dict(block.needs)
        told: list[str] = []
        with self._registering(needs.get("meanwhile", "")):
            for command in self._commands(block):
                more = shlex.split(needs.get("with", ""))
                said = self._operator.types(command, more=more, ahead=self._ahead())
                last = len(told) == len(block.commands) - 1
                assert said.code == (int(needs.get("ends", "0")) if last else 0), (
                    f"{command}\n{said.err}{said.out}"
                )
                told.append(said.err + said.out)
        if "keep" in needs:
            [(name, value)] = re.findall(rf'"({needs["keep"].lower()})": "([^"]+)"', told[-1])
            self._kept[name.upper()] = value
        return "".join(told)

    def _commands(self, block: Block) -> list[str]:
        """A block's commands, with what was kept of earlier answers in place of words like RUN."""
        names = "|".join(self._kept) or "(?!)"
        return [re.sub(rf"\b({names})\b", lambda word: self._kept[word[0]], line) for line in block.commands]

    def write(self, block: Block) -> None:
        """Make the file that a block is the content of."""
        (self._folder / block.needs[0][1]).write_text(block.text)

    def _enroll(self, words: str, **members: object) -> None:
        """GROUP…: groups with symmetric keys, where there are none of these names."""

        async def put(service: ServiceClient) -> None:
            for group in words.split():
                try:
                    await service.keys(f"enrollmentGroups/{group}")
                except CallFailedError as error:
                    if error.status != 404:
                        raise
                    new = {
                        "enrollmentGroupId": group,
                        "attestation": {"type": "symmetricKey"},
                        "allocationPolicy": "hashed",
                    }
                    await service.put_group({**new, **members})

        asyncio.run(self._as_service(put))

    def _attach(self, words: str) -> None:
        """GROUP…: the same, with this webhook."""
        definition = {"webhookUrl": self._state["functions"]["allocate_url"], "apiVersion": "2021-10-01"}
        self._enroll(words, allocationPolicy="custom", customAllocationDefinition=definition)

    def _make_stale(self, words: str) -> None:
        """GROUP: its webhook's key becomes one that the app does not have."""

        async def put(service: ServiceClient) -> None:
            url = f"{self._state['functions']['allocate_url'].partition('?')[0]}?code=replaced-long-ago"
            definition = {"webhookUrl": url, "apiVersion": "2021-10-01"}
            keys = await service.keys(f"enrollmentGroups/{words}")
            await service.put_group(
                {
                    "enrollmentGroupId": words,
                    "attestation": {"type": "symmetricKey", "symmetricKey": keys},
                    "allocationPolicy": "custom",
                    "customAllocationDefinition": definition,
                },
                etag="*",
            )

        asyncio.run(self._as_service(put))

    def _register(self, words: str) -> None:
        """GROUP DEVICE…, [STATUS]: devices register once, and end so; `assigned` if nothing is said."""
        names, _, wanted = words.partition(", ")
        group, *devices = names.split()
        for name, status in asyncio.run(self._registered(group, devices)).items():
            assert status == (wanted or "assigned"), f"{name}: {status}"

    async def _registered(self, group: str, devices: Sequence[str]) -> Mapping[str, str]:
        now, keys = self._now, dict[str, str]()

        async def read(service: ServiceClient) -> None:
            keys.update(await service.keys(f"enrollmentGroups/{group}"))

        await self._as_service(read)
        async with connect(self._dps_url, create_default_context(cafile=self._state["ca"])) as http:
            states = await asyncio.gather(
                *(
                    Device(name, derive_key(keys["primaryKey"], name), now=now).register(
                        http, self._state["dps"]["id_scope"]
                    )
                    for name in devices
                )
            )
        return {name: each["status"] for name, each in zip(devices, states, strict=True)}

    @contextmanager
    def _registering(self, words: str) -> Iterator[None]:
        """GROUP DEVICE…: devices register again and again, as long as the block is run."""
        ended = threading.Event()

        def again() -> None:
            group, *devices = words.split()
            while not ended.wait(1.0):
                asyncio.run(self._registered(group, devices))

        thread = threading.Thread(target=again)
        if words:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if words:
                thread.join()

    def _pass(self, span: str) -> None:
        """8d or 90m: so much time passes for everything."""
        self._clock({"advance": (int(span[:-1]) * SPANS[span[-1]]).total_seconds()})

    def _until(self, words: str) -> None:
        """COMMAND :: TEXT: minutes pass, the app works on its jobs, until the command says the text."""
        command, _, text = words.partition(" :: ")
        said = ""
        for _ in range(LOOKS):
            said = self._operator.looks(command, ahead=self._ahead()).out
            if text in said:
                return
            self._pass("4m")
            self._let_slices_end()
        raise AssertionError(f"{command} never says {text}, but: {said}")

    def _let_slices_end(self) -> None:
        """Wait until the app has no slice of a job under way: one that outlasts its lease is done again."""
        for _ in range(LOOKS):
            time.sleep(PAUSE_SECONDS)
            if '"running"' not in self._operator.looks("job list", ahead=self._moved).out:
                return

    def _ahead(self) -> float:
        return float(self._clock(None)["ahead"])

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._moved)

    def _clock(self, order: Mapping[str, float] | None) -> Mapping[str, Any]:
        async def call() -> Mapping[str, Any]:
            async with connect(
                self._state["admin"]["url"], create_default_context(cafile=self._state["ca"])
            ) as http:
                headers = {TOKEN_HEADER: self._state["admin"]["token"]}
                method = "POST" if order else "GET"
                answer = await http.request(method, "/clock", json=order, headers=headers, timeout=300)
                answer.raise_for_status()
                told: Mapping[str, Any] = answer.json()
                return told

        told = asyncio.run(call())
        self._moved = float(told["ahead"])
        return told

    @property
    def _dps_url(self) -> str:
        return f"https://{self._state['dps']['host']}"

    async def _as_service(self, work: Callable[[ServiceClient], Any]) -> None:
        async with connect(self._dps_url, create_default_context(cafile=self._state["ca"])) as http:
            await work(ServiceClient(http, self._state["dps"]["connection_string"], now=self._now))


def bare(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a command without the options that every command has."""
    launch, bound, _ = application().meta.parse_args(list(words), exit_on_error=False, print_error=False)
    tokens: tuple[str, ...] = launch(*bound.args, **bound.kwargs)[0]
    return tokens


def options_of(words: Sequence[str]) -> set[str]:
    """Every option that the command of these words has."""
    _, apps, _ = application().parse_commands(list(bare(words)))
    command = apps[-1]
    if command.default_command is None:
        return set()
    return {name for each in command.assemble_argument_collection() for name in each.names}
