"""Who was listed: a run's ids in chunks of rows, and which run's are the last whole ones of each group.

DPS cannot list the registrations of a group that is gone, as far as is known, so what the audit once listed
is the only way to them. A run writes ids as it reads them and nobody sees them; at its end, the row of each
group whose listing was whole is put in place of the old one. So a reader finds for each group one whole
listing, the last, and a listing that did not end changes nothing.

A group that was deleted and made anew is another group: its row's key has the time of its making. The row of
one that is gone stays as long as there may be records of it. The individual enrollments are kept like one
more group; what is missing of them later, like the listing of a group that is gone.

Rows, of DPS|audit|kept|RUN: `c|LISTING|LEASE|NNNNNN` (lifecycle.audit.fenced) with columns i00… (ids, hubs,
times) and e00… (ETags); of DPS|audit|groups: see Group. A group's row names the rows that count and changes
under its ETag: so whoever reads finds one whole state, and a worker that lost its lease changes none.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from clients.ports import Change, Row, Table
from lifecycle.audit import fenced, places
from lifecycle.errors import LeaseLost
from provisioning.hubs import HubKey

CHUNK = 1_000
"""Ids of a row, about: 13 KB compressed, 34 KB with their ETags (measured)."""

LONGEST_CHUNK = 4_000
"""Ids of a row, at most: 14 columns of 64 KiB hold them whatever they are."""

INDIVIDUALS = "~individuals"
"""In place of a group's key: the individual enrollments. No group's key begins so."""

LOST = "~lost|"
"""Begins the keys of individual enrollments that were listed once and are gone; the run that missed them
follows."""

BATCH = 100
"""Rows deleted by one call."""

OVERTAKEN = "a row of the audit changed under this worker's hands: another one has the job"

WINDOW = 20
"""Chunks read by one call: a page of the table may have 1,000 rows, and these are large ones."""


class Listed(NamedTuple):
    """One registration as it was listed: a tuple, for a million of them are made.

    Attributes:
        id: as DPS spells it.
        hub: it is assigned to; None: it has none.
        assigned: whether its status says so.
        updated: seconds since 1970; 0: not told.
        etag: for a guarded delete; "" where it came without.
        device: its id at the hub, where that is another; else "".
        custom: whether its enrollment asks a webhook where it goes.
    """

    id: str
    hub: HubKey | None = None
    assigned: bool = False
    updated: int = 0
    etag: str = ""
    device: str = ""
    custom: bool = False

    @property
    def device_id(self) -> str:
        """Its id at the hub."""
        return self.device or self.id


@dataclass(frozen=True, slots=True)
class Group:
    """The last whole listing of one group.

    Attributes:
        key: of the row: the group's id and when it was made; or INDIVIDUALS, or LOST and a run.
        group: its id, as DPS spells it; "" of individual enrollments.
        run: which run holds the ids.
        listing: their name there.
        spans: chunks that count, some of which may be gone.
        ids: how many.
        listed_at: when that run began.
        gone_since: when a run first found the group gone; None: it was there.
        cursor: of a gone group: chunk and place in it up to which its ids were read one by one.
        looked: the run that last did so; "" for none.
        etag: of the row as read; None: there is none yet.
    """

    key: str
    group: str
    run: str
    listing: str
    spans: fenced.Spans
    ids: int
    listed_at: datetime
    gone_since: datetime | None = None
    cursor: tuple[int, int] = (0, 0)
    looked: str = ""
    etag: str | None = None

    @property
    def lost(self) -> bool:
        """Whether these are individual enrollments that are gone."""
        return self.key.startswith(LOST)


def group_key(group: str, made: str) -> str:
    """The key of a group's row.

    Args:
        group: its id.
        made: when it was made, as DPS wrote it: another one is another group.
    """
    return f"{places.field(group)}|{places.field(made) if made else '-'}"


class Snapshots:
    """The ids that runs listed."""

    def __init__(self, table: Table, dps: str) -> None:
        self._table = table
        self._dps = dps

    async def groups(self) -> list[Group]:
        """Every group with a whole listing, those that are gone too, by key.

        What is left of individual enrollments that are gone is among them, with a key that is no group's.

        Raises:
            TableUnavailable: no usable answer.
        """
        scan = self._table.scan(places.groups(self._dps))
        return [_group(row) async for row in scan if row.key != INDIVIDUALS]

    async def individuals(self) -> Group | None:
        """The last whole listing of the individual enrollments.

        Raises:
            TableUnavailable: no usable answer.
        """
        row = await self._table.get(places.groups(self._dps), INDIVIDUALS)
        return None if row is None else _group(row)

    async def needed(self) -> dict[str, set[str]]:
        """Of each run, by its id, the names of the listings that are some row's last.

        Raises:
            TableUnavailable: no usable answer.
        """
        found: dict[str, set[str]] = {}
        async for row in self._table.scan(places.groups(self._dps)):
            group = _group(row)
            found.setdefault(group.run, set()).add(group.listing)
        return found

    async def ids(self, group: Group) -> AsyncIterator[Listed]:
        """The registrations of a group's last whole listing, in the order of the listing.

        Raises:
            TableUnavailable: no usable answer.
        """
        async for _, listed in self.chunks(group.run, group.listing, group.spans, etags=True):
            for each in listed:
                yield each

    async def chunks(
        self,
        run: str,
        listing: str,
        spans: fenced.Spans,
        *,
        first: int = 0,
        stop: int | None = None,
        etags: bool = False,
    ) -> AsyncIterator[tuple[int, list[Listed]]]:
        """The chunks of a listing, each with its number.

        Args:
            run: which run's.
            listing: its name.
            spans: the chunks that are part of it.
            first: begin with this one.
            stop: end before this one.
            etags: whether ETags are wanted, which take longer to read than the rest.
        """
        partition = places.kept(self._dps, run)
        for start, end in fenced.windows(_prefix(listing), spans, WINDOW, first=first, stop=stop):
            async for row in self._table.scan(partition, start=start, stop=end):
                yield fenced.number_of(row.key), unpacked(row, etags=etags)

    async def write(self, run: str, listing: str, by: str, number: int, listed: Sequence[Listed]) -> None:
        """Write one chunk, in place of what an earlier try of the same lease wrote there.

        Raises:
            TableUnavailable: it may have happened; the same again is safe.
        """
        key = fenced.key(_prefix(listing), by, number)
        await self._table.put(Row(places.kept(self._dps, run), key, packed(listed)))

    async def drop_listing(self, run: str, listing: str, spans: fenced.Spans) -> None:
        """Delete a listing's chunks, by their numbers, without reading them."""
        await self.drop_rows(run, chunk_keys(listing, spans))

    async def drop_rows(self, run: str, keys: Sequence[str]) -> None:
        """Delete rows of a run, those that are there."""
        partition = places.kept(self._dps, run)
        for start in range(0, len(keys), BATCH):
            await self._delete([Change("delete", Row(partition, key)) for key in keys[start : start + BATCH]])

    async def put(self, group: Group) -> None:
        """Make this the row of its group, in place of the one that was read.

        Raises:
            LeaseLost: the row has changed, so another worker has the job.
            TableUnavailable: it may have happened: read before writing again.
        """
        row = Row(
            places.groups(self._dps),
            group.key,
            {
                "group": places.storable(group.group, 1_000),
                "run": group.run,
                "listing": group.listing,
                "ids": group.ids,
                "listed_at": group.listed_at,
                "cursor_chunk": group.cursor[0],
                "cursor_place": group.cursor[1],
                "looked": group.looked,
                **places.spread("s", group.spans),
                **({"gone_since": group.gone_since} if group.gone_since else {}),
            },
            group.etag,
        )
        write = self._table.insert if group.etag is None else self._table.replace
        if (await write(row)).outcome != "written":
            raise LeaseLost(OVERTAKEN)

    async def forget(self, group: Group) -> None:
        """Take a group off, of which no record is left.

        Raises:
            LeaseLost: its row has changed since it was read.
            TableUnavailable: it may have happened; the same again is safe.
        """
        row = Row(places.groups(self._dps), group.key, {}, group.etag)
        if (await self._table.delete(row)).outcome == "moved":
            raise LeaseLost(OVERTAKEN)

    async def sweep(self, run: str, keep: frozenset[str]) -> None:
        """Delete what is left of an earlier run, but for the listings that are some group's last.

        Most of it went by `drop_listing` when it was replaced; this reads what is there.

        Args:
            run: whose.
            keep: names of listings.

        Raises:
            TableUnavailable: some is left; the same again goes on.
        """
        partition = places.kept(self._dps, run)
        old: list[Change] = []
        async for row in self._table.scan(partition):
            kind, _, rest = row.key.partition("|")
            if kind == "c" and rest.partition("|")[0] in keep:
                continue
            old.append(Change("delete", Row(partition, row.key)))
            if len(old) == BATCH:
                await self._delete(old)
                old = []
        await self._delete(old)

    async def _delete(self, old: list[Change]) -> None:
        if old and (await self._table.write(old)).outcome != "written":
            for change in old:  # one of them was gone already, so none went
                await self._table.delete(change.row)


def packed(listed: Sequence[Listed]) -> dict[str, Any]:
    """A chunk's columns."""
    ids, on, assigned, updated, etags, devices, custom = zip(*listed, strict=True)
    hubs = [hub for hub in dict.fromkeys(on) if hub is not None]
    numbers = {hub: number for number, hub in enumerate(hubs)} | {None: -1}
    body = {
        "id": ids,
        "hub": [numbers[hub] for hub in on],
        "up": updated,
        "as": _runs(assigned),
        "cu": _runs(custom),
        "dev": {str(at): device for at, device in enumerate(devices) if device},
        "hubs": hubs,
    }
    columns = places.spread("i", body)
    if any(etags):
        columns |= places.spread("e", etags)
    return columns


def unpacked(row: Row, *, etags: bool) -> list[Listed]:
    """What a chunk holds."""
    body: Mapping[str, Any] = places.gathered("i", row.values) or {"id": ()}
    ids: list[str] = body["id"]
    if not ids:
        return []
    known: list[str] = places.gathered("e", row.values) if etags else None  # type: ignore[assignment]  # None alike
    hubs = [HubKey(name) for name in body["hubs"]]
    assigned, custom = _flags(body["as"], len(ids)), _flags(body["cu"], len(ids))
    devices = body["dev"]
    return [
        Listed(
            each,
            hubs[hub] if hub >= 0 else None,
            assigned[at],
            updated,
            known[at] if known else "",
            devices.get(str(at), "") if devices else "",
            custom[at],
        )
        for at, (each, hub, updated) in enumerate(zip(ids, body["hub"], body["up"], strict=True))
    ]


def _runs(flags: Sequence[bool]) -> str:
    return "".join("1" if flag else "0" for flag in flags)


def _flags(text: str, count: int) -> list[bool]:
    return [letter == "1" for letter in text.ljust(count, "0")]


def chunk_keys(listing: str, spans: fenced.Spans) -> list[str]:
    """The keys of a listing's chunks."""
    return fenced.keys(_prefix(listing), spans)


def _prefix(listing: str) -> str:
    return f"c|{listing}"


def _group(row: Row) -> Group:
    listed_at = places.moment(row, "listed_at")
    assert listed_at is not None, "every row of a group has listed_at"
    return Group(
        key=row.key,
        group=str(row.values.get("group", "")),
        run=str(row.values.get("run", "")),
        listing=str(row.values.get("listing", "")),
        spans=places.gathered("s", row.values) or [],
        ids=places.whole(row, "ids"),
        listed_at=listed_at,
        gone_since=places.moment(row, "gone_since"),
        cursor=(places.whole(row, "cursor_chunk"), places.whole(row, "cursor_place")),
        looked=str(row.values.get("looked", "")),
        etag=row.etag,
    )
