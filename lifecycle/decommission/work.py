"""What one slice of a decommissioning works with."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from clients.arm import Unknown
from clients.dps import DpsClient
from clients.ports import Clock, RateShare, Row, Table, Telemetry
from lifecycle.audit import places
from lifecycle.audit.join import Index
from lifecycle.decommission.progress import progress
from lifecycle.decommission.rules import at_dps, at_hubs, hubs_of
from lifecycle.decommission.state import State
from lifecycle.decommission.told import Told
from lifecycle.enrollments.escrow import Vault
from lifecycle.jobs import Slice
from lifecycle.purge.archive import Archive
from lifecycle.purge.aside import ids_in, next_records, records_row
from lifecycle.purge.hubs import Hubs
from lifecycle.purge.marks import drop
from lifecycle.purge.plan import Pace
from lifecycle.purge.rules import AtHub, Seen, Why
from lifecycle.purge.survey import one_query_each
from lifecycle.purge.work import SAVE_SECONDS, HubOf, hub_under
from lifecycle.rates import Rate
from provisioning.hubs import HubKey
from provisioning.registrations import Registration

KIND = "decommission"

SETTLE = timedelta(minutes=10)
"""How long a registration may be under way: DPS asks a webhook for about seven minutes (documented)."""

RECORDS_PAGE = 250
"""Records asked for at once: about what one slice deletes."""

ENROLLMENTS_PAGE = 250
"""Enrollments asked for at once: one may have 96 KB (documented)."""


Webhook = Callable[[], Awaitable[str | None]]


Forget = Callable[[str], Awaitable[bool]]
"""Ends a group's rotation: see RotationStore.forget."""


async def unknown() -> None:
    """Nobody knows the webhook's key."""


async def unrotated(_: str) -> bool:
    """Nothing is known of rotations."""
    return False


@dataclass(frozen=True, slots=True)
class Ports:
    """What decommissionings reach.

    Attributes:
        name: of the DPS, as state is kept under.
        table: the archive and the ids that a run listed.
        clock: time.
        dps: makes the DPS's client.
        hub: makes a hub's.
        linked: the linked hubs by the management plane.
        vault: makes the vault's client; None: there is no vault.
        telemetry: one event and a figure per run.
        webhook: reads this app's webhook with its key, where a read of the group masks it; None: not known.
        settle: how long a registration may be under way.
        forget: ends the group's rotation.
    """

    name: str
    table: Table
    clock: Clock
    dps: Callable[[RateShare], DpsClient]
    hub: HubOf
    linked: Callable[[], Awaitable[frozenset[HubKey] | Unknown]]
    vault: Callable[[RateShare], Vault] | None
    telemetry: Telemetry
    webhook: Webhook = unknown
    settle: timedelta = SETTLE
    forget: Forget = unrotated


class Work:
    """One slice of one run."""

    def __init__(
        self, slice_: Slice, ports: Ports, told: Told, linked: frozenset[HubKey] | Unknown, pace: Pace
    ) -> None:
        """Read the checkpoint; no call is made.

        Args:
            slice_: of the run.
            ports: what it reaches.
            told: what to do.
            linked: the linked hubs; Unknown, or none: a record that names no hub is not evaluated.
            pace: calls a minute.
        """
        self.slice = slice_
        self.ports = ports
        self.told = told
        self.pace = pace
        self.run = slice_.job.id
        saved = slice_.checkpoint
        self.state = State.read(saved) if isinstance(saved, dict) else State(started=self.now.isoformat())
        self.linked = None if isinstance(linked, Unknown) else linked or None
        share = slice_.share(Rate.DPS)
        self.dps = ports.dps(share)
        self.vault = None if ports.vault is None else ports.vault(share)
        self.hubs = Hubs(partial(hub_under, slice_, ports))
        self.archive = Archive(ports.table, ports.name)
        self.rest: list[Registration] | None = None
        """What is left of the page that the checkpoint is at; None: it is to be asked for."""
        self.following: str | None = None
        """Continuation of the page after it."""
        self.aside: tuple[str, list[Registration]] | None = None
        """The records put aside that the checkpoint is at, with their row's key, once they were read."""
        self._partition = f"{ports.name.lower()}|decommission|{self.run}"
        self._queried: dict[tuple[HubKey, str], AtHub] = {}
        self._ids: Index | None = None
        self._went: Index | None = None
        self._individuals: frozenset[str] | None = None
        self._saved = ports.clock.monotonic()

    @property
    def now(self) -> datetime:
        """The time of day."""
        return self.ports.clock.now()

    async def save(self) -> None:
        """Remember how far it is."""
        await self.slice.save(self.state.document(), progress(self.state))
        self._saved = self.ports.clock.monotonic()

    async def save_sometimes(self) -> None:
        """The same, if the last time is a while ago."""
        if self.ports.clock.monotonic() - self._saved >= SAVE_SECONDS:
            await self.save()

    async def individual(self, registration_id: str) -> bool:
        """Whether an individual enrollment has that id: its device lives by that one, not by the group."""
        few = await self._few_individuals()
        if few is not None:
            return registration_id.lower() in few
        return await self.dps.individuals.get(registration_id) is not None

    async def dps_look(self, records: Sequence[Registration]) -> list[Why | None]:
        """Why each of some records stays as DPS's side alone tells; None: the hubs decide."""
        found = [self._at_dps(each, self.now) for each in records]
        few = await self._few_individuals() or frozenset()
        for at, each in enumerate(records):
            if found[at] is None and each.key in few:
                found[at] = Why.INDIVIDUAL
        return found

    async def first_look(self, records: Sequence[Registration]) -> list[Why | None]:
        """Why each of some records stays, hubs asked by query; None: it may go."""
        now, policy = self.now, self.told.policy
        found = await self.dps_look(records)
        if self.told.even_active:
            return found
        asked: dict[HubKey, list[Registration]] = {}
        for at, each in enumerate(records):
            if found[at] is None:
                for hub in hubs_of(each, self.linked) or ():
                    asked.setdefault(hub, []).append(each)
        answers: dict[HubKey, dict[str, AtHub]] = {}
        for hub, those in sorted(asked.items()):
            answers[hub] = await self.hubs.listed(hub, (_device(each) for each in those))
            self.state.queries += 1
        for at, each in enumerate(records):
            if found[at] is None:
                hubs = hubs_of(each, self.linked)
                told = None if hubs is None else {hub: answers[hub][_device(each)] for hub in hubs}
                found[at] = at_hubs(told, policy, now)
        return found

    async def last_look(self, record: Registration) -> Why | None:
        """Why a record stays, the hubs' registries asked themselves; None: it may go.

        Queries lag, and it is about to be deleted.
        """
        why = self._at_dps(record, self.now)
        if why is None and await self.individual(record.id):
            why = Why.INDIVIDUAL
        if why is not None or self.told.even_active:
            return why
        hubs = hubs_of(record, self.linked)
        answers = None if hubs is None else {hub: await self._direct(hub, record) for hub in sorted(hubs)}
        return at_hubs(answers, self.told.policy, self.now)

    async def put_aside(self, records: Sequence[Registration]) -> None:
        """Keep a page's records for the hubs: what rules read of them."""
        if records:
            key = f"{self._aside}{self.state.pages:07}"
            await self.ports.table.put(records_row(self._partition, key, records))

    async def next_aside(self, after: str) -> tuple[str, list[Registration]] | None:
        """The next row of records that were put aside, with its key; None: there is none."""
        return await next_records(self.ports.table, self._partition, self._aside, after)

    async def note(self, ids: Iterable[str]) -> None:
        """Write down which ids the group's listing gave; those that are there already are no news."""
        known = await self._known()
        new = [each for each in ids if each not in known]
        if new:
            # The first id is in no other row, so that a page that is read again overwrites nothing.
            row = Row(self._partition, f"l|{places.field(new[0])}", places.spread("l", new))
            await self.ports.table.put(row)
            for each in new:
                known.add(each)

    async def noted(self, after: str) -> tuple[str, list[str]] | None:
        """The next row of those ids, with its key; None: there is none."""
        async for row in self.ports.table.scan(self._partition, start=after or "l|", stop="l}"):
            if row.key != after:
                return row.key, list(places.gathered("l", row.values) or ())
        return None

    async def ids(self) -> int:
        """How many ids the group's listings ever gave."""
        return len(await self._known())

    async def note_went(self, number: int, ids: Sequence[str]) -> None:
        """Write down whose records a chunk of the archive took, for the cap."""
        if ids:
            await self.ports.table.put(Row(self._partition, f"w|{number:07}", places.spread("l", ids)))
            if self._went is not None:
                for each in ids:
                    self._went.add(each)

    async def registrations_gone(self) -> Index:
        """The registrations whose records this run deleted: one that came back and went again is one."""
        if self._went is None:
            self._went = await ids_in(self.ports.table, self._partition, "w|", self.run)
        return self._went

    async def room(self, record: Registration, beside: Sequence[Registration]) -> bool:
        """Whether one more record may go under the cap, which counts registrations.

        Args:
            record: the one.
            beside: others that are about to go.
        """
        most = self.told.policy.most
        if self.state.deleted + len(beside) < most:
            return True
        gone = await self.registrations_gone()
        new = {each.key for each in (record, *beside) if each.id not in gone}
        return record.id in gone or len(gone) + len(new) <= most

    async def forget_noted(self) -> None:
        """Delete those rows."""
        await drop(self.ports.table, self._partition)

    def _at_dps(self, record: Registration, now: datetime) -> Why | None:
        return at_dps(
            record, self.told.policy, now, settle=self.ports.settle, even_active=self.told.even_active
        )

    async def _few_individuals(self) -> frozenset[str] | None:
        """The ids of all individual enrollments, where one page has them; read once in a slice."""
        if self._individuals is None and self.state.individuals is not False:
            async for page in self.dps.individuals.pages(size=ENROLLMENTS_PAGE):
                self.state.individuals = page.continuation is None
                self._individuals = frozenset(each.key for each in page.items)
                break
        return self._individuals if self.state.individuals else None

    async def _direct(self, hub: HubKey, record: Registration) -> AtHub:
        """What a registry says itself; a device's tags by query, which tells those of a hundred at once."""
        device, tags = _device(record), bool(self.told.policy.keep_tags)
        if not tags or self.rest is None:
            return await self.hubs.direct(hub, device, tags=tags)
        answer = await self.hubs.direct(hub, device, tags=False)
        if not isinstance(answer, Seen):
            return answer
        if (hub, device) not in self._queried:
            those = [
                each
                for each in one_query_each([record, *self.rest])
                if hub in (hubs_of(each, self.linked) or ())
            ]
            listed = await self.hubs.listed(hub, map(_device, those))
            self._queried |= {(hub, each): found for each, found in listed.items()}
        queried = self._queried[hub, device]
        if isinstance(queried, Seen):
            return replace(answer, tags=queried.tags)
        return await self.hubs.direct(hub, device, tags=True)  # queries do not know it yet

    @property
    def _aside(self) -> str:
        return f"s|{self.state.attempt:03}|"

    async def _known(self) -> Index:
        if self._ids is None:
            self._ids = await ids_in(self.ports.table, self._partition, "l|", self.run)
        return self._ids


def _device(record: Registration) -> str:
    return record.device_id or record.id
