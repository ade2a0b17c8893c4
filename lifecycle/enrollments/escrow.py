"""The symmetric keys of an enrollment that is about to go, kept in the vault.

With a group's keys the root of every device key derived from them would be gone for ever. Keeping them twice
does no harm, so an escrow that got no answer is looked at and made again; an enrollment that was made anew
and deleted again adds a version, and the older ones stay.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from clients.errors import Conflict, OutcomeUnknown
from clients.vault_shapes import Absent, Secret, SecretValue, SecretVersion
from lifecycle.enrollments.change import ID_MEMBER, Kind, attestation_type
from lifecycle.errors import InvalidOption, NotEscrowed
from provisioning.keys import KeyFormatError, SymmetricKey

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_KEYS = ("primaryKey", "secondaryKey")


class Vault(Protocol):
    """What is asked of a vault: see clients.vault."""

    async def get(self, name: str, version: str | None = None) -> Secret | Absent:
        """The newest version with its value."""

    async def set(
        self,
        name: str,
        value: SecretValue,
        *,
        tags: Mapping[str, str] | None = None,
        not_before: datetime | None = None,
        content_type: str | None = None,
    ) -> SecretVersion:
        """A new version."""

    def versions(self, name: str) -> AsyncIterator[SecretVersion]:
        """All of them, in no useful order."""


@dataclass(frozen=True, slots=True)
class Escrowed:
    """Where the keys are.

    Attributes:
        secret: its name in the vault.
        version: which of its versions.
    """

    secret: str
    version: str


def secret_name(dps_host: str, kind: Kind, enrollment_id: str) -> str:
    """The secret's name: readable, and told apart by a digest: ids have characters that names have not."""
    dps = dps_host.partition(".")[0].partition(":")[0].lower()
    digest = hashlib.sha256(f"{dps_host.lower()}/{kind}/{enrollment_id.lower()}".encode()).hexdigest()[:12]
    readable = _NOT_IN_NAMES.sub("-", f"escrow-{dps}-{kind}-{enrollment_id.lower()}").strip("-")
    return f"{readable[:110]}-{digest}"


async def escrow(vault: Vault, dps_host: str, kind: Kind, document: Mapping[str, Any]) -> Escrowed | None:
    """Keep the symmetric keys of an enrollment, and read them back.

    Args:
        vault: where.
        dps_host: host name of the enrollment's DPS; part of the secret's name.
        kind: of the enrollment.
        document: with its keys.

    Returns:
        Where they are: in the newest version, as {"primaryKey": …, "secondaryKey": …}, tagged with the
        enrollment. None where the enrollment has no symmetric keys.

    Raises:
        NotEscrowed: they are not safe; the enrollment must stay.
        ClientError: what a call may raise; the same.
    """
    if attestation_type(document) != "symmetricKey":
        return None
    enrollment_id = str(document[ID_MEMBER[kind]])
    keys = (document.get("attestation") or {}).get("symmetricKey") or {}
    held = {name: keys[name] for name in _KEYS if keys.get(name)}
    if not held.get("primaryKey"):
        raise NotEscrowed(kind, enrollment_id, "has keys that could not be read")
    name = secret_name(dps_host, kind, enrollment_id)
    value = SecretValue(json.dumps(held))
    found = await vault.get(name)
    if not (isinstance(found, Secret) and found.value.same_as(value)):
        noted = {
            "dps": dps_host,
            "kind": kind,
            "enrollment": enrollment_id,
            "etag": document.get("etag"),
            "created": document.get("createdDateTimeUtc"),
        }
        tags = {tag: text[:256] for tag, text in noted.items() if isinstance(text, str)}
        try:
            await vault.set(name, value, tags=tags, content_type="application/json")
        except OutcomeUnknown:
            pass  # what is read now tells; if it is not there, the enrollment stays
        except Conflict as error:
            raise NotEscrowed(
                kind,
                enrollment_id,
                f"cannot have its keys kept: a deleted secret {name} blocks the name in the vault (recover "
                "or purge it)",
            ) from error
        found = await vault.get(name)
    if not (isinstance(found, Secret) and found.value.same_as(value)):
        raise NotEscrowed(kind, enrollment_id, f"has keys that secret {name} of the vault does not hold")
    return Escrowed(name, found.about.version)


async def escrowed_keys(
    vault: Vault, dps_host: str, kind: Kind, enrollment_id: str, version: str | None = None
) -> dict[str, str] | None:
    """The keys that were kept of an enrollment: {"primaryKey": …, "secondaryKey": …}; None: none were.

    Args:
        vault: where.
        dps_host: of the enrollment's DPS.
        kind: of the enrollment.
        enrollment_id: its id, in any case.
        version: of the secret; None: the newest.

    Raises:
        InvalidOption: what the vault holds under that name are no keys, or are disabled.
        ClientError: what a call may raise.
    """
    return await kept_keys(vault, secret_name(dps_host, kind, enrollment_id), version)


async def kept_keys(vault: Vault, name: str, version: str | None = None) -> dict[str, str] | None:
    """Both keys from a secret: the JSON that `escrow` writes, or one key alone as text.

    Raises:
        InvalidOption, ClientError: as `escrowed_keys`.
    """
    found = await vault.get(name, version)
    if found is Absent.MISSING:
        return None
    if not isinstance(found, Secret):
        raise InvalidOption("vault", f"secret {name} is disabled", "enable its version in the vault first")
    text = found.value.reveal().strip()
    try:
        held = json.loads(text) if text.startswith("{") else {"primaryKey": text}
        keys = {member: SymmetricKey.parse(held[member]).reveal() for member in _KEYS if held.get(member)}
    except (ValueError, TypeError, RecursionError, KeyFormatError):
        keys = {}
    if "primaryKey" not in keys:
        # The value is quoted nowhere, not even in a cause.
        raise InvalidOption(
            "vault",
            f"secret {name} holds no symmetric keys",
            'it must be {"primaryKey": …, "secondaryKey": …} or one key alone',
        ) from None
    return keys


async def kept_versions(
    vault: Vault, dps_host: str, kind: Kind, enrollment_id: str
) -> tuple[SecretVersion, ...]:
    """What was kept of an enrollment, newest first, without values."""
    found = [each async for each in vault.versions(secret_name(dps_host, kind, enrollment_id))]
    return tuple(sorted(found, key=lambda each: (each.created, each.version), reverse=True))
