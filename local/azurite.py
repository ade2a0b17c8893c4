"""Azurite, Microsoft's storage emulator, serving tables only on loopback."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Self

from local.processes import Child, ChildFailed

if TYPE_CHECKING:
    from collections.abc import Callable

MAIN = Path(__file__).parent / "node/node_modules/azurite/dist/src/table/main.js"
"""What `npm ci` in local/node installs, and Node runs."""

START_SECONDS = 30.0
"""How long a start may take; it takes one second on an idle machine."""

ATTEMPTS = 5
"""How many free ports are tried."""

_HOST = "127.0.0.1"
_ACCOUNT = "devstoreaccount1"
_STARTED = "successfully started"
_PORT_TAKEN = "EADDRINUSE"


def unused_port() -> int:
    """A port of 127.0.0.1 that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class NotInstalled(Exception):
    """Node or Azurite is missing; the message says how to get it."""


class Azurite:
    """A running Azurite, as an async context manager.

    The account is Azurite's usual devstoreaccount1. Its key is not the published one: unless one
    is given each start makes a new one, so that nothing else on the machine reads or writes these tables by
    accident, and no key stands in the tree.

    Args:
        log: where its output goes.
        port: the port to serve on; None takes a free one.
        key: of the account, in Base64; None makes a new one.
        location: a folder that keeps the tables between starts; None keeps them in memory.
        seconds: how long a start may take.
        main: Azurite's program.
        free_port: finds the free port; another process may take it before Azurite does.
    """

    def __init__(
        self,
        *,
        log: Path,
        port: int | None = None,
        key: str | None = None,
        location: Path | None = None,
        seconds: float = START_SECONDS,
        main: Path = MAIN,
        free_port: Callable[[], int] = unused_port,
    ) -> None:
        self._log = log
        self._wanted_port = port
        self._location = location
        self._seconds = seconds
        self._main = main
        self._free_port = free_port
        self.key = key or base64.b64encode(secrets.token_bytes(64)).decode()
        """Of the account: a secret."""
        self._child: Child | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        """Start it and wait until it serves.

        Raises:
            NotInstalled: Node or Azurite is missing.
            ChildFailed: it did not start; the message holds what it wrote.
        """
        node = _node()
        if not self._main.exists():
            raise NotInstalled(
                f"Azurite is not installed ({self._main} is missing): use ./run, which installs it, "
                "or `npm ci --ignore-scripts` in local/node"
            )
        attempts = 1 if self._wanted_port else ATTEMPTS
        for attempt in range(attempts):
            try:
                await self._start(node, self._wanted_port or self._free_port())
            except ChildFailed as error:
                # Another process may take a port between our look and Azurite's bind.
                if _PORT_TAKEN not in str(error) or attempt + 1 == attempts:
                    raise
            else:
                break
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.child.stop()

    @property
    def child(self) -> Child:
        """The process: whether it runs, its end, its output."""
        assert self._child is not None, "Azurite was not started"
        return self._child

    @property
    def port(self) -> int:
        """The port it serves on."""
        return self._port

    @property
    def connection_string(self) -> str:
        """What Azure's SDKs connect with."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={self.key};"
            f"TableEndpoint=http://{_HOST}:{self._port}/{_ACCOUNT};"
        )

    async def _start(self, node: str, port: int) -> None:
        storage = ["--inMemoryPersistence"]
        if self._location:
            self._location.mkdir(mode=0o700, parents=True, exist_ok=True)
            storage = ["--location", str(self._location)]
        flags = ["--tableHost", _HOST, "--tablePort", str(port), "--silent", "--disableTelemetry", *storage]
        self._child = Child(
            f"Azurite on port {port}",
            [node, str(self._main), *flags],
            log=self._log,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{_ACCOUNT}:{self.key}"},
            # Azurite saves its tables on SIGINT and on nothing else; without tables to keep, it need not.
            stop_signal=signal.SIGINT if self._location else signal.SIGTERM,
        )
        self._port = port
        await self._child.start()
        try:
            await self._child.until(self._serves, seconds=self._seconds)
        except BaseException:
            await self._child.stop()
            raise

    async def _serves(self) -> bool:
        # Its own word that it has bound the port, rather than a connection to the port: that one might be
        # answered by another process, whose port we were about to be refused.
        return _STARTED in self.child.output()


def _node() -> str:
    node = os.environ.get("NODE") or shutil.which("node")
    if not node:
        raise NotInstalled(
            "Node is not installed: use ./run, which finds or installs it, or set NODE to its path"
        )
    return node
