"""The wire without sockets: emulators by their host names, with a client's patience."""

import asyncio
from collections.abc import Mapping

import httpx

from local.faults.asgi import App
from local.world import Clock


class InProcess(httpx.AsyncBaseTransport):
    """Carries calls to ASGI applications in this process.

    Unlike httpx.ASGITransport it knows many hosts, keeps each request's read timeout (by `clock`), and
    leaves a call whose client has given up running: a real service carries it out all the same.
    """

    def __init__(self, apps: Mapping[str, App], clock: Clock) -> None:
        """Make it.

        Args:
            apps: by host name, in lower case.
            clock: what timeouts are measured by.
        """
        self._transports = {host: httpx.ASGITransport(app) for host, app in apps.items()}
        self._clock = clock
        self._running: set[asyncio.Task[httpx.Response]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one call.

        Raises:
            httpx.ConnectError: there is no such host.
            httpx.ReadTimeout: no answer within the request's read timeout.
            httpx.TransportError: a fault's.
        """
        transport = self._transports.get(request.url.host)
        if transport is None:
            raise httpx.ConnectError(f"{request.url.host} cannot be found", request=request)
        call = asyncio.ensure_future(transport.handle_async_request(request))
        self._running.add(call)
        call.add_done_callback(self._ended)
        patience = request.extensions.get("timeout", {}).get("read")
        if patience is None:
            return await asyncio.shield(call)
        alarm = asyncio.ensure_future(self._clock.sleep(patience))
        try:
            await asyncio.wait((call, alarm), return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
        if not call.done():
            raise httpx.ReadTimeout("The read operation timed out", request=request)
        return call.result()

    async def aclose(self) -> None:
        """End the calls whose clients have given up."""
        for call in tuple(self._running):
            call.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, call: asyncio.Task[httpx.Response]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            call.exception()  # nobody else may ask for it any more
