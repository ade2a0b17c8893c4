"""What an operator may agree to of a rotation, and when: pure."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from lifecycle.errors import RotationRefused
from lifecycle.rotation.row import BEFORE_PUBLISHING, Mode, RotationRow, Stage, Use, other


def consented(row: RotationRow, what: Literal["retire", "promote", "abort"], now: datetime) -> RotationRow:
    """The row with an operator's consent; the next step acts on it, after a look at DPS and the vault.

    Raises:
        RotationRefused: there is nothing of the kind to agree to.
    """
    refusal = _REFUSALS[what](row, now)
    if refusal:
        raise RotationRefused(row.group, *refusal)
    return replace(row, consents=row.consents | {what})


def _no_retire(row: RotationRow, now: datetime) -> tuple[str, str] | None:  # noqa: PLR0911 - each return is a row of the table
    if row.mode is Mode.BREACH and row.stage is not Stage.IDLE:
        return "is being re-keyed after a breach", "no slot is left to retire"
    if row.standing in (Stage.PROMOTED, Stage.OVERLAP):
        until = f"until {row.until:%Y-%m-%d %H:%M} UTC" if row.until else "from now on"
        return f"is within its overlap, {until}", "retire the old slot when it has ended"
    if row.standing in (Stage.WRITTEN, Stage.VERIFIED, Stage.FAILED):
        return f"stands at {row.standing}: no slot waits to be retired", "see `rotate status`"
    if row.active is None:
        return "has no slot that is known to be active", "say it with `rotate adopt`"
    old = row.slots[other(row.active)]
    if old.use is Use.FREE:
        return "has a free slot already", "start a rotation"
    if old.since is not None and now - old.since < row.terms.overlap:
        until = f"{old.since + row.terms.overlap:%Y-%m-%d %H:%M} UTC"
        return f"has its old slot in its overlap until {until}", "retire it when it has ended"
    return None


def _no_promote(row: RotationRow, now: datetime) -> tuple[str, str] | None:
    del now
    if row.mode is Mode.ROUTINE and row.standing is Stage.VERIFIED:
        return None
    return f"has no verified key to promote (it stands at {row.standing})", "see `rotate status`"


def _no_abort(row: RotationRow, now: datetime) -> tuple[str, str] | None:
    del now
    if row.mode is Mode.BREACH and row.stage not in (Stage.IDLE, Stage.FAILED):
        return "is being re-keyed after a breach, which only goes forward", "see `rotate status`"
    if row.standing in BEFORE_PUBLISHING or row.stage in (Stage.FAILED, Stage.BLOCKED):
        return None
    return (
        f"has nothing to abort (it stands at {row.standing})",
        "a published key is replaced by a new rotation",
    )


_REFUSALS = {"retire": _no_retire, "promote": _no_promote, "abort": _no_abort}
