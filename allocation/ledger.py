"""The ledger: every answer to a device, recorded in Table storage.

A row means *answered*: DPS was told so. Whether it assigned the device is for DPS's own records to say, and
until the audit has confirmed a row from those (`confirmed_at`), it is no evidence.

Partitions, so that nothing ever needs a scan of the table (DPS's limits are documented: 1,000 registrations
a minute, where a partition takes 2,000 rows a second; 100 enrollment groups or so):

    DPS|group|GROUP    the devices of one enrollment group
    DPS|individual     the devices with individual enrollments, whose ids are their registration ids
    DPS|unknown        requests that named no enrollment
    DPS|groups         one row per group that has a partition, written when an instance first meets it, and
                       every few hours
    DPS|retention      how far the pruning of old rows came

Rows are `DEVICE|NEWEST-FIRST|SUFFIX`: a device's history is one range of a partition, latest first, and an
enrollment's devices are one partition. A device whose enrollment is not known is looked for in every
partition of its DPS at once: one small range query for each group, not one row read in vain.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heapreplace
from typing import Any, Literal

from allocation.errors import Overtaken
from allocation.facts import EnrollmentKind
from allocation.row_keys import AFTER, dps_field, key, moment, newest_first, storable_text
from allocation.row_keys import field as key_field
from clients.ports import Row, Scalar, Table
from provisioning.hubs import HubKey
from provisioning.registrations import registration_key

Source = Literal["webhook", "audit"]
Outcome = Literal["placed", "rejected", "wait"]

LONGEST_ID = 1_024
"""Characters kept of an id as it was sent."""

LONGEST_TEXT = 32_000
"""Characters kept of the facts and of the trail as JSON; a column takes 32,768. A longer one is left out
whole, for half of it would be read as all."""

SEARCHES = 10
"""Partitions in which a device is looked for at the same time."""

Facts = Mapping[str, Any]
"""The facts that the policy read, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answer.

    Attributes:
        dps: the DPS that asked.
        registration_id: as sent.
        enrollment_kind: individual, group or unknown.
        enrollment_id: as sent; "" where unknown.
        at: when it was answered.
        status: the HTTP status of the answer.
        outcome: what was decided.
        hub: where it was placed; None for other outcomes.
        why: in one word, or the reason.
        rule: name of the rule; "" when no policy could be read.
        policy: version of the policy that decided; "" when none could be read.
        degraded: what less was known than should have been; "" for nothing.
        trail: the steps of the decision, in order.
        facts: what the policy read of the request; None where that was too long to be kept.
        source: who wrote the row: the webhook, or the audit for an assignment that has no row.
        confirmed_at: when the audit found it to be so in DPS's own records; None until then.
        confirmed_hub: the hub those records name; None until then.
    """

    dps: str
    registration_id: str
    enrollment_kind: EnrollmentKind
    enrollment_id: str
    at: datetime
    status: int
    outcome: Outcome
    hub: HubKey | None = None
    why: str = ""
    rule: str = ""
    policy: str = ""
    degraded: str = ""
    trail: tuple[str, ...] = ()
    facts: Facts | None = None
    source: Source = "webhook"
    confirmed_at: datetime | None = None
    confirmed_hub: HubKey | None = None
    row: Row | None = field(default=None, repr=False, compare=False)
    """The row it was read from."""


class Ledger:
    """Writes and reads the rows of all DPS."""

    def __init__(self, table: Table, suffix: Callable[[], str]) -> None:
        """Make one over a table.

        Args:
            table: the ledger's.
            suffix: a few letters or digits, new for each row: two instances may answer one device in the
                same microsecond.
        """
        self._table = table
        self._suffix = suffix
        self._listed: dict[tuple[str, str], datetime] = {}

    async def write(self, entry: Entry) -> None:
        """Record one answer: one upsert, and one more when this instance first meets the group.

        Raises:
            TableUnavailable: no usable answer; the row may have been written, or not.
            NotStorable: a value that no table takes.
        """
        partition = partition_of(entry.dps, entry.enrollment_kind, entry.enrollment_id)
        device = key_field(registration_key(entry.registration_id))
        row_key = key(device, newest_first(entry.at), self._suffix())
        row = Row(partition, row_key, _values(entry))
        if entry.enrollment_kind == "group":
            # The listing first: a row that no listing leads to would be found by nobody.
            await self._list(entry.dps, entry.enrollment_id, entry.at)
        await self._table.put(row)

    async def history(self, dps: str, registration_id: str) -> AsyncIterator[Entry]:
        """Every answer to one device, latest first, whatever enrollment it came through.

        Raises:
            TableUnavailable: no usable answer.
        """
        device = key_field(registration_key(registration_id))
        ranges = [
            self._table.scan(partition, start=key(device, ""), stop=device + AFTER)
            async for partition in self.partitions(dps)
        ]
        async for row in _merged(ranges):
            yield _entry(dps, row)

    async def of_enrollment(
        self, dps: str, kind: EnrollmentKind, enrollment_id: str, *, latest: bool = False
    ) -> AsyncIterator[Entry]:
        """Every answer to the devices of one enrollment, by device, and of each device latest first.

        Args:
            dps: the DPS.
            kind: group, individual, or unknown for requests that named no enrollment.
            enrollment_id: the group's id, or the individual enrollment's registration id.
            latest: only the latest answer to each device.

        Raises:
            TableUnavailable: no usable answer.
        """
        bounds = {}
        if kind == "individual":
            device = key_field(enrollment_id)
            bounds = {"start": key(device, ""), "stop": device + AFTER}
        async for entry in self._read(dps, partition_of(dps, kind, enrollment_id), latest=latest, **bounds):
            yield entry

    async def of_dps(self, dps: str, *, latest: bool = False) -> AsyncIterator[Entry]:
        """Every answer to the devices of one DPS, enrollment by enrollment."""
        async for partition in self.partitions(dps):
            async for entry in self._read(dps, partition, latest=latest):
                yield entry

    async def groups(self, dps: str) -> AsyncIterator[str]:
        """The ids of the enrollment groups that have rows, as first sent."""
        async for row in self._table.scan(_listing(dps)):
            yield str(row.values.get("group", row.key))

    async def partitions(self, dps: str) -> AsyncIterator[str]:
        """Every partition that may hold rows of a DPS."""
        yield partition_of(dps, "individual", "")
        yield partition_of(dps, "unknown", "")
        async for row in self._table.scan(_listing(dps)):
            yield key(dps_field(dps), "group", row.key)

    async def of_partition(
        self, dps: str, partition: str, *, start: str = "", latest: bool = False
    ) -> AsyncIterator[Entry]:
        """Every answer in one of `partitions`, by device, and of each device latest first.

        Args:
            dps: the DPS.
            partition: which.
            start: a row's key, or any text: what lies before it is left out. To go on after a device whose
                entry was read, its `row.key` up to the first `|`, and AFTER.
            latest: only the latest answer to each device.

        Raises:
            TableUnavailable: no usable answer.
        """
        async for entry in self._read(dps, partition, latest=latest, start=start):
            yield entry

    async def confirm(self, entry: Entry, hub: HubKey, at: datetime) -> None:
        """Note on an entry that was read what DPS's own records say of the device.

        Raises:
            Overtaken: the row has changed since it was read.
            TableUnavailable: no usable answer.
        """
        assert entry.row is not None, "only an entry that was read can be confirmed"
        row = entry.row
        values: dict[str, Scalar] = {**row.values, "confirmed_hub": hub, "confirmed_at": at}
        if (await self._table.replace(Row(row.partition, row.key, values, row.etag))).outcome != "written":
            raise Overtaken("ledger: the row has changed since it was read; read it again")

    async def _read(self, dps: str, partition: str, *, latest: bool, **bounds: str) -> AsyncIterator[Entry]:
        before = None
        async for row in self._table.scan(partition, **bounds):
            device = row.key.partition("|")[0]
            if not (latest and device == before):
                yield _entry(dps, row)
            before = device

    async def _list(self, dps: str, group: str, at: datetime) -> None:
        listed_at = self._listed.get((dps, group))
        if listed_at is not None and at - listed_at < LIST_AGAIN:
            return
        values: dict[str, Scalar] = {"group": storable_text(group, LONGEST_ID), "listed_at": at}
        await self._table.put(Row(_listing(dps), key_field(group), values))
        if len(self._listed) >= MOST_LISTED:
            self._listed.clear()
        self._listed[(dps, group)] = at


MOST_LISTED = 1_000
"""Groups an instance remembers to have listed; a DPS has 100 or so, forged requests may name any number."""

LIST_AGAIN = timedelta(hours=6)
"""How long an instance relies on a group being listed because it listed it."""

UNLIST_AFTER = timedelta(days=1)
"""A group is taken off the list no earlier after its last listing: every instance has then forgotten that."""


def partition_of(dps: str, kind: EnrollmentKind, enrollment_id: str) -> str:
    """The partition of an enrollment's devices."""
    if kind == "group":
        return key(dps_field(dps), kind, key_field(enrollment_id))
    return key(dps_field(dps), kind)


def listing_of(partition: str) -> tuple[str, str] | None:
    """Partition and key of the row that lists a group's partition; None for one that is always looked at."""
    fields = partition.split("|")
    return (key(fields[0], "groups"), fields[2]) if len(fields) == 3 else None


def checkpoint_of(dps: str) -> tuple[str, str]:
    """Partition and key of the row in which whoever goes through a DPS's whole ledger notes the place."""
    return key(dps_field(dps), "retention"), "checkpoint"


def written_at(row_key: str) -> datetime:
    """When the answer of a row was given, from its key.

    Raises:
        ValueError: it is no key of the ledger.
    """
    parts = row_key.split("|")
    if len(parts) != 3:
        raise ValueError(f"{row_key!r} is no key of the ledger")
    return moment(parts[1])


def _listing(dps: str) -> str:
    return key(dps_field(dps), "groups")


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, default=str)


def _values(entry: Entry) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {
        "registration_id": storable_text(entry.registration_id, LONGEST_ID),
        "enrollment_kind": entry.enrollment_kind,
        "at": entry.at,
        "status": entry.status,
        "outcome": entry.outcome,
        "source": entry.source,
    }
    optional = {
        "enrollment_id": storable_text(entry.enrollment_id, LONGEST_ID),
        "hub": storable_text(entry.hub or "", LONGEST_ID),
        "why": storable_text(entry.why, LONGEST_ID),
        "rule": entry.rule,
        "policy": entry.policy,
        "degraded": storable_text(entry.degraded, LONGEST_ID),
        "trail": _whole(entry.trail) if entry.trail else "",
        "facts": _whole(entry.facts) if entry.facts is not None else "",
        "confirmed_hub": entry.confirmed_hub or "",
    }
    values |= {name: text for name, text in optional.items() if text}
    if entry.confirmed_at is not None:
        values["confirmed_at"] = entry.confirmed_at
    return values


def _whole(value: Any) -> str:
    """As JSON in ASCII (so half a surrogate pair is six characters), or "" where it is too long."""
    text = _ENCODER.encode(value)
    return text if len(text) <= LONGEST_TEXT else ""


def _entry(dps: str, row: Row) -> Entry:
    values = row.values
    at, confirmed_at = values.get("at"), values.get("confirmed_at")
    hub, confirmed_hub = str(values.get("hub", "")), str(values.get("confirmed_hub", ""))
    facts, trail = _json(values.get("facts")), _json(values.get("trail"))
    kind, outcome = str(values.get("enrollment_kind", "")), str(values.get("outcome", ""))
    status = values.get("status")
    return Entry(
        dps=dps,
        registration_id=str(values.get("registration_id", row.key.partition("|")[0])),
        enrollment_kind=_KINDS.get(kind, "unknown"),
        enrollment_id=str(values.get("enrollment_id", "")),
        at=at if isinstance(at, datetime) else written_at(row.key),
        status=status if isinstance(status, int) else 0,
        outcome=_OUTCOMES.get(outcome, "wait"),
        hub=HubKey(hub) if hub else None,
        why=str(values.get("why", "")),
        rule=str(values.get("rule", "")),
        policy=str(values.get("policy", "")),
        degraded=str(values.get("degraded", "")),
        trail=tuple(str(step) for step in trail) if isinstance(trail, list) else (),
        facts=facts if isinstance(facts, dict) else None,
        source="audit" if values.get("source") == "audit" else "webhook",
        confirmed_at=confirmed_at if isinstance(confirmed_at, datetime) else None,
        confirmed_hub=HubKey(confirmed_hub) if confirmed_hub else None,
        row=row,
    )


_KINDS: Mapping[str, EnrollmentKind] = {"individual": "individual", "group": "group"}
_OUTCOMES: Mapping[str, Outcome] = {"placed": "placed", "rejected": "rejected", "wait": "wait"}


def _json(text: Scalar | None) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


async def _merged(ranges: list[AsyncIterator[Row]]) -> AsyncIterator[Row]:
    """Rows of one device from several partitions, latest first."""
    turns = asyncio.Semaphore(SEARCHES)

    async def first(rows: AsyncIterator[Row]) -> Row | None:
        async with turns:
            return await anext(rows, None)

    heads = await asyncio.gather(*(first(rows) for rows in ranges))
    # The number keeps rows of one key apart; rows themselves have no order.
    heap = [(row.key, number, row) for number, row in enumerate(heads) if row is not None]
    heapify(heap)
    while heap:
        _, number, row = heap[0]
        yield row
        following = await anext(ranges[number], None)
        if following is None:
            heap[0] = heap[-1]
            heap.pop()
            heapify(heap)
        else:
            heapreplace(heap, (following.key, number, following))
