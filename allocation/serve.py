"""One allocation request, from bytes to bytes. Whatever comes in, what goes out is an answer DPS can use.

One budget covers the whole request. When time runs short, this is given up, in this order:

1. the wait for the ledger's row: the device is answered, the gap logged and counted;
2. the wait for a newer policy and newer hub states: the old ones decide, and the decision says so;
3. where they were never read: a device that has a linked hub stays on it, any other is told to come again.

The decision itself takes no time worth a place in the list: everything it reads is in memory.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from allocation import request
from allocation.admission import Admission
from allocation.decision import decide, decide_unread, withheld
from allocation.errors import NotAllocatable, NotUnderstood
from allocation.facts import Answer, Decision, Facts, Placed, Rejected
from allocation.knowledge import Knowledge, Known
from allocation.ledger import Entry, Ledger, Outcome
from allocation.policy import EVERY_HUB_ALIKE, CompiledPolicy
from clients.errors import ClientError
from clients.ports import Clock, Telemetry
from provisioning.hubs import HubKey

Record = Callable[[Facts, CompiledPolicy], Mapping[str, Any]]
"""The facts that a policy read, as JSON."""

LATE_WRITES = 256
"""Rows that are still being written, or wait for that, after their device was answered, at most: a quarter of
a minute of the 1,000 registrations a minute of a DPS. Beyond, no row is tried."""

WRITES_AT_ONCE = 24
"""Rows that are on their way at the same time; others wait for a turn. Half of an instance's connections
(clients.http): a table that takes rows and gives no answer must not keep policy and hub states, which come
over the same connections, from being read."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds that one request may take.

    Attributes:
        request: in all.
        ledger: of it, waiting for the ledger.
    """

    request: float = 2.5
    ledger: float = 0.3


class Allocator:
    """Answers allocation requests from what is in memory."""

    def __init__(
        self,
        *,
        knowledge: Knowledge,
        clock: Clock,
        telemetry: Telemetry,
        ledger: Ledger | None = None,
        record: Record | None = None,
        budget: Budget | None = None,
        admission: Admission | None = None,
    ) -> None:
        """Make one.

        Args:
            knowledge: the policy and the fleet.
            clock: the time.
            telemetry: is told of every answer.
            ledger: keeps every answer; None keeps none.
            record: what the ledger keeps of the facts; None keeps nothing of them.
            budget: how long a request may take.
            admission: which requests are taken at their word; None: all.
        """
        self._knowledge = knowledge
        self._clock = clock
        self._telemetry = telemetry
        self._ledger = ledger
        self._record = record
        self._budget = budget or Budget()
        self._admission = admission
        self._late: set[asyncio.Task[str]] = set()
        self._turns = asyncio.Semaphore(WRITES_AT_ONCE)

    async def answer(self, body: bytes, dps: str = "", forwarded: str = "") -> Answer:
        """Answer one call of DPS.

        Args:
            body: the HTTP body as received.
            dps: the DPS's name from the route, "" without one.
            forwarded: the call's X-Forwarded-For, "" without one.

        Never raises: a fault of our own is a 503, which DPS tries again, never a 4xx that fails a device.
        """
        started = self._clock.monotonic()
        try:
            facts = request.parse(body, dps)
        except (NotAllocatable, NotUnderstood) as error:
            answer = request.refusal(error)
            self._telemetry.event(
                "allocation_refused",
                dps=dps[: request.LONGEST_ID],
                status=answer.status,
                field=error.field,
                problem=error.problem,
            )
            return self._measured(answer, started, outcome="refused", dps=dps[: request.LONGEST_ID])
        except Exception as error:  # noqa: BLE001 - a bug must cost a retry, not a device
            return self._broken(error, started, dps)
        try:
            known = await self._knowledge.known(dps, self._budget.request - self._budget.ledger)
            decision = _decided(facts, known)
            if refused := self._refused(facts, forwarded):
                decision = withheld(facts, decision, refused)
            answer = replace(request.answer(decision), check=facts.registration_id == request.CHECK_ID)
            self._knowledge.placed(facts, decision)
        except Exception as error:  # noqa: BLE001 - as above
            return self._broken(error, started, dps)
        trail = tuple(f"{reason.step}: {reason.found}" for reason in decision.trail)
        told = _told(facts, decision, answer, trail)
        self._telemetry.event("allocation", **told)
        if self._ledger is not None and not refused:
            left = started + self._budget.request - self._clock.monotonic()
            await self._keep(self._ledger, facts, decision, answer, trail, known.policy, left)
        del told["trail"]  # the event has it; a span's attributes are short
        return self._measured(answer, started, **told)

    def _refused(self, facts: Facts, forwarded: str) -> str:
        """Why a request is not taken at its word; "" where it is. Tells of every doubt."""
        refused = ""
        for doubt in self._admission.doubts(facts, forwarded) if self._admission else ():
            if doubt.refused:
                refused = f"the {doubt.what} is not in {doubt.setting}"
            handled = "refused" if doubt.refused else "told"
            self._telemetry.measure("requests_doubted", 1, doubt=doubt.what, handled=handled)
            if self._admission and self._admission.is_news(doubt, self._clock.now()):
                self._telemetry.event(
                    "request_doubted",
                    dps=facts.dps,
                    doubt=doubt.what,
                    caller=doubt.found if doubt.what == "caller" else "",
                    enrollment=doubt.found if doubt.what == "enrollment" else "",
                    setting=doubt.setting,
                    handled=handled,
                )
        return refused

    async def _keep(
        self,
        ledger: Ledger,
        facts: Facts,
        decision: Decision,
        answer: Answer,
        trail: tuple[str, ...],
        policy: CompiledPolicy | None,
        left: float,
    ) -> None:
        """Write the answer into the ledger, waiting as long as the budget allows. Never raises."""
        if len(self._late) >= LATE_WRITES:
            self._gap(facts, "too many rows are being written already")
            return
        try:
            read = self._record(facts, policy or EVERY_HUB_ALIKE) if self._record else None
            why, hub, outcome = _outcome(decision)
            entry = Entry(
                dps=facts.dps,
                registration_id=facts.registration_id,
                enrollment_kind=facts.enrollment_kind,
                enrollment_id=facts.enrollment_id,
                at=self._clock.now(),
                status=answer.status,
                outcome=outcome,
                hub=hub,
                why=why,
                rule=decision.rule,
                policy=decision.policy,
                degraded=decision.degraded,
                trail=trail,
                facts=read,
            )
        except Exception as error:  # noqa: BLE001 - the device is answered, whatever cannot be recorded
            self._gap(facts, type(error).__name__)
            return
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        writing = loop.create_task(_written(ledger, entry, ended, self._turns))
        patience = loop.call_later(max(0.0, min(self._budget.ledger, left)), _end, ended)
        try:
            await ended
        finally:
            patience.cancel()
        if not writing.done():
            # It goes on beside other requests and may well arrive; but the instance may sleep before it does.
            self._gap(facts, "not written within the budget")
            self._late.add(writing)
            writing.add_done_callback(self._arrived)
        elif problem := writing.result():
            self._gap(facts, problem)

    def _arrived(self, writing: "asyncio.Task[str]") -> None:
        self._late.discard(writing)
        written = not writing.cancelled() and not writing.result()
        self._telemetry.measure("ledger_late", 1, outcome="written" if written else "failed")

    def _gap(self, facts: Facts, problem: str) -> None:
        self._telemetry.event(
            "ledger_gap", dps=facts.dps, registration_id=facts.registration_id, problem=problem
        )
        self._telemetry.measure("ledger_gaps", 1)

    def _broken(self, error: Exception, started: float, dps: str) -> Answer:
        # The exception's text may quote the request: only its kind and place are told.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "unknown"
        called = dps[: request.LONGEST_ID]
        self._telemetry.event("allocation_broken", dps=called, error=type(error).__name__, place=place)
        return self._measured(request.BROKEN, started, outcome="broken", dps=called)

    def _measured(self, answer: Answer, started: float, **told: object) -> Answer:
        """Tell how long it took, and that it ended as told: `outcome` and, of a decision, all about it."""
        seconds = self._clock.monotonic() - started
        outcome, rule, hub = (str(told.get(name) or "") for name in ("outcome", "rule", "hub"))
        self._telemetry.measure("allocation_ms", seconds * 1000, outcome=outcome, status=str(answer.status))
        self._telemetry.measure("allocations", 1, outcome=outcome, rule=rule, hub=hub)
        self._telemetry.span("allocation", seconds, **{**told, "status": answer.status})
        return answer


async def _written(
    ledger: Ledger, entry: Entry, ended: "asyncio.Future[None]", turns: asyncio.Semaphore
) -> str:
    """Write a row; why it may be missing, "" where it is written.

    `ended` is its last step: who waits for that wakes up a turn of the loop before who waits for the task.
    """
    try:
        async with turns:
            await ledger.write(entry)
        problem = ""
    except Exception as error:  # noqa: BLE001 - the device is answered, whatever cannot be recorded
        problem = str(error) if isinstance(error, ClientError) else type(error).__name__
    _end(ended)
    return problem


def _end(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)


def _decided(facts: Facts, known: Known) -> Decision:
    decision = decide(facts, known.policy, known.view) if known.policy else decide_unread(facts)
    return replace(decision, degraded=known.degraded) if known.degraded else decision


def _told(facts: Facts, decision: Decision, answer: Answer, trail: tuple[str, ...]) -> dict[str, object]:
    """A decision as a log event tells it: enough to explain it, nothing secret."""
    told: dict[str, object] = {
        "status": answer.status,
        "dps": facts.dps,
        "registration_id": facts.registration_id,
        "enrollment": f"{facts.enrollment_kind}:{facts.enrollment_id}",
        "current_hub": facts.current_hub,
        "linked_hubs": len(facts.linked_hubs),
        "rule": decision.rule,
        "policy": decision.policy,
        "degraded": decision.degraded,
        "trail": trail,
    }
    why, hub, outcome = _outcome(decision)
    told |= {"outcome": outcome, "why": why} if hub is None else {"outcome": outcome, "hub": hub, "why": why}
    return told


def _outcome(decision: Decision) -> tuple[str, HubKey | None, Outcome]:
    """Why, where, and what it is called."""
    match decision:
        case Placed():
            return decision.why, decision.hub, "placed"
        case Rejected():
            return decision.reason, None, "rejected"
        case _:
            return decision.reason, None, "wait"
