"""What one slice of a purge works with."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from clients.arm import Unknown
from clients.dps import DpsClient
from clients.hubs import HubShares
from clients.ports import Clock, RateShare, Row, Table, Telemetry
from lifecycle.audit import places
from lifecycle.audit.join import Index
from lifecycle.audit.snapshot import Snapshots
from lifecycle.jobs import Slice
from lifecycle.purge.archive import Archive
from lifecycle.purge.aside import ids_in, next_records, records_row
from lifecycle.purge.calls import CountedShare
from lifecycle.purge.hubs import Hub, Hubs
from lifecycle.purge.marks import Mark, Marks, drop
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.progress import progress
from lifecycle.purge.rules import Evidence, Reason, Stale, judge, needed, suspect
from lifecycle.purge.state import State
from lifecycle.rates import Rate
from provisioning.hubs import HubKey
from provisioning.registrations import Registration, same_version

SAVE_SECONDS = 10.0
"""Between two checkpoints; a death costs what came after the last."""

RECORDS, INDIVIDUALS = "r", "i"


class HubOf(Protocol):
    """Makes hubs' clients."""

    def __call__(self, hub: HubKey, shares: HubShares) -> Hub:
        """The client of one hub."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What purges reach.

    Attributes:
        name: of the DPS, as state is kept under.
        table: marks, archive and rows of a run.
        audits: the table of the audit, whose snapshots tell what gone groups had.
        clock: time.
        dps: makes the DPS's client.
        hub: makes a hub's.
        linked: the linked hubs by the management plane.
        telemetry: one event and some figures per run.
    """

    name: str
    table: Table
    audits: Table
    clock: Clock
    dps: Callable[[RateShare], DpsClient]
    hub: HubOf
    linked: Callable[[], Awaitable[frozenset[HubKey] | Unknown]]
    telemetry: Telemetry


class Work:
    """One slice of one run."""

    def __init__(
        self, slice_: Slice, ports: Ports, policy: PurgePolicy, linked: frozenset[HubKey] | Unknown
    ) -> None:
        """Read the checkpoint; no call is made.

        Args:
            slice_: of the run.
            ports: what it reaches.
            policy: of the run.
            linked: the linked hubs; Unknown, or none, and no rule that needs them is evaluated.
        """
        self.slice = slice_
        self.ports = ports
        self.policy = policy
        self.dry_run = slice_.params.get("dry_run") is not False
        self.run = slice_.job.id
        saved = slice_.checkpoint
        self.state = (
            State.read(saved) if isinstance(saved, dict) else State(started=ports.clock.now().isoformat())
        )
        self.linked = None if isinstance(linked, Unknown) else linked or None
        if self.linked is None:
            why = linked.reason if isinstance(linked, Unknown) else "the management plane shows none"
            self.state.tally.note(f"linked hubs are not known: {why}")
        calls = self.state.calls
        self.dps = ports.dps(CountedShare(slice_.share(Rate.DPS), calls, "dps"))
        self.hubs = Hubs(partial(hub_under, slice_, ports, calls=calls))
        self.marks = Marks(ports.table, ports.name)
        self.archive = Archive(ports.table, ports.name)
        self.snapshots = Snapshots(ports.audits, ports.name)
        self._partition = f"{ports.name.lower()}|purge|listed|{self.run}"
        self.read: set[str] = set()
        """Ids of gone groups that this slice read: another gone group may have had them too."""
        self.aside: tuple[str, list[Registration]] | None = None
        """The records that the checkpoint is at, with their row's key, once they were read."""
        self._indexes: dict[str, Index] = {}
        self._saved = ports.clock.monotonic()

    @property
    def token(self) -> str:
        """This pass of this run."""
        return f"{self.run}:{self.state.passed}:{self.state.restarts}"

    def fresh(self) -> None:
        """A pass begins: nothing that was read counts any more."""
        self.aside = None
        self.read.clear()
        self._indexes.clear()

    async def save(self) -> None:
        """Remember how far it is."""
        self.state.saved = self.ports.clock.now().isoformat()
        await self.slice.save(self.state.document(), progress(self.state))
        self._saved = self.ports.clock.monotonic()

    async def save_sometimes(self) -> None:
        """The same, if the last time is a while ago."""
        if self.ports.clock.monotonic() - self._saved >= SAVE_SECONDS:
            await self.save()

    async def note_listed(self, kind: str, ids: Iterable[str]) -> None:
        """Write down which ids a page gave."""
        state, kept = self.state, list(ids)
        if kept:
            row = Row(self._partition, f"{self._pass}|{kind}|{state.page:07}", places.spread("l", kept))
            await self.ports.table.put(row)
            if kind in self._indexes:
                for each in kept:
                    self._indexes[kind].add(each)
        state.page += 1

    async def put_aside(self, at: int, group: str, records: Iterable[Registration]) -> None:
        """Count a page's records, and keep those that DPS's side alone makes suspect for the hubs.

        Args:
            at: which group of the pass.
            group: its id.
            records: of the page.
        """
        now, tally = self.ports.clock.now(), self.state.tally
        kept: list[Registration] = []
        for each in records:
            verdict = suspect(Evidence(each, group, linked=self.linked), self.policy, now)
            if isinstance(verdict, Stale):
                kept.append(each)
                tally.aside += 1
            else:
                tally.population += 1
                tally.left(verdict.why)
        if kept:
            key = f"{self._aside(at)}{self.state.page:07}"
            await self.ports.table.put(records_row(self._partition, key, kept))

    async def next_aside(self, at: int, after: str) -> tuple[str, list[Registration]] | None:
        """The next row of records of a group that were put aside, with its key; None: there is none."""
        return await next_records(self.ports.table, self._partition, self._aside(at), after)

    def _aside(self, at: int) -> str:
        """Of the last listing of that group: of one that was begun anew, nothing counts."""
        return f"{self._pass}|s|{at:05}|{self.state.attempts[at]:03}|"

    async def listed(self, kind: str) -> Index:
        """The ids that this pass's listings gave so far."""
        if kind not in self._indexes:
            prefix = f"{self._pass}|{kind}|"
            self._indexes[kind] = await ids_in(self.ports.table, self._partition, prefix, self.run)
        return self._indexes[kind]

    async def forget_listed(self) -> None:
        """Delete those rows."""
        await drop(self.ports.table, self._partition)

    @property
    def _pass(self) -> str:
        return f"{self.state.passed:04}-{self.state.restarts:02}"

    async def by_queries(self, records: list[Evidence]) -> list[Evidence]:
        """Ask hubs about those records that DPS's side alone makes suspect.

        First each one's own hub, then, where that does not settle it, the others that its reason needs.
        """
        for own in (True, False):
            asked: dict[HubKey, list[int]] = {}
            now = self.ports.clock.now()
            for at, each in enumerate(records):
                verdict = suspect(each, self.policy, now)
                if isinstance(verdict, Stale):
                    hubs = needed(verdict.reason, each.record.hub, each.linked) or frozenset()
                    for hub in hubs - each.hubs.keys():
                        if not own or hub == each.record.hub:
                            asked.setdefault(hub, []).append(at)
            for hub, places_ in sorted(asked.items()):
                answers = await self.hubs.listed(hub, (records[at].device_id for at in places_))
                self.state.tally.queries += -(-len(answers) // 100)
                for at in places_:
                    told = {**records[at].hubs, hub: answers[records[at].device_id]}
                    records[at] = replace(records[at], hubs=told)
        for hub, unasked in self.hubs.down.items():
            self.state.tally.note(f"{hub} was not asked: {unasked.reason}")
        return records

    async def weigh(self, records: list[Evidence]) -> None:
        """Judge records with the evidence of queries, count them, and mark those that are stale."""
        state, now = self.state, self.ports.clock.now()
        for each in await self.by_queries(records):
            state.tally.population += 1
            verdict = judge(each, self.policy, now)
            if not isinstance(verdict, Stale):
                state.tally.left(verdict.why)
                continue
            mark = self._mark(each, verdict.reason)
            there = await self.marks.get(each.record.id)
            if there is not None and there.seen == self.token and there.same(mark) and not self.dry_run:
                mark = there  # met twice, or this page was read before a death
            elif there is not None and there.same(mark):
                mark = replace(there, seen=self.token, group=each.group)
            state.tally.stale(verdict.reason, each.group, each.record.id)
            if self._long_enough(mark):
                state.tally.may_go(verdict.reason, mark.hub or "")
            if not self.dry_run and mark != there:
                await self.marks.put(mark)

    def _mark(self, evidence: Evidence, reason: Reason) -> Mark:
        record = evidence.record
        return Mark(
            id=record.id,
            device=evidence.device_id,
            group=evidence.group,
            reason=reason,
            etag=record.etag,
            hub=record.hub,
            at=self.ports.clock.now(),
            run=self.run,
            seen=self.token,
        )

    async def confirm(self, mark: Mark) -> tuple[Registration | None, "Stale | str"]:
        """The last look: the registries themselves, then the record.

        In this order: a device that DPS moves in between has a record with another ETag.

        Returns:
            The record, None where there is none any more; and Stale, or why it is left.
        """
        hubs = needed(mark.reason, mark.hub, self.linked, confirming=True)
        tags = bool(self.policy.keep_tags)
        answers = {
            hub: await self.hubs.direct(hub, mark.device, tags=tags) for hub in sorted(hubs or frozenset())
        }
        record = await self.dps.registrations.get(mark.id)
        if record is None:
            return None, "gone"
        if not same_version(record.etag, mark.etag) or record.hub != mark.hub:
            return record, "moved"
        orphan = mark.reason is Reason.ORPHAN
        individuals = await self.listed(INDIVIDUALS)
        listed = not orphan or mark.id in await self.listed(RECORDS)
        evidence = Evidence(
            record,
            mark.group,
            gone=orphan,
            listed=listed,
            individual=mark.id in individuals,
            hubs=answers,
            linked=self.linked,
            confirming=True,
        )
        verdict = judge(evidence, self.policy, self.ports.clock.now())
        if isinstance(verdict, Stale):
            return record, verdict if verdict.reason is mark.reason else "another-reason"
        return record, str(verdict.why)

    def due(self, mark: Mark) -> bool:
        """Whether this pass may delete the marked record."""
        return mark.seen == self.token and self._long_enough(mark)

    def _long_enough(self, mark: Mark) -> bool:
        """By the run's beginning: what becomes due while it is under way is the next one's, and it ends."""
        return mark.due(self.run, self.policy.quarantine_days, datetime.fromisoformat(self.state.started))


class Reached(Protocol):
    """What makes the clients of hubs."""

    @property
    def hub(self) -> HubOf:
        """Makes one."""


def hub_under(slice_: Slice, ports: Reached, hub: HubKey, *, calls: dict[str, int] | None = None) -> Hub:
    """A hub's client under the slice's shares of its rates.

    Args:
        slice_: whose shares.
        ports: makes it.
        hub: which.
        calls: where its calls are counted, as "hubs".
    """
    counted = {} if calls is None else calls
    registry = CountedShare(slice_.share(Rate.HUB_REGISTRY, hub), counted, "hubs")
    queries = CountedShare(slice_.share(Rate.HUB_QUERY, hub), counted, "hubs")
    return ports.hub(hub, HubShares(identities=registry, queries=queries, twins=registry))
