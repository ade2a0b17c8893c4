"""What is remembered of a group's rotation, and the changes it may undergo by command: pure.

The row never holds a key. What it knows of keys are versions of secrets and times.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from lifecycle.errors import InvalidOption, RotationRefused

SlotName = Literal["primary", "secondary"]
SLOTS: tuple[SlotName, SlotName] = ("primary", "secondary")

NEAR_EXPIRY = timedelta(days=30)
"""How long before its expiry a secret's current version raises SecretNearExpiry (documented, fixed)."""

KEY_CACHE = timedelta(minutes=30)
"""How long DPS may refuse a registration's other keys after it registered with one (seen in 2020)."""

SHORTEST_OVERLAP = timedelta(hours=1)
"""A late answer of a vault must not outlive an overlap."""

CANARY_TRIES = 5
CANARY_PAUSE = timedelta(minutes=1)
"""A changed key may take a while to count everywhere: a canary that is refused tries again."""

_SECRET = re.compile(r"[0-9A-Za-z-]{1,100}", re.ASCII)


class Stage(StrEnum):
    """Where a group's rotation stands; see the package."""

    IDLE = "idle"
    STAGING = "staging"
    WRITTEN = "written"
    VERIFIED = "verified"
    PROMOTED = "promoted"
    OVERLAP = "overlap"
    RETIRING = "retiring"
    BLOCKED = "blocked"
    FAILED = "failed"


BEFORE_PUBLISHING = frozenset({Stage.STAGING, Stage.WRITTEN, Stage.VERIFIED})
"""The stages in which nobody outside was given the new key."""


AFTER_PUBLISHING = frozenset({Stage.PROMOTED, Stage.OVERLAP, Stage.RETIRING})
"""The stages in which new device keys come from the new key."""


class Use(StrEnum):
    """What a slot's key is to devices."""

    ACTIVE = "active"
    """New device keys are derived from it."""
    DEMOTED = "demoted"
    """Devices may still use it."""
    FREE = "free"
    """Somebody has said that no device needs it: it may be overwritten."""
    UNKNOWN = "unknown"


class Mode(StrEnum):
    """How careful a rotation is."""

    ROUTINE = "routine"
    BREACH = "breach"
    """Both keys are taken for known to others: both go at once, without overlap."""


class Why(StrEnum):
    """What a blocked rotation waits for."""

    NONE = ""
    RETIRE = "retire consent needed"
    PROMOTE = "promote consent needed"
    CANARY = "the canary was not let in"
    CHANGED = "somebody else changed it"
    UNWRITABLE = "the group cannot be written"


class CanaryState(StrEnum):
    """How far the canary of this rotation is."""

    NONE = "none"
    REGISTERING = "registering"
    PASSED = "passed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot: its use, and since when it is demoted."""

    use: Use
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class RotationTerms:
    """What a group's operators have agreed on.

    Attributes:
        overlap: how long both keys count, for devices to take the new ones.
        validity: from publication to expiry of the live secret's version.
        canary: whether a canary registers before the new key is published.
        hold: whether a verified key waits for `rotate promote`.
    """

    overlap: timedelta = timedelta(days=30)
    validity: timedelta = timedelta(days=180)
    canary: bool = False
    hold: bool = False

    def __post_init__(self) -> None:
        if self.overlap < SHORTEST_OVERLAP:
            raise InvalidOption("overlap", f"it is {self.overlap}", "give devices at least an hour, 1h")
        if self.validity <= NEAR_EXPIRY + self.overlap:
            raise InvalidOption(
                "validity",
                f"{_days(self.validity)} are not more than 30 days and the overlap of {_days(self.overlap)}: "
                "SecretNearExpiry would come while the overlap still runs",
                f"make it longer than {_days(NEAR_EXPIRY + self.overlap)}, or the overlap shorter",
            )


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):g} days"


@dataclass(frozen=True, slots=True)
class Canary:
    """What is known of this rotation's canary, and when each slot's canary last registered."""

    state: CanaryState = CanaryState.NONE
    dirty: bool = False
    """Whether its registration and its device may be left somewhere."""
    tries: int = 0
    next_try: datetime | None = None
    last: Mapping[SlotName, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RotationRow:
    """A group's rotation.

    Attributes:
        group: its id, as DPS spells it.
        secret: the name of its live secret; `pending` and `replaced` are named after it.
        terms: see RotationTerms.
        slots: both.
        stage: see Stage.
        mode: of the rotation under way.
        rotation: its id; "" while idle.
        by: who began it, or adopted the group.
        began: when.
        replaces: the live secret's version that it replaces; "" for none.
        target: the slot that gets the new key; of a breach: the one that becomes active.
        chosen: slot -> version of the pending secret that holds its new key, once settled.
        published: the version of the live secret that it made.
        until: end of the overlap.
        consents: what operators have agreed to of this rotation: "retire", "promote", "abort".
        blocked: what a blocked rotation waits for.
        resumes: the stage that it goes on from.
        problem: the same in words, without secrets.
        canary: see Canary.
        enable_after: of a breach: whether the group is to be enabled at its end; None: not looked at yet.
        declined: the live version whose replacement was aborted: no timer begins it again.
        created: when DPS says that the group was made that was adopted; "" where that is not known.
        holder: the job that works on it.
        epoch: of that job's lease: who holds an older one has lost it.
        updated: when the row was written.
        etag: of the row as read.
    """

    group: str
    secret: str
    terms: RotationTerms
    slots: Mapping[SlotName, Slot]
    stage: Stage = Stage.IDLE
    mode: Mode = Mode.ROUTINE
    rotation: str = ""
    by: str = ""
    began: datetime | None = None
    replaces: str = ""
    target: SlotName | None = None
    chosen: Mapping[SlotName, str] = field(default_factory=dict)
    published: str = ""
    until: datetime | None = None
    consents: frozenset[str] = frozenset()
    blocked: Why = Why.NONE
    resumes: Stage = Stage.IDLE
    problem: str = ""
    canary: Canary = field(default_factory=Canary)
    enable_after: bool | None = None
    declined: str = ""
    created: str = ""
    holder: str = ""
    epoch: int = 0
    updated: datetime | None = None
    etag: str | None = field(default=None, compare=False, repr=False)

    @property
    def active(self) -> SlotName | None:
        """The slot that new device keys come from; None unless exactly one is."""
        found = [name for name in SLOTS if self.slots[name].use is Use.ACTIVE]
        return found[0] if len(found) == 1 else None

    @property
    def targets(self) -> tuple[SlotName, ...]:
        """The slots that get new keys; the one that becomes active first."""
        if self.target is None:
            return ()
        return (self.target, other(self.target)) if self.mode is Mode.BREACH else (self.target,)

    @property
    def pending(self) -> str:
        """The secret that new keys are written ahead to."""
        return f"{self.secret}-pending"

    @property
    def replaced(self) -> str:
        """The secret that keeps what was overwritten."""
        return f"{self.secret}-replaced"

    @property
    def secrets(self) -> frozenset[str]:
        """The names of its secrets, in lower case: names count without it."""
        return frozenset(name.lower() for name in (self.secret, self.pending, self.replaced))

    @property
    def standing(self) -> Stage:
        """The stage, that of a blocked rotation being the one it goes on from."""
        return self.resumes if self.stage is Stage.BLOCKED else self.stage


def other(slot: SlotName) -> SlotName:
    """The slot beside it."""
    return "secondary" if slot == "primary" else "primary"


def check_secret(name: str) -> str:
    """The name, if a live secret can have it.

    Raises:
        InvalidOption: it cannot.
    """
    if not _SECRET.fullmatch(name):
        raise InvalidOption(
            "secret", f"{name[:120]!a} is no name of a secret here", "1 to 100 letters, digits, -"
        )
    return name


def adopt(
    group: str,
    secret: str,
    terms: RotationTerms,
    *,
    active: SlotName,
    others: Literal["free", "in-use"],
    by: str,
    now: datetime,
) -> RotationRow:
    """The row of a group that is taken into rotation, on an operator's word.

    Args:
        group: its id.
        secret: the name of its live secret.
        terms: see RotationTerms.
        active: the slot that new device keys are derived from.
        others: whether devices use the other slot too. In use it is demoted, and goes by consent alone.
        by: who says so.
        now: the time.

    Raises:
        InvalidOption: the secret cannot be named so.
    """
    rest = Slot(Use.FREE) if others == "free" else Slot(Use.DEMOTED, now)
    slots: dict[SlotName, Slot] = {active: Slot(Use.ACTIVE), other(active): rest}
    return RotationRow(group, check_secret(secret), terms, slots, by=by, updated=now)


def begun(row: RotationRow, rotation: str, *, replaces: str, by: str, now: datetime) -> RotationRow:
    """The row with a routine rotation begun.

    Raises:
        RotationRefused: one is under way, or nobody knows which slot is active.
    """
    if row.stage is not Stage.IDLE:
        raise RotationRefused(row.group, f"has a rotation under way ({row.stage})", "see `rotate status`")
    if row.active is None:
        raise RotationRefused(
            row.group, "has no slot that is known to be active", "say it with `rotate adopt`"
        )
    return replace(
        _fresh(row),
        stage=Stage.STAGING,
        mode=Mode.ROUTINE,
        rotation=rotation,
        by=by,
        began=now,
        replaces=replaces,
        target=other(row.active),
    )


def breached(row: RotationRow, rotation: str, *, by: str, now: datetime) -> RotationRow:
    """The row with a breach's rotation begun, in place of whatever was under way.

    Raises:
        RotationRefused: a breach is being dealt with already.
    """
    if row.mode is Mode.BREACH and row.stage is not Stage.IDLE:
        raise RotationRefused(row.group, "is being re-keyed after a breach already", "see `rotate status`")
    return replace(
        _fresh(row),
        stage=Stage.STAGING,
        mode=Mode.BREACH,
        rotation=rotation,
        by=by,
        began=now,
        target="primary",
        slots={name: Slot(Use.UNKNOWN) for name in SLOTS},
        canary=replace(row.canary, state=CanaryState.NONE, tries=0, next_try=None),
        declined="",
        created="",
    )


def rested(row: RotationRow) -> RotationRow:
    """The row of a group with no rotation under way; the slots stay as they are."""
    return replace(_fresh(row), stage=Stage.IDLE, mode=Mode.ROUTINE, rotation="", target=None)


def retried(row: RotationRow) -> RotationRow:
    """A blocked row that goes on from where it stood: what it waited for may have been put right."""
    if row.stage is not Stage.BLOCKED:
        return row
    canary = row.canary
    if row.blocked is Why.CANARY:
        canary = replace(canary, state=CanaryState.NONE, tries=0, next_try=None)
    return replace(row, stage=row.resumes, blocked=Why.NONE, resumes=Stage.IDLE, problem="", canary=canary)


def _fresh(row: RotationRow) -> RotationRow:
    """The row without what belonged to one rotation."""
    return replace(
        row,
        began=None,
        replaces="",
        chosen={},
        published="",
        until=None,
        consents=frozenset(),
        blocked=Why.NONE,
        resumes=Stage.IDLE,
        problem="",
        canary=replace(row.canary, state=CanaryState.NONE, tries=0, next_try=None),
        enable_after=None,
    )
