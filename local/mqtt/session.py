"""What DPS makes of one device's packets. No I/O of its own: packets in, packets out.

Registering and polling are the device API's own operations: a message becomes the request that the same
device would send over HTTPS, and its answer becomes a message. So attestation, operations, status codes
and bodies cannot differ between the two.
"""

import re
from typing import Protocol
from urllib.parse import parse_qsl, unquote

from local.asgi import Request, Response, dump
from local.dps import ids
from local.mqtt.behaviour import MqttBehaviour
from local.mqtt.codec import MalformedError
from local.mqtt.packets import (
    SUBSCRIPTION_REFUSED,
    Connack,
    ConnackCode,
    Connect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)

ANSWERS = "$dps/registrations/res/#"
"""The only topic filter (documented)."""
_REGISTER = "$dps/registrations/PUT/iotdps-register/?"
_POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?"
_USER_NAME = re.compile(r"(?P<scope>[^/]+)/registrations/(?P<id>[^/]+)/(?P<query>[^/]*)")


class Answer(Protocol):
    """The device API.

    It may take its time, and an `OSError` of it ends the connection: so faults can be put in front of it.
    """

    async def __call__(self, request: Request, *, keep: bool = True) -> Response | None:
        """Answer a request; None: never.

        One that is not to be kept is the server's own, and stays out of the journal.
        """


class ProtocolError(MalformedError):
    """A packet that the client may not send, or not now: the connection must end."""


class Session:
    """One client from its accepted CONNECT on; nothing of it outlives its connection (documented)."""

    def __init__(
        self, answer: Answer, behaviour: MqttBehaviour, *, device: "DeviceName", password: str | None
    ) -> None:
        self._answer = answer
        self._behaviour = behaviour
        self._device = device
        self._headers = {} if password is None else {"authorization": password}
        self._granted: int | None = None
        self._last_id = 0
        self._unacknowledged: set[int] = set()

    @property
    def client_key(self) -> str:
        """What tells sessions apart: registration ids count without case."""
        return ids.key(self._device.registration_id)

    async def receive(self, packet: Packet) -> list[Packet]:
        """What to send for a packet other than CONNECT and DISCONNECT.

        Raises:
            ProtocolError: the connection must end.
        """
        match packet:
            case Publish():
                return await self._publish(packet)
            case Puback(packet_id):
                self._unacknowledged.discard(packet_id)
                return []
            case Subscribe(packet_id, filters):
                return [Suback(packet_id, tuple(self._subscribe(*each) for each in filters))]
            case Unsubscribe(packet_id, names):
                if ANSWERS in names:
                    self._granted = None
                return [Unsuback(packet_id)]
            case Pingreq():
                return [Pingresp()]
            case _:
                raise ProtocolError(f"a client may not send {type(packet).__name__} here")

    def _subscribe(self, topic_filter: str, qos: int) -> int:
        if topic_filter != ANSWERS:
            return SUBSCRIPTION_REFUSED
        self._granted = min(qos, 1)  # at most 1 (documented)
        return self._granted

    async def _publish(self, message: Publish) -> list[Packet]:
        if message.qos > 1:
            raise ProtocolError("messages of QoS 2 are not taken")
        if len(message.topic.encode()) > self._behaviour.topic_limit:
            raise ProtocolError("the topic is too long")
        request, request_id = self._request(message)
        response = await self._answer(request)
        if response is None:
            return []
        acknowledged: list[Packet] = [] if message.packet_id is None else [Puback(message.packet_id)]
        return [*acknowledged, *self._reply(response, request_id)]

    def _request(self, message: Publish) -> tuple[Request, str]:
        """The request of the device API, and the `$rid` as the client wrote it, empty without one (seen)."""
        if message.topic.startswith(_REGISTER):
            given = _parameters(message.topic.removeprefix(_REGISTER))
            return self._device.request("PUT", self._headers, "register", body=message.payload), given.get(
                "$rid", ""
            )
        if message.topic.startswith(_POLL):
            given = _parameters(message.topic.removeprefix(_POLL))
            operation = unquote(given.get("operationId", ""))
            return self._device.request("GET", self._headers, "operations", operation), given.get("$rid", "")
        raise ProtocolError("nothing listens to that topic")

    def _reply(self, response: Response, request_id: str) -> list[Packet]:
        if self._granted is None:
            return []
        topic = f"{ANSWERS[:-1]}{response.status}/?$rid={request_id}"
        retry_after = response.headers.get("Retry-After")
        if retry_after is not None:
            topic += f"&retry-after={retry_after}"
        body = b"" if response.value is None else dump(response.value)
        return [Publish(topic, body, self._granted, self._packet_id() if self._granted else None)]

    def _packet_id(self) -> int:
        if len(self._unacknowledged) >= self._behaviour.unacknowledged_limit:
            raise ProtocolError("too many answers are not acknowledged")
        while True:
            self._last_id = self._last_id % 0xFFFF + 1
            if self._last_id not in self._unacknowledged:
                self._unacknowledged.add(self._last_id)
                return self._last_id


class DeviceName:
    """Who a user name says the client is: `{idScope}/registrations/{id}/api-version=…[&ClientVersion=…]`."""

    def __init__(
        self, id_scope: str, registration_id: str, api_version: str, certificates: tuple[str, ...] = ()
    ) -> None:
        self._certificates = certificates
        self.id_scope = id_scope
        self.registration_id = registration_id
        self._query = {"api-version": api_version}

    @classmethod
    def parse(cls, user_name: str, certificates: tuple[str, ...] = ()) -> "DeviceName | None":
        """None: the text is no such name. The certificates are those of the connection, as PEM texts."""
        found = _USER_NAME.fullmatch(user_name)
        if found is None:
            return None
        version = dict(parse_qsl(found["query"].removeprefix("?"), keep_blank_values=True)).get("api-version")
        if version is None:
            return None
        return cls(unquote(found["scope"]), unquote(found["id"]), version, certificates)

    def request(self, method: str, headers: dict[str, str], *more: str, body: bytes = b"") -> Request:
        """A request of the device API for this device; `more` are the path's last segments."""
        path = (self.id_scope, "registrations", self.registration_id, *more)
        return Request(method, path, self._query, headers, body, self._certificates)


async def open_session(
    packet: Connect, answer: Answer, behaviour: MqttBehaviour, certificates: tuple[str, ...] = ()
) -> Session | ConnackCode:
    """The session of a CONNECT, or why it is refused; `certificates` are the connection's, as PEM texts."""
    device = DeviceName.parse(packet.user_name or "", certificates)
    if device is None:
        return ConnackCode.BAD_USER_NAME_OR_PASSWORD
    if ids.key(packet.client_id) != ids.key(device.registration_id):
        return ConnackCode.IDENTIFIER_REJECTED
    password = None if packet.password is None else packet.password.decode("latin-1")
    if behaviour.credentials_checked == "connect":
        headers = {} if password is None else {"authorization": password}
        # A look-up attests as a registration does, and changes nothing.
        looked_up = await answer(device.request("POST", headers), keep=False)
        if looked_up is not None and looked_up.status == 401:
            return ConnackCode.NOT_AUTHORIZED
    return Session(answer, behaviour, device=device, password=password)


def accepted() -> Connack:
    """The answer to an accepted CONNECT: DPS keeps no session over a connection's end (documented)."""
    return Connack(ConnackCode.ACCEPTED, session_present=False)


def _parameters(query: str) -> dict[str, str]:
    """Names and values as written: a `$rid` goes back byte for byte."""
    return {name: value for name, _, value in (part.partition("=") for part in query.split("&"))}
