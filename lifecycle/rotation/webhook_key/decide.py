"""What comes next of a roll, from what is remembered and what the services say now: pure and total."""

from dataclasses import replace
from datetime import datetime

from lifecycle.rotation.webhook_key.row import CanaryState, RollRow, Stage, Why, rested, retired
from lifecycle.rotation.webhook_key.step import (
    AskFinal,
    AskJob,
    Close,
    DeleteKey,
    KeepOld,
    Make,
    Probe,
    Publish,
    Reality,
    Record,
    Rest,
    Restore,
    Step,
    SwitchCanary,
    Tidy,
    Watch,
    WriteAhead,
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
    # By its key as well: a set whose answer was lost may have made a second version of the same.
    if reality.live != row.old_version and reality.live_is != "old" and not reality.published:
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
    if row.follows and not reality.old:
        return Record(retired(row), "the old key is deleted")
    if problem := _not_live(row, reality):
        return _block(row, Why.CHANGED, problem)
    if row.follows:
        return _following(row)
    if "retire" not in row.consents:
        return Rest(_when(row, reality, now), Why.RETIRE)
    if not reality.old:
        return Close()
    if row.clean is None or row.clean_since is None:
        return Record(
            replace(row, stage=Stage.SPREADING, consents=row.consents - {"retire"}),
            "an enrollment still had another key: rewriting goes on",
        )
    unused = row.terms.unused
    since = _since(row, reality, now)
    if now - since < unused:
        problem = (
            f"the old key must rest until {since + unused:%Y-%m-%d %H:%M} UTC: {_when(row, reality, now)}"
        )
        return _refuse(row, problem)
    if "uncounted" not in row.consents and (problem := _uncertain(row, reality)):
        return _refuse(row, problem)
    return _finally(row, reality)


def _following(row: RollRow) -> Step:
    """The other DPS's roll decides; this one has its own enrollments to keep on the new key."""
    if row.clean is None:
        return Record(
            replace(row, stage=Stage.SPREADING),
            "an enrollment still had another key: rewriting goes on",
        )
    return Rest(
        f"every enrollment has the new key; `rotate webhook-key retire` of DPS {row.follows} deletes the old "
        "one"
    )


def _uncertain(row: RollRow, reality: Reality) -> str:
    """Why nobody can tell that the old key is not needed; "" if all is known that can be."""
    counted = reality.new_used is not None and row.began is not None and reality.new_used >= row.began
    if not counted:
        return (
            "the app counts no uses of its keys (STATE_TABLES is not set there, or it is an older version): "
            "who uses the old one is not known; `retire --uncounted` deletes it all the same"
        )
    if reality.left:
        # Whatever they called with last: another enrollment of theirs may have devices that register seldom.
        return (
            f"other DPS call this app too ({', '.join(reality.left)}), and no pass has seen their "
            "enrollments: say `rotate webhook-key start --follow` there; `retire --uncounted` deletes the "
            "old key all the same"
        )
    if reality.behind:
        return (
            f"not every enrollment of a DPS that goes along has the new key ({', '.join(reality.behind)}): "
            "see `rotate webhook-key status` there; `retire --uncounted` deletes the old key all the same"
        )
    return ""


def _finally(row: RollRow, reality: Reality) -> Step:
    """The last pass, and the deletion right after it."""
    if not row.final or row.final_by != row.holder or reality.final == "none":
        return AskFinal()
    if reality.final == "runs":
        return Watch("the app looks at every enrollment once more: the old key goes right after")
    if reality.final == "blocked":
        return Rest(f"the job {row.final} is blocked: see `job show`, then `retire` again", Why.JOB)
    if reality.final == "ended":
        return _refuse(row, f"the job {row.final} ended without a whole pass: see `job show`, then `retire`")
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
    since = _since(row, reality, now)
    return (
        f"every enrollment has the new key; the old one was last used {used} and may go from "
        f"{since + row.terms.unused:%Y-%m-%d %H:%M} UTC on: see `rotate webhook-key retire`"
    )


def _since(row: RollRow, reality: Reality, now: datetime) -> datetime:
    """Since when the old key rests: every enrollment had the new one, and nobody used it."""
    return max(filter(None, (row.clean_since, reality.since, reality.old_used)), default=now)
