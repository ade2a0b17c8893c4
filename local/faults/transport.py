"""Faults in front of an httpx transport: for the calls that leave an emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.faults.register import Faults
    from local.faults.rules import Fault
    from local.faults.shapes import Shape
    from local.world import Clock


class FaultyTransport(httpx.AsyncBaseTransport):
    """A transport whose calls are met by rules. Skews do nothing here: there is no clock on this side.

    The read timeout of each request counts, by the world's clock: a delay beyond it ends as the timeout it
    would be on a socket, and a call that was to be carried out later is then never made.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, faults: Faults, service: str, shape: Shape) -> None:
        self._inner = inner
        self._faults = faults
        self._service = service
        self._shape = shape

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one call.

        Raises:
            httpx.TransportError: the inner one's, or a fault's.
        """
        met = self._faults.meet(self._service, request.method, request.url.path, skews=False)
        clock = self._faults.world.clock
        await _pause(met.slow(late=False), clock, request)
        end = met.end(late=False)
        if end is not None:
            return await self._end(end, request, None)
        response = await self._inner.handle_async_request(request)
        await _pause(met.slow(late=True), clock, request)
        end = met.end(late=True)
        return response if end is None else await self._end(end, request, response)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()

    async def _end(
        self, fault: Fault, request: httpx.Request, response: httpx.Response | None
    ) -> httpx.Response:
        if fault.kind == "half":
            assert response is not None
            return await _halved(response, fault.octets, request)
        if response is not None:
            await response.aclose()
        match fault.kind:
            case "status":
                answer = self._shape(fault.status, fault.retry_after, self._faults.world)
                return httpx.Response(answer.status, headers=answer.headers, content=answer.body)
            case "stall":
                await _pause(float("inf"), self._faults.world.clock, request)
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)


async def _pause(seconds: float, clock: Clock, request: httpx.Request) -> None:
    if seconds <= 0:
        return
    patience = request.extensions.get("timeout", {}).get("read")
    if patience is not None and seconds > patience:
        await clock.sleep(patience)
        _time_out(request)
    while seconds > _LONGEST:
        await clock.sleep(_LONGEST)
    await clock.sleep(seconds)


_LONGEST = 86_400.0


def _time_out(request: httpx.Request) -> NoReturn:
    raise httpx.ReadTimeout("The read operation timed out", request=request)


async def _halved(response: httpx.Response, octets: int | None, request: httpx.Request) -> httpx.Response:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    body = b"".join([part async for part in response.stream])
    await response.aclose()
    part = body[: len(body) // 2 if octets is None else octets]
    return httpx.Response(response.status_code, headers=response.headers, stream=_Half(part, body, request))


class _Half(httpx.AsyncByteStream):
    def __init__(self, part: bytes, body: bytes, request: httpx.Request) -> None:
        self._part = part
        self._whole = len(body)
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._part
        raise httpx.RemoteProtocolError(
            "peer closed connection without sending complete message body "
            f"(received {len(self._part)} bytes, expected {self._whole})",
            request=self._request,
        )
