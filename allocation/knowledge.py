"""What one instance knows of the policy and the fleet, how old that is, and how it is brought up to date.

Nothing runs between two requests for sure, and an instance may sleep for hours: so every request looks at
the age of what is known, by the machine's date and by its monotonic clock, whichever says more (a suspended
machine's monotonic clock stands still, and a date can be set back).

    never read            the request waits, with all others for one reading, up to `cold_seconds`; then it
                          decides without a policy (devices stay, others come again), or by COLD_POLICY
    younger than refresh  decides from memory
    older                 decides from memory, and one reading runs beside it
    older than max_age    waits up to `stale_seconds`; then decides by what is known, and says it is old

A reading that fails changes nothing: the last good policy and the last good states stay in force.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from allocation.errors import PolicyError
from allocation.facts import Decision, Facts, Placed
from allocation.fleet import ALL_OPEN, FleetView, HubState
from allocation.fleet_table import FleetRows, read_fleet
from allocation.placed_since import SETTLING, PlacedSince
from allocation.policy.store import PACKAGED, PolicyStore, compiled
from clients.errors import ClientError
from clients.ports import Clock, Table, Telemetry
from provisioning.hubs import HubKey

if TYPE_CHECKING:
    from allocation.policy import CompiledPolicy

MOST_DPS = 50
"""DPS an instance remembers; the name comes from the webhook's route, and a caller may make names up."""

READING_SECONDS = 5.0
"""How long one reading may take."""

GIVEN_UP_SECONDS = 2 * READING_SECONDS
"""A reading that began so long ago is not waited for any more: the machine slept meanwhile, its connection
may be dead, and its answer of another time."""

PAUSE_SECONDS = 1.0
"""After a reading that failed, none is tried for so long."""

TELL_SECONDS = 60.0
"""How often trouble that goes on is logged."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old what is known may become, in seconds.

    Attributes:
        refresh: from this age on it is read again beside the requests.
        max_age: from this age on a request waits for that.
        stale_seconds: how long it waits then.
        cold_seconds: how long it waits for the first reading.
        avoid_after: for how long a hub's statistics must have failed for the hub to be avoided; 0: never.
        settling: devices placed so shortly before a hub was counted are taken for not in the count.
    """

    refresh: float = 15.0
    max_age: float = 60.0
    stale_seconds: float = 0.3
    cold_seconds: float = 1.5
    avoid_after: float = 0.0
    settling: float = SETTLING.total_seconds()


@dataclass(frozen=True, slots=True)
class Known:
    """What a request decides by.

    Attributes:
        policy: None while none could be read.
        view: of the hubs.
        degraded: what is wrong with it, for the decision; "" for nothing.
    """

    policy: "CompiledPolicy | None"
    view: FleetView = ALL_OPEN
    degraded: str = ""


class Knowledge(Protocol):
    """Tells a request what is known."""

    async def known(self, dps: str, seconds: float) -> Known:
        """What is known for a DPS, waiting no longer than that. Normally answers from memory."""

    def placed(self, facts: Facts, decision: Decision) -> None:
        """Take note of where a device was sent."""


class FixedKnowledge:
    """A policy and a fleet that do not change: an app without state tables."""

    def __init__(self, policy: "CompiledPolicy | None", view: FleetView = ALL_OPEN) -> None:
        self._known = Known(policy, view)

    async def known(self, dps: str, seconds: float) -> Known:
        """Always the same."""
        del dps, seconds
        return self._known

    def placed(self, facts: Facts, decision: Decision) -> None:
        """Nothing to keep: without counts there are no loads."""


class StoredKnowledge:
    """What the state tables say, for every DPS that asks."""

    def __init__(
        self,
        *,
        policies: Table,
        fleet: Table,
        packaged: "CompiledPolicy | None",
        cold_packaged: bool,
        clock: Clock,
        telemetry: Telemetry,
        freshness: Freshness | None = None,
    ) -> None:
        """Make one that knows nothing yet.

        Args:
            policies: the table of policy versions.
            fleet: the table of hub states and loads.
            packaged: the policy in force while none is activated; None if it did not load.
            cold_packaged: decide by it, and with every hub open, also while the tables could not be read.
            clock: the time.
            telemetry: is told of readings that fail and policies that do not load.
            freshness: how old what is known may become.
        """
        self._make: Callable[[str], _OfOneDps] = lambda dps: _OfOneDps(
            dps=dps,
            store=PolicyStore(policies, dps, clock),
            fleet=fleet,
            packaged=packaged,
            cold_packaged=cold_packaged,
            clock=clock,
            telemetry=telemetry,
            freshness=freshness or Freshness(),
        )
        self._of: dict[str, _OfOneDps] = {}

    async def known(self, dps: str, seconds: float) -> Known:
        """What is known for a DPS, waiting no longer than that and than freshness allows."""
        return await self._one(dps).known(seconds)

    def placed(self, facts: Facts, decision: Decision) -> None:
        """Count a device that was sent to a hub it was not on."""
        if isinstance(decision, Placed) and decision.hub != facts.current_hub:
            self._one(facts.dps).placed(facts, decision)

    def _one(self, dps: str) -> "_OfOneDps":
        found = self._of.pop(dps, None) or self._make(dps)
        self._of[dps] = found
        if len(self._of) > MOST_DPS:
            # Who asked longest ago: made-up names push out each other, not a DPS whose devices register.
            del self._of[next(iter(self._of))]
        return found


@dataclass(slots=True)
class _Age:
    """When something was last read, on both clocks."""

    at: datetime
    monotonic: float

    def seconds(self, clock: Clock) -> float:
        return max((clock.now() - self.at).total_seconds(), clock.monotonic() - self.monotonic)


@dataclass
class _OfOneDps:
    """What is known for one DPS."""

    dps: str
    store: PolicyStore
    fleet: Table
    packaged: "CompiledPolicy | None"
    cold_packaged: bool
    clock: Clock
    telemetry: Telemetry
    freshness: Freshness

    _policy: "CompiledPolicy | None" = None
    _policy_age: _Age | None = None
    _policy_trouble: str = ""
    _version: str | None = None
    _rows: FleetRows | None = None
    _fleet_age: _Age | None = None
    _view: FleetView | None = None
    _since: PlacedSince = field(init=False)
    _reading: "asyncio.Task[None] | None" = None
    _began: _Age | None = None
    _failed: _Age | None = None
    _told: dict[str, _Age] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._since = PlacedSince(timedelta(seconds=self.freshness.settling))

    async def known(self, seconds: float) -> Known:
        age = self._oldest()
        if age is not None and age < self.freshness.refresh:
            return self._now(age)
        reading = self._read()
        if reading is not None and (age is None or age >= self.freshness.max_age):
            patience = self.freshness.cold_seconds if age is None else self.freshness.stale_seconds
            # Not wait_for: the reading goes on for the others when one request's patience ends.
            await asyncio.wait((reading,), timeout=max(0.0, min(patience, seconds)))
            age = self._oldest()
        return self._now(age)

    def placed(self, facts: Facts, decision: Placed) -> None:
        if self._since.note(facts.registration, decision.hub, self.clock.now()):
            self._view = None

    def _oldest(self) -> float | None:
        """Seconds since the older of the two was read; None while one of them never was."""
        if self._policy_age is None or self._fleet_age is None:
            return None
        return max(self._policy_age.seconds(self.clock), self._fleet_age.seconds(self.clock))

    def _now(self, age: float | None) -> Known:
        if age is None:
            trouble = self._policy_trouble or "the state tables have not been read yet"
            if self.cold_packaged:
                return Known(self.packaged, ALL_OPEN, f"{trouble}: decided by the packaged policy")
            return Known(None, ALL_OPEN, trouble)
        degraded = self._policy_trouble
        if age >= self.freshness.max_age:
            degraded = "; ".join(
                filter(None, (degraded, f"policy or hub states were last read {age:.0f} s ago"))
            )
        if self._view is None:
            self._view = self._seen()
        return Known(self._policy, self._view, degraded)

    def _seen(self) -> FleetView:
        assert self._rows is not None
        assert self._fleet_age is not None
        since = self._since
        return FleetView(
            states={
                hub: row.state for hub, row in self._rows.states.items() if row.state is not HubState.OPEN
            },
            loads={
                hub: row.devices + since.on(hub)
                for hub, row in self._rows.loads.items()
                if row.devices is not None
            },
            avoided=_avoided(self._rows, self._fleet_age.at, self.freshness.avoid_after),
            as_of=self._fleet_age.at,
        )

    def _read(self) -> "asyncio.Task[None] | None":
        """The reading under way, or a new one; None if the last one failed a moment ago."""
        reading, began = self._reading, self._began
        if reading is not None and not reading.done() and reading.get_loop() is asyncio.get_running_loop():
            if began is not None and began.seconds(self.clock) < GIVEN_UP_SECONDS:
                return reading
            reading.cancel()
        elif self._failed is not None and self._failed.seconds(self.clock) < PAUSE_SECONDS:
            return None
        self._began = self._present()
        self._reading = asyncio.create_task(self._read_both(self._began))
        return self._reading

    async def _read_both(self, began: _Age) -> None:
        done = await asyncio.gather(
            self._attempt("policy", self._read_policy(began)), self._attempt("hubs", self._read_hubs(began))
        )
        self._failed = None if all(done) and self._oldest() is not None else self._present()

    async def _attempt(self, what: str, reading: Coroutine[None, None, None]) -> bool:
        """Whether one of the two could be read. What is known stays as it is where it could not."""
        try:
            async with asyncio.timeout(READING_SECONDS):
                await reading
        except TimeoutError:
            problem = f"no answer within {READING_SECONDS:g} s"
        except (ClientError, PolicyError) as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - a row of any shape must not end the last good state
            problem = type(error).__name__
        else:
            return True
        self.telemetry.measure("state_readings_failed", 1, what=what)
        self._tell(f"no {what}", "state_unavailable", what=what, problem=problem)
        return False

    def _tell(self, topic: str, event: str, **fields: str) -> None:
        """Log something that goes on for as long as it does: once in a while, not with every request."""
        told = self._told.get(topic)
        if told is None or told.seconds(self.clock) >= TELL_SECONDS:
            self._told[topic] = self._present()
            self.telemetry.event(event, dps=self.dps, **fields)

    async def _read_policy(self, began: _Age) -> None:
        active = await self.store.active()
        version = active.version if active else PACKAGED
        policy, trouble = self._policy, ""
        try:
            if version == PACKAGED:
                policy = self.packaged
            elif policy is None or version != self._version:
                policy = await self._load(version)
        except PolicyError as error:
            trouble = f"policy {version} is active and does not load"
            self._tell("policy", "policy_unavailable", version=version, problem=str(error))
            if self._policy_age is None:
                self._policy_trouble = trouble
                return
            trouble += f": {self._version or 'the packaged one'} decides"
            version = self._version or PACKAGED
        if self._policy_age is None or began.monotonic >= self._policy_age.monotonic:
            self._policy, self._version, self._policy_age = policy, version, began
            self._policy_trouble = trouble

    async def _load(self, version: str) -> "CompiledPolicy":
        text = await self.store.text(version)
        try:
            # In a thread: the document's model takes a third of a second to import.
            return await asyncio.to_thread(compiled, version, text)
        except PolicyError:
            raise
        except Exception as error:
            raise PolicyError(
                f"policy version {version!r}: {type(error).__name__} while compiling"
            ) from error

    async def _read_hubs(self, began: _Age) -> None:
        rows = await read_fleet(self.fleet, self.dps)
        if self._fleet_age is not None and began.monotonic < self._fleet_age.monotonic:
            return
        self._rows, self._fleet_age, self._view = rows, began, None
        for row in rows.states.values():
            if not row.readable:
                problem = f"the state of {row.hub} is none that is known: it counts as cordoned"
                self._tell(f"state {row.hub}", "state_unavailable", what="hubs", problem=problem)
        self._since.counted({hub: row.as_of for hub, row in rows.loads.items() if row.as_of is not None})

    def _present(self) -> _Age:
        return _Age(self.clock.now(), self.clock.monotonic())


def _avoided(rows: FleetRows, now: datetime, after: float) -> frozenset[HubKey]:
    """Hubs whose statistics have failed for long; none if all have, for then the fault is likely ours."""
    if after <= 0:
        return frozenset()
    failing = {
        hub
        for hub, row in rows.loads.items()
        if row.failing_since is not None and (now - row.failing_since).total_seconds() >= after
    }
    return frozenset(failing) if len(failing) < len(rows.loads) else frozenset()
