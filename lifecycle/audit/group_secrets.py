"""What the vault has of a group's keys. Values are compared here, and nothing of them leaves."""

from collections.abc import Awaitable, Callable

from clients.arm import Unknown
from clients.errors import NoCredential, NotSendable, ServiceError, TableUnavailable
from clients.vault import Absent, SecretValue, SecretVersion, VaultClient
from clients.wording import plain
from lifecycle.audit.evidence import VaultSecret
from lifecycle.audit.ports import Secrets
from lifecycle.errors import RotationMoved
from lifecycle.rotation.store import RotationStore
from provisioning.attestation import SYMMETRIC_KEY
from provisioning.documents import MalformedDocument
from provisioning.enrollments import EnrollmentGroup
from provisioning.keys import SymmetricKeys

SecretNames = Callable[[str], Awaitable[str | None]]
"""Group id -> its live secret's name; None: it has none. May raise TableUnavailable and RotationMoved."""

_TROUBLE = (ServiceError, NoCredential, NotSendable, TableUnavailable, RotationMoved)


def rotation_names(store: RotationStore) -> SecretNames:
    """Names as the rotations' rows have them."""

    async def name(group: str) -> str | None:
        row = await store.find(group)
        return None if row is None else row.secret

    return name


def group_secrets(vault: VaultClient, names: SecretNames) -> Secrets:
    """The port that asks the vault: at most two calls for a group with symmetric keys, none for others.

    Args:
        vault: where the secrets are.
        names: of the groups' secrets.
    """

    async def ask(group: EnrollmentGroup, keys: SymmetricKeys | None) -> VaultSecret | Unknown | None:
        if not _has_keys(group):
            return None
        try:
            name = await names(group.id)
            return await _newest(vault, name, keys) if name else None
        except _TROUBLE as error:
            return Unknown(plain(str(error)) or type(error).__name__)

    return ask


def _has_keys(group: EnrollmentGroup) -> bool:
    try:
        return group.attestation.kind == SYMMETRIC_KEY
    except MalformedDocument:
        return False


async def _newest(vault: VaultClient, name: str, keys: SymmetricKeys | None) -> VaultSecret | Unknown | None:
    match await vault.get(name):
        case Absent.MISSING:
            return None
        case Absent.DISABLED:
            return await _disabled(vault, name)
        case found:
            return _told(found.about, "" if keys is None else _holds(found.value, keys))


async def _disabled(vault: VaultClient, name: str) -> VaultSecret | Unknown:
    """The newest version, which the vault will not give. Versions are listed in no order of use."""
    versions = [each async for each in vault.versions(name)]
    newest = max(versions, key=lambda each: (each.created, each.version), default=None)
    if newest is None or newest.enabled:
        # Two versions of one second, or it was enabled just now: which one readers get is not certain.
        return Unknown(f"secret {name} was changed while it was read; the next run reads it again")
    return _told(newest, "")


def _told(version: SecretVersion, holds: str) -> VaultSecret:
    return VaultSecret(version.name, version.expires, version.enabled, version.updated, holds)


def _holds(value: SecretValue, keys: SymmetricKeys) -> str:
    # Both are compared whatever the first says, so that the time tells nothing either.
    primary = value.same_as(keys.primary)
    secondary = keys.secondary is not None and value.same_as(keys.secondary)
    return "primary" if primary else "secondary" if secondary else "neither"
