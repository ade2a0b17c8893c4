"""A device that speaks bare packets, and the endpoint it speaks to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from local.mqtt import codec
from local.mqtt.behaviour import MqttBehaviour
from local.mqtt.packets import Connack, ConnackCode, Connect, Packet, Publish, Suback, Subscribe
from local.mqtt.server import Connections, device_api
from local.mqtt.session import ANSWERS, Answer
from local.world import ManualClock
from tests.local.dps.rig import SCOPE, Rig

REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid={}"
POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={}&operationId={}"
VERSION = "2019-03-31"


def user_name(device: str, query: str = f"api-version={VERSION}&ClientVersion=a%2Fb") -> str:
    return f"{SCOPE}/registrations/{device}/{query}"


async def until(holds: Callable[[], Any]) -> None:
    """Wait in real time; there is nothing else to wait for."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Device:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *out: Packet | bytes) -> None:
        for each in out:
            self.writer.write(each if isinstance(each, bytes) else codec.encode(each))
        await self.writer.drain()

    async def next(self) -> Packet | None:
        """The next packet; None: the connection has ended."""
        async with asyncio.timeout(5):
            try:
                return await codec.read(self.reader, 1 << 20)
            except ConnectionResetError:
                return None

    async def ask(self, *out: Packet | bytes) -> Packet | None:
        await self.send(*out)
        return await self.next()

    async def message(self) -> Publish:
        got = await self.next()
        assert isinstance(got, Publish), got
        return got


class Endpoint:
    """A service's MQTT endpoint without TLS, with the rig behind it."""

    def __init__(self, rig: Rig, connections: Connections, timer: ManualClock, port: int) -> None:
        self.rig = rig
        self.timer = timer
        self.connections = connections
        self.port = port
        self._open: list[Device] = []

    async def device(self) -> Device:
        made = Device(*await asyncio.open_connection("127.0.0.1", self.port))
        self._open.append(made)
        return made

    async def connected(self, device: str = "dev-1", *, key: str | None = None, **more: Any) -> Device:
        made = await self.device()
        options: dict[str, Any] = {"password": self.rig.token(device, key).encode(), **more}
        answer = await made.ask(Connect(device, user_name(device), **options))
        assert answer == Connack(ConnackCode.ACCEPTED), answer
        return made

    async def subscribed(self, device: str = "dev-1", *, qos: int = 1, **more: Any) -> Device:
        made = await self.connected(device, **more)
        answer = await made.ask(Subscribe(1, ((ANSWERS, qos),)))
        assert answer == Suback(1, (min(qos, 1),))
        return made

    async def aclose(self) -> None:
        for each in self._open:
            each.writer.close()
        await asyncio.gather(*(each.writer.wait_closed() for each in self._open), return_exceptions=True)


@asynccontextmanager
async def endpoint(
    rig: Rig, behaviour: MqttBehaviour | None = None, answer: Answer | None = None
) -> AsyncIterator[Endpoint]:
    timer = ManualClock()
    connections = Connections(
        answer or device_api(rig.dps),
        world=rig.world,
        name=rig.dps.name,
        behaviour=behaviour or MqttBehaviour(),
        timer=timer,
    )
    async with connections.listening(None, 0) as bound:
        made = Endpoint(rig, connections, timer, bound.port)
        yield made
        await made.aclose()
