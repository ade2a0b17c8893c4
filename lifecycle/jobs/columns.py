"""Jobs, switches and history as rows of a table: keys and columns, pure.

One partition per DPS, so that one batch can move a job from the current ones to the history:

    DPS|jobs    current|job|ID                  each job that has not ended
                current|switch                  the kill switch
                known|ID                        every job; of one that ended, its last row
                part|ID|GENERATION|NNNN         checkpoints too large for their row
                past|INVERTED TIME|ID|STAMP     history, newest first

A tick scans `current|` and nothing else.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clients.ports import Row, Scalar
from lifecycle.errors import NotAJob, UnreadableJob
from lifecycle.jobs.row import JobRow, Pace, Progress, State, Stored

FORM = 1
"""Of the columns. A row of another form is left alone."""

JSON_CHARACTERS = 30_000
"""Of params and of a result, as JSON: a text column has 32,768."""

TEXT_CHARACTERS = 1_000
"""Of a subject, a problem, a name: the rest is cut."""

CURRENT = "current|"
SWITCH = "current|switch"
PAST = "past|"
_LATEST = 10**18


def partition(dps: str) -> str:
    """The partition of a DPS's jobs; its name knows no case."""
    return f"{dps.lower()}|jobs"


def current_key(job: str) -> str:
    """Of a job that has not ended."""
    return f"current|job|{job}"


def known_key(job: str) -> str:
    """Of what remains of a job, ended or not."""
    return f"known|{job}"


def part_key(job: str, generation: str, number: int) -> str:
    """Of one part of a checkpoint."""
    return f"part|{job}|{generation}|{number:04}"


def after(prefix: str) -> str:
    """The end of the range of keys that begin with the prefix, which ends in "|"."""
    return prefix[:-1] + "}"


def past_key(at: datetime, job: str = "", stamp: str = "") -> str:
    """Of one entry of the history: the newer, the smaller. Without job, the bound of that time."""
    microseconds = round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    return f"{PAST}{_LATEST - microseconds:018}" + (f"|{job}|{stamp}" if stamp else "")


def as_json(what: str, value: Mapping[str, Any]) -> str:
    """The mapping as JSON text that a column can hold.

    Raises:
        NotAJob: it is no JSON, or too long.
    """
    try:
        text = json.dumps(dict(value), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NotAJob(f"{what}: not JSON ({error})") from None
    if len(text) > JSON_CHARACTERS:
        raise NotAJob(
            f"{what}: {len(text):,} characters as JSON, of at most {JSON_CHARACTERS:,}; keep large things in"
            " rows of their own and name them here"
        )
    return text


def job_columns(job: JobRow) -> dict[str, Scalar]:
    """A job's columns."""
    columns: dict[str, Scalar | None] = {
        "form": FORM,
        "job": job.id,
        "kind": job.kind,
        "subject": cut(job.subject),
        "params": as_json("params", job.params),
        "state": str(job.state),
        "by": cut(job.by),
        "created": job.created,
        "updated": job.updated,
        "not_before": job.not_before,
        "owner": job.owner,
        "until": job.until,
        "epoch": job.epoch,
        "stamp": job.stamp,
        "attempts": job.attempts,
        "troubles": job.troubles,
        "done": job.progress.done,
        "total": job.progress.total,
        "unit": cut(job.progress.unit),
        "phase": cut(job.progress.phase) or None,
        "paced_since": job.pace.since,
        "paced_done": job.pace.done,
        "paced_per_second": job.pace.per_second,
        "problem": cut(job.problem),
        "result": as_json("result", job.result),
    }
    if job.stored is not None:
        columns |= {
            "checkpoint": job.stored.inline,
            "generation": job.stored.generation,
            "parts": job.stored.parts,
            "digest": job.stored.digest,
        }
    return {name: value for name, value in columns.items() if value is not None}


def job_of(row: Row) -> JobRow:
    """The job in a row.

    Raises:
        UnreadableJob: another form, or no job.
    """
    columns: dict[str, Any] = dict(row.values)
    if columns.get("form") != FORM:
        raise UnreadableJob(f"{row.key}: the row has form {columns.get('form')!r}; this version reads {FORM}")
    # One row that somebody mended by hand must not end the tick of all the others.
    wrong = next((name for name, kind in _TYPES.items() if not isinstance(columns.get(name), kind)), None)
    if wrong is not None:
        raise UnreadableJob(f"{row.key}: {wrong} is missing, or of another type")
    try:
        stored = None
        if "generation" in columns:
            stored = Stored(
                columns.get("checkpoint"), columns["generation"], columns["parts"], columns["digest"]
            )
        return JobRow(
            id=columns["job"],
            kind=columns["kind"],
            subject=columns["subject"],
            params=_object(columns["params"]),
            state=State(columns["state"]),
            by=columns["by"],
            created=columns["created"],
            updated=columns["updated"],
            not_before=columns["not_before"],
            owner=columns["owner"],
            until=columns.get("until"),
            epoch=columns["epoch"],
            stamp=columns["stamp"],
            attempts=columns["attempts"],
            troubles=columns["troubles"],
            progress=Progress(
                columns["done"], columns.get("total"), columns["unit"], columns.get("phase", "")
            ),
            pace=Pace(columns["paced_since"], columns["paced_done"], columns.get("paced_per_second")),
            problem=columns["problem"],
            result=_object(columns["result"]),
            stored=stored,
            etag=row.etag,
        )
    except (KeyError, ValueError) as error:
        raise UnreadableJob(f"{row.key}: {type(error).__name__} at {error}") from None


_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("job", "kind", "subject", "params", "state", "by", "owner", "stamp"), str),
    **dict.fromkeys(("unit", "problem", "result"), str),
    **dict.fromkeys(("created", "updated", "not_before", "paced_since"), datetime),
    **dict.fromkeys(("epoch", "attempts", "troubles", "done", "paced_done"), int),
    "until": datetime | None,
    "total": int | None,
    "phase": str | None,
    "paced_per_second": float | int | None,
}
"""What the columns of a job hold."""


def _object(text: str) -> Mapping[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("params or result, which is no JSON object")  # noqa: TRY004 - the row is wrong
    return found


@dataclass(frozen=True, slots=True)
class Off:
    """Why a switch is set, since when and by whom."""

    by: str
    why: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Switch:
    """The kill switch of one DPS: for all jobs, or for some kinds."""

    everything: Off | None = None
    kinds: Mapping[str, Off] = field(default_factory=dict)
    stamp: str = ""
    etag: str | None = field(default=None, compare=False, repr=False)

    def off(self, kind: str) -> Off | None:
        """What keeps a kind from running; None: nothing does."""
        return self.everything or self.kinds.get(kind)


def switch_columns(switch: Switch) -> dict[str, Scalar]:
    """The switch's columns."""

    def told(off: Off) -> dict[str, str]:
        return {"by": cut(off.by, 200), "why": cut(off.why, 200), "at": off.at.isoformat()}

    columns: dict[str, Scalar] = {
        "form": FORM,
        "stamp": switch.stamp,
        "kinds": as_json("kill switch", {kind: told(off) for kind, off in switch.kinds.items()}),
    }
    if switch.everything:
        columns["everything"] = as_json("kill switch", told(switch.everything))
    return columns


def switch_of(row: Row | None) -> Switch:
    """The switch in a row; no row is a switch that is not set.

    A row that cannot be read counts as set for everything: whoever wrote it wanted something stopped.
    """
    if row is None:
        return Switch()

    def told(found: Mapping[str, str]) -> Off:
        return Off(found["by"], found["why"], datetime.fromisoformat(found["at"]))

    columns: dict[str, Any] = dict(row.values)
    try:
        everything = columns.get("everything")
        return Switch(
            told(json.loads(everything)) if everything is not None else None,
            {kind: told(off) for kind, off in json.loads(columns["kinds"]).items()},
            columns["stamp"],
            row.etag,
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        why = "the kill switch's row cannot be read; set it anew"
        return Switch(Off("?", why, datetime.fromtimestamp(0, UTC)), {}, "", row.etag)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a job or to the kill switch.

    Attributes:
        at: when.
        what: done, failed, blocked, stopped, resumed, switched off, switched on.
        job: its id; "" of the kill switch.
        kind: of the job, or the one switched; "" for all.
        subject: of the job.
        by: who did it; "" for the loop.
        detail: the problem, the reason; no secret; hostile text.
        key: of its row: where `history` goes on.
    """

    at: datetime
    what: str
    job: str = ""
    kind: str = ""
    subject: str = ""
    by: str = ""
    detail: str = ""
    key: str = field(default="", compare=False)


def entry_row(dps: str, entry: Entry, stamp: str) -> Row:
    """The entry's row."""
    columns: dict[str, Scalar] = {
        "at": entry.at,
        "what": entry.what,
        "job": entry.job,
        "kind": entry.kind,
        "subject": cut(entry.subject),
        "by": cut(entry.by),
        "detail": cut(entry.detail),
    }
    return Row(partition(dps), past_key(entry.at, entry.job or "-", stamp), columns)


def entry_of(row: Row) -> Entry:
    """The entry in a row."""
    found: dict[str, Any] = dict(row.values)
    texts = {name: str(found.get(name, "")) for name in ("what", "job", "kind", "subject", "by", "detail")}
    return Entry(at=found["at"], key=row.key, **texts)


def cut(text: str, most: int = TEXT_CHARACTERS) -> str:
    """The text, storable and not too long: half surrogate pairs replaced."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= most else text[: most - 1] + "…"
