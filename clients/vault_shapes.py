"""Secrets of a key vault as values, and the limits of what may be sent. Values are masked everywhere."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NoReturn

from clients.errors import NotSendable
from clients.reading import Members, Misshapen
from clients.service import Fault
from provisioning.keys import SymmetricKey

VALUE_BYTES = 25_000
"""Longest value in UTF-8 (documented as 25k; whether k is 1,000 or 1,024 is not said)."""

TAGS = 15
"""Tags of one version (documented)."""

TAG_CHARACTERS = 256
"""Longest name and longest value of a tag (documented)."""

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}", re.ASCII)
_VERSION = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SecretValue:
    """A secret's text. It reaches the outside through `reveal` alone."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "SecretValue(****)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SecretValue is not pickled or copied out: call reveal() where it is needed")

    def reveal(self) -> str:
        """The text, for the vault or the service it opens; never for a log."""
        return self._text

    def same_as(self, other: "SecretValue | SymmetricKey") -> bool:
        """Compare in constant time."""
        mine, theirs = (text.encode("utf-8", "surrogatepass") for text in (self._text, other.reveal()))
        return hmac.compare_digest(mine, theirs)


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One version of a secret, without its value.

    Attributes:
        name: of the secret, as the vault writes it; names count without case.
        version: 32 hexadecimal digits.
        enabled: whether its value can be read.
        created: to the second; two versions may share it.
        updated: last change of its attributes or tags.
        expires: advisory: it can be read afterwards too.
        not_before: advisory too.
        tags: of this version.
        content_type: a note on the value's kind.
    """

    name: str
    version: str
    enabled: bool
    created: datetime
    updated: datetime
    expires: datetime | None
    not_before: datetime | None
    tags: Mapping[str, str]
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Secret:
    """A version with its value."""

    about: SecretVersion
    value: SecretValue


class Absent(Enum):
    """Why there is no value to read."""

    MISSING = "missing"
    """The vault has no such secret or version: never had, or it is deleted (or on its way in or out)."""
    DISABLED = "disabled"
    """There is one, and it is disabled. Of a read without a version that is the newest: no older one is
    given in its place."""


def checked_name(name: str) -> str:
    """The name, if it is one.

    Raises:
        NotSendable: it is none.
    """
    if not _NAME.fullmatch(name):
        raise NotSendable(
            f"secret name {name[:140]!a} is none: 1 to 127 letters, digits and dashes, nothing else"
        )
    return name


def checked_version(version: str) -> str:
    """The version, if it is one.

    Raises:
        NotSendable: it is none.
    """
    if not _VERSION.fullmatch(version):
        raise NotSendable(f"secret version {version[:40]!a} is none: 32 hexadecimal digits")
    return version


def set_body(
    value: SecretValue | SymmetricKey,
    *,
    tags: Mapping[str, str],
    expires: datetime | None,
    not_before: datetime | None,
    enabled: bool,
    content_type: str | None,
) -> dict[str, Any]:
    """The body of a set.

    Raises:
        NotSendable: something a vault would refuse. The message never shows the value.
    """
    text = value.reveal()
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise NotSendable("value: it has half a character (a lone surrogate); it must be text") from None
    if not 1 <= size <= VALUE_BYTES:
        raise NotSendable(f"value: 1 to {VALUE_BYTES} bytes in UTF-8, not {size}")
    body = change_body(
        tags=tags, enabled=enabled, expires=expires, not_before=not_before, content_type=content_type
    )
    return {"value": text, **body}


def change_body(
    *,
    tags: Mapping[str, str] | None,
    enabled: bool | None,
    expires: datetime | None,
    not_before: datetime | None,
    content_type: str | None,
) -> dict[str, Any]:
    """The body of an update; None leaves a thing as it is.

    Raises:
        NotSendable: something a vault would refuse.
    """
    if expires is not None and not_before is not None and expires <= not_before:
        raise NotSendable("expires: must be after not_before")
    attributes = {
        "enabled": enabled,
        "exp": _seconds("expires", expires),
        "nbf": _seconds("not_before", not_before),
    }
    body: dict[str, Any] = {
        "attributes": {name: each for name, each in attributes.items() if each is not None}
    }
    if tags is not None:
        body["tags"] = _tags(tags)
    if content_type is not None:
        if len(content_type) > 255:
            raise NotSendable(f"content_type: at most 255 characters, not {len(content_type)}")
        body["contentType"] = content_type
    return body


def _seconds(name: str, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise NotSendable(f"{name}: a time with a time zone")
    if moment < _EPOCH:
        raise NotSendable(f"{name}: a time after 1970")
    return int(moment.timestamp())


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > TAGS:
        raise NotSendable(f"tags: at most {TAGS}, not {len(tags)}")
    for name, text in tags.items():
        if not 1 <= len(name) <= TAG_CHARACTERS or len(text) > TAG_CHARACTERS:
            raise NotSendable(
                f"tag {name[:60]!a}: its name must have 1 to {TAG_CHARACTERS} characters and its value at "
                f"most {TAG_CHARACTERS}"
            )
    return dict(tags)


def read_version(body: Any, name: str, version: str | None = None) -> SecretVersion:
    """A bundle or an item of a list; a value in it is not looked at.

    Args:
        body: decoded JSON.
        name: of the secret that was asked for.
        version: the one asked for; None: whichever.

    Raises:
        Misshapen: it is not one of that secret.
    """
    members = Members(body, "the secret")
    # Only the end of the id is read: whose host it names is of no account, and it is never called.
    path = members.text("id").split("/")
    if len(path) < 6 or path[-3] != "secrets" or not _VERSION.fullmatch(path[-1]):
        raise Misshapen("id of the secret must end in /secrets/NAME/VERSION")
    if path[-2].lower() != name.lower() or (version is not None and path[-1].lower() != version.lower()):
        raise Misshapen("it is about another secret or version than the one asked for")
    attributes = members.object("attributes")
    created, updated = attributes.second("created"), attributes.second("updated")
    if created is None or updated is None:
        raise Misshapen("attributes of the secret must have created and updated")
    tags = members.object_or_empty("tags")
    if not all(isinstance(text, str) for text in tags.values()):
        raise Misshapen("tags of the secret must be texts")
    return SecretVersion(
        name=path[-2],
        version=path[-1],
        enabled=attributes.flag("enabled"),
        created=created,
        updated=updated,
        expires=attributes.second("exp"),
        not_before=attributes.second("nbf"),
        tags=dict(tags),
        content_type=members.text_or_none("contentType"),
    )


def read_secret(body: Any, name: str, version: str | None) -> Secret:
    """A bundle with its value. Raises Misshapen."""
    value = Members(body, "the secret").text_or_none("value")
    if value is None:
        raise Misshapen("value of the secret is missing")
    return Secret(read_version(body, name, version), SecretValue(value))


def fault_of(body: Any) -> Fault:
    """What an error body says: the inner code where there is one, since it says more than "Forbidden"."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return Fault()
    inner = error.get("innererror")
    code = inner.get("code") if isinstance(inner, Mapping) else None
    if not isinstance(code, str):
        code = error.get("code")
    message = error.get("message")
    return Fault(
        code if isinstance(code, str) and _CODE.fullmatch(code) else "",
        message if isinstance(message, str) else "",
        advice=_ADVICE.get(code, "") if isinstance(code, str) else "",
    )


def code_only(body: Any) -> Fault:
    """The same without the vault's words: of answers to a body that held a value."""
    found = fault_of(body)
    return Fault(found.code, "", advice=found.advice)


_ADVICE: Mapping[str, str] = {
    "ObjectIsDeletedButRecoverable": "a deleted secret has this name: recover it, or have it purged",
    "ObjectIsBeingDeleted": "it is being deleted right now: try again in some seconds",
    "ObjectIsBeingRecovered": "it is being recovered right now: try again in some seconds",
    "SecretDisabled": "it is disabled: enable it, or ask for another version",
}
