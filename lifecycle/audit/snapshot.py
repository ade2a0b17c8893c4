"""Who was listed: a run's ids in chunks of rows, and which run's are the last whole ones of each group.

DPS cannot list the registrations of a group that is gone, as far as is known, so what the audit once listed
is the only way to them. A run writes ids as it reads them and nobody sees them; at its end, the row of each
group whose listing was whole is put in place of the old one. So a reader finds for each group one whole
listing, the last, and a listing that did not end changes nothing.

A group that was deleted and made anew is another group: its row's key has the time of its making. The row of
one that is gone stays as long as there may be records of it.

Rows, of DPS|audit|kept|RUN: `c|LISTING|NNNNNN` with columns i00… (ids, hubs, times) and e00… (ETags); of
DPS|audit|groups: see Group.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from clients.ports import Change, Row, Table
from lifecycle.audit import places
from provisioning.hubs import HubKey

CHUNK = 1_000
"""Ids of a row, about: 13 KB compressed, 34 KB with their ETags (measured)."""

LONGEST_CHUNK = 4_000
"""Ids of a row, at most: 14 columns of 64 KiB hold them whatever they are."""

BATCH = 100
"""Rows deleted by one call."""

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
        key: of the row: the group's id and when it was made.
        group: its id, as DPS spells it.
        run: which run holds the ids.
        listing: their name there.
        chunks: numbers of chunks, some of which may be gone.
        ids: how many.
        listed_at: when that run began.
        gone_since: when a run first found the group gone; None: it was there.
        cursor: of a gone group: chunk and place in it up to which its ids were read one by one.
        etag: of the row as read.
    """

    key: str
    group: str
    run: str
    listing: str
    chunks: int
    ids: int
    listed_at: datetime
    gone_since: datetime | None = None
    cursor: tuple[int, int] = (0, 0)
    etag: str | None = None


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

        Raises:
            TableUnavailable: no usable answer.
        """
        return [_group(row) async for row in self._table.scan(places.groups(self._dps))]

    async def ids(self, group: Group) -> AsyncIterator[Listed]:
        """The registrations of a group's last whole listing, in the order of the listing.

        Raises:
            TableUnavailable: no usable answer.
        """
        async for _, listed in self.chunks(group.run, group.listing, group.chunks, etags=True):
            for each in listed:
                yield each

    async def chunks(
        self, run: str, listing: str, count: int, *, first: int = 0, etags: bool = False
    ) -> AsyncIterator[tuple[int, list[Listed]]]:
        """The chunks of a listing, each with its number.

        Args:
            run: which run's.
            listing: its name.
            count: chunks from this number on are not part of it.
            first: begin with this one.
            etags: whether ETags are wanted, which take longer to read than the rest.
        """
        partition = places.kept(self._dps, run)
        for begin in range(first, count, WINDOW):
            start = _chunk_key(listing, begin)
            stop = _chunk_key(listing, min(begin + WINDOW, count))
            async for row in self._table.scan(partition, start=start, stop=stop):
                yield int(row.key.rpartition("|")[2]), unpacked(row, etags=etags)

    async def write(self, run: str, listing: str, number: int, listed: Sequence[Listed]) -> None:
        """Write one chunk, in place of what an earlier try wrote there.

        Raises:
            TableUnavailable: it may have happened; the same again is safe.
        """
        partition, key = places.kept(self._dps, run), _chunk_key(listing, number)
        await self._table.put(Row(partition, key, packed(listed)))

    async def drop(self, run: str, listing: str, number: int) -> None:
        """Delete one chunk."""
        await self._table.delete(Row(places.kept(self._dps, run), _chunk_key(listing, number)))

    async def drop_listing(self, run: str, listing: str, chunks: int) -> None:
        """Delete a listing's chunks, by their numbers, without reading them."""
        await self.drop_rows(run, [_chunk_key(listing, number) for number in range(chunks)])

    async def drop_rows(self, run: str, keys: Sequence[str]) -> None:
        """Delete rows of a run, those that are there."""
        partition = places.kept(self._dps, run)
        for start in range(0, len(keys), BATCH):
            await self._delete([Change("delete", Row(partition, key)) for key in keys[start : start + BATCH]])

    async def put(self, group: Group) -> None:
        """Make this the last whole listing of its group.

        Raises:
            TableUnavailable: it may have happened; the same again is safe.
        """
        await self._table.put(
            Row(
                places.groups(self._dps),
                group.key,
                {
                    "group": places.storable(group.group, 1_000),
                    "run": group.run,
                    "listing": group.listing,
                    "chunks": group.chunks,
                    "ids": group.ids,
                    "listed_at": group.listed_at,
                    "cursor_chunk": group.cursor[0],
                    "cursor_place": group.cursor[1],
                    **({"gone_since": group.gone_since} if group.gone_since else {}),
                },
            )
        )

    async def forget(self, group: Group) -> None:
        """Take a group off, of which no record is left."""
        await self._table.delete(Row(places.groups(self._dps), group.key))

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
            if kind == "c" and rest.rpartition("|")[0] in keep:
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


def moved(group: Group, *, ids: int, cursor: tuple[int, int], gone_since: datetime) -> Group:
    """A gone group after some of its ids were read."""
    return replace(group, ids=ids, cursor=cursor, gone_since=group.gone_since or gone_since)


def _runs(flags: Sequence[bool]) -> str:
    return "".join("1" if flag else "0" for flag in flags)


def _flags(text: str, count: int) -> list[bool]:
    return [letter == "1" for letter in text.ljust(count, "0")]


def _chunk_key(listing: str, number: int) -> str:
    return f"c|{listing}|{number:06}"


def _group(row: Row) -> Group:
    listed_at = places.moment(row, "listed_at")
    assert listed_at is not None, "every row of a group has listed_at"
    return Group(
        key=row.key,
        group=str(row.values.get("group", "")),
        run=str(row.values.get("run", "")),
        listing=str(row.values.get("listing", "")),
        chunks=places.whole(row, "chunks"),
        ids=places.whole(row, "ids"),
        listed_at=listed_at,
        gone_since=places.moment(row, "gone_since"),
        cursor=(places.whole(row, "cursor_chunk"), places.whole(row, "cursor_place")),
        etag=row.etag,
    )
