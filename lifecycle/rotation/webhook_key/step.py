"""What comes next of a roll, from what is remembered and what the services say now: pure and total."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from lifecycle.rotation.webhook_key.row import FRESH, CanaryState, RollRow, Stage, Why, rested


@dataclass(frozen=True, slots=True)
class Reality:
    """What the app, the vault, DPS and the counts say now; keys only as comparisons.

    Attributes:
        old: whether the app has the old key.
        new: what the app has under the new key's name: nothing, the pending key, or another value.
        live: the version of the live secret that readers get; "" where they get none.
        live_state: why not.
        live_is: whose key that version has.
        pending: the version of the pending secret with this roll's key, readable; "" for none.
        pending_mark: the fingerprint of that key.
        published: the version of the live secret that this roll made; "" for none.
        canary: the key that the canary's URL has; "unseen" where a read masks it, or it was not looked at.
        refused: devices of the canary that DPS refused for the webhook's 401 since the switch.
        new_placed: when a device was last placed through the new key.
        new_used: when the new key last opened the function at all.
        old_used: the same of the old key.
        left: other DPS that called with the old key last.
        job: the job that rewrites enrollments.
        loose: versions of the pending secret that nobody needs any more.
    """

    old: bool = True
    new: Literal["missing", "made", "other"] = "missing"
    live: str = ""
    live_state: Literal["there", "missing", "disabled"] = "missing"
    live_is: Literal["old", "new", "other", ""] = ""
    pending: str = ""
    pending_mark: str = ""
    published: str = ""
    canary: Literal["new", "old", "unseen", "elsewhere", "missing"] = "unseen"
    refused: int = 0
    new_placed: datetime | None = None
    new_used: datetime | None = None
    old_used: datetime | None = None
    left: tuple[str, ...] = ()
    job: Literal["none", "runs", "blocked", "ended"] = "none"
    loose: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to do for a command."""

    because: str
    asks: Why = Why.NONE


@dataclass(frozen=True, slots=True)
class Watch:
    """Look again in a while."""

    because: str


@dataclass(frozen=True, slots=True)
class Record:
    """Write the row, and nothing else."""

    row: RollRow
    note: str


@dataclass(frozen=True, slots=True)
class KeepOld:
    """Put the old key into the vault, as the live secret's first version."""

    note: str = "the key that is in use goes to the vault"
    needs: str = "the live secret has no version; the app has the old key"


@dataclass(frozen=True, slots=True)
class WriteAhead:
    """Make a key and put it into the pending secret, before the app gets it."""

    note: str = "the new key goes to the vault before it is used"
    needs: str = "no readable version of the pending secret has this roll's id"


@dataclass(frozen=True, slots=True)
class Make:
    """Give the app the pending key, under the new name."""

    note: str = "the app gets the new key beside the old one"
    needs: str = "the pending key is readable; the app has nothing under the new name"


@dataclass(frozen=True, slots=True)
class Probe:
    """Call the webhook with the new key until it was taken often enough in a row."""

    note: str = "the webhook is called with the new key: its instances may still have the old list of keys"
    needs: str = "the app has the pending key under the new name"


@dataclass(frozen=True, slots=True)
class SwitchCanary:
    """Give the canary enrollment the new key."""

    note: str = "the canary gets the new key"
    needs: str = "the app was seen to take the new key; the row says that it is being switched"


@dataclass(frozen=True, slots=True)
class Restore:
    """Give the canary enrollment the old key again."""

    note: str = "the canary gets the old key again"
    needs: str = "the app has the old key"


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the pending key the live secret's next version."""

    note: str = "the new key becomes the secret's next version"
    needs: str = "the app took it; the live secret's newest version is the one to be replaced"


@dataclass(frozen=True, slots=True)
class AskJob:
    """Ask the app for a pass over all enrollments."""

    note: str = "the app is asked to rewrite the enrollments"
    needs: str = "no such job is under way"


@dataclass(frozen=True, slots=True)
class DeleteKey:
    """Delete a function key at the app."""

    which: Literal["old", "new"]
    note: str = "a key is deleted at the app"
    needs: str = (
        "of the old key: consent, a fresh pass without a finding, no use for the stated time, the new key "
        "live and at the app; of the new one: it was given up, and the canary has the old one"
    )


@dataclass(frozen=True, slots=True)
class Tidy:
    """Disable versions of the pending secret that nobody needs."""

    versions: tuple[str, ...]
    note: str = "what was written ahead is disabled"
    needs: str = "the key is the live secret's, or was given up"


Step = (
    Rest
    | Watch
    | Record
    | KeepOld
    | WriteAhead
    | Make
    | Probe
    | SwitchCanary
    | Restore
    | Publish
    | AskJob
    | DeleteKey
    | Tidy
)


def next_step(  # noqa: PLR0911 - the table of stages: each branch is a row
    row: RollRow, reality: Reality, now: datetime
) -> Step:
    """The one step to take now. Defined for every row and reality."""
    if row.stage is Stage.IDLE:
        return Rest("no roll is under way")
    if "abort" in row.consents:
        return _abort(row, reality)
    match row.stage:
        case Stage.BLOCKED:
            return Rest(row.problem or "blocked", row.blocked or Why.CHANGED)
        case Stage.STAGING:
            return _staging(row, reality)
        case Stage.CANARY:
            return _canary(row, reality, now)
        case Stage.SPREADING:
            return _spreading(row, reality)
        case _:
            return _overlap(row, reality, now)


def _block(row: RollRow, why: Why, problem: str) -> Record:
    blocked = replace(row, stage=Stage.BLOCKED, blocked=why, resumes=row.standing, problem=problem)
    return Record(blocked, problem)


def _abort(row: RollRow, reality: Reality) -> Step:
    """Give a roll up whose key only the canary was given."""
    if reality.published or row.standing in (Stage.SPREADING, Stage.OVERLAP):
        kept = replace(row, consents=row.consents - {"abort"})
        return Record(kept, "not given up: the new key is the live one already")
    if row.canary in (CanaryState.SWITCHING, CanaryState.SWITCHED):
        if not reality.old:
            kept = replace(row, consents=row.consents - {"abort"})
            return Record(
                kept, "not given up: the app does not have the old key any more: go on with `start`"
            )
        # Not "if it has the new key": a switch whose answer was lost, or that is masked, shows the old one.
        return Restore()
    if reality.new != "missing":
        return DeleteKey("new")
    if reality.loose:
        return Tidy(reality.loose)
    return Record(rested(row), "given up: the old key stays in use")


def _foreign(row: RollRow, reality: Reality) -> Record | None:
    """Blocked, if the live secret is not as this roll found it."""
    if reality.live_state == "disabled":
        return _block(row, Why.CHANGED, "the newest version of the live secret is disabled: enable it")
    if reality.live != row.old_version and not reality.published:
        return _block(
            row,
            Why.CHANGED,
            "the live secret has another version than the one to be replaced: abort, start again",
        )
    return None


def _staging(  # noqa: C901, PLR0911 - as above
    row: RollRow, reality: Reality
) -> Step:
    if not row.old_version:
        if reality.live_state == "missing":
            return KeepOld() if reality.old else _no_old(row)
        if reality.live_is != "old":
            return _block(
                row, Why.CHANGED, "the live secret does not hold the key to be replaced: abort, start again"
            )
        return Record(replace(row, old_version=reality.live), "the key that is in use is in the vault")
    if foreign := _foreign(row, reality):
        return foreign
    if not row.chosen:
        if not reality.pending:
            return WriteAhead()
        chosen = replace(row, chosen=reality.pending, new_mark=reality.pending_mark)
        return Record(chosen, "the new key is in the vault")
    if not reality.pending:
        return _block(
            row, Why.CHANGED, "the pending secret's version is gone or disabled: abort, start again"
        )
    if reality.new == "other":
        return _block(row, Why.CHANGED, f"the app has another key named {row.new_name}: abort, start again")
    if reality.new == "missing":
        return Make()
    if row.probed is None:
        return Probe()
    return Record(replace(row, stage=Stage.CANARY), "the app takes the new key")


def _no_old(row: RollRow) -> Record:
    return _block(row, Why.CHANGED, f"the app has no key named {row.old_name} any more: abort, start again")


def _canary(  # noqa: C901, PLR0911 - as above
    row: RollRow, reality: Reality, now: datetime
) -> Step:
    if row.canary is CanaryState.RESTORED:
        return _block(
            row,
            Why.CANARY,
            "devices of the canary were refused with the new key (400209), and it has the old one again: "
            "`start` tries again, `abort` gives up",
        )
    if row.canary is not CanaryState.NONE and reality.refused:
        return Restore() if reality.old else _no_old(row)
    if foreign := _foreign(row, reality):
        return foreign
    if reality.new != "made" or not reality.pending:
        return _block(row, Why.CHANGED, "the app or the vault has lost the new key: abort, start again")
    if not row.canary_id:
        return Record(replace(row, stage=Stage.SPREADING), "no enrollment asks this webhook")
    if row.canary is CanaryState.NONE:
        return Record(replace(row, canary=CanaryState.SWITCHING), "the canary is to be switched")
    if reality.canary in ("missing", "elsewhere"):
        return _block(row, Why.CHANGED, "the canary is gone, or asks another webhook: abort, start again")
    if row.canary is CanaryState.SWITCHING or reality.canary == "old":
        return SwitchCanary()
    if row.switched is None:
        return Record(replace(row, switched=now), "the canary is watched")
    if reality.new_placed is not None and reality.new_placed >= row.switched:
        return Record(replace(row, stage=Stage.SPREADING), "a device was placed through the new key")
    if "unwatched" in row.consents:
        return Record(replace(row, stage=Stage.SPREADING), "agreed, although nothing was seen of the canary")
    if now < row.switched + row.terms.watch:
        return Watch("a device of the canary must register")
    return _block(
        row,
        Why.UNSEEN,
        f"no device of {row.canary_id!a} has registered through the new key, so nothing is proved: `start` "
        "watches again, `start --unwatched` goes on all the same, `abort` gives up",
    )


def _spreading(  # noqa: PLR0911 - as above
    row: RollRow, reality: Reality
) -> Step:
    if not reality.published:
        if foreign := _foreign(row, reality):
            return foreign
        if reality.new != "made" or not reality.pending:
            return _block(row, Why.CHANGED, "the app or the vault has lost the new key: see the app's keys")
        return Publish()
    if not row.published:
        return Record(replace(row, published=reality.published), "published: the new key is the live one")
    if problem := _not_live(row, reality):
        return _block(row, Why.CHANGED, problem)
    if reality.loose:
        return Tidy(reality.loose)
    if row.clean is not None:
        return Record(replace(row, stage=Stage.OVERLAP), "every enrollment has the new key")
    return _job(row, reality, "the app rewrites the enrollments: see `rotate webhook-key status`")


def _job(row: RollRow, reality: Reality, because: str) -> Step:
    if reality.job == "blocked":
        return Rest(f"the job {row.job} is blocked: see `job show`", Why.JOB)
    return Rest(because) if reality.job == "runs" else AskJob()


def _not_live(row: RollRow, reality: Reality) -> str:
    """What keeps the new key from being the one that all may rely on; "" for nothing."""
    # Not by its version: a set without an answer may have made a second one of the same key.
    if reality.live_is != "new":
        return "the live secret has another key than this roll's: see who changed it"
    if reality.new != "made":
        return f"the app does not have the new key under its name {row.new_name}: see its keys"
    return ""


def _overlap(  # noqa: PLR0911 - as above
    row: RollRow, reality: Reality, now: datetime
) -> Step:
    if problem := _not_live(row, reality):
        return _block(row, Why.CHANGED, problem)
    if "retire" not in row.consents:
        return Rest(_when(row, reality, now), Why.RETIRE)
    if not reality.old:
        return Record(rested(row), "the old key is deleted")
    if row.clean is None or row.clean_since is None:
        return Record(
            replace(row, stage=Stage.SPREADING, consents=row.consents - {"retire"}),
            "an enrollment still had another key: rewriting goes on",
        )
    unused = row.terms.unused
    since = max(filter(None, (row.clean_since, reality.old_used)))
    if now - since < unused:
        problem = (
            f"the old key must rest until {since + unused:%Y-%m-%d %H:%M} UTC: {_when(row, reality, now)}"
        )
        return _refuse(row, problem)
    counted = reality.new_used is not None and row.began is not None and reality.new_used >= row.began
    if not counted and "uncounted" not in row.consents:
        return _refuse(
            row,
            "the app counts no uses of its keys (STATE_TABLES is not set there, or it is an older version): "
            "who uses the old one is not known; `retire --uncounted` deletes it all the same",
        )
    if reality.left and "uncounted" not in row.consents:
        # However long ago: its devices may register seldom, and would be refused at once.
        return _refuse(
            row,
            f"calls of another DPS were last made with the old key ({', '.join(reality.left)}): give its "
            "enrollments the new one by commands for that DPS; `retire --uncounted` deletes it all the same",
        )
    if now - row.clean > FRESH:
        return _job(row, reality, "the app looks at every enrollment once more: run `retire` again then")
    return DeleteKey("old")


def _refuse(row: RollRow, problem: str) -> Record:
    """The consent is given back: it was for now."""
    return Record(replace(row, consents=row.consents - {"retire", "uncounted"}, problem=problem), problem)


def _when(row: RollRow, reality: Reality, now: datetime) -> str:
    used = (
        "never since uses are counted"
        if reality.old_used is None
        else f"{reality.old_used:%Y-%m-%d %H:%M} UTC"
    )
    since = max(filter(None, (row.clean_since, reality.old_used)), default=now)
    return (
        f"every enrollment has the new key; the old one was last used {used} and may go from "
        f"{since + row.terms.unused:%Y-%m-%d %H:%M} UTC on: see `rotate webhook-key retire`"
    )
