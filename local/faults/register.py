"""The rules of one run, which of them meet a call, and the journal's word of it."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from local.faults.asgi import App, FaultyApp
from local.faults.rules import Fault, Rule
from local.faults.shapes import Shape, plain
from local.faults.transport import FaultyTransport
from local.world import SkewableClock, World


@dataclass(slots=True)
class Armed:
    """A rule in force and what came of it so far."""

    id: int
    rule: Rule
    matched: int = 0
    """Calls it counted."""
    met: int = 0
    """Calls it met."""

    def told(self) -> dict[str, Any]:
        """For the admin port."""
        rule = self.rule
        where = {name: getattr(rule, name) for name in ("service", "method", "path", "nth", "count")}
        fault = {"probability": rule.probability, "fault": rule.fault.told()}
        return {"id": self.id, **where, **fault, "matched": self.matched, "met": self.met}


@dataclass(frozen=True, slots=True)
class Met:
    """One call and the faults that meet it, in the order of their rules."""

    service: str
    method: str
    path: str
    faults: tuple[tuple[int, Fault], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.faults)

    def slow(self, *, late: bool) -> float:
        """Seconds of all delays before, or after, it is carried out."""
        return sum(fault.seconds for _, fault in self.faults if fault.kind == "slow" and fault.late == late)

    def end(self, *, late: bool) -> Fault | None:
        """The first fault that takes the place of the answer before, or after, it is carried out."""
        kinds = ("status", "stall", "drop", "half")
        ends = (fault for _, fault in self.faults if fault.kind in kinds and fault.late == late)
        return next(ends, None)

    @property
    def changes_answer(self) -> bool:
        """Whether anything happens after it is carried out."""
        return any(fault.late for _, fault in self.faults)

    @property
    def skew(self) -> float:
        """Seconds by which the service's clock is ahead."""
        return sum(fault.seconds for _, fault in self.faults if fault.kind == "skew")


@dataclass(slots=True)
class Faults:
    """The rules of one world. A call may be met by several: delays and skews add up, the first end counts."""

    world: World
    _armed: dict[int, Armed] = field(default_factory=dict, init=False)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1), init=False)

    SERVICE = "faults"
    """What the journal calls the entries of faults; `request.service` is the service they happened at."""

    def add(self, rule: Rule) -> int:
        """Put a rule in force; its id.

        Raises:
            ValueError: a skew in a world whose clock cannot be skewed.
        """
        if rule.fault.kind == "skew" and not isinstance(self.world.clock, SkewableClock):
            raise ValueError("this world's clock cannot be skewed: make it World(SkewableClock(clock))")
        armed = Armed(next(self._ids), rule)
        self._armed[armed.id] = armed
        return armed.id

    def remove(self, rule_id: int) -> bool:
        """Put a rule out of force; False if there is none of that id."""
        return self._armed.pop(rule_id, None) is not None

    def clear(self) -> None:
        """Put all rules out of force."""
        self._armed.clear()

    def armed(self) -> tuple[Armed, ...]:
        """The rules in force, oldest first."""
        return tuple(self._armed.values())

    @contextlib.contextmanager
    def during(self, rule: Rule) -> Iterator[Armed]:
        """Have a rule in force within a block."""
        rule_id = self.add(rule)
        try:
            yield self._armed[rule_id]
        finally:
            self.remove(rule_id)

    def meet(self, service: str, method: str, path: str, *, skews: bool = True) -> Met:
        """Count a call and say what meets it; each fault is told to the journal.

        Args:
            service: where it goes.
            method: its HTTP method.
            path: decoded, without the query.
            skews: whether there is a clock to skew; without one such rules are passed over.
        """
        met = []
        for armed in self._armed.values():
            fault = armed.rule.fault
            if (skews or fault.kind != "skew") and self._meets(armed, service, method, path):
                met.append((armed.id, fault))
        for rule_id, fault in met:
            self._tell(rule_id, fault, service, method, path)
        return Met(service, method, path, tuple(met))

    def _meets(self, armed: Armed, service: str, method: str, path: str) -> bool:
        rule = armed.rule
        if not rule.matches(service, method, path):
            return False
        armed.matched += 1
        if armed.matched < rule.nth or (rule.count is not None and armed.met >= rule.count):
            return False
        if rule.probability < 1 and self.world.random.random() >= rule.probability:
            return False
        armed.met += 1
        return True

    def _tell(self, rule_id: int, fault: Fault, service: str, method: str, path: str) -> None:
        self.world.journal.record(
            self.world.clock.now(),
            self.SERVICE,
            method,
            path,
            fault.status if fault.kind == "status" else None,
            request={"service": service, "rule": rule_id},
            response=fault.told(),
        )

    def around(self, service: str, app: App, shape: Shape = plain) -> FaultyApp:
        """An emulator's ASGI application with the rules in front of it.

        Args:
            service: what rules call it.
            app: the emulator.
            shape: the bodies of its errors.
        """
        return FaultyApp(app, self, service, shape)

    def transport(
        self, inner: httpx.AsyncBaseTransport, service: str = "webhook", shape: Shape = plain
    ) -> FaultyTransport:
        """A transport of an httpx client with the rules in front of it: for calls that leave an emulator.

        Args:
            inner: carries the calls.
            service: what rules call them.
            shape: the bodies of the other side's errors.
        """
        return FaultyTransport(inner, self, service, shape)
