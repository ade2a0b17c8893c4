"""The faults of a run in front of the device API as MQTT clients reach it."""

import json

from local.asgi import Request, Response
from local.faults import Fault, Faults, shapes
from local.mqtt.session import Answer
from local.world import skewing


def met_by(faults: Faults, service: str, inner: Answer) -> Answer:
    """The device API with the rules in front of it.

    The same rules count as over HTTPS, by the same methods and paths. What they do is told in MQTT's words:
    a status is the one in the answer's topic; a drop, and a half (half a packet is none), end the
    connection; a stall leaves the message without an answer, and the connection open. A slow call
    holds up what its connection sends after it.

    Args:
        faults: of the run.
        service: what rules call it.
        inner: the device API.
    """

    async def answer(request: Request, *, keep: bool = True) -> Response | None:
        if not keep:  # the server's own look-up: no client sent it
            return await inner(request, keep=keep)
        met = faults.meet(service, request.method, request.path)
        clock = faults.world.clock
        with skewing(met.skew):
            if met.slow(late=False) > 0:
                await clock.sleep(met.slow(late=False))
            end = met.end(late=False)
            if end is not None:
                return _ended(end, faults)
            response = await inner(request, keep=keep)
            if met.slow(late=True) > 0:
                await clock.sleep(met.slow(late=True))
            end = met.end(late=True)
            return response if end is None else _ended(end, faults)

    return answer


def _ended(fault: Fault, faults: Faults) -> Response | None:
    match fault.kind:
        case "status":
            told = shapes.dps(fault.status, fault.retry_after, faults.world)
            return Response(told.status, json.loads(told.body), told.headers)
        case "stall":
            return None
        case _:
            raise ConnectionResetError("a fault ends the connection")
