"""The packet codec."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.mqtt import codec
from local.mqtt.codec import MalformedError
from local.mqtt.packets import (
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

ids = st.integers(1, 0xFFFF)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0#+"), min_size=1, max_size=200)
filters = texts.filter(bool)
wills = st.builds(Will, names, st.binary(max_size=50), st.integers(0, 2), st.booleans())


@st.composite
def connects(draw: st.DrawFn) -> Connect:
    user_name = draw(st.none() | texts)
    password = None if user_name is None else draw(st.none() | st.binary(max_size=300))
    return Connect(
        draw(texts),
        user_name,
        password,
        draw(st.integers(0, 0xFFFF)),
        draw(st.booleans()),
        draw(st.none() | wills),
    )


@st.composite
def publishes(draw: st.DrawFn) -> Publish:
    qos = draw(st.integers(0, 2))
    return Publish(
        draw(names),
        draw(st.binary(max_size=300)),
        qos,
        draw(ids) if qos else None,
        draw(st.booleans()) if qos else False,
        draw(st.booleans()),
    )


every = st.one_of(
    connects(),
    publishes(),
    st.builds(Connack, st.sampled_from(ConnackCode), st.booleans()),
    st.builds(Puback, ids),
    st.builds(Subscribe, ids, st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1).map(tuple)),
    st.builds(Suback, ids, st.lists(st.sampled_from([0, 1, 2, 128])).map(tuple)),
    st.builds(Unsubscribe, ids, st.lists(filters, min_size=1).map(tuple)),
    st.builds(Unsuback, ids),
    st.sampled_from([Pingreq(), Pingresp(), Disconnect()]),
)


def read_all(raw: bytes, limit: int = 1 << 20) -> list[Packet]:
    """All packets of a stream that ends after `raw`."""

    async def read() -> list[Packet]:
        stream = asyncio.StreamReader()
        stream.feed_data(raw)
        stream.feed_eof()
        found = []
        while (packet := await codec.read(stream, limit)) is not None:
            found.append(packet)
        return found

    return asyncio.run(read())


@given(st.lists(every, max_size=3))
def test_what_is_written_is_read_again(sent: list[Packet]) -> None:
    assert read_all(b"".join(map(codec.encode, sent))) == sent


@given(every, st.data())
def test_a_packet_cut_off_by_the_end_of_the_stream_is_no_packet(packet: Packet, data: st.DataObject) -> None:
    raw = codec.encode(packet)
    assert read_all(raw[: data.draw(st.integers(0, len(raw) - 1))]) == []


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_packets_or_malformed(raw: bytes) -> None:
    try:
        found = read_all(raw, limit=1000)
    except MalformedError:
        return
    for packet in found:  # whatever was understood can be said again
        assert read_all(codec.encode(packet)) == [packet]


@given(every, st.data())
def test_a_packet_with_one_wrong_byte_is_a_packet_or_malformed(packet: Packet, data: st.DataObject) -> None:
    raw = bytearray(codec.encode(packet))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedError):
        read_all(bytes(raw), limit=1000)


def test_known_bytes_of_a_connect() -> None:
    body = bytes.fromhex("0004 4d515454 04 c2 003c 0002 6431 0001 75 0003 703d71")
    expected = Connect("d1", "u", b"p=q", 60)
    assert codec.decode(0x10, body) == expected
    assert codec.encode(expected) == bytes((0x10, len(body))) + body


def test_lengths_take_one_to_four_bytes() -> None:
    for size, digits in ((127 - 3, 1), (128 - 3, 2), (16_384 - 3, 3), (2_097_152 - 3, 4)):
        raw = codec.encode(Publish("t", b"x" * size))
        assert len(raw) == 1 + digits + 3 + size
        assert read_all(raw, 1 << 22) == [Publish("t", b"x" * size)]


def test_a_packet_over_the_limit_is_not_read() -> None:
    raw = codec.encode(Publish("t", b"x" * 100))
    with pytest.raises(MalformedError, match="103 bytes"):
        read_all(raw, 102)
    with pytest.raises(MalformedError, match="bytes"):
        read_all(b"\x30\xff\xff\xff\x7f", 102)  # 256 MB announced, none sent


def test_a_password_is_not_in_the_repr() -> None:
    assert "hidden" not in repr(Connect("d", "u", b"hidden"))


@pytest.mark.parametrize(
    "raw",
    [
        "00 00",  # no type
        "50 02 0001",  # QoS 2's own packets
        "f0 00",
        "c1 00",  # flags that are not zero
        "80 06 0001 0001 61 00",  # SUBSCRIBE without its 0010
        "82 02 0001",  # no filter
        "82 05 0001 0000 00",  # an empty one
        "82 06 0001 0001 61 03",  # QoS 3
        "82 06 0000 0001 61 00",  # packet identifier 0
        "a2 02 0001",
        "36 03 0001 61",  # QoS 3
        "38 03 0001 61",  # duplicate of QoS 0
        "30 02 0000",  # empty topic
        "30 03 0001 23",  # wildcards
        "30 03 0001 2b",
        "30 03 0001 00",  # NUL
        "30 04 0002 c328",  # not UTF-8
        "30 05 0003 eda080",  # a surrogate
        "30 03 0005 61",  # past the end
        "c0 01 00",  # more than the packet
        "10 0d 0004 4d515454 04 03 0000 0001 61",  # reserved flag
        "10 0d 0004 4d515454 04 42 0000 0001 61",  # password without a name
        "10 0d 0004 4d515454 04 0a 0000 0001 61",  # QoS of no will
        "10 0d 0004 4d515454 04 1e 0000 0001 61",  # a will of QoS 3
        "20 02 0200",
        "20 02 0006",
        "90 03 0001 03",
        "c0 80 80 80 80 00",  # a length of five bytes
    ],
)
def test_what_the_standard_forbids_is_malformed(raw: str) -> None:
    with pytest.raises(MalformedError):
        read_all(bytes.fromhex(raw))


@pytest.mark.parametrize("head", ["0006 4d5149736470 03", "0004 4d515454 05", "0004 4d515454 03", "0000 04"])
def test_another_protocol_level_is_told_apart(head: str) -> None:
    body = bytes.fromhex(head) + b"\x02\x00\x00\x00\x00"
    with pytest.raises(codec.UnacceptableProtocolError):
        codec.decode(0x10, body)


@pytest.mark.parametrize("make", [lambda: Publish("t" * 65_536), lambda: Connect("x" * 65_536)])
def test_a_text_too_long_for_the_format_cannot_be_written(make: Callable[[], Packet]) -> None:
    with pytest.raises(ValueError, match="65536 bytes"):
        codec.encode(make())
