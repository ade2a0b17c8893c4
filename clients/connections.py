"""The HTTP connections that all clients of one process share, made at the first call."""

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.http import Client, Transport


class Connections:
    """Makes one HTTP client when it is first needed: httpx and the certificates take a while to load."""

    def __init__(self, *, ca_file: Path | None = None, transport: "Transport | None" = None) -> None:
        """Make nothing yet.

        Args:
            ca_file: PEM file of the only certificate authorities to trust; None trusts certifi's.
            transport: what carries the requests instead of the network (tests).
        """
        self._ca_file = ca_file
        self._transport = transport
        self._client: Client | None = None
        self._making = threading.Lock()

    async def client(self) -> "Client":
        """The client. Importing and reading certificates happen off the event loop."""
        client = self._client
        return client if client is not None else await asyncio.to_thread(self.open)

    def open(self) -> "Client":
        """The client, made here and now if need be; from any thread."""
        with self._making:
            if self._client is None:
                from clients.http import http_client  # noqa: PLC0415 - put off to the first call

                self._client = http_client(ca_file=self._ca_file, transport=self._transport)
            return self._client

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        client, self._client = self._client, None
        if client:
            await client.aclose()
