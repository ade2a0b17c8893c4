"""How far a purge is: its checkpoint, and what it counted. What grows with the records is in rows."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Phase = Literal["individuals", "groups", "evidence", "orphans", "weigh", "act", "end"]

SAMPLES = 5
"""Ids shown of each reason."""

IDLE = timedelta(hours=6)
"""A pass that nobody worked on for longer begins anew: it was blocked, stopped or switched off, and what it
listed before may be so no longer."""

EVIDENCE = timedelta(hours=24)
"""So long after a pass its listings may be acted on; a run that deletes for longer lists again in between.
Each delete reads the record and its hub's registry right before. Only what listings alone can tell is as old:
who has an individual enrollment, what a group lists, who is at another hub."""


@dataclass(slots=True)
class Tally:
    """What one pass counted.

    Attributes:
        population: records that were looked at.
        found: reason -> group -> stale records.
        due: reason -> those of them that this run may delete.
        marked: stale records that this run was the first to mark.
        hubs: hub -> due records that name it; "" those that name none.
        kept: why -> records that were left.
        aside: listed records that wait for what hubs say of them.
        samples: reason -> ids.
        pages: of DPS's listings; `reads`: records read one by one; `queries`: of hubs, of 100 ids.
        notes: what could not be asked, once each.
    """

    population: int = 0
    found: dict[str, dict[str, int]] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    marked: int = 0
    hubs: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    aside: int = 0
    samples: dict[str, list[str]] = field(default_factory=dict)
    pages: int = 0
    reads: int = 0
    queries: int = 0
    notes: list[str] = field(default_factory=list)

    def stale(self, reason: str, group: str, registration: str) -> None:
        """Count a stale record."""
        groups = self.found.setdefault(reason, {})
        groups[group] = groups.get(group, 0) + 1
        samples = self.samples.setdefault(reason, [])
        if len(samples) < SAMPLES:
            samples.append(registration)

    def may_go(self, reason: str, hub: str) -> None:
        """Count one that this run may delete."""
        self.due[reason] = self.due.get(reason, 0) + 1
        self.hubs[hub] = self.hubs.get(hub, 0) + 1

    def left(self, why: str) -> None:
        """Count one that is left."""
        self.kept[why] = self.kept.get(why, 0) + 1

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes and len(self.notes) < 100:
            self.notes.append(text)

    def copied(self) -> "Tally":
        """Another one that says the same."""
        return Tally.read(asdict(self))

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> "Tally":
        """Of JSON; nothing is shared with it."""
        return cls(**copy.deepcopy(dict(value)))


@dataclass(slots=True)
class State:
    """The checkpoint.

    Attributes:
        started: when the run began, in ISO 8601.
        phase: what it is at.
        passed: number of the pass.
        at: which group, or group that is gone.
        start: continuation of the next page; None: the first.
        page: number of the next row of listed ids.
        chunk: of a gone group: which; of the archive: the next.
        place: how many records of a row, or ids of a gone group's chunk, were looked at.
        cursor: key of the last row, or mark, that was dealt with.
        groups: ids of the groups of this pass and their keys with the time of their making.
        attempts: of each group, how often its listing began anew.
        gone: the last whole listings of what is gone: group, run, listing, spans of chunks.
        before: what was counted before the listing under way.
        tally: of this pass.
        deleted: records that this run deleted, or found gone where it was about to.
        left: records that it was about to delete and left.
        this_pass: deleted in this pass.
        looked: marks that were looked at again in this pass.
        before_act: deleted and left before this pass began to delete.
        restarts: how often a pass began anew because groups changed meanwhile.
        plan: what the first pass counted; None: it is under way.
        archived: number of the archive's next chunk.
        recorded: records in the chunks before it.
        failed: why the run ends without having got through; "": it does not.
        saved: when it was last saved, in ISO 8601.
        weighed: when the pass under way ended its look at everything; "" before.
        calls: attempts by this run, at least: "dps", "hubs", and those of them that were throttled.
    """

    started: str = ""
    phase: Phase = "individuals"
    passed: int = 1
    at: int = 0
    start: str | None = None
    page: int = 0
    chunk: int = 0
    place: int = 0
    cursor: str = ""
    groups: list[list[str]] | None = None
    attempts: list[int] = field(default_factory=list)
    gone: list[list[Any]] = field(default_factory=list)
    before: Tally | None = None
    tally: Tally = field(default_factory=Tally)
    plan: Tally | None = None
    deleted: int = 0
    left: dict[str, int] = field(default_factory=dict)
    this_pass: int = 0
    looked: int = 0
    before_act: int = 0
    restarts: int = 0
    archived: int = 0
    recorded: int = 0
    failed: str = ""
    saved: str = ""
    weighed: str = ""
    calls: dict[str, int] = field(default_factory=dict)

    def outdated(self, now: datetime) -> bool:
        """Whether what the pass under way found is too old to go on with."""
        if self.phase == "end":
            return False
        idle = bool(self.saved) and now - datetime.fromisoformat(self.saved) > IDLE
        old = bool(self.weighed) and now - datetime.fromisoformat(self.weighed) > EVIDENCE
        return idle or old

    def again(self) -> None:
        """Begin a pass anew; the rows of listed ids stay, which can only keep a record."""
        self.phase, self.at, self.start, self.chunk, self.place = "individuals", 0, None, 0, 0
        self.cursor, self.groups, self.gone, self.before, self.tally = "", None, [], None, Tally()
        self.this_pass, self.attempts, self.weighed = 0, [], ""

    def document(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> "State":
        """Of JSON."""
        read = dict(value)
        for name in ("before", "tally", "plan"):
            if read.get(name) is not None:
                read[name] = Tally.read(read[name])
        return cls(**read)
