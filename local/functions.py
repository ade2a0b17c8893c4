"""The Functions host as a child process of the stack: started, killed, started again, its log read."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from local.host.keys import EVENT_GRID_KEY
from local.processes import Child

ROOT = Path(__file__).parents[1]
"""The app, unless told otherwise: the folder that holds function_app.py and host.json."""

START_SECONDS = 60.0
"""How long a start may take on a busy machine; it takes about one second on an idle one."""


class FunctionsProcess:
    """One Functions app under local.host, which keeps its port and keys over restarts.

    Args:
        folder: where its keys, its log and its ready file live; owner-only.
        python: the interpreter.
        port: 0 takes any free one at the first start.
        settings: the app settings.
        url_settings: further ones, that have the app's own URL: by name, the path.
        app: the folder of the app.
        clock_ahead: seconds by which its date is ahead of the machine's, now and after `move_clock`; None:
            it has the machine's and cannot be moved.
    """

    def __init__(
        self,
        *,
        folder: Path,
        python: str,
        port: int,
        settings: Mapping[str, str],
        url_settings: Mapping[str, str] | None = None,
        app: Path = ROOT,
        clock_ahead: float | None = None,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._python = python
        self._port = port
        self._settings = dict(settings)
        self._url_settings = dict(url_settings or {})
        self._app = app
        self._clock_ahead = clock_ahead
        self._ready_file = folder / "ready.json"
        self._log = folder / "host.log"
        self._past_logs: list[str] = []
        self._ready: Mapping[str, Any] = {}
        self.child: Child | None = None

    async def start(self) -> None:
        """Start it and wait until its functions answer.

        Raises:
            ChildFailed: it ended instead, or took too long; the message holds the end of its log.
        """
        self._ready_file.unlink(missing_ok=True)
        if self._log.exists():
            self._past_logs.append(self._log.read_text(errors="replace"))
        given = [f"--setting={name}={value}" for name, value in self._settings.items()]
        given += [f"--url-setting={name}={path}" for name, path in self._url_settings.items()]
        if self._clock_ahead is not None:
            given.append(f"--clock-ahead={self._clock_ahead!r}")
        # Settings of the shell that started us must not reach the app.
        environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
        }
        self.child = Child(
            "the Functions host",
            [
                *(self._python, "-m", "local.host", "--app", str(self._app), "--port", str(self._port)),
                *("--state", str(self._folder), "--ready-file", str(self._ready_file), *given),
            ],
            log=self._log,
            env=environment,
            cwd=ROOT,
        )
        await self.child.start()
        try:
            await self.child.until(self._is_ready, seconds=START_SECONDS)
        except BaseException:
            await self.child.stop()
            raise
        self._ready = json.loads(self._ready_file.read_text())
        self._port = int(self._ready["port"])

    async def move_clock(self, ahead: float) -> None:
        """Put its date so many seconds ahead of the machine's, now and after every start.

        When this returns, the timers that became due have been started. A process that does not run gets
        the date at its next start.

        Raises:
            RuntimeError: it refused; its log says why.
        """
        if self.child is not None and self.child.running:
            async with httpx.AsyncClient(trust_env=False) as http:
                answer = await http.post(
                    f"{self.url}/admin/local/clock",
                    json={"ahead": ahead},
                    headers={"x-functions-key": self.master_key},
                )
            if answer.status_code != 200:
                raise RuntimeError(
                    f"the Functions host did not move its clock ({answer.status_code}): was it started "
                    "with clock_ahead?"
                )
        self._clock_ahead = ahead

    async def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self.child:
            await self.child.stop(0)

    async def stop(self) -> None:
        """Ask it to end and wait."""
        if self.child:
            await self.child.stop()

    async def _is_ready(self) -> bool:
        return self._ready_file.exists()

    @property
    def url(self) -> str:
        """The host's base URL."""
        return str(self._ready["url"])

    @property
    def master_key(self) -> str:
        """Opens every function and the admin endpoints."""
        return str(self._ready["master_key"])

    @property
    def function_keys(self) -> Mapping[str, str]:
        """The key that each function has from the start; it may have been deleted since."""
        keys: Mapping[str, str] = self._ready.get("function_keys", {})
        return keys

    @property
    def system_keys(self) -> Mapping[str, str]:
        """Keys of the extensions, by their names."""
        keys: Mapping[str, str] = self._ready["system_keys"]
        return keys

    def function_url(self, function: str, route: str) -> str:
        """The URL of an HTTP function with its own key in it, as DPS is given it."""
        return f"{self.url}/api/{route}?code={self._ready['function_keys'][function]}"

    def has(self, function: str, trigger: str) -> bool:
        """Whether the app has a function of that name and kind of trigger."""
        return any(
            (each["name"], each["trigger"]) == (function, trigger) for each in self._ready["functions"]
        )

    def event_url(self, function: str) -> str:
        """The URL of an Event Grid function with its key in it, as an event subscription is given it."""
        key = self.system_keys[EVENT_GRID_KEY]
        return f"{self.url}/runtime/webhooks/eventgrid?functionName={function}&code={key}"

    def logged(self, event: str, **fields: str) -> dict[str, Any] | None:
        """The latest structured log event of that name with these fields; None if there is none."""
        return next((told for told in self._events() if _matches(told, {"event": event, **fields})), None)

    def log_text(self) -> str:
        """All it wrote to its log and printed, in this run and those before."""
        return "".join(self._logs())

    def _logs(self) -> list[str]:
        return [*self._past_logs, self._log.read_text(errors="replace") if self._log.exists() else ""]

    def all_logged(self, event: str, **fields: str) -> list[dict[str, Any]]:
        """Every structured log event of that name with these fields, oldest first."""
        return [told for told in self._events() if _matches(told, {"event": event, **fields})][::-1]

    def _events(self) -> Iterator[dict[str, Any]]:
        """The app's structured events, newest first."""
        for log in reversed(self._logs()):
            for line in reversed(log.splitlines()):
                start = line.find('{"event":')
                if start >= 0:
                    told: dict[str, Any] = json.loads(line[start:])
                    yield told


def _matches(told: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return all(told.get(name) == value for name, value in wanted.items())
