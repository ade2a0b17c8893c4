"""One allocation request, from bytes to bytes. Whatever comes in, what goes out is an answer DPS can use."""

from typing import Protocol

from allocation import request
from allocation.decision import decide, decide_unread
from allocation.errors import NotAllocatable, NotUnderstood
from allocation.facts import Answer, Decision, Facts, Placed, Rejected
from allocation.fleet import FleetView
from allocation.policy.source import PolicySource
from clients.ports import Clock, Telemetry


class FleetSource(Protocol):
    """Tells what is known of the hubs."""

    def view(self) -> FleetView:
        """The latest view. Answers from memory."""


class Allocator:
    """Answers allocation requests from what is in memory."""

    def __init__(
        self, *, policies: PolicySource, fleet: FleetSource, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._policies = policies
        self._fleet = fleet
        self._clock = clock
        self._telemetry = telemetry

    async def answer(self, body: bytes, dps: str = "") -> Answer:
        """Answer one call of DPS.

        Args:
            body: the HTTP body as received.
            dps: the DPS's name from the route, "" without one.

        Never raises: a fault of our own is a 503, which DPS tries again, never a 4xx that fails a device.
        """
        started = self._clock.monotonic()
        try:
            facts = request.parse(body, dps)
        except (NotAllocatable, NotUnderstood) as error:
            answer = request.refusal(error)
            self._telemetry.event(
                "allocation_refused", dps=dps, status=answer.status, field=error.field, problem=error.problem
            )
            return self._measured(answer, started, "refused")
        except Exception as error:  # noqa: BLE001 - a bug must cost a retry, not a device
            return self._broken(error, started, dps)
        try:
            policy = self._policies.current()
            decision = decide(facts, policy, self._fleet.view()) if policy else decide_unread(facts)
            answer = request.answer(decision)
        except Exception as error:  # noqa: BLE001 - as above
            return self._broken(error, started, dps)
        self._telemetry.event("allocation", **_told(facts, decision, answer))
        return self._measured(answer, started, type(decision).__name__.lower())

    def _broken(self, error: Exception, started: float, dps: str) -> Answer:
        # The exception's text may quote the request: only its kind and place are told.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "unknown"
        self._telemetry.event("allocation_broken", dps=dps, error=type(error).__name__, place=place)
        return self._measured(request.BROKEN, started, "broken")

    def _measured(self, answer: Answer, started: float, outcome: str) -> Answer:
        duration = (self._clock.monotonic() - started) * 1000
        self._telemetry.measure("allocation_ms", duration, outcome=outcome, status=str(answer.status))
        return answer


def _told(facts: Facts, decision: Decision, answer: Answer) -> dict[str, object]:
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
        "trail": [f"{reason.step}: {reason.found}" for reason in decision.trail],
    }
    match decision:
        case Placed():
            told |= {"outcome": "placed", "hub": decision.hub, "why": decision.why}
        case Rejected():
            told |= {"outcome": "rejected", "why": decision.reason}
        case _:
            told |= {"outcome": "wait", "why": decision.reason}
    return told
