"""What an enrollment's webhook URL tells, without the key in it."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from provisioning.documents import MalformedDocument
from provisioning.enrollments import CUSTOM, Enrollment

_DEFAULT_PORTS = {"https": 443, "http": 80}

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that are this machine, as URLs name them."""


@dataclass(frozen=True, slots=True)
class Address:
    """A webhook's URL as it was read. Nothing in it is secret, the path excepted: keys were put there too.

    Attributes:
        scheme: lower-case.
        host: lower-case, without a trailing dot.
        port: as given; None: the scheme's own.
        path: without a trailing slash, lower-case. Not for findings.
        masked: whether asterisks stand in place of what a read does not show.
        query: whether there is any.
        key: whether the query has a function key, `code`, in the clear.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    masked: bool
    query: bool
    key: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be shown."""
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def address(url: str) -> Address | None:
    """Take a URL apart; None where it cannot be one."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        query = dict(parse_qsl(parts.query, max_num_fields=100))
    except ValueError:
        return None
    if not host or not parts.scheme:
        return None
    scheme = parts.scheme.lower()
    return Address(
        scheme=scheme,
        host=host.rstrip(".").lower(),
        port=None if port == _DEFAULT_PORTS.get(scheme) else port,
        path=parts.path.rstrip("/").lower(),
        masked="**" in url,
        query=bool(parts.query),
        key=any(name.lower() == "code" and not value.startswith("**") for name, value in query.items()),
    )


def is_custom(enrollment: Enrollment) -> bool:
    """Whether a webhook chooses its devices' hubs. Raises MalformedDocument."""
    return (enrollment.allocation_policy or "").lower() == CUSTOM


def in_use(enrollment: Enrollment) -> Address | None:
    """The webhook that chooses; None where there is none, or none that can be understood.

    Raises:
        MalformedDocument: that part of the document is not as documented.
    """
    webhook = enrollment.webhook if is_custom(enrollment) else None
    return None if webhook is None else address(webhook.reveal())


def is_same(found: Address, ours: Address, dps: str) -> bool:
    """Whether a webhook is this app's: its host and path, with or without the DPS's name at the end.

    The scheme is left out: this app called over http is still this app.
    """
    if found.host != ours.host or found.port != ours.port:
        return False
    name = f"/{dps.lower()}"
    short = ours.path.removesuffix(name)
    return found.path in (ours.path, short, f"{short}{name}")


def shows_key(enrollment: Enrollment) -> bool:
    """Whether this reading shows a webhook's key: readings of that kind then neither mask nor strip it."""
    try:
        webhook = enrollment.webhook
    except MalformedDocument:
        return False
    found = None if webhook is None else address(webhook.reveal())
    return found is not None and found.key and not found.masked
