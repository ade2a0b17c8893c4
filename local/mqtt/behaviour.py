"""What the facts leave open about DPS over MQTT, and the limits of this server.

Beside the fields, these readings are inferred, each the plainest of the standard: CONNECT is refused with
code 1 for another protocol level, 2 for a client id that is not the registration id of the user name, 4
for a user name that cannot be read; a topic filter other than the documented one is refused in SUBACK
(0x80); a message to any other topic, of QoS 2, or with a topic over the limit ends the connection; wills
and retain flags are read and come to nothing; a message without a subscription is carried out and its
answer is dropped.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class MqttBehaviour:
    """One reading of DPS's MQTT endpoint."""

    credentials_checked: Literal["register", "connect"] = "register"
    """When a wrong or expired token is noticed.

    `register`: CONNECT and SUBSCRIBE succeed, and the message is answered on `…/res/401/` (seen:
    MicrosoftDocs/azure-docs#43157; the C SDK's tests have such answers). `connect`: CONNECT is refused with
    code 5, as an IoT hub does. Whether DPS ever does that is unknown; clients know both."""

    connect_patience: float = 30.0
    """Seconds a connection may stay without a CONNECT. The standard asks for "a reasonable amount"."""

    packet_limit: int = 256 * 1024
    """Largest packet in bytes, without its fixed header; a larger one ends the connection unread.

    A body over the service's own message limit, but within this one, is answered with 413."""

    connect_limit: int = 16 * 1024
    """The same for the first packet of a connection, which nobody vouches for."""

    topic_limit: int = 1024
    """Longest topic of a message, in bytes."""

    unacknowledged_limit: int = 64
    """Answers of QoS 1 a client may leave unacknowledged before its connection ends."""

    connection_limit: int = 10_000
    """Open connections; further ones are closed at once."""
