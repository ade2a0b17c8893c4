"""How far a decommissioning is: its checkpoint. What grows with the group is in rows."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Phase = Literal[
    "look",
    "survey",
    "weigh",
    "disable",
    "escrow",
    "count",
    "purge",
    "delete",
    "after",
    "by-id",
    "elsewhere",
    "orphans",
    "end",
]

SAMPLES = 5
"""Ids shown of each kind."""


@dataclass(slots=True)
class Tally:
    """What a listing counted.

    Attributes:
        records: that it listed.
        statuses: status -> records.
        hubs: hub -> records that name it; "" those that name none.
        kept: why -> records that would stay.
        samples: why -> ids; hostile text.
    """

    records: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    hubs: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, status: str, hub: str) -> None:
        """Count a record."""
        self.records += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.hubs[hub] = self.hubs.get(hub, 0) + 1

    def keep(self, why: str, registration: str) -> None:
        """Count one that stays."""
        self.kept[why] = self.kept.get(why, 0) + 1
        samples = self.samples.setdefault(why, [])
        if len(samples) < SAMPLES and registration not in samples:
            samples.append(registration)

    def copied(self) -> "Tally":
        """Another one that says the same."""
        return Tally(**asdict(self))


@dataclass(slots=True)
class State:
    """The checkpoint.

    Attributes:
        started: when the run began, in ISO 8601.
        phase: what it is at.
        made: when the group was made, as DPS wrote it: another one is another group.
        symmetric: whether it attests by symmetric keys.
        was: its provisioning status before.
        individuals: whether individual enrollments are so few that one page tells all; None: not looked.
        start: continuation of the page it is at; None: the first.
        place: records of a row, or ids, that it is through with.
        restarts: how often listings began anew, since their continuation was refused or groups changed.
        attempt: of the survey's listing: rows of an earlier one do not count.
        unsure: how often the phase was left for a while, since a hub did not answer.
        survey: what the survey counted; `listed`: records, and `pages`, that it has to count; `queries` that
            it made of hubs.
        disabled_at: when the group was disabled.
        kept: where its keys are: secret and version.
        counted: records that may go, as they were counted right before the first delete.
        others: somebody else deleted the group.
        remade: a group of its id was made anew before the end.
        passed: passes over the records, of this phase.
        began: when the present pass did.
        deleted_now: records deleted in it.
        left: what the phase looked at and left, up to now; `left_before`, up to the page it is at.
        archived: number of the archive's next chunk.
        deleted: records that the run deleted, or found gone where it was about to.
        cursor: key of the row of records, or of ids, that it is through with.
        under_way: whether a record that was read by its id is of a registration under way.
        ids: how many ids the run ever listed; 0: not counted yet.
        open: records whose group is not proven: id in lower case -> id and ETag.
        proven: records of which it was, as there were at first.
        groups: those that are listed to prove it: id and time of making.
        at: which of them.
        ended: what was left at the end.
        rotation: what became of its rotation: "" there was none.
        failed: why the run ends without having got through; "": it does not.
    """

    started: str = ""
    phase: Phase = "look"
    made: str = ""
    symmetric: bool = False
    was: str = ""
    individuals: bool | None = None
    start: str | None = None
    place: int = 0
    restarts: int = 0
    attempt: int = 0
    unsure: int = 0
    survey: Tally = field(default_factory=Tally)
    listed: int = 0
    pages: int = 0
    queries: int = 0
    disabled_at: str = ""
    kept: list[str] | None = None
    counted: int = 0
    others: bool = False
    remade: bool = False
    passed: int = 0
    began: str = ""
    deleted_now: int = 0
    left: Tally = field(default_factory=Tally)
    left_before: Tally = field(default_factory=Tally)
    archived: int = 0
    deleted: int = 0
    cursor: str = ""
    under_way: bool = False
    ids: int = 0
    open: dict[str, list[str]] = field(default_factory=dict)
    proven: int = 0
    groups: list[list[str]] | None = None
    at: int = 0
    ended: Tally = field(default_factory=Tally)
    rotation: str = ""
    failed: str = ""

    def to(self, phase: Phase) -> None:
        """Go on to a phase, at its beginning."""
        self.phase = phase
        self.passed, self.restarts, self.unsure = 0, 0, 0
        self.again()

    def again(self) -> None:
        """Begin a pass."""
        self.start, self.place, self.cursor, self.at, self.began = None, 0, "", 0, ""
        self.deleted_now, self.left, self.left_before = 0, Tally(), Tally()
        self.passed += 1

    def document(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    @classmethod
    def read(cls, value: dict[str, Any]) -> Self:
        """Of JSON."""
        read = dict(value)
        for name in ("survey", "left", "left_before", "ended"):
            read[name] = Tally(**read[name])
        return cls(**read)
