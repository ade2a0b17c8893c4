"""The calls that leave the emulated services: to the webhook of DPS and to those of Event Grid."""

import asyncio
import time

import httpx

from local.faults import Faults

_QUIET_SECONDS = 0.25
_SETTLE_SECONDS = 0.005


class Outgoing:
    """Makes HTTP clients that carry calls through the faults, and knows how many are on the wire."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._calling = 0

    def client(self, service: str) -> httpx.AsyncClient:
        """A client without bounds on its connections; `service` is what faults call its calls."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        wire = _Counted(self, httpx.AsyncHTTPTransport(trust_env=False, limits=limits))
        return httpx.AsyncClient(transport=self._faults.transport(wire, service))

    async def settle(self) -> None:
        """Let the calls on the wire be answered, for a quarter of a second of real time at most.

        For whoever moves the clock: a call that takes a millisecond must not look as if it took minutes.
        One that a fault holds back is not on the wire and is not waited for.
        """
        await asyncio.sleep(_SETTLE_SECONDS)
        patience = time.monotonic() + _QUIET_SECONDS
        while self._calling and time.monotonic() < patience:
            await asyncio.sleep(0.001)

    def began(self) -> None:
        """A call went out."""
        self._calling += 1

    def ended(self) -> None:
        """A call was answered, or failed."""
        self._calling -= 1


class _Counted(httpx.AsyncBaseTransport):
    def __init__(self, outgoing: Outgoing, wire: httpx.AsyncBaseTransport) -> None:
        self._outgoing = outgoing
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._outgoing.began()
        try:
            return await self._wire.handle_async_request(request)
        finally:
            self._outgoing.ended()

    async def aclose(self) -> None:
        await self._wire.aclose()
