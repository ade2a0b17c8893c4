"""What the app, the vault, DPS and the counts say now, read before every step.

Only what a stage can need is read. Keys stay in `Seen`, in memory.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from allocation import Use, fingerprint, uses_of
from clients.outcomes import Deleted, Gone
from clients.vault_shapes import Absent, Secret, SecretValue, SecretVersion
from clients.webhook import WebhookReply
from lifecycle.enrollments.change import Enrollments, Kind
from lifecycle.jobs import JobStore, State
from lifecycle.rotation.observe import ROTATION_TAG, Vault
from lifecycle.rotation.webhook_key.row import CanaryState, RollRow, Stage
from lifecycle.rotation.webhook_key.step import Reality, Work
from lifecycle.rotation.webhook_key.store import RollStore
from lifecycle.rotation.webhook_key.urls import is_ours, key_of
from provisioning.registrations import Registration

REFUSED_BY_KEY = 400209
"""The error code of a registration whose webhook answered 401 (documented)."""

NAME_TAG = "FunctionKey"
"""Which function key a version of the secret holds: a tag of ours."""


class FunctionKeys(Protocol):
    """The keys of the webhook's function: see clients.function_keys."""

    async def all(self) -> Mapping[str, SecretValue]:
        """Every key, by name."""

    async def put(self, name: str, value: SecretValue) -> None:
        """Make a key, or give it this value."""

    async def delete(self, name: str) -> Deleted | Gone:
        """Delete a key."""


class Listing(Protocol):
    """Enrollments of one kind: see clients.dps."""

    def pages(self, *, start: str | None = None, size: int | None = None) -> AsyncIterator[Any]:
        """All of them, page by page."""

    def all(self, *, size: int | None = None) -> AsyncIterator[Any]:
        """The same, one by one."""


class Registrations(Protocol):
    """Registration records: see clients.dps."""

    async def get(self, registration_id: str) -> Registration | None:
        """A device's record."""

    def of_group(self, group_id: str, *, size: int | None = None) -> AsyncIterator[Registration]:
        """Those of a group."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where another DPS of the same app keeps its roll and its jobs."""

    rolls: RollStore
    jobs: JobStore


@dataclass(frozen=True, slots=True)
class RollPorts:
    """What an operator's command works on, under the operator's own login.

    Attributes:
        keys: of the webhook's function.
        vault: of the configured URL.
        enrollments: of each kind, as documents.
        listings: the same in pages.
        registrations: of the DPS.
        jobs: where passes are asked for.
        uses: reads what the app has counted; None where that cannot be read.
        call: the webhook with a URL and a body, once.
        peer: another DPS of the app, by its name.
        dps: whose enrollments the pass goes through, as the webhook's route names it.
    """

    keys: FunctionKeys
    vault: Vault
    enrollments: Mapping[Kind, Enrollments]
    listings: Mapping[Kind, Listing]
    registrations: Registrations
    jobs: JobStore
    uses: Callable[[], Awaitable[tuple[Use, ...]]] | None
    call: Callable[[str, bytes], Awaitable[WebhookReply]] = field(repr=False)
    peer: Callable[[str], Peer]
    dps: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A reality, and the keys it was compared from."""

    reality: Reality
    old: SecretValue | None = field(repr=False)
    pending: SecretValue | None = field(repr=False)


async def observe(row: RollRow, ports: RollPorts) -> Seen:
    """Read what the row's stage can need.

    Raises:
        ClientError: what a call may raise; nothing is concluded then.
    """
    if row.stage is Stage.IDLE:
        return Seen(Reality(), None, None)
    keys = await ports.keys.all()
    old = keys.get(row.old_name)
    if old is not None and fingerprint(old.reveal()) != row.old_mark:
        old = None
    made = keys.get(row.new_name)
    live = await ports.vault.get(row.secret)
    value = live.value if isinstance(live, Secret) else None
    published = await _published(row, live, ports.vault)
    pending_version, pending, loose = await _pending(row, ports.vault, published)
    uses = await ports.uses() if ports.uses is not None else ()
    new_use, old_use = uses_of(uses, row.new_mark), uses_of(uses, row.old_mark)
    along = await _along(row, ports)
    return Seen(
        Reality(
            old=old is not None,
            new=_made(row, made, pending),
            live=live.about.version if isinstance(live, Secret) else "",
            live_state=_state(live),
            live_is=_whose(row, value),
            pending=pending_version,
            pending_mark=fingerprint(pending.reveal()) if pending is not None else "",
            published=published,
            canary=await _canary(row, ports, keys),
            refused=await _refused(row, ports),
            new_placed=new_use.last_placed if new_use else None,
            new_used=new_use.last if new_use else None,
            old_used=old_use.last if old_use else None,
            left=left_behind(row, uses, ports.dps),
            behind=tuple(name for name, each in along.items() if not _is_through(row, each, ports.dps)),
            since=max((each.clean_since for each in along.values() if each.clean_since), default=None),
            job=await _job(row, ports),
            final=await _final(row, ports, along),
            loose=loose,
        ),
        old,
        pending,
    )


def left_behind(row: RollRow, uses: tuple[Use, ...], dps: str) -> tuple[str, ...]:
    """Other DPS that called with one of the keys and do not go along: nobody looks at their enrollments."""
    known = {"", dps.lower(), *row.followers}
    marks = {row.old_mark, row.new_mark} - {""}
    return tuple(sorted({use.dps for use in uses if use.fingerprint in marks} - known))


async def _along(row: RollRow, ports: RollPorts) -> Mapping[str, RollRow]:
    """The rows of the DPS that go along with this roll."""
    if row.standing is not Stage.OVERLAP:
        return {}
    return {name: await ports.peer(name).rolls.get() for name in row.followers}


def _is_through(row: RollRow, peer: RollRow, dps: str) -> bool:
    """Whether a DPS that goes along has found nothing left of its own."""
    follows = peer.follows.lower() == dps.lower() and peer.new_mark == row.new_mark
    return follows and peer.standing is Stage.OVERLAP and peer.clean is not None


async def _final(row: RollRow, ports: RollPorts, along: Mapping[str, RollRow]) -> Work | Literal["proved"]:
    """How far the pass before the deletion is, of the DPS where it is least far."""
    if not row.final or row.standing is not Stage.OVERLAP:
        return "none"
    found: set[Work] = set()
    if row.proof != row.final:
        found.add(await _state_of(ports.jobs, row.final))
    for name, each in along.items():
        if each.proof != row.final:
            found.add(await _state_of(ports.peer(name).jobs, row.final))
    stands: tuple[Work, ...] = ("blocked", "none", "ended", "runs")
    return next((each for each in stands if each in found), "proved")


def _state(live: Secret | Absent) -> Literal["there", "missing", "disabled"]:
    if isinstance(live, Secret):
        return "there"
    return "missing" if live is Absent.MISSING else "disabled"


def _whose(row: RollRow, value: SecretValue | None) -> Literal["old", "new", "other", ""]:
    if value is None:
        return ""
    mark = fingerprint(value.reveal())
    if mark == row.old_mark:
        return "old"
    return "new" if row.new_mark and mark == row.new_mark else "other"


def _made(
    row: RollRow, made: SecretValue | None, pending: SecretValue | None
) -> Literal["missing", "made", "other"]:
    if made is None:
        return "missing"
    if pending is not None:
        return "made" if made.same_as(pending) else "other"
    return "made" if row.new_mark and fingerprint(made.reveal()) == row.new_mark else "other"


async def _published(row: RollRow, live: Secret | Absent, vault: Vault) -> str:
    """The live secret's version that this roll made."""
    if row.published:
        return row.published
    if isinstance(live, Secret) and _tagged(live.about, row):
        return live.about.version
    if row.standing in (Stage.STAGING, Stage.CANARY):
        return ""
    mine = [each async for each in vault.versions(row.secret) if _tagged(each, row)]
    newest = max(mine, key=_age, default=None)
    return newest.version if newest else ""


async def _pending(
    row: RollRow, vault: Vault, published: str
) -> tuple[str, SecretValue | None, tuple[str, ...]]:
    """The version with the new key, the key, and what nobody needs of that secret."""
    needed = not published and row.standing in (Stage.STAGING, Stage.CANARY, Stage.SPREADING)
    given_up = "abort" in row.consents
    if not (needed or given_up or row.standing is Stage.SPREADING):
        return "", None, ()
    mine = [each async for each in vault.versions(row.pending) if each.enabled and _tagged(each, row)]
    if given_up and row.canary not in (CanaryState.SWITCHING, CanaryState.SWITCHED):
        return "", None, tuple(each.version for each in mine)
    if not needed:
        return "", None, tuple(each.version for each in mine)
    newest = max(mine, key=_age, default=None)
    wanted = row.chosen or (newest.version if newest else "")
    found = await vault.get(row.pending, wanted) if wanted else Absent.MISSING
    return (wanted, found.value, ()) if isinstance(found, Secret) else ("", None, ())


async def _canary(
    row: RollRow, ports: RollPorts, keys: Mapping[str, SecretValue]
) -> Literal["new", "old", "unseen", "elsewhere", "missing"]:
    if row.standing is not Stage.CANARY or not row.canary_id:
        return "unseen"
    document = await ports.enrollments[row.canary_kind].read(row.canary_id)
    if document is None:
        return "missing"
    url = (document.get("customAllocationDefinition") or {}).get("webhookUrl")
    if not is_ours(url, row.bases):
        return "elsewhere"
    held = key_of(str(url))
    if held is None:
        return "unseen"
    new = keys.get(row.new_name)
    return "new" if new is not None and new.same_as(SecretValue(held)) else "old"


async def _refused(row: RollRow, ports: RollPorts) -> int:
    """Devices of the canary that the webhook's 401 kept out since it was switched."""
    if row.standing is not Stage.CANARY or not row.canary_id or row.switched is None:
        return 0
    if row.canary_kind == "individual":
        found = await ports.registrations.get(row.canary_id)
        return 0 if found is None else int(_is_refused(found, row.switched))
    total = 0
    async for each in ports.registrations.of_group(row.canary_id):
        total += _is_refused(each, row.switched)
    return total


def _is_refused(record: Registration, since: datetime) -> bool:
    updated = record.updated or record.created
    return record.error_code == REFUSED_BY_KEY and (updated is None or updated >= since)


async def _job(row: RollRow, ports: RollPorts) -> Work:
    if not row.job or row.standing not in (Stage.SPREADING, Stage.OVERLAP):
        return "none"
    return await _state_of(ports.jobs, row.job)


async def _state_of(jobs: JobStore, job: str) -> Work:
    found = await jobs.find(job)
    if found is None:
        return "none"
    if found.state in (State.BLOCKED, State.STOPPED):
        return "blocked"
    return "ended" if found.state in (State.DONE, State.FAILED) else "runs"


def _tagged(version: SecretVersion, row: RollRow) -> bool:
    return bool(row.roll) and version.tags.get(ROTATION_TAG) == row.roll


def _age(version: SecretVersion) -> tuple[datetime, str]:
    return version.created, version.version
