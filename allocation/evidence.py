"""Evidence: what a request tells of a device beyond its name, looked at only where a policy reads it.

Each thing that a policy may read has a name, as templates and logs spell it:

    attestation                         symmetricKey, x509 or tpm
    edge                                true or false
    certificate.subject.CN              an attribute of the client certificate's subject; a list if it stands
    certificate.issuer.O                twice or more
    certificate.thumbprint              SHA-1, lower-case hex
    certificate.thumbprint_sha256       SHA-256, lower-case hex
    enrollment.tags.site                a tag of the enrollment's initial twin; dots lead into nested ones
    payload.model                       a JMESPath into what the device sent (`reading.py` says which)

What is missing reads as None, and so does null. Where the shape is none that DPS is known to send, reading it
raises Unread: a rule that hangs on it must not be decided as if the device had no certificate. Where it is
the
device that chooses the shape (its payload), anything odd is merely missing: a device could leave it out as
well.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from allocation.errors import Unread

Source = Literal["attestation", "edge", "certificate", "tags", "payload"]

PAYLOAD_DEPTH = 16
"""Objects and lists inside each other; a deeper payload counts as none."""

PAYLOAD_VALUES = 2_000
"""Values in a payload, nested ones too; a larger one counts as none. It bounds what a JMESPath can cost."""

UNKNOWN_SHAPE = "the request tells it in a shape that is not known"

LONGEST_CERTIFICATE = 64 * 1024
"""Characters of Base64. TLS stacks refuse certificates far below that."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that a policy reads.

    Attributes:
        name: as above; two readings of one name read the same.
        source: where it is found.
        find: takes it out of its source's value; None for missing; never raises.
    """

    name: str
    source: Source
    find: Callable[[Any], Any]


class Evidence(Protocol):
    """Answers what a policy reads of a device."""

    def read(self, reading: Reading) -> Any:
        """The value (JSON), or None where there is none.

        Raises:
            Unread: there may be one, but it cannot be told.
        """


def member(members: Mapping[str, Any], name: str) -> Any:
    """The member of that name; else one whose name differs only in case; else None."""
    if name in members:
        return members[name]
    wanted = name.lower()
    return next((value for key, value in members.items() if key.lower() == wanted), None)


class Told:
    """The evidence of an allocation request.

    Args:
        context: its `deviceRuntimeContext`.
        enrollment: its `enrollmentGroup` or `individualEnrollment`.
    """

    __slots__ = ("_context", "_enrollment", "_sources")

    def __init__(self, context: Mapping[str, Any], enrollment: Mapping[str, Any]) -> None:
        self._context = context
        self._enrollment = enrollment
        self._sources: dict[str, Any] = {}

    def read(self, reading: Reading) -> Any:
        """As Evidence says."""
        source = reading.source
        if source not in self._sources:
            self._sources[source] = _SOURCES[source](self._context, self._enrollment)
        found = self._sources[source]
        if found is _UNREADABLE:
            raise Unread(reading.name, UNKNOWN_SHAPE)
        return reading.find(found)


class Recalled:
    """The evidence of a recorded request: what some policy once read.

    Args:
        values: name of a reading -> its value.
        unreadable: readings that could not be told even then.
    """

    __slots__ = ("_unreadable", "_values")

    def __init__(self, values: Mapping[str, Any], unreadable: frozenset[str]) -> None:
        self._values = values
        self._unreadable = unreadable

    def read(self, reading: Reading) -> Any:
        """As Evidence says."""
        name = reading.name
        if name in self._unreadable:
            raise Unread(name, UNKNOWN_SHAPE)
        try:
            return self._values[name]
        except KeyError:
            raise Unread(name, "it was not recorded", recorded=False) from None


_UNREADABLE = object()

NOTHING_TOLD = Told({}, {})
"""Of a device that only its name is known of."""


def _attestation(context: Mapping[str, Any], enrollment: Mapping[str, Any]) -> Any:
    """One of the three members is documented; the enrollment names its kind too."""
    kinds = ("symmetricKey", "x509", "tpm")
    told = [kind for kind in kinds if member(context, kind) is not None]
    if len(told) == 1:
        return told[0]
    attestation = member(enrollment, "attestation")
    named = member(attestation, "type") if isinstance(attestation, dict) else None
    return next((kind for kind in kinds if isinstance(named, str) and kind.lower() == named.lower()), None)


def _edge(_: Mapping[str, Any], enrollment: Mapping[str, Any]) -> Any:
    """Older webhook versions leave `capabilities` out where it was not set (seen): not edge-capable."""
    capabilities = member(enrollment, "capabilities")
    if capabilities is None:
        return False
    capable = member(capabilities, "iotEdge") if isinstance(capabilities, dict) else _UNREADABLE
    if capable is None:
        return False
    return capable if isinstance(capable, bool) else _UNREADABLE


def _tags(_: Mapping[str, Any], enrollment: Mapping[str, Any]) -> Any:
    twin = member(enrollment, "initialTwin")
    if twin is None:
        return {}
    tags = member(twin, "tags") if isinstance(twin, dict) else _UNREADABLE
    if tags is None:
        return {}
    return tags if isinstance(tags, dict) else _UNREADABLE


def _payload(context: Mapping[str, Any], _: Mapping[str, Any]) -> Any:
    payload = member(context, "payload")
    return payload if within(payload, depth=PAYLOAD_DEPTH, values=PAYLOAD_VALUES) else None


def within(value: Any, *, depth: int, values: int) -> bool:
    """Whether a JSON value holds at most so many values, at most so deep inside each other."""
    level: list[Any] = [value]
    for _ in range(depth + 1):
        values -= len(level)
        if values < 0:
            return False
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
        if not below:
            return True
        level = below
    return False


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate, as far as a policy may read it.

    Attributes:
        subject: attribute's short name, upper-case (`CN`, `O`, `OU`, `SERIALNUMBER`, …; else its OID) -> its
        values.
        issuer: alike.
        thumbprint: SHA-1 of the DER, in lower-case hex, as Azure shows it.
        thumbprint_sha256: SHA-256 of the DER, in lower-case hex.
    """

    subject: Mapping[str, tuple[str, ...]]
    issuer: Mapping[str, tuple[str, ...]]
    thumbprint: str
    thumbprint_sha256: str


def _certificate(context: Mapping[str, Any], _: Mapping[str, Any]) -> Any:
    """`x509: {"clientCertificate": "<Base64 of DER>"}` (seen in source; its other members are unknown)."""
    x509 = member(context, "x509")
    if x509 is None:
        return None
    text = member(x509, "clientCertificate") if isinstance(x509, dict) else None
    if not isinstance(text, str) or len(text) > LONGEST_CERTIFICATE:
        return _UNREADABLE
    try:
        return read_certificate(text)
    except Exception:  # noqa: BLE001 - whatever the parser makes of hostile bytes, the answer is the same
        return _UNREADABLE


def read_certificate(text: str) -> Certificate:
    """Read a certificate from the Base64 of its DER.

    Raises:
        ValueError: neither Base64 nor a certificate. The parser may raise others for odd certificates.
    """
    from base64 import b64decode  # noqa: PLC0415 - cryptography costs a cold start 50 ms: only where a policy
    from hashlib import sha1, sha256  # noqa: PLC0415 - reads certificates

    from cryptography import x509  # noqa: PLC0415

    der = b64decode("".join(text.split()), validate=True)
    parsed = x509.load_der_x509_certificate(der)
    return Certificate(
        subject=_attributes(parsed.subject),
        issuer=_attributes(parsed.issuer),
        thumbprint=sha1(der, usedforsecurity=False).hexdigest(),
        thumbprint_sha256=sha256(der).hexdigest(),
    )


_ATTRIBUTES = {"2.5.4.5": "SERIALNUMBER", "1.2.840.113549.1.9.1": "EMAILADDRESS"}
"""Names in common use that RFC 4514 has none for."""


def _attributes(name: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for attribute in name:
        key = _ATTRIBUTES.get(attribute.oid.dotted_string) or attribute.rfc4514_attribute_name.upper()
        found[key] = (*found.get(key, ()), str(attribute.value))
    return found


_SOURCES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Any]] = {
    "attestation": _attestation,
    "edge": _edge,
    "certificate": _certificate,
    "tags": _tags,
    "payload": _payload,
}
