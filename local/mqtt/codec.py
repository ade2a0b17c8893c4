"""The wire format of MQTT 3.1.1, both ways. Pure but for `read`."""

import asyncio
from enum import IntEnum

from local.mqtt.packets import (
    SUBSCRIPTION_REFUSED,
    Connack,
    ConnackCode,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)

PROTOCOL_NAME = "MQTT"
PROTOCOL_LEVEL = 4
_LONGEST_TEXT = 0xFFFF
_LONGEST_PACKET = 268_435_455


class MalformedError(ValueError):
    """Bytes that are no packet, or one that its sender may not send: the connection must end [4.8]."""


class UnacceptableProtocolError(MalformedError):
    """A CONNECT of another protocol or level: to be answered with code 1 [3.1.2.2]."""


class Kind(IntEnum):
    """The packet types this side of QoS 2 [2.2.1]."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


_BODILESS: dict[type[Packet], Kind] = {
    Pingreq: Kind.PINGREQ,
    Pingresp: Kind.PINGRESP,
    Disconnect: Kind.DISCONNECT,
}


async def read(stream: asyncio.StreamReader, limit: int) -> Packet | None:
    """The next packet; None at the end of the stream, also in the middle of a packet.

    Args:
        stream: where it comes from.
        limit: most bytes after the fixed header; no more are read of a larger packet.

    Raises:
        MalformedError: there is none, or one over the limit.
    """
    try:
        head = (await stream.readexactly(1))[0]
        length = 0
        for shift in (0, 7, 14, 21):
            digit = (await stream.readexactly(1))[0]
            length |= (digit & 0x7F) << shift
            if not digit & 0x80:
                break
        else:
            raise MalformedError("the length has more than four bytes")
        if length > limit:
            raise MalformedError(f"a packet of {length} bytes; {limit} are allowed")
        return decode(head, await stream.readexactly(length))
    except asyncio.IncompleteReadError:
        return None


def decode(head: int, body: bytes) -> Packet:
    """One packet from its first byte and what follows its length.

    Raises:
        MalformedError: it is none.
        UnacceptableProtocolError: a CONNECT whose level this is not.
    """
    try:
        kind = Kind(head >> 4)
    except ValueError:
        raise MalformedError(f"packet type {head >> 4} is not served") from None
    flags = head & 0x0F
    reader = _Reader(body)
    if kind is Kind.PUBLISH:
        return _publish(flags, reader)
    if flags != (0b0010 if kind in {Kind.SUBSCRIBE, Kind.UNSUBSCRIBE} else 0):
        raise MalformedError(f"{kind.name} with flags {flags:04b}")
    packet = _decode_plain(kind, reader)
    reader.end()
    return packet


def _decode_plain(kind: Kind, reader: "_Reader") -> Packet:  # noqa: PLR0911 - one for each kind
    match kind:
        case Kind.CONNECT:
            return _connect(reader)
        case Kind.CONNACK:
            return _connack(reader)
        case Kind.PUBACK:
            return Puback(reader.packet_id())
        case Kind.SUBSCRIBE:
            return _subscribe(reader)
        case Kind.SUBACK:
            return Suback(reader.packet_id(), tuple(_granted(code) for code in reader.rest()))
        case Kind.UNSUBSCRIBE:
            return _unsubscribe(reader)
        case Kind.UNSUBACK:
            return Unsuback(reader.packet_id())
        case Kind.PINGREQ:
            return Pingreq()
        case Kind.PINGRESP:
            return Pingresp()
        case _:
            return Disconnect()


def _connect(reader: "_Reader") -> Connect:
    if reader.text() != PROTOCOL_NAME or reader.byte() != PROTOCOL_LEVEL:
        raise UnacceptableProtocolError("not MQTT 3.1.1")
    flags = reader.byte()
    has_name, has_password, retain = bool(flags & 0x80), bool(flags & 0x40), bool(flags & 0x20)
    qos, has_will, clean = flags >> 3 & 3, bool(flags & 0x04), bool(flags & 0x02)
    if flags & 1 or qos == 3 or (not has_will and (qos or retain)) or (has_password and not has_name):
        raise MalformedError(f"CONNECT with flags {flags:08b}")
    keep_alive = reader.number()
    client_id = reader.text()
    will = Will(_name(reader.text()), reader.binary(), qos, retain) if has_will else None
    user_name = reader.text() if has_name else None
    password = reader.binary() if has_password else None
    return Connect(client_id, user_name, password, keep_alive, clean, will)


def _connack(reader: "_Reader") -> Connack:
    present, code = reader.byte(), reader.byte()
    if present > 1 or code > max(ConnackCode):
        raise MalformedError("CONNACK with reserved bits")
    return Connack(ConnackCode(code), bool(present))


def _publish(flags: int, reader: "_Reader") -> Publish:
    qos, duplicate, retain = flags >> 1 & 3, bool(flags & 8), bool(flags & 1)
    if qos == 3 or (duplicate and not qos):
        raise MalformedError(f"PUBLISH with flags {flags:04b}")
    topic = _name(reader.text())
    packet_id = reader.packet_id() if qos else None
    return Publish(topic, reader.rest(), qos, packet_id, duplicate, retain)


def _subscribe(reader: "_Reader") -> Subscribe:
    packet_id, filters = reader.packet_id(), []
    while reader.left:
        topic_filter, qos = reader.text(), reader.byte()
        if not topic_filter or qos > 2:
            raise MalformedError("SUBSCRIBE with a filter or a QoS that is none")
        filters.append((topic_filter, qos))
    if not filters:
        raise MalformedError("SUBSCRIBE without a topic filter")
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(reader: "_Reader") -> Unsubscribe:
    packet_id, filters = reader.packet_id(), []
    while reader.left:
        filters.append(reader.text())
    if not all(filters) or not filters:
        raise MalformedError("UNSUBSCRIBE without a topic filter")
    return Unsubscribe(packet_id, tuple(filters))


def _granted(code: int) -> int:
    if code > 2 and code != SUBSCRIPTION_REFUSED:
        raise MalformedError(f"SUBACK with code {code}")
    return code


def _name(topic: str) -> str:
    """A topic that is a name, not a filter [4.7.1]."""
    if not topic or "#" in topic or "+" in topic:
        raise MalformedError("a topic name is empty or holds a wildcard")
    return topic


class _Reader:
    """The fields of one packet, in order."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise MalformedError("a field runs past the end of its packet")
        self._at += count
        return self._body[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2))

    def packet_id(self) -> int:
        packet_id = self.number()
        if not packet_id:
            raise MalformedError("packet identifier 0")
        return packet_id

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        """UTF-8 without NUL and surrogates [1.5.3]."""
        try:
            text = self.binary().decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedError("a text is not UTF-8") from None
        if "\0" in text:
            raise MalformedError("a text holds NUL")
        return text

    def rest(self) -> bytes:
        return self.take(self.left)

    def end(self) -> None:
        if self.left:
            raise MalformedError(f"{self.left} bytes after the end of a packet")


def encode(packet: Packet) -> bytes:  # noqa: PLR0911 - one for each kind
    """The bytes of a packet.

    Raises:
        ValueError: a text or the packet is longer than the format can say.
    """
    match packet:
        case Connect():
            return _framed(Kind.CONNECT, 0, _connect_body(packet))
        case Connack(code, present):
            return _framed(Kind.CONNACK, 0, bytes((present, code)))
        case Publish():
            flags = packet.duplicate << 3 | packet.qos << 1 | packet.retain
            packet_id = _number(packet.packet_id) if packet.packet_id is not None else b""
            return _framed(Kind.PUBLISH, flags, _text(packet.topic) + packet_id + packet.payload)
        case Puback(packet_id) | Unsuback(packet_id):
            kind = Kind.PUBACK if isinstance(packet, Puback) else Kind.UNSUBACK
            return _framed(kind, 0, _number(packet_id))
        case Subscribe(packet_id, filters):
            wanted = b"".join(_text(text) + bytes((qos,)) for text, qos in filters)
            return _framed(Kind.SUBSCRIBE, 0b0010, _number(packet_id) + wanted)
        case Suback(packet_id, codes):
            return _framed(Kind.SUBACK, 0, _number(packet_id) + bytes(codes))
        case Unsubscribe(packet_id, filters):
            return _framed(Kind.UNSUBSCRIBE, 0b0010, _number(packet_id) + b"".join(map(_text, filters)))
        case _:
            return _framed(_BODILESS[type(packet)], 0, b"")


def _connect_body(packet: Connect) -> bytes:
    will = packet.will
    flags = (packet.user_name is not None) << 7 | (packet.password is not None) << 6
    flags |= packet.clean_session << 1
    parts = [_text(packet.client_id)]
    if will is not None:
        flags |= will.retain << 5 | will.qos << 3 | 0x04
        parts += [_text(will.topic), _binary(will.message)]
    if packet.user_name is not None:
        parts.append(_text(packet.user_name))
    if packet.password is not None:
        parts.append(_binary(packet.password))
    head = _text(PROTOCOL_NAME) + bytes((PROTOCOL_LEVEL, flags)) + _number(packet.keep_alive)
    return head + b"".join(parts)


def _number(value: int) -> bytes:
    return value.to_bytes(2)


def _text(text: str) -> bytes:
    return _binary(text.encode("utf-8"))


def _binary(content: bytes) -> bytes:
    if len(content) > _LONGEST_TEXT:
        raise ValueError(f"a field of {len(content)} bytes; the format allows {_LONGEST_TEXT}")
    return _number(len(content)) + content


def _framed(kind: Kind, flags: int, body: bytes) -> bytes:
    if len(body) > _LONGEST_PACKET:
        raise ValueError(f"a packet of {len(body)} bytes; the format allows {_LONGEST_PACKET}")
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes((kind << 4 | flags,)) + digits + body
