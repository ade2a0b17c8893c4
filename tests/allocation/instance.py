"""One instance of the app over state tables, and what a test does to it."""

import itertools
import json
from typing import Any

from allocation import Admission, Allocator, Budget, Freshness, Ledger, PolicyStore, StoredKnowledge
from allocation.facts import Answer
from allocation.policy import EVERY_HUB_ALIKE, CompiledPolicy
from allocation.recorded import record
from clients.clock import SystemClock
from clients.ports import Clock, Table
from tests.allocation.making import body
from tests.failing_table import FailingTable
from tests.heard import Heard
from tests.memory_table import MemoryTable


class State:
    """The tables that instances share; each can be made to fail."""

    def __init__(self) -> None:
        self.policies, self.fleet, self.ledger = (FailingTable(MemoryTable()) for _ in range(3))

    @property
    def all(self) -> tuple[FailingTable, ...]:
        return (self.policies, self.fleet, self.ledger)

    def down(self, *, down: bool = True) -> None:
        for table in self.all:
            table.down = down

    async def activate(self, document: dict[str, Any], dps: str = "") -> str:
        store = PolicyStore(self.policies, dps, SystemClock())
        version = await store.put(json.dumps(document))
        await store.activate(version, "kim")
        return version


class Instance:
    """An Allocator as function_app builds it, with telemetry that remembers."""

    def __init__(
        self,
        policies: Table,
        fleet: Table,
        ledger: Table,
        *,
        clock: Clock | None = None,
        packaged: CompiledPolicy | None = EVERY_HUB_ALIKE,
        cold_packaged: bool = False,
        freshness: Freshness | None = None,
        budget: Budget | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.heard = Heard()
        self.clock = clock or SystemClock()
        numbers = itertools.count()
        self.knowledge = StoredKnowledge(
            policies=policies,
            fleet=fleet,
            packaged=packaged,
            cold_packaged=cold_packaged,
            clock=self.clock,
            telemetry=self.heard,
            freshness=freshness,
        )
        self.allocator = Allocator(
            knowledge=self.knowledge,
            clock=self.clock,
            telemetry=self.heard,
            ledger=Ledger(ledger, lambda: f"{next(numbers):08x}"),
            record=record,
            budget=budget,
            admission=admission,
        )

    @classmethod
    def of(cls, state: State, **options: Any) -> "Instance":
        return cls(state.policies, state.fleet, state.ledger, **options)

    async def ask(self, device: str = "dev-1", *, dps: str = "", **more: Any) -> Answer:
        return await self.allocator.answer(json.dumps(body(device, **more)).encode(), dps)

    @property
    def degraded(self) -> str:
        """What the last decision says that it lacked."""
        return str(self.heard.of("allocation")[-1]["degraded"])


def hub_of(answer: Answer) -> str | None:
    told = json.loads(answer.body)
    return str(told["iotHubHostName"]) if "iotHubHostName" in told else None
