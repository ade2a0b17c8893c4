"""Where the policy in force would place devices now, from their records. Pure."""

from collections.abc import Mapping

from allocation import CompiledPolicy, FleetView
from allocation.facts import Facts, Placed
from allocation.recorded import decide_recorded
from allocation.replay import Enrolled
from lifecycle.audit.ports import WouldGo
from provisioning.documents import MalformedDocument
from provisioning.enrollments import Enrollment
from provisioning.hubs import HubKey
from provisioning.registrations import Registration


def would_go(dps: str, policy: CompiledPolicy, fleet: FleetView, linked: Mapping[HubKey, str]) -> WouldGo:
    """Ask the policy as the device would if it registered anew.

    It answers None where the device would stay, where the policy reads what only the device tells, where it
    would be turned away or told to wait, and where this app is not asked.

    Args:
        dps: the DPS's name in the webhook's route.
        policy: in force.
        fleet: states and loads of the hubs.
        linked: all linked hubs; none: not known, and only enrollments that name theirs are answered.
    """
    last: tuple[Enrollment, Enrolled] | None = None

    def ask(record: Registration, enrollment: Enrollment) -> HubKey | None:
        nonlocal last
        if last is None or last[0] is not enrollment:  # a group's records come one after another
            last = (enrollment, Enrolled(enrollment, dps, linked))
        try:
            current = record.hub if record.status == "assigned" else None
            device = last[1].device(record)
        except MalformedDocument:
            return None
        if current is None or not isinstance(device, Facts):
            return None
        decision = decide_recorded(device, policy, fleet)
        return decision.hub if isinstance(decision, Placed) and decision.hub != current else None

    return ask
