"""One slice's hands: what it found, what it read, where it is, and how all of that is saved.

Rows are written before the checkpoint that counts them, under keys that no other lease writes. So a slice
that dies anywhere, or is frozen and wakes up late, leaves at most rows that nobody reads; what is read back
is what a checkpoint counts.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Any, Protocol, TypeVar

from allocation import CompiledPolicy, Ledger
from clients.arm import Unknown
from clients.dps import DpsClient
from clients.errors import (
    BadRequest,
    NoCredential,
    NotSendable,
    ServiceError,
    Throttled,
    Unavailable,
    UnexpectedReply,
)
from clients.hubs import HubClient, HubShares
from clients.ports import RateShare, Row
from clients.wording import plain as plain_text
from lifecycle.audit import around as surroundings
from lifecycle.audit import fenced, marks, places
from lifecycle.audit.evidence import Around, Complete
from lifecycle.audit.finding import Finding, Outcome, Source
from lifecycle.audit.join import UNLISTED, Index, fill
from lifecycle.audit.memory import CountedShare, Memory
from lifecycle.audit.ports import Audited, Ports, WouldGo
from lifecycle.audit.runs import RunStore
from lifecycle.audit.snapshot import CHUNK, LONGEST_CHUNK, Listed, Snapshots
from lifecycle.audit.state import Kept, Place, Run, Tally, plain
from lifecycle.jobs import Progress, Slice
from lifecycle.rates import Rate
from provisioning.hubs import HubKey

T = TypeVar("T")

PASSING = (Throttled, Unavailable, UnexpectedReply)
"""What may be better in a minute."""

REFUSED = (ServiceError, NoCredential, NotSendable)

WRITES = 100
"""Rows of the ledger written between two checkpoints, at most: what a death may have to be done again."""

CANDIDATES = "q"
"""Begins the keys of rows of candidates."""

FLUSH = 200
"""Findings that are held in memory, about."""

TURNS = 10
"""Turns of the event loop that go to sending for the next page before the last one is looked at.

Looking at a page awaits nothing, so without them the next one would be sent for behind it only: a service
makes it meanwhile, which takes about as long (a request goes out within 3 turns, measured).
"""


class PageLike(Protocol):
    """A page of any listing."""

    @property
    def continuation(self) -> str | None:
        """Where to go on."""


P = TypeVar("P", bound=PageLike)


class Work:
    """One slice of one run."""

    def __init__(
        self,
        slice_: Slice,
        ports: Ports,
        audited: Audited,
        run: Run,
        memory: Memory,
        *,
        values: dict[str, Any] | None,
        policy: CompiledPolicy | None,
    ) -> None:
        self.slice = slice_
        self.ports = ports
        self.audited = audited
        self.run = run
        self.memory = memory
        self.values = values
        self.policy = policy
        self.id = slice_.job.id
        self.mark = fenced.mark(slice_.job.epoch)
        """Of this slice's lease, in the keys of the rows that it numbers."""
        self.store = RunStore(ports.table, audited.dps)
        self.snapshots = Snapshots(ports.table, audited.dps)
        self.pause = 0.0
        self.candidates: list[list[Any]] = []
        self.writes = 0
        """Rows of the ledger written since the last save."""
        self.marked = False
        """Whether the index was marked since the last save."""
        self._found: list[Finding] = []
        self._ids: list[Listed] = []
        self._hubs: dict[HubKey, HubClient] = {}
        self._saved_at = ports.clock.monotonic()
        self._dps: DpsClient | None = None
        self._would_go: WouldGo | None = None
        self._asked_would_go = False
        # One suffix for all rows: a key is the device's and its record's time, whoever writes it again.
        self.books = None if ports.ledger is None else Ledger(ports.ledger, lambda: "audit")

    @property
    def started(self) -> datetime:
        """When the run began."""
        return datetime.fromisoformat(self.run.started)

    @property
    def dps(self) -> DpsClient:
        """DPS, called under the job's share."""
        if self._dps is None:
            self._dps = self.ports.dps(self._share(Rate.DPS, "dps"))
        return self._dps

    def hub(self, name: HubKey) -> HubClient:
        """A hub, called under the job's shares of it."""
        if name not in self._hubs:
            registry = self._share(Rate.HUB_REGISTRY, f"hub:{name}", name)
            queries = self._share(Rate.HUB_QUERY, f"hub:{name}", name)
            self._hubs[name] = self.ports.hub(name, HubShares(registry, queries, twins=registry))
        return self._hubs[name]

    def _share(self, rate: Rate, name: str, hub: str = "") -> RateShare:
        return CountedShare(self.slice.share(rate, hub), self.run.calls, name)

    def around(self, *more: Source) -> Around:
        """What checks are told, with these sources counted as read."""
        assert self.values is not None, "the first phase reads the values"
        reasons = {Source(name): reason for name, reason in self.run.reasons.items()}
        settled = {Source.ARM, Source.CERTIFICATES, Source.POLICY, Source.FLEET}
        if self.ports.secrets is not None:
            settled.add(Source.VAULT)
        return surroundings.around(
            self.values,
            dps=self.audited.called or self.audited.dps,
            now=self.started,
            thresholds=self.audited.thresholds,
            complete=Complete(frozenset((settled | set(more)) - reasons.keys()), reasons),
            policy=self.policy,
            webhook=self.audited.webhook,
        )

    def would_go(self, around: Around) -> WouldGo | None:
        """Where the policy in force would place a record's device."""
        if not self._asked_would_go:
            self._asked_would_go = True
            if self.ports.would_go and around.policy is not None and around.fleet is not None:
                linked = {hub: each.host_name for hub, each in (around.linked or {}).items()}
                self._would_go = self.ports.would_go(around.policy, around.fleet, linked)
        return self._would_go

    def lacking(self, source: Source, reason: str) -> None:
        """A source was not read to its end; the first reason stays."""
        self.run.reasons.setdefault(str(source), plain_text(reason))

    def lacks(self, *sources: Source) -> bool:
        """Whether one of these was not read to its end."""
        return any(str(source) in self.run.reasons for source in sources)

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Keep what checks said."""
        tally = self.run.tally
        for each in outcomes:
            if isinstance(each, Finding):
                count = tally.found[each.check] = tally.found.get(each.check, 0) + 1
                if count <= self.audited.limits.rows:
                    self._found.append(each)
            elif each.check in tally.unsaid:
                tally.unsaid[each.check][0] += 1
            else:
                tally.unsaid[each.check] = [1, plain_text(each.reason), each.resource]

    async def save(self) -> None:
        """Write what is held, then the checkpoint.

        Raises:
            TableUnavailable: some of it may be written; the slice ends.
            Halted: as Slice.save.
        """
        await self.write_ids(all_of_them=True)
        await self.flush()
        replaced = await self._write_marks()
        checkpoint = self.run.to_json()
        await self.slice.save(checkpoint, Progress(self.run.notes.get("ids", 0), unit="ids"))
        self.memory.saved = checkpoint
        await self.snapshots.drop_rows(self.id, replaced)
        self._saved_at = self.ports.clock.monotonic()
        self.writes = 0

    async def _write_marks(self) -> list[str]:
        """Write the index's marks, if there are new ones; the keys of another lease's rows that held them."""
        index, aliases = self.memory.index, self.memory.aliases
        if not self.marked or index is None or aliases is None:
            return []
        before = self.run.marks
        partition = places.kept(self.audited.dps, self.id)
        rows = await marks.write(self.ports.table, partition, self.mark, index.marks() + aliases.marks())
        self.run.marks = [[self.mark, rows]]
        self.marked = False
        return [each for each in fenced.keys(marks.PREFIX, before) if each.split("|")[1] != self.mark]

    def save_is_due(self) -> bool:
        """Whether the next `saved_if_due` saves."""
        due = self.ports.clock.monotonic() - self._saved_at >= self.audited.limits.save
        return due or self.writes >= WRITES or self.slice.time_left() <= 0

    async def saved_if_due(self) -> bool:
        """Save every few seconds. False: the time is up, and everything is saved."""
        ends = self.slice.time_left() <= 0
        if ends or self.save_is_due():
            await self.save()
        return not ends

    async def flush(self) -> None:
        """Write the findings and the candidates that are held."""
        run = self.run
        if self._found:
            await self.store.keep(self.id, run.found_rows, self.mark, self._found)
            self._found = []
        if self.candidates:
            partition = places.kept(self.audited.dps, self.id)
            key = fenced.key(CANDIDATES, self.mark, fenced.total(run.strangers))
            await self.ports.table.put(Row(partition, key, places.spread("q", self.candidates)))
            fenced.add(run.strangers, self.mark)
            self.candidates = []

    def forget_found(self) -> None:
        """Take back everything that was found in this run."""
        self.run.tally = Tally()
        self.run.found_rows = []
        self._found = []

    def passed(self, ids: int) -> None:
        """So many more ids of the listing under way, of which nothing is kept."""
        assert self.run.place is not None, "ids are passed within a listing"
        self.run.place.ids += ids
        self.run.count("ids", ids)

    @property
    def hub_numbers(self) -> dict[HubKey, int]:
        """The numbers by which an index knows the hubs that are listed."""
        return {HubKey(hub): number for number, hub in enumerate(self.run.hubs[:UNLISTED])}

    def empty_indexes(self) -> tuple[Index, Index]:
        """Of ids, and of devices whose id is another; their digests are this run's alone."""
        salt = self.id.encode()[-16:]
        return Index(salt), Index(salt)

    def list(self, listed: Listed) -> None:
        """One more id of the listing under way."""
        self._ids.append(listed)
        if listed.custom and self.run.place is not None:
            self.run.place.custom += 1

    async def write_ids(self, *, all_of_them: bool = False) -> None:
        """Write whole chunks of ids, or all that are held."""
        place = self.run.place
        while self._ids and place is not None and (all_of_them or len(self._ids) >= CHUNK):
            part, self._ids = self._ids[:LONGEST_CHUNK], self._ids[LONGEST_CHUNK:]
            number = fenced.total(place.spans)
            await self.snapshots.write(self.id, place.name, self.mark, number, part)
            if self.memory.index is not None and self.memory.aliases is not None:
                fill(self.memory.index, self.memory.aliases, self.hub_numbers, part)
            fenced.add(place.spans, self.mark)
            place.ids += len(part)
            self.run.count("ids", len(part))

    async def listing(
        self,
        name: str,
        source: Source,
        pages: Callable[[str | None], AsyncIterator[P]],
        take: Callable[[P], Awaitable[None]],
        *,
        key: str = "",
        group: str = "",
    ) -> Kept | None:
        """Go on with a listing.

        Args:
            name: of its chunks.
            source: what it is part of, which is not complete if it does not end.
            pages: the listing from a continuation on.
            take: is given each page, and lists its ids; it may call services.
            key: of the group's row.
            group: its id.

        Returns:
            What came of it once it is over, to its end or not; None while it is not. All is saved then.
        """
        run = self.run
        place = run.place
        if place is None:
            await self.flush()  # a new beginning must not take back what was found before
            place = run.place = Place(name, before=self._before())
        problem = ""
        try:
            if not await self._to_the_end(place, pages, take):
                return None
        except REFUSED as error:
            problem = await self._refused(place, error)
            if not problem:
                return None
        await self.write_ids(all_of_them=True)
        kept = Kept(name, key, group, place.spans, place.ids, not problem, place.records, place.custom)
        if problem:
            run.count("listings_given_up")
            self.lacking(source, f"{group or name}: {problem}" if group else problem)
        run.place = None
        return kept

    async def _to_the_end(
        self,
        place: Place,
        pages: Callable[[str | None], AsyncIterator[P]],
        take: Callable[[P], Awaitable[None]],
    ) -> bool:
        """Whether the last page was taken; else the time is up, and all is saved."""
        async with aclosing(self._ahead(pages(place.start))) as following:
            async for page, last in following:
                place.failures = 0
                await take(page)
                place.start = page.continuation
                if place.start is None:
                    return True
                await self.write_ids()
                if len(self._found) + len(self.candidates) >= FLUSH:
                    await self.flush()
                if last or self.save_is_due():
                    await self.save()
                if last:
                    return False
        return True

    async def _ahead(self, pages: AsyncIterator[P]) -> AsyncGenerator[tuple[P, bool], None]:
        """The pages, each with whether the time is up behind it; the next is asked for meanwhile.

        None is asked for in vain: where the time is up, there is no next one.
        """
        asked: asyncio.Task[P] | None = asyncio.ensure_future(_next(pages))
        try:
            while asked is not None:
                page = await asked
                up = self.slice.time_left() <= 0
                more = page.continuation is not None and not up
                asked = asyncio.ensure_future(_next(pages)) if more else None
                for _ in range(TURNS if more else 0):
                    await asyncio.sleep(0)
                yield page, up
                del page
        finally:
            if asked is not None:
                asked.cancel()
                asked.add_done_callback(_heard)

    async def _refused(self, place: Place, error: Exception) -> str:
        """Why a listing is given up; "" if it is to be tried again, which is saved."""
        limits = self.audited.limits
        if isinstance(error, BadRequest) and place.start is not None:
            if place.restarts >= limits.restarts:
                times = place.restarts + 1
                return f"its continuation was refused {times} times; the last: {plain_text(str(error))}"
            # Begin anew, as if nothing of it had been read.
            self._ids, self._found, self.candidates = [], [], []
            self.run.count("ids", -place.ids)
            self.run.count("restarts")
            self.run.tally = Tally(**place.before["tally"])
            self.run.strangers, self.run.strangers_kept = plain(place.before["strangers"])
            self.run.found_rows = plain(place.before["found_rows"])
            self.run.place = Place(place.name, restarts=place.restarts + 1, before=self._before())
            self.memory.others = None
            if self.run.phase != "hubs":  # a device that was seen at its hub has been there
                self.memory.index = self.memory.aliases = None
            await self.save()
            return ""
        place.failures += 1
        if isinstance(error, PASSING) and place.failures < limits.failures:
            await self.save()
            self.pause = limits.pause
            return ""
        return plain_text(str(error)) or type(error).__name__

    def _before(self) -> dict[str, Any]:
        return {
            "tally": plain(self.run.tally),
            "strangers": plain([self.run.strangers, self.run.strangers_kept]),
            "found_rows": plain(self.run.found_rows),
        }

    async def read(self, asked: Awaitable[T]) -> T | Unknown:
        """The answer to one read by id, or why there is none."""
        try:
            return await asked
        except REFUSED as error:
            return Unknown(plain_text(str(error)) or type(error).__name__)


async def _next(pages: AsyncIterator[P]) -> P:
    try:
        return await anext(pages)
    except StopAsyncIteration:
        # A page with a continuation is followed by another, by how clients list.
        raise UnexpectedReply("a listing ended without a last page", service="listing") from None


def _heard(task: "asyncio.Task[P]") -> None:
    """Whatever a page that nobody waits for any more ended in."""
    if not task.cancelled():
        task.exception()
