"""The packets of MQTT 3.1.1 (OASIS standard, 2014) this side of QoS 2.

Sections in brackets, here and in the modules beside, are those of the standard.
"""

from dataclasses import dataclass, field
from enum import IntEnum

SUBSCRIPTION_REFUSED = 0x80


class ConnackCode(IntEnum):
    """Answers to CONNECT [3.2.2.3]."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USER_NAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


@dataclass(frozen=True, slots=True)
class Will:
    """What a client wants published after it is gone."""

    topic: str
    message: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """The first packet of a client; `keep_alive` is in seconds, 0 for none."""

    client_id: str
    user_name: str | None = None
    password: bytes | None = field(default=None, repr=False)
    keep_alive: int = 0
    clean_session: bool = True
    will: Will | None = None


@dataclass(frozen=True, slots=True)
class Connack:
    """The answer to CONNECT."""

    code: ConnackCode
    session_present: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """A message; `packet_id` is None exactly if `qos` is 0."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    packet_id: int | None = None
    duplicate: bool = False
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Puback:
    """A message of QoS 1 has arrived."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Topic filters, each with the highest QoS wanted."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Suback:
    """For each filter the QoS granted, or `SUBSCRIPTION_REFUSED`."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Topic filters no longer wanted."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsuback:
    """The answer to UNSUBSCRIBE."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pingreq:
    """Is somebody there?"""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """Somebody is."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The client leaves in good order."""


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)
