"""Secrets, their versions, and the states a deleted one goes through.

A deleted secret leaves its collection at once and appears among the deleted ones some seconds later; a
recovered one does the same the other way (both seen). Nothing runs in between: what is due is looked up
when somebody asks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from local.vault import errors
from local.vault.behaviour import VaultBehaviour
from local.world import World


@dataclass(frozen=True, slots=True)
class Given:
    """What a request says of a version; None leaves it as it is, or as it is by default."""

    enabled: bool | None = None
    not_before: int | None = None
    expires: int | None = None
    tags: Mapping[str, str] | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a secret; a `repr` has no value."""

    id: str
    """32 hexadecimal digits."""
    value: str = field(repr=False)
    created: int
    """Seconds since 1970, as the times below."""
    updated: int
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None
    tags: Mapping[str, str] | None = None
    content_type: str | None = None
    expiry_patched: bool = False
    """Whether an update has given it another `expires` than it was made with."""

    def updated_by(self, given: Given, now: int) -> "Version":
        """This version with what is given; what is not stays as it is (documented)."""
        expires = self.expires if given.expires is None else given.expires
        return replace(
            self,
            updated=now,
            enabled=self.enabled if given.enabled is None else given.enabled,
            not_before=self.not_before if given.not_before is None else given.not_before,
            expires=expires,
            tags=self.tags if given.tags is None else dict(given.tags),
            content_type=self.content_type if given.content_type is None else given.content_type,
            expiry_patched=self.expiry_patched or expires != self.expires,
        )


class State(Enum):
    """Where a secret stands."""

    LIVE = auto()
    DELETING = auto()
    DELETED = auto()
    RECOVERING = auto()
    PURGING = auto()


@dataclass(slots=True)
class Secret:
    """A secret with all its versions; the last one made is the current one."""

    name: str
    """As it was first written; names count without case."""
    versions: dict[str, Version] = field(default_factory=dict)
    current_id: str = ""
    state: State = State.LIVE
    until: datetime | None = None
    """When a passing state ends; of a deleted secret, when it is purged."""
    deleted: datetime | None = None

    @property
    def current(self) -> Version:
        """The version a request without one gets."""
        return self.versions[self.current_id]


class Secrets:
    """All secrets of one vault, by their names without case."""

    def __init__(self, vault: str, world: World, behaviour: VaultBehaviour) -> None:
        self._vault = vault
        self._world = world
        self._behaviour = behaviour
        self._by_key: dict[str, Secret] = {}

    def live(self) -> Iterator[Secret]:
        """The secrets that are not deleted."""
        return self._in(State.LIVE)

    def deleted(self) -> Iterator[Secret]:
        """The deleted secrets that can be recovered."""
        return self._in(State.DELETED)

    def every(self) -> Iterator[Secret]:
        """All secrets as they were when somebody last asked for them, oldest first."""
        return iter(self._by_key.values())

    def restore(self, secret: Secret) -> None:
        """Put a secret back as it was in an earlier life of this vault."""
        self._by_key[secret.name.lower()] = secret

    def find(self, name: str) -> Secret | None:
        """The secret of that name in whatever state it is now."""
        key = name.lower()
        secret = self._by_key.get(key)
        if secret is not None and not self._settle(secret):
            del self._by_key[key]
            return None
        return secret

    def get(self, name: str) -> Secret:
        """A secret that is not deleted.

        Raises:
            VaultError: 404.
        """
        secret = self.find(name)
        if secret is None or secret.state is not State.LIVE:
            raise errors.not_found(name)
        return secret

    def get_deleted(self, name: str) -> Secret:
        """A deleted secret.

        Raises:
            VaultError: 404, also while it is on its way in or out.
        """
        secret = self.find(name)
        if secret is None or secret.state is not State.DELETED:
            raise errors.deleted_not_found(name)
        return secret

    def add(self, name: str, value: str, given: Given) -> tuple[Secret, Version]:
        """Make a new version, always: a set is never idempotent (documented).

        Raises:
            VaultError: 409: a deleted secret has the name.
        """
        secret = self.find(name)
        if secret is None:
            secret = self._by_key[name.lower()] = Secret(name)
        elif secret.state is not State.LIVE:
            raise self._in_the_way(secret)
        now = self._seconds()
        made = Version(f"{self._world.random.getrandbits(128):032x}", value, now, now)
        made = replace(made.updated_by(given, now), expiry_patched=False)
        secret.versions[made.id] = made
        secret.current_id = made.id
        return secret, made

    def update(self, name: str, version: str | None, given: Given) -> tuple[Secret, Version]:
        """Change a version's attributes, tags and content type; None: the current one.

        Raises:
            VaultError: 404.
        """
        secret = self.get(name)
        found = self.version(secret, version)
        changed = secret.versions[found.id] = found.updated_by(given, self._seconds())
        return secret, changed

    def version(self, secret: Secret, version: str | None) -> Version:
        """A version, or the current one.

        Raises:
            VaultError: 404.
        """
        if version is None:
            return secret.current
        found = secret.versions.get(version.lower())
        if found is None:
            raise errors.not_found(secret.name, version)
        return found

    def delete(self, name: str) -> Secret:
        """Delete a secret with all its versions, so that it can be recovered.

        Raises:
            VaultError: 404.
        """
        secret = self.get(name)
        secret.deleted = self._now()
        self._pass(secret, State.DELETING, self._behaviour.deleting_seconds)
        return secret

    def recover(self, name: str) -> Secret:
        """Bring a deleted secret back.

        Raises:
            VaultError: 404, or 409 while it is on its way in or out.
        """
        secret = self._leaving(name)
        self._pass(secret, State.RECOVERING, self._behaviour.recovering_seconds)
        return secret

    def purge(self, name: str) -> None:
        """Delete a deleted secret for good.

        Raises:
            VaultError: 403 if the vault forbids it, 404, or 409 while it is on its way in or out.
        """
        secret = self._leaving(name)
        if self._behaviour.purge_protection:
            raise errors.purge_protected(self._vault)
        self._pass(secret, State.PURGING, self._behaviour.purging_seconds)

    def purge_date(self, secret: Secret) -> datetime:
        """When a deleted secret is purged if nobody recovers it."""
        return (secret.deleted or self._now()) + timedelta(days=self._behaviour.retention_days)

    def _leaving(self, name: str) -> Secret:
        secret = self.find(name)
        if secret is None or secret.state is State.LIVE:
            raise errors.deleted_not_found(name)
        if secret.state is State.DELETING:
            raise errors.still_deleting()
        if secret.state is not State.DELETED:
            raise self._in_the_way(secret)
        return secret

    def _in_the_way(self, secret: Secret) -> errors.VaultError:
        if secret.state is State.DELETED:
            return errors.deleted_but_recoverable(secret.name)
        if secret.state is State.RECOVERING:
            return errors.being_recovered(secret.name)
        return errors.being_deleted(secret.name)

    def _pass(self, secret: Secret, state: State, seconds: float) -> None:
        secret.state = state
        secret.until = self._now() + timedelta(seconds=seconds)

    def _settle(self, secret: Secret) -> bool:
        """Let the time pass for a secret; False if it is gone."""
        now = self._now()
        if secret.until is None or now < secret.until:
            return True
        if secret.state is State.DELETING:
            secret.state, secret.until = State.DELETED, self.purge_date(secret)
            return self._settle(secret)
        if secret.state is State.RECOVERING:
            secret.state, secret.until, secret.deleted = State.LIVE, None, None
            return True
        return False  # purged, by somebody or by its age

    def _in(self, state: State) -> Iterator[Secret]:
        for key in list(self._by_key):
            secret = self.find(key)
            if secret is not None and secret.state is state:
                yield secret

    def _now(self) -> datetime:
        return self._world.clock.now()

    def _seconds(self) -> int:
        return int(self._now().timestamp())
