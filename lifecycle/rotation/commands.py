"""What operators do with rotations. Each looks, and then writes a row or a job; none changes a key itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from clients.vault_shapes import Secret
from lifecycle.errors import NoSuchEnrollment, RotationMoved, RotationRefused
from lifecycle.jobs import JobRow, JobStore
from lifecycle.rotation import row as rows
from lifecycle.rotation.consent import consented
from lifecycle.rotation.decide import next_step
from lifecycle.rotation.observe import Groups, Seen, Vault, made_at, observe
from lifecycle.rotation.row import Mode, RotationRow, RotationTerms, SlotName, Stage, Use, other
from lifecycle.rotation.run import KIND
from lifecycle.rotation.step import Record, Rest, Step, Wait
from lifecycle.rotation.store import RotationStore

ROUTINE_CALLS = 60
"""Service calls of a routine rotation, about: an emulated one takes 50, and 12 more with a canary."""


@dataclass(frozen=True, slots=True)
class Rotations:
    """What commands work on.

    Attributes:
        store: the groups' rows.
        jobs: where the work is asked for.
        groups: of the DPS.
        vault: where the secrets are.
        webhook_url: this app's webhook with its key, where it is known.
    """

    store: RotationStore
    jobs: JobStore
    groups: Groups
    vault: Vault
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a start would do, or what comes next of what is under way.

    Attributes:
        row: of the group.
        next: the next step.
        because: why, or what it needs.
        target: the slot that gets the new key.
        destroys: the slot whose key goes; None: none does.
        calls: of services until the overlap begins, about.
        overlap_ends: at the earliest.
        expires: when the new live version would.
    """

    row: RotationRow
    next: str
    because: str
    target: SlotName | None
    destroys: SlotName | None
    calls: int
    overlap_ends: datetime | None
    expires: datetime | None


async def adopt(
    rotations: Rotations,
    group: str,
    secret: str,
    terms: RotationTerms,
    *,
    active: SlotName,
    others: Literal["free", "in-use"],
    again: bool,
    by: str,
) -> RotationRow:
    """Take a group into rotation, on the operator's word which slot is in use.

    Args:
        rotations: where.
        group: its id.
        secret: the name of its live secret, there already or not yet.
        terms: see RotationTerms.
        active: the slot that new device keys come from.
        others: whether devices use the other slot.
        again: whether an earlier word may be replaced, while no rotation is under way.
        by: who says so.

    Raises:
        NoSuchEnrollment: there is no such group.
        RotationRefused: DPS or the vault contradict the word, or it was said before.
        ClientError: what a call may raise.
    """
    now = rotations.store.clock.now()
    made = rows.adopt(group, secret, terms, active=active, others=others, by=by, now=now)
    seen = await observe(made, rotations.groups, rotations.vault, webhook_url=rotations.webhook_url)
    _check(made, seen, active, others)
    assert seen.group is not None
    made = replace(made, group=seen.group.id, created=made_at(seen.group))
    await _check_unshared(rotations, made)
    if await rotations.store.insert(made):
        return made
    if not again:
        raise RotationRefused(group, "was adopted before", "say --again to replace what was said then")

    def edit(there: RotationRow) -> RotationRow:
        if there.stage is not Stage.IDLE:
            raise RotationRefused(group, f"has a rotation under way ({there.stage})", "end or abort it first")
        return replace(
            made, etag=there.etag, canary=there.canary, holder=there.holder, epoch=there.epoch, declined=""
        )

    return await rotations.store.change(group, edit)


async def _check_unshared(rotations: Rotations, made: RotationRow) -> None:
    """No two groups write one secret: neither as their live one nor beside it."""
    for each in (await rotations.store.all()).rows:
        if each.group.lower() != made.group.lower() and each.secrets & made.secrets:
            raise RotationRefused(
                made.group,
                f"cannot have the secret {made.secret}: group {each.group!a} has {each.secret}, and each "
                "writes NAME-pending and NAME-replaced too",
                "name another secret",
            )


def _check(made: RotationRow, seen: Seen, active: SlotName, others: str) -> None:
    reality = seen.reality
    if reality.group == "missing":
        raise NoSuchEnrollment("group", made.group)
    if reality.group != "symmetric":
        raise RotationRefused(made.group, "does not attest by symmetric keys", "only those are rotated here")
    if active not in reality.filled:
        raise RotationRefused(made.group, f"has no key in its {active} slot", "name the slot that is in use")
    if reality.live_state == "disabled":
        raise RotationRefused(
            made.group, f"has a live secret {made.secret} whose newest version is disabled", "enable it first"
        )
    if reality.live_state == "there" and active not in reality.live_in:
        held = ", ".join(sorted(reality.live_in)) or "neither slot"
        raise RotationRefused(
            made.group,
            f"has its live secret's key in {held}, and not in the {active} slot",
            "see which slot new device keys really come from",
        )
    if others == "free" and reality.live_in == {other(active)}:
        raise RotationRefused(
            made.group, "has its live secret's key in the slot said to be free", "look again"
        )


async def plan(rotations: Rotations, group: str) -> Plan:
    """What comes next of a group; if nothing is under way, what a start would do. Changes nothing.

    Raises:
        NotAdopted, ClientError: what a call may raise.
    """
    now = rotations.store.clock.now()
    row = await rotations.store.get(group)
    shown = row
    if row.stage is Stage.IDLE and row.active is not None:
        live = await _live(rotations, row)
        shown = rows.begun(row, "plan", replaces=live, by="", now=now)
    seen = await observe(shown, rotations.groups, rotations.vault, webhook_url=rotations.webhook_url)
    step = next_step(shown, seen.reality, now)
    staging = shown.standing is Stage.STAGING
    publishes = shown.standing in rows.BEFORE_PUBLISHING
    return Plan(
        row=row,
        next=type(step).__name__,
        because=_because(step),
        target=shown.target,
        destroys=shown.target if staging and shown.target in seen.reality.filled else None,
        calls=ROUTINE_CALLS if staging else 0,
        overlap_ends=now + row.terms.overlap if publishes else row.until,
        expires=now + row.terms.validity if publishes else None,
    )


def _because(step: Step) -> str:
    match step:
        case Rest(because, _) | Wait(_, because):
            return because
        case Record(_, note):
            return note
        case _:
            return step.needs


async def start(rotations: Rotations, group: str, *, by: str) -> JobRow:
    """Ask for a rotation, or for a blocked one to go on.

    Raises:
        NotAdopted, RotationRefused: nothing was asked for.
        ClientError: what a call may raise.
    """
    row = await rotations.store.get(group)
    now = rotations.store.clock.now()
    live = await _live(rotations, row)
    if row.stage is Stage.IDLE:
        rows.begun(row, "asked", replaces=live, by=by, now=now)
    elif row.stage is not Stage.BLOCKED:
        raise RotationRefused(row.group, f"has a rotation under way ({row.stage})", "see `rotate status`")
    params = {"do": "start", "group": row.group, "version": live, "insist": True}
    return await _ask(rotations, row, "start", by, params)


async def consent(
    rotations: Rotations, group: str, what: Literal["retire", "promote", "abort"], *, by: str
) -> JobRow:
    """Agree to what a rotation asks for. It is acted on after a look at DPS and the vault.

    Raises:
        NotAdopted, RotationRefused: nothing was agreed to.
        RotationMoved, TableUnavailable: do it again.
    """
    now = rotations.store.clock.now()
    row = await rotations.store.change(group, lambda row: consented(row, what, now))
    return await _ask(rotations, row, what, by, {"do": "advance", "group": row.group})


async def breach(
    rotations: Rotations,
    group: str,
    secret: str,
    terms: RotationTerms,
    *,
    by: str,
    rotation: Callable[[], str],
) -> JobRow:
    """Ask for both keys of a group to go at once.

    Args:
        rotations: where.
        group: its id.
        secret: the name of its live secret, if it was never adopted.
        terms: the same.
        by: who asks.
        rotation: makes the rotation's id.

    Raises:
        NoSuchEnrollment: there is no such group.
        RotationRefused: it is no symmetric group, or the secret is another group's.
        ClientError: what a call may raise.
    """
    found = await rotations.groups.with_keys(group)
    if found is None:
        raise NoSuchEnrollment("group", group)
    if found.keys is None:
        raise RotationRefused(group, "does not attest by symmetric keys", "revoke its certificates instead")
    row = await rotations.store.find(group)
    if row is not None and row.mode is Mode.BREACH and row.stage is not Stage.IDLE:
        # Asked again: whatever it stopped at is tried again.
        return await _ask(rotations, row, "breach", by, {"do": "advance", "group": row.group, "retry": True})
    params = {
        "do": "breach",
        "group": found.id,
        "rotation": rotation(),
        "secret": rows.check_secret(secret),
        "overlap": terms.overlap.total_seconds(),
        "validity": terms.validity.total_seconds(),
    }
    if row is None:
        slots: dict[SlotName, rows.Slot] = {name: rows.Slot(Use.UNKNOWN) for name in rows.SLOTS}
        row = RotationRow(found.id, secret, terms, slots)
        await _check_unshared(rotations, row)
    return await _ask(rotations, row, "breach", by, params)


async def forget(rotations: Rotations, group: str) -> tuple[str, ...]:
    """Delete the row of a group that DPS does not have any more. Nothing in the vault is touched.

    Returns:
        The secrets that keep its keys: no row names them from now on.

    Raises:
        NotAdopted: there is no row.
        RotationRefused: the group is there, a key was written ahead that is in no version of the live secret,
            or a canary may be left somewhere; nothing was deleted.
        RotationMoved: it kept moving.
        ClientError: what a call may raise. The same again is safe.
    """
    row = await rotations.store.get(group)
    if await rotations.groups.with_keys(row.group) is not None:
        raise RotationRefused(row.group, "is at the DPS", "a row is forgotten when its group is gone")
    if row.chosen and not row.published:
        raise RotationRefused(
            row.group,
            f"has a new key in {row.pending} that was not published, and its row alone knows of it",
            "say `rotate abort` first (of a breach that did not fail yet: `rotate breach` once more)",
        )
    if row.canary.dirty:
        raise RotationRefused(
            row.group, "may have left a canary at a hub", "the daily timer takes it away: try tomorrow"
        )
    if not await rotations.store.forget(row.group):
        raise RotationMoved(f"the rotation of group {row.group[:128]!a} changed meanwhile; look again")
    return row.secret, row.pending, row.replaced


async def disable_identities(
    rotations: Rotations, group: str, *, since: datetime, why: str, by: str
) -> JobRow:
    """Ask for the hub identities of a group's devices that did not register since to be disabled.

    Raises:
        NotAdopted, TableUnavailable: nothing may have been asked for; do it again.
    """
    row = await rotations.store.get(group)
    params = {"do": "disable-identities", "group": row.group, "since": since.isoformat(), "why": why}
    return await _ask(rotations, row, "disable-identities", by, params)


async def _live(rotations: Rotations, row: RotationRow) -> str:
    live = await rotations.vault.get(row.secret)
    return live.about.version if isinstance(live, Secret) else ""


async def _ask(
    rotations: Rotations, row: RotationRow, what: str, by: str, params: Mapping[str, object]
) -> JobRow:
    now = rotations.store.clock.now()
    # To the microsecond: each command is an occasion of its own. What it may begin, the row decides.
    occasion = f"{(now - datetime.fromtimestamp(0, now.tzinfo)) // timedelta(microseconds=1):x}"
    job = f"rotate:{row.group.lower()}:{what}:{occasion}"
    return (await rotations.jobs.create(job, KIND, by=by, subject=row.group, params=params)).job
