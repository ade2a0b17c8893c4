"""What DPS and the vault say now, read before every step.

Only what a stage can need is read: most of a rotation's calls are these. Keys stay in `Seen`, in memory.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from clients.errors import UnexpectedReply
from clients.outcomes import Gone
from clients.vault_shapes import Absent, Secret, SecretValue, SecretVersion
from lifecycle.rotation.row import BEFORE_PUBLISHING, Mode, RotationRow, SlotName, Stage
from lifecycle.rotation.step import Reality
from provisioning.attestation import SYMMETRIC_KEY
from provisioning.enrollments import EnrollmentGroup
from provisioning.keys import SymmetricKey, SymmetricKeys

ROTATION_TAG = "RotationId"
SLOT_TAG = "Slot"
CREDENTIAL_TAG = "CredentialId"
PROVIDER_TAG = "ProviderAddress"
VALIDITY_TAG = "ValidityPeriodDays"
"""Tags of versions: the first two say whose they are, the others are the contract with readers (Microsoft's
rotation tutorial has the last three)."""


class Groups(Protocol):
    """Enrollment groups: see clients.dps."""

    async def with_keys(self, enrollment_id: str) -> EnrollmentGroup | None:
        """The group with its keys; None: there is none."""

    async def replace(self, enrollment: EnrollmentGroup, *, etag: str | None = None) -> EnrollmentGroup:
        """PUT with If-Match."""


class Vault(Protocol):
    """What is asked of a vault: see clients.vault."""

    async def get(self, name: str, version: str | None = None) -> Secret | Absent:
        """A version with its value; None: the newest."""

    def versions(self, name: str) -> AsyncIterator[SecretVersion]:
        """All of them, in no useful order."""

    async def set(
        self,
        name: str,
        value: SecretValue | SymmetricKey,
        *,
        tags: Mapping[str, str] | None = None,
        expires: datetime | None = None,
        content_type: str | None = None,
    ) -> SecretVersion:
        """A new version."""

    async def disable(self, name: str, version: str) -> SecretVersion | Gone:
        """Make a version's value unreadable."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A reality, and the values it was compared from."""

    reality: Reality
    group: EnrollmentGroup | None = field(repr=False)
    pending: Mapping[SlotName, SecretValue] = field(repr=False)

    def with_webhook(self, url: str) -> "Seen":
        """The same, with this in the place of the group's webhook URL if that is masked and the same one."""
        shown = self.group if self.group is None else unmasked(self.group, url)
        return replace(self, group=shown, reality=replace(self.reality, writable=_writable(shown)))


@dataclass(slots=True)
class _Reading:
    """What was read so far."""

    keys: Mapping[SlotName, SymmetricKey]
    pending: dict[SlotName, str] = field(default_factory=dict)
    values: dict[SlotName, SecretValue] = field(default_factory=dict)
    kept: set[SlotName] = field(default_factory=set)
    loose: list[tuple[str, str]] = field(default_factory=list)

    @property
    def placed(self) -> frozenset[SlotName]:
        """The slots that hold their new key."""
        return frozenset(
            slot
            for slot, value in self.values.items()
            if slot in self.keys and value.same_as(self.keys[slot])
        )

    def slots_of(self, value: SecretValue) -> frozenset[SlotName]:
        """The slots whose key a value is, each compared in constant time."""
        return frozenset(slot for slot, key in self.keys.items() if value.same_as(key))


async def observe(row: RotationRow, groups: Groups, vault: Vault, *, webhook_url: str | None) -> Seen:
    """Read what the row's stage can need.

    Args:
        row: of the group.
        groups: of its DPS.
        vault: where its secrets are.
        webhook_url: this app's webhook with its key, where that is known: put in where reads mask it.

    Raises:
        ClientError: what a call may raise; nothing is concluded then.
    """
    group = await groups.with_keys(row.group)
    keys = _keys(group)
    reading = _Reading(keys)
    live, published, in_live = await _live(row, vault, reading)
    if row.standing in BEFORE_PUBLISHING:
        await _pending(row, vault, reading)
        missing = set(row.targets) - reading.placed - in_live
        if row.standing is Stage.STAGING and reading.pending.keys() >= missing:
            await _kept(row, vault, reading)
    if row.standing is Stage.PROMOTED or "abort" in row.consents:
        await _loose(row, vault, reading)
    shown = group if group is None else unmasked(group, webhook_url)
    state = {Absent.MISSING: "missing", Absent.DISABLED: "disabled"}
    found = live if isinstance(live, Secret) else None
    reality = Reality(
        group="missing" if group is None else "symmetric" if keys else "other",
        same=group is None or not row.created or made_at(group) in (row.created, ""),
        enabled=group is not None and group.enabled,
        writable=_writable(shown),
        filled=frozenset(keys),
        live="" if found is None else found.about.version,
        live_state="there" if found else state[live],  # type: ignore[arg-type, index]  # the names of Reality
        live_in=frozenset() if found is None else reading.slots_of(found.value),
        pending=dict(reading.pending),
        placed=reading.placed,
        kept=frozenset(reading.kept),
        published=published,
        published_in=in_live,
        loose=tuple(reading.loose),
    )
    return Seen(reality, shown, dict(reading.values))


def made_at(group: EnrollmentGroup) -> str:
    """When DPS says that the group was made; "" where it does not."""
    found = group.document().get("createdDateTimeUtc")
    return found if isinstance(found, str) else ""


def _writable(group: EnrollmentGroup | None) -> bool:
    """Whether writing the group as it was read leaves its webhook's key as it is."""
    return not (group is not None and group.webhook is not None and group.webhook.masked)


def unmasked(group: EnrollmentGroup, webhook_url: str | None) -> EnrollmentGroup:
    """The group with its webhook's URL whole, if a read masked it and it is this one."""
    webhook = group.webhook
    if webhook is None or not webhook.masked or webhook_url is None:
        return group
    if webhook.base.rstrip("/").lower() != webhook_url.partition("?")[0].rstrip("/").lower():
        return group
    document = group.document()
    document["customAllocationDefinition"]["webhookUrl"] = webhook_url
    return EnrollmentGroup.read(document).with_keys(group.keys)


def keys_of(group: EnrollmentGroup, slots: Mapping[SlotName, SymmetricKey]) -> SymmetricKeys:
    """The group's keys with some of them exchanged.

    Raises:
        UnexpectedReply: the group has none.
    """
    held = {**_keys(group), **slots}
    if "primary" not in held:
        raise UnexpectedReply("DPS: a symmetric group was read without its primary key", service="DPS")
    return SymmetricKeys(held["primary"], held.get("secondary"))


def _keys(group: EnrollmentGroup | None) -> dict[SlotName, SymmetricKey]:
    if group is None or group.attestation.kind != SYMMETRIC_KEY or group.keys is None:
        return {}
    held: dict[SlotName, SymmetricKey] = {"primary": group.keys.primary}
    if group.keys.secondary is not None:
        held["secondary"] = group.keys.secondary
    return held


async def _live(
    row: RotationRow, vault: Vault, reading: _Reading
) -> tuple[Secret | Absent, str, frozenset[SlotName]]:
    """The live version, the version that this rotation published, and the slots that hold the latter."""
    live = await vault.get(row.secret)
    standing = row.standing
    settled = not row.rotation or standing in (Stage.STAGING, Stage.WRITTEN, Stage.OVERLAP, Stage.RETIRING)
    if settled and "abort" not in row.consents:
        return live, row.published, frozenset()
    if isinstance(live, Secret) and live.about.tags.get(ROTATION_TAG) == row.rotation:
        published, slots = live.about.version, reading.slots_of(live.value)
    else:
        mine = [
            each async for each in vault.versions(row.secret) if each.tags.get(ROTATION_TAG) == row.rotation
        ]
        newest = max(mine, key=_age, default=None)
        if newest is None:
            return live, "", frozenset()
        published = newest.version
        value = await vault.get(row.secret, published)
        slots = reading.slots_of(value.value) if isinstance(value, Secret) else frozenset()
    if row.mode is Mode.BREACH and standing is Stage.PROMOTED:
        reading.loose += [
            (row.secret, each.version)
            async for each in vault.versions(row.secret)
            if each.enabled and each.version != published
        ]
    return live, published, slots


async def _pending(row: RotationRow, vault: Vault, reading: _Reading) -> None:
    """This rotation's new keys: the chosen versions, else the newest of each slot."""
    wanted = dict(row.chosen)
    if not wanted.keys() >= set(row.targets):
        found = [each async for each in vault.versions(row.pending) if _mine(each, row)]
        for slot in set(row.targets) - wanted.keys():
            newest = max((each for each in found if each.tags.get(SLOT_TAG) == slot), key=_age, default=None)
            if newest is not None:
                wanted[slot] = newest.version
    for slot, version in wanted.items():
        value = await vault.get(row.pending, version)
        if isinstance(value, Secret):
            reading.pending[slot] = version
            reading.values[slot] = value.value


async def _kept(row: RotationRow, vault: Vault, reading: _Reading) -> None:
    """The slots whose present key this rotation has kept aside."""
    async for each in vault.versions(row.replaced):
        if not _mine(each, row):
            continue
        value = await vault.get(row.replaced, each.version)
        if isinstance(value, Secret):
            reading.kept |= reading.slots_of(value.value)


async def _loose(row: RotationRow, vault: Vault, reading: _Reading) -> None:
    """This rotation's versions of the two secrets beside the live one that can still be read."""
    for name in (row.pending, row.replaced):
        reading.loose += [(name, each.version) async for each in vault.versions(name) if _mine(each, row)]


def _mine(version: SecretVersion, row: RotationRow) -> bool:
    return version.enabled and version.tags.get(ROTATION_TAG) == row.rotation


def _age(version: SecretVersion) -> tuple[datetime, str]:
    return version.created, version.version
