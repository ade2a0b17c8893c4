"""What is remembered of a roll of the webhook's key, and what commands may do to it: pure.

The row never holds a key: versions of secrets, names of function keys, fingerprints and times.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from lifecycle.errors import InvalidOption, RotationRefused

SUBJECT = "webhook-key"
"""What errors and rows call it, in the place of a group's id."""

HOLD = timedelta(minutes=10)
"""How long a command that died keeps others from going on: longer than one change of an enrollment may take,
which is some calls of 90 s each."""

PROMPT = timedelta(minutes=1)
"""The old key goes only by a command that was awake all the time since it saw the last pass run. One that was
put to sleep with its machine asks for another pass."""

Consent = Literal["retire", "abort", "unwatched", "uncounted"]


class Stage(StrEnum):
    """Where a roll stands; see the package."""

    IDLE = "idle"
    STAGING = "staging"
    CANARY = "canary"
    SPREADING = "spreading"
    OVERLAP = "overlap"
    BLOCKED = "blocked"


class Why(StrEnum):
    """What a blocked or resting roll waits for."""

    NONE = ""
    PROBE = "the app does not take the new key"
    CANARY = "the canary did not register with the new key"
    UNSEEN = "nothing of the canary was seen"
    CHANGED = "somebody else changed it"
    JOB = "the job that rewrites enrollments needs somebody"
    RETIRE = "retire consent needed"


class CanaryState(StrEnum):
    """How far the canary enrollment is."""

    NONE = "none"
    SWITCHING = "switching"
    SWITCHED = "switched"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class RollTerms:
    """How careful a roll is.

    Attributes:
        probes: calls in a row that the new key must open.
        probe_time: from the first of them to the last, at least.
        watch: how long to wait for a device of the canary.
        unused: how long nobody may have used the old key, and all enrollments must have had the new one,
            before it goes.
    """

    probes: int = 20
    probe_time: timedelta = timedelta(minutes=2)
    watch: timedelta = timedelta(minutes=15)
    unused: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        if self.probes < 2:
            raise InvalidOption("probes", f"{self.probes} prove nothing", "make it at least 2")
        if self.probe_time > timedelta(minutes=30):
            raise InvalidOption("probe_time", f"it is {self.probe_time}", "make it at most 30m")


@dataclass(frozen=True, slots=True)
class RollRow:
    """A roll of the webhook's key.

    Attributes:
        secret: the vault's secret with the webhook's key; `pending` is named after it.
        site: the app's resource id.
        function: the webhook's function.
        bases: the webhook's URLs without keys; enrollments with any other are left alone.
        terms: see RollTerms.
        stage: see Stage.
        roll: its id; "" while idle.
        by: who began it.
        began: when.
        old_name: the function key that it replaces.
        old_mark: its fingerprint.
        old_version: the live secret's version with it; "" until it is known to be in the vault.
        new_name: the function key that it makes.
        new_mark: its fingerprint; "" until it is chosen.
        chosen: the version of the pending secret that holds it.
        probed: when the app was seen to take it.
        canary_kind: of the canary enrollment.
        canary_id: its id; "" where no enrollment asks this webhook.
        canary: see CanaryState.
        switched: when it was.
        published: the live secret's version with the new key.
        job: the job that rewrites the enrollments, as last asked for.
        final: the job of the pass that the deletion of the old key waits for; "" for none.
        final_by: the command that asked for it: no other may delete by it.
        proof: the job that ended with a pass that found nothing; "" where the last pass found something.
        follows: the DPS whose roll this one goes along with; "" for a roll of its own.
        followers: the DPS that go along with this one.
        ended: the last roll that ended with its old key deleted; its enrollments are gone through once more.
        passes: over all enrollments that have ended.
        counts: of the last one.
        clean_since: end of the first pass that found nothing left, of those without one in between that did.
        clean: end of the last such pass; None: the last pass found something.
        consents: what operators have agreed to: "retire", "abort", "unwatched", "uncounted".
        blocked: what a blocked roll waits for.
        resumes: the stage that it goes on from.
        problem: the same in words, without secrets.
        holder: the command that works on it; "" for none.
        held_until: it is taken for dead after that.
        updated: when the row was written.
        etag: of the row as read.
    """

    secret: str = ""
    site: str = ""
    function: str = ""
    bases: tuple[str, ...] = ()
    terms: RollTerms = field(default_factory=RollTerms)
    stage: Stage = Stage.IDLE
    roll: str = ""
    by: str = ""
    began: datetime | None = None
    old_name: str = ""
    old_mark: str = ""
    old_version: str = ""
    new_name: str = ""
    new_mark: str = ""
    chosen: str = ""
    probed: datetime | None = None
    canary_kind: Literal["group", "individual"] = "group"
    canary_id: str = ""
    canary: CanaryState = CanaryState.NONE
    switched: datetime | None = None
    published: str = ""
    job: str = ""
    final: str = ""
    final_by: str = ""
    proof: str = ""
    follows: str = ""
    followers: tuple[str, ...] = ()
    ended: str = ""
    passes: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    clean_since: datetime | None = None
    clean: datetime | None = None
    consents: frozenset[str] = frozenset()
    blocked: Why = Why.NONE
    resumes: Stage = Stage.IDLE
    problem: str = ""
    holder: str = ""
    held_until: datetime | None = None
    updated: datetime | None = None
    etag: str | None = field(default=None, compare=False, repr=False)

    @property
    def pending(self) -> str:
        """The secret that the new key is written ahead to."""
        return f"{self.secret}-pending"

    @property
    def standing(self) -> Stage:
        """The stage, that of a blocked roll being the one it goes on from."""
        return self.resumes if self.stage is Stage.BLOCKED else self.stage

    def held_by_another(self, holder: str, now: datetime) -> bool:
        """Whether another command may still be at work on it."""
        held = self.holder not in ("", holder)
        return held and self.held_until is not None and now < self.held_until


def begun(
    row: RollRow,
    roll: str,
    *,
    by: str,
    now: datetime,
    secret: str,
    site: str,
    function: str,
    bases: tuple[str, ...],
    terms: RollTerms,
    old_name: str,
    old_mark: str,
    canary: tuple[Literal["group", "individual"], str],
) -> RollRow:
    """The row with a roll begun.

    Raises:
        RotationRefused: one is under way.
    """
    if row.stage is not Stage.IDLE:
        raise RotationRefused(
            SUBJECT, f"has a roll under way ({row.stage})", "see `rotate webhook-key status`"
        )
    return RollRow(
        secret=secret,
        site=site,
        function=function,
        bases=bases,
        terms=terms,
        stage=Stage.STAGING,
        roll=roll,
        by=by,
        began=now,
        old_name=old_name,
        old_mark=old_mark,
        new_name=f"fleet-{now:%Y%m%d}-{roll[:8]}",
        canary_kind=canary[0],
        canary_id=canary[1],
        holder=row.holder,
        held_until=row.held_until,
        etag=row.etag,
    )


def followed(row: RollRow, lead: RollRow, dps: str, roll: str, *, by: str, now: datetime) -> RollRow:
    """The row of another DPS's roll as one that goes along with it: the same two keys, its own enrollments.

    Args:
        row: as it is; its `secret`, `site`, `function`, `bases` and `terms` are of the roll to begin.
        lead: the row of the DPS that rolls.
        dps: its name.
        roll: an id of its own.
        by: who says so.
        now: the time.

    Raises:
        RotationRefused: one is under way here, or the other's is at no stage to be followed.
    """
    if lead.follows or not lead.published or lead.standing not in (Stage.SPREADING, Stage.OVERLAP):
        raise RotationRefused(
            SUBJECT,
            f"cannot follow DPS {dps!a}, whose roll is {lead.stage}"
            + (f" and follows {lead.follows!a} itself" if lead.follows else ""),
            "follow the DPS that began the roll, once its new key is published",
        )
    made = begun(
        row,
        roll,
        by=by,
        now=now,
        secret=row.secret,
        site=row.site,
        function=row.function,
        bases=row.bases,
        terms=row.terms,
        old_name=lead.old_name,
        old_mark=lead.old_mark,
        canary=("group", ""),
    )
    return replace(
        made,
        stage=Stage.SPREADING,
        old_version=lead.old_version,
        new_name=lead.new_name,
        new_mark=lead.new_mark,
        chosen=lead.chosen,
        probed=lead.probed,
        published=lead.published,
        follows=dps,
    )


def rested(row: RollRow) -> RollRow:
    """Idle again. What it was about stays, for people."""
    return replace(
        row, stage=Stage.IDLE, roll="", consents=frozenset(), blocked=Why.NONE, resumes=Stage.IDLE, problem=""
    )


def retired(row: RollRow) -> RollRow:
    """Idle again, its old key deleted. A pass that was asked for may still go through its enrollments."""
    return replace(rested(row), ended=row.roll, final="", final_by="")


def retried(row: RollRow) -> RollRow:
    """A blocked roll that is tried again. One that failed at the canary begins with the probe."""
    if row.stage is not Stage.BLOCKED:
        return row
    again = replace(row, stage=row.resumes, resumes=Stage.IDLE, blocked=Why.NONE, problem="")
    if row.blocked in (Why.CANARY, Why.PROBE):
        return replace(again, stage=Stage.STAGING, probed=None, canary=CanaryState.NONE, switched=None)
    if row.blocked is Why.UNSEEN:
        return replace(again, switched=None)  # it is watched for as long again
    return again


def consented(row: RollRow, what: Consent) -> RollRow:
    """The row with an operator's word.

    Raises:
        RotationRefused: it is not asked for in this stage.
    """
    allowed = {
        "retire": {Stage.OVERLAP},
        "uncounted": {Stage.OVERLAP},
        "abort": {Stage.STAGING, Stage.CANARY},
        "unwatched": {Stage.STAGING, Stage.CANARY},
    }
    if row.standing not in allowed[what]:
        raise RotationRefused(
            SUBJECT,
            f"is {row.stage}, which is no time to {_WORDS[what]}",
            "see `rotate webhook-key status`",
        )
    if row.follows:
        raise RotationRefused(
            SUBJECT, f"goes along with that of DPS {row.follows!a}", "say it by a command for that DPS"
        )
    if what == "retire":
        # What was seen before the word was given is no proof of what is so now.
        row = replace(row, problem="", final="", final_by="")
    return replace(row, consents=row.consents | {what})


_WORDS = {
    "retire": "delete the old key",
    "uncounted": "delete the old key",
    "abort": "give the roll up: its key may be in use",
    "unwatched": "go on without the canary",
}
