"""What comes next of a rotation, from what is remembered and what is so now: pure and total."""

from dataclasses import replace
from datetime import datetime

from lifecycle.rotation.row import (
    AFTER_PUBLISHING,
    BEFORE_PUBLISHING,
    KEY_CACHE,
    Canary,
    CanaryState,
    Mode,
    RotationRow,
    Slot,
    SlotName,
    Stage,
    Use,
    Why,
    other,
    rested,
    retried,
)
from lifecycle.rotation.step import (
    CleanCanary,
    Keep,
    Place,
    Publish,
    Reality,
    Record,
    Rest,
    SetEnabled,
    Step,
    Tidy,
    TryCanary,
    Wait,
    WriteAhead,
)


def next_step(  # noqa: C901, PLR0911, PLR0912 - the table of stages: each branch is a row
    row: RotationRow, reality: Reality, now: datetime
) -> Step:
    """The one step to take now. Defined for every row and reality."""
    if row.stage is Stage.IDLE:
        return _idle(row, reality, now)
    if "abort" in row.consents:
        return _abort(row, reality)
    if row.stage is Stage.FAILED:
        return Rest(f"failed: {row.problem}", row.blocked)
    if row.stage is Stage.BLOCKED:
        return _blocked(row, now)
    if row.target is None or (row.mode is Mode.ROUTINE and not _consistent(row)):
        return _block(
            row, Why.CHANGED, "its row names no target, or no active slot: abort it and adopt it again"
        )
    if reality.group != "symmetric":
        problem = "the group is not there" if reality.group == "missing" else "it has no symmetric keys"
        return Record(replace(row, stage=Stage.FAILED, problem=problem), problem)
    if row.mode is Mode.BREACH:
        return _breach(row, row.target, reality)
    match row.stage:
        case Stage.STAGING:
            return _staging(row, row.target, reality, now)
        case Stage.WRITTEN:
            return _misfit(row, row.target, reality) or Record(
                replace(row, stage=Stage.VERIFIED), "read back: the slot holds the new key, the other its own"
            )
        case Stage.VERIFIED:
            return _verified(row, row.target, reality, now)
        case Stage.PROMOTED:
            if reality.loose:
                return Tidy(reality.loose)
            return Record(replace(row, stage=Stage.OVERLAP), "the overlap runs")
        case Stage.OVERLAP:
            if row.until is not None and now < row.until:
                return Wait(row.until, "devices take their new keys")
            return Record(replace(row, stage=Stage.RETIRING), "the overlap has ended")
        case _:
            return _retiring(row, row.target, reality)


def _consistent(row: RotationRow) -> bool:
    """Whether the target is beside the active slot before it is promoted, and active afterwards."""
    if row.active is None or row.target is None:
        return False
    before = row.stage in BEFORE_PUBLISHING
    return row.active == (other(row.target) if before else row.target)


def _idle(row: RotationRow, reality: Reality, now: datetime) -> Step:
    if "retire" in row.consents:
        active = row.active
        if active is None or (reality.live_state != "missing" and active not in reality.live_in):
            kept = replace(row, consents=row.consents - {"retire"})
            return Record(kept, "not retired: the active slot does not hold the live secret's key")
        return Record(_freed(row, other(active), now), "the old slot is free")
    if row.canary.dirty:
        return CleanCanary()
    return Rest("no rotation is under way")


def _abort(row: RotationRow, reality: Reality) -> Step:
    """Give a rotation up whose key nobody was given. Its slot is as free as it was."""
    without = replace(row, consents=row.consents - {"abort"})
    if row.stage is Stage.FAILED:
        return Record(rested(row), "given up")
    if row.mode is Mode.ROUTINE and row.stage is Stage.BLOCKED and row.standing in AFTER_PUBLISHING:
        if reality.loose:
            return Tidy(reality.loose)
        return Record(rested(row), "given up: nothing is overwritten; adopt the group again")
    if row.mode is Mode.BREACH or row.standing not in BEFORE_PUBLISHING or reality.published:
        return Record(without, "not aborted: the new key is published already, or this is a breach")
    if reality.loose:
        return Tidy(reality.loose)
    return Record(replace(rested(row), declined=row.replaces), "aborted")


def _blocked(row: RotationRow, now: datetime) -> Step:
    if row.blocked is Why.RETIRE and "retire" in row.consents and row.target is not None:
        return Record(_freed(retried(row), row.target, now), "the old slot is free by consent")
    if row.blocked in (Why.PROMOTE, Why.CANARY) and "promote" in row.consents:
        return Record(retried(row), "to be promoted by consent")
    return Rest(f"blocked, {row.blocked or 'and nobody noted why'}: {row.problem}", row.blocked)


def _freed(row: RotationRow, slot: SlotName, now: datetime) -> RotationRow:
    """The row with a slot freed by consent, if its overlap has run out; without the consent else."""
    old = row.slots[slot]
    due = old.use is not Use.ACTIVE and (old.since is None or now - old.since >= row.terms.overlap)
    slots = {**row.slots, slot: Slot(Use.FREE)} if due else row.slots
    return replace(row, slots=slots, consents=row.consents - {"retire"})


def _block(row: RotationRow, why: Why, problem: str) -> Record:
    blocked = replace(row, stage=Stage.BLOCKED, blocked=why, resumes=row.stage, problem=problem)
    return Record(blocked, problem)


def _foreign(row: RotationRow, active: SlotName, reality: Reality) -> Record | None:
    """Blocked, if the live secret is not as this rotation found it and its key not where it must stay."""
    if reality.live_state == "disabled":
        return _block(row, Why.CHANGED, "the newest version of the live secret is disabled: enable it")
    if reality.live != row.replaces and not reality.published:
        return _block(
            row,
            Why.CHANGED,
            "the live secret has another version than the one to be replaced: abort, start again",
        )
    if reality.live_state == "there" and not reality.published and active not in reality.live_in:
        return _block(
            row,
            Why.CHANGED,
            f"the {active} slot, said to be active, does not hold the live secret's key: see which slot does",
        )
    return None


def _staging(  # noqa: PLR0911 - as above
    row: RotationRow, target: SlotName, reality: Reality, now: datetime
) -> Step:
    if not reality.same and target not in reality.placed:
        # What was said of the slots was said of another group of that name.
        return _block(row, Why.CHANGED, "the group was made anew since it was adopted: abort, adopt it again")
    if row.slots[target].use is not Use.FREE:
        if "retire" in row.consents:
            return Record(_freed(row, target, now), "the old slot is free by consent")
        return _block(row, Why.RETIRE, f"devices may still use the {target} slot: see `rotate retire`")
    if foreign := _foreign(row, other(target), reality):
        return foreign
    if target in reality.live_in and other(target) not in reality.live_in:
        return _block(row, Why.CHANGED, f"the {target} slot, said to be free, holds the live secret's key")
    if target not in row.chosen:
        if target in reality.pending:
            return _choose(row, target, reality)
        return WriteAhead(target)
    if target not in reality.pending:
        return _block(
            row, Why.CHANGED, "the pending secret's version is gone or disabled: abort, start again"
        )
    if target in reality.placed:
        return Record(replace(row, stage=Stage.WRITTEN), "the slot was seen to hold the new key")
    return _place(row, (target,), reality)


def _choose(row: RotationRow, slot: SlotName, reality: Reality) -> Record:
    chosen = {**row.chosen, slot: reality.pending[slot]}
    return Record(replace(row, chosen=chosen), "the new key is in the vault")


def _place(row: RotationRow, slots: tuple[SlotName, ...], reality: Reality) -> Step:
    if not reality.writable:
        return _unwritable(row)
    for slot in slots:
        if slot in reality.filled and slot not in reality.kept:
            return Keep(slot)
    return Place(slots)


def _unwritable(row: RotationRow) -> Record:
    return _block(
        row,
        Why.UNWRITABLE,
        "its webhook's key is masked when it is read, and writing the group would destroy it: set "
        "WEBHOOK_URL and WEBHOOK_KEY_SECRET where this runs, and have its key in that secret (as "
        "`rotate webhook-key start` does)",
    )


def _misfit(row: RotationRow, target: SlotName, reality: Reality) -> Record | None:
    """Blocked, if what was placed is not there any more, or the live secret is not as it was."""
    if target not in reality.placed:
        return _block(
            row, Why.CHANGED, f"the {target} slot does not hold the new key any more: abort, start again"
        )
    return _foreign(row, other(target), reality)


def _verified(row: RotationRow, target: SlotName, reality: Reality, now: datetime) -> Step:
    if reality.published:
        if target not in reality.published_in:
            return _block(row, Why.CHANGED, f"the {target} slot does not hold the key that was published")
        return _promoted(row, target, reality, Slot(Use.DEMOTED, now), now)
    if misfit := _misfit(row, target, reality):
        return misfit
    if "promote" not in row.consents:
        if row.terms.canary and (step := _canary(row, target, row.canary, now)):
            return step
        if row.terms.hold:
            return _block(row, Why.PROMOTE, "the new key is in place and verified: see `rotate promote`")
    return CleanCanary() if row.canary.dirty else Publish(target)


def _canary(  # noqa: PLR0911 - as above
    row: RotationRow, target: SlotName, canary: Canary, now: datetime
) -> Step | None:
    """What the canary still needs; None once it has passed."""
    if canary.state is CanaryState.PASSED:
        return None
    if canary.state is CanaryState.REFUSED:
        if canary.dirty:
            return CleanCanary()
        return _block(row, Why.CANARY, row.problem or "see why the canary was not let in")
    if canary.state is CanaryState.NONE and canary.dirty:
        return CleanCanary()
    if canary.state is CanaryState.NONE and (last := canary.last.get(target)) and now - last < KEY_CACHE:
        return Wait(last + KEY_CACHE, "DPS may remember the key that the canary used last")
    if canary.next_try is not None and now < canary.next_try:
        return Wait(canary.next_try, "the canary tries again")
    return TryCanary(target)


def _promoted(
    row: RotationRow, target: SlotName, reality: Reality, old: Slot, now: datetime | None
) -> Record:
    promoted = replace(
        row,
        stage=Stage.PROMOTED,
        published=reality.published,
        slots={target: Slot(Use.ACTIVE), other(target): old},
        until=None if now is None else now + row.terms.overlap,
        consents=row.consents - {"promote", "abort"},
    )
    return Record(promoted, "published: new device keys come from the new key")


def _retiring(row: RotationRow, active: SlotName, reality: Reality) -> Step:
    if "retire" not in row.consents:
        return Rest("the overlap has ended: see `rotate retire`", Why.RETIRE)
    if reality.live_state != "there" or active not in reality.live_in:
        return _block(row, Why.CHANGED, f"the {active} slot does not hold the live secret's key")
    slots = {**row.slots, other(active): Slot(Use.FREE)}
    return Record(rested(replace(row, slots=slots)), "the old slot is free by consent")


def _breach(  # noqa: C901, PLR0911 - as above
    row: RotationRow, target: SlotName, reality: Reality
) -> Step:
    """Forward, always: what is not as it should be is done again."""
    if row.enable_after is None:
        return Record(replace(row, enable_after=reality.enabled), "a breach: both keys go")
    if row.stage in (Stage.STAGING, Stage.WRITTEN, Stage.VERIFIED):
        if reality.enabled:
            return SetEnabled(enabled=False) if reality.writable else _unwritable(row)
        if step := _breach_staging(row, reality):
            return step
    match row.stage:
        case Stage.STAGING:
            return Record(replace(row, stage=Stage.WRITTEN), "both slots were seen to hold the new keys")
        case Stage.WRITTEN:
            return Record(replace(row, stage=Stage.VERIFIED), "read back: both slots hold the new keys")
        case Stage.VERIFIED if not reality.published:
            return Publish(target)
        case Stage.VERIFIED:
            return _promoted(row, target, reality, Slot(Use.FREE), None)
    # Not by the version that was noted alone: a set whose answer was lost may have made a second one since.
    if reality.live not in {row.published, reality.published} - {""} or target not in reality.live_in:
        return _block(
            row, Why.CHANGED, "the active slot does not hold the live secret's key: it stays disabled"
        )
    if reality.loose:
        return Tidy(reality.loose)
    if row.enable_after and not reality.enabled:
        return SetEnabled(enabled=True) if reality.writable else _unwritable(row)
    return Record(rested(row), "re-keyed after a breach")


def _breach_staging(row: RotationRow, reality: Reality) -> Step | None:
    """What is missing until both slots hold keys that are in the vault; None: nothing."""
    # The published key is in the vault, whatever has become of its pending version.
    held = reality.placed | (reality.published_in if reality.published else frozenset())
    for slot in row.targets:
        if slot in row.chosen and slot not in reality.pending and slot not in held:
            chosen = {name: version for name, version in row.chosen.items() if name != slot}
            return Record(
                replace(row, chosen=chosen, stage=Stage.STAGING), "its pending key is gone: another"
            )
        if slot not in row.chosen:
            return _choose(row, slot, reality) if slot in reality.pending else WriteAhead(slot)
    missing = tuple(slot for slot in row.targets if slot not in held)
    if not missing:
        return None
    if row.stage is not Stage.STAGING:
        return Record(replace(row, stage=Stage.STAGING), "a slot does not hold its new key: again")
    return _place(row, missing, reality)
