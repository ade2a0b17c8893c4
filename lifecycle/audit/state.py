"""How far a run is: its checkpoint. What grows with the number of devices is in rows, never in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from lifecycle.audit.fenced import Spans

PHASES = (
    "settle",
    "groups",
    "individuals",
    "registrations",
    "hubs",
    "confirm",
    "vanished",
    "orphans",
    "ledger",
    "end",
)
"""In order. Hubs come after DPS, so that a device that registers meanwhile is not missed at DPS."""


@dataclass(slots=True)
class Tally:
    """What was found, by check.

    Attributes:
        found: findings; as often as they came, so an upper bound where a listing gave something twice.
        unsaid: check -> how often it could not conclude, the first reason, and of which resource.
    """

    found: dict[str, int] = field(default_factory=dict)
    unsaid: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Place:
    """Where a listing is.

    Attributes:
        name: of its chunks.
        start: continuation of the next page; None: the first.
        spans: chunks written so far.
        ids: in them.
        restarts: how often it began anew because a continuation was refused.
        failures: slices in a row that a service's fault ended without a page.
        before: tally, findings and candidates at its beginning, which a new beginning goes back to.
        states: whether any individual enrollment came with its device's record.
        records: how many did.
        custom: ids whose enrollment asks a webhook where devices go.
    """

    name: str
    start: str | None = None
    spans: Spans = field(default_factory=list)
    ids: int = 0
    restarts: int = 0
    failures: int = 0
    before: dict[str, Any] = field(default_factory=dict)
    states: bool = False
    records: int = 0
    custom: int = 0


@dataclass(slots=True)
class Kept:
    """A listing that is over.

    Attributes:
        name: of its chunks.
        key: of the row of its last whole listing (lifecycle.audit.snapshot.Group); "" if none is kept.
        group: id; "" of other listings.
        spans: the chunks.
        ids: in them.
        whole: whether it came to its end.
        records: of individual enrollments, those whose device has a record.
        custom: ids whose enrollment asks a webhook where devices go.
    """

    name: str
    key: str
    group: str
    spans: Spans
    ids: int
    whole: bool
    records: int = 0
    custom: int = 0


@dataclass(slots=True)
class GroupKnown:
    """What is kept of a group until its registrations are listed: nothing that may be secret."""

    id: str
    made: str
    kind: str
    custom: bool
    bare: dict[str, Any] = field(default_factory=dict)
    """The document without all but its dates, status and kind of attestation."""


@dataclass(slots=True)
class Run:
    """The checkpoint.

    Attributes:
        started: when the run began, in ISO 8601: what its checks take for now.
        phase: one of PHASES.
        at: which of the phase's things: group, hub, listing.
        cursor: how far in it, by chunk and place or by key.
        place: of the listing under way.
        groups: as listed, by key.
        hubs: host names of the hubs that are listed, linked ones first; an index's hubs are numbered so.
        listings: of ids of DPS that are over.
        hub_listings: of hubs that are over.
        statistics: hub -> total, enabled, disabled, as it says.
        tally: what was found.
        reasons: source -> why it was not read to its end.
        counts: symmetric_groups, x509_groups, individual_enrollments, registrations.
        calls: by service.
        notes: plain figures, see runs.Figures.
        settled: the mark of the lease that read what is the same for every check; "" before.
        strangers: rows of candidates that hubs' listings gave.
        strangers_kept: candidates in them.
        found_rows: rows of findings as they came.
        stays: how often reading the groups and their keys began.
        read: ids read one by one so far.
        lost: ids of individual enrollments that the last run listed and this one does not; None: none yet.
        dead: row of a gone group -> ids that DPS has no record of any more.
        cursors: row of a gone group -> where the next run goes on.
        marks: rows that hold the index's marks.
        policies: versions that decided lately.
        gaps: answers since the last run that the ledger does not have.
        unconfirmed: answers that no record confirms, of devices without a record.
        ends: certificates in groups' slots: resource and when each ends.
        before: start of the run before; "" if there is none.
        sample_every: one of so many individual enrollments has its keys read; 0: none.
    """

    started: str = ""
    phase: str = PHASES[0]
    at: int = 0
    cursor: list[Any] = field(default_factory=list)
    place: Place | None = None
    groups: list[GroupKnown] = field(default_factory=list)
    hubs: list[str] = field(default_factory=list)
    listings: list[Kept] = field(default_factory=list)
    hub_listings: list[Kept] = field(default_factory=list)
    statistics: dict[str, list[int]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    reasons: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    settled: str = ""
    strangers: Spans = field(default_factory=list)
    strangers_kept: int = 0
    found_rows: Spans = field(default_factory=list)
    stays: int = 0
    read: int = 0
    lost: Kept | None = None
    dead: dict[str, list[str]] = field(default_factory=dict)
    cursors: dict[str, list[int]] = field(default_factory=dict)
    marks: Spans = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    gaps: int = 0
    unconfirmed: int = 0
    ends: list[list[str]] = field(default_factory=list)
    before: str = ""
    sample_every: int = 0

    def count(self, name: str, by: int = 1) -> None:
        """Add to a note."""
        self.notes[name] = self.notes.get(name, 0) + by

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint."""
        found: dict[str, Any] = plain(self)
        return found

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Run":
        """The run of a checkpoint."""
        rest = dict(value)
        place, lost = rest.pop("place"), rest.pop("lost")
        return cls(
            place=Place(**place) if place else None,
            lost=Kept(**lost) if lost else None,
            groups=[GroupKnown(**each) for each in rest.pop("groups")],
            listings=[Kept(**each) for each in rest.pop("listings")],
            hub_listings=[Kept(**each) for each in rest.pop("hub_listings")],
            tally=Tally(**rest.pop("tally")),
            **rest,
        )


def plain(value: Any) -> Any:
    """A copy of a value made of these classes, lists and mappings, as JSON has it."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return value
