"""Requests read and answers shown: the members of the published API description."""

import re
from collections.abc import Mapping
from typing import Any

from local.asgi import NotAnObject, parse_object
from local.vault import errors
from local.vault.behaviour import VaultBehaviour
from local.vault.store import Given, Secret, Secrets, Version

_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}", re.ASCII)
"""Documented."""
VALUE_LIMIT = 25 * 1024
"""Bytes of a value in UTF-8 (documented as 25k bytes; whether k is 1,000 is not said)."""
TAG_LIMIT = 15
"""Tags of a version (documented)."""
TAG_LENGTH = 256
"""Characters of a tag's name and of its value (documented; a later note allows names of 512)."""
_LATEST_TIME = 253_402_300_799  # the end of the year 9999


def checked_name(name: str) -> str:
    """The name, if it is one.

    Raises:
        VaultError: 400.
    """
    if not _NAME.fullmatch(name):
        raise errors.bad(f"The request URI contains an invalid name: {name}")
    return name


def read_set(body: bytes) -> tuple[str, Given]:
    """The value and attributes of a set.

    Raises:
        VaultError: 400: a value is missing or too long, or an attribute is not what it must be.
    """
    given = _object(body)
    value = given.get("value")
    if not isinstance(value, str):
        raise errors.bad("The parameter value must be a string.")
    if len(value.encode("utf-8")) > VALUE_LIMIT:
        raise errors.over_limit()
    return value, _given(given)


def read_update(body: bytes) -> Given:
    """The attributes of an update; a value in it is not looked at.

    Raises:
        VaultError: 400: an attribute is not what it must be.
    """
    return _given(_object(body))


def _object(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except NotAnObject as error:
        raise errors.bad(str(error)) from None


def _given(body: Mapping[str, Any]) -> Given:
    attributes = body.get("attributes")
    if attributes is None:
        attributes = {}
    if not isinstance(attributes, dict):
        raise errors.bad("attributes must be an object.")
    enabled = attributes.get("enabled")
    if not isinstance(enabled, bool | None):
        raise errors.bad("attributes.enabled must be true or false.")
    content_type = body.get("contentType")
    if not isinstance(content_type, str | None):
        raise errors.bad("contentType must be a string.")
    return Given(
        enabled=enabled,
        not_before=_time(attributes, "nbf"),
        expires=_time(attributes, "exp"),
        tags=_tags(body.get("tags")),
        content_type=content_type,
    )


def _time(attributes: Mapping[str, Any], name: str) -> int | None:
    value = attributes.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LATEST_TIME:
        raise errors.bad(f"attributes.{name} must be seconds since 1970.")
    return value


def _tags(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise errors.bad("tags must be an object of strings.")
    if len(value) > TAG_LIMIT or any(len(text) > TAG_LENGTH for pair in value.items() for text in pair):
        raise errors.over_limit()
    return value


class Shown:
    """Secrets of one vault as the wire has them."""

    def __init__(self, url: str, secrets: Secrets, behaviour: VaultBehaviour) -> None:
        self._url = url
        self._secrets = secrets
        self._behaviour = behaviour

    def id_of(self, secret: Secret, version: Version) -> str:
        """The URL that names a version."""
        return f"{self._url}/secrets/{secret.name}/{version.id}"

    def bundle(self, secret: Secret, version: Version, *, value: bool = False) -> dict[str, Any]:
        """A version, with its value only if that is asked for."""
        shown = {"id": self.id_of(secret, version), **self._about(version)}
        return {"value": version.value, **shown} if value else shown

    def item(self, secret: Secret) -> dict[str, Any]:
        """A secret in a list: the current version's attributes, and an id without a version."""
        return {"id": f"{self._url}/secrets/{secret.name}", **self._about(secret.current)}

    def deleted_bundle(self, secret: Secret) -> dict[str, Any]:
        """A deleted secret."""
        return {**self._deletion(secret), **self.bundle(secret, secret.current)}

    def deleted_item(self, secret: Secret) -> dict[str, Any]:
        """A deleted secret in a list."""
        return {**self._deletion(secret), **self.item(secret)}

    def _deletion(self, secret: Secret) -> dict[str, Any]:
        purged = self._secrets.purge_date(secret)
        return {
            "recoveryId": f"{self._url}/deletedsecrets/{secret.name}",
            "deletedDate": int((secret.deleted or purged).timestamp()),
            "scheduledPurgeDate": int(purged.timestamp()),
        }

    def _about(self, version: Version) -> dict[str, Any]:
        attributes: dict[str, Any] = {"enabled": version.enabled}
        if version.not_before is not None:
            attributes["nbf"] = version.not_before
        if version.expires is not None:
            attributes["exp"] = version.expires
        attributes |= {
            "created": version.created,
            "updated": version.updated,
            "recoveryLevel": self._behaviour.recovery_level,
            "recoverableDays": self._behaviour.retention_days,
        }
        about: dict[str, Any] = {"attributes": attributes}
        if version.content_type is not None:
            about["contentType"] = version.content_type
        if version.tags is not None:
            about["tags"] = dict(version.tags)
        return about
