"""The connections: TLS on loopback, one session for each client, keep-alive, limits."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from local.asgi import Request, Response
from local.mqtt import codec
from local.mqtt.behaviour import MqttBehaviour
from local.mqtt.codec import MalformedError
from local.mqtt.packets import Connack, ConnackCode, Connect, Disconnect, Packet
from local.mqtt.session import Answer, Session, accepted, open_session
from local.serve import Address
from local.tls_peer import PEER_CHAIN, PeerTls
from local.world import Clock, SystemClock, World, within

if TYPE_CHECKING:
    from local.dps.service import ProvisioningService
    from local.tls import ServerCertificate

_log = logging.getLogger(__name__)
_GRACE = 1.5
"""A client is given up after that many times its keep-alive without a packet [3.1.2.10]."""


@contextlib.asynccontextmanager
async def serve_mqtt(
    dps: "ProvisioningService",
    certificate: "ServerCertificate",
    *,
    port: int = 0,
    behaviour: MqttBehaviour | None = None,
    answer: Answer | None = None,
) -> AsyncIterator[Address]:
    """Serve a service's devices over MQTT on 127.0.0.1 until the block ends.

    Args:
        dps: whose device API answers.
        certificate: what to show.
        port: DPS's own is 8883, and some clients know no other; 0 takes any free one.
        behaviour: the choices on what the facts leave open.
        answer: stands in front of the device API; None: `device_api(dps)`, which such a one calls.

    Raises:
        OSError: the port is taken or not allowed.
    """
    connections = Connections(
        answer or device_api(dps),
        world=dps.world,
        name=dps.name,
        behaviour=behaviour or MqttBehaviour(),
    )
    async with connections.listening(PeerTls(certificate), port) as bound:
        yield bound


def device_api(dps: "ProvisioningService") -> Answer:
    """A service's own device API, as it is over HTTPS."""

    async def answer(request: Request, *, keep: bool = True) -> Response | None:
        return dps.asgi.handle(request, keep=keep)

    return answer


class Connections:
    """All connections of one endpoint.

    The journal tells of each CONNECT, with the CONNACK code as its status; the operations are told of by
    `answer` as they are over HTTPS. Silence is measured by `timer`, not by the world's clock: the clients'
    own keep-alive goes by real time, and moving the world on by an hour must not cut their connections.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        world: World,
        name: str,
        behaviour: MqttBehaviour,
        timer: Clock | None = None,
    ) -> None:
        self._answer = answer
        self._world = world
        self._timer = timer or SystemClock()
        self._name = name
        self._behaviour = behaviour
        self._open: set[asyncio.Task[None]] = set()
        self._clients: dict[str, asyncio.StreamWriter] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.asynccontextmanager
    async def listening(self, peers: PeerTls | None, port: int) -> AsyncIterator[Address]:
        """Take connections until the block ends, then end them all. Without `peers` there is no TLS."""

        def streams() -> asyncio.Protocol:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=16 * 1024), self.take)

        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            streams if peers is None else lambda: peers.around(streams), "127.0.0.1", port, backlog=2048
        )
        try:
            scheme = "mqtts" if peers else "mqtt"
            yield Address(server.sockets[0].getsockname()[1], scheme)
        finally:
            server.close()
            if peers is not None:
                peers.close()
            running = tuple(self._open)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await server.wait_closed()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end. Nothing that comes over it raises."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._behaviour.connection_limit:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            await self._serve(reader, writer)
        except MalformedError as error:
            _log.info("an MQTT connection ends: %s", error)
        except (OSError, TimeoutError):
            pass  # the client is gone, or silent
        except asyncio.CancelledError:
            pass  # the server stops; nobody waits for this task's outcome
        except Exception:  # noqa: BLE001 - a mistake of the emulator must end one connection, not the server
            _log.exception("the emulator failed on an MQTT connection")
        finally:
            self._open.discard(task)
            # Not a close in good order: a client that reads nothing could hold that up for ever.
            await _end(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = codec.read(reader, self._behaviour.connect_limit)
        try:
            packet = await within(self._timer, self._behaviour.connect_patience, first)
        except codec.UnacceptableProtocolError:
            await _send(writer, Connack(ConnackCode.UNACCEPTABLE_PROTOCOL))
            raise
        if packet is None:
            return
        if not isinstance(packet, Connect):
            raise MalformedError("the first packet is not CONNECT")
        chain = writer.get_extra_info(PEER_CHAIN) or ()
        opened = await open_session(packet, self._answer, self._behaviour, chain)
        code = opened if isinstance(opened, ConnackCode) else ConnackCode.ACCEPTED
        self._told(packet, code)
        if isinstance(opened, ConnackCode):
            await _send(writer, Connack(opened))
            return
        former = self._clients.pop(opened.client_key, None)
        if former is not None:
            former.transport.abort()  # one session for each client id [3.1.4]
        self._clients[opened.client_key] = writer
        try:
            await _send(writer, accepted())
            await self._converse(opened, packet.keep_alive, reader, writer)
        finally:
            if self._clients.get(opened.client_key) is writer:
                del self._clients[opened.client_key]

    async def _converse(
        self, session: Session, keep_alive: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            coming = codec.read(reader, self._behaviour.packet_limit)
            if keep_alive:
                packet = await within(self._timer, keep_alive * _GRACE, coming)
            else:
                packet = await coming
            if packet is None or isinstance(packet, Disconnect):
                return
            await _send(writer, *await session.receive(packet))

    def _told(self, packet: Connect, code: ConnackCode) -> None:
        """The user name holds no secret; the password is not told."""
        told = {"clientId": packet.client_id, "keepAlive": packet.keep_alive}
        path = packet.user_name or ""
        self._world.journal.record(
            self._world.clock.now(), self._name, "CONNECT", path, int(code), request=told
        )


async def _send(writer: asyncio.StreamWriter, *out: Packet) -> None:
    """Send packets at once; waits while the client does not read, which bounds what is kept for it."""
    if out:
        writer.write(b"".join(map(codec.encode, out)))
        await writer.drain()


async def _end(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
        writer.close()
        async with asyncio.timeout(1):
            await writer.wait_closed()
            return
    writer.transport.abort()
