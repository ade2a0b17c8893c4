"""What a policy read of a device, as the ledger keeps it, so that a draft can be tried on it.

Kept are the values that the policy reads, by their names, and never the payload itself. A draft that reads
something else is told so (Undecidable), rather than answered as if the device had lacked it.
"""

import json
from collections.abc import Mapping
from typing import Any

from allocation.decision import outcome, undecided
from allocation.errors import Unread
from allocation.evidence import Recalled
from allocation.facts import Decision, Facts, Undecidable, linked
from allocation.fleet import FleetView
from allocation.policy import CompiledPolicy
from provisioning.hubs import HubKey
from provisioning.registrations import registration_key

LARGEST = 16 * 1024
"""Characters of JSON that the values read may take together. A row of Table storage holds far more; a million
of them are scanned. What is over is not kept, the largest first, and then undecidable for every draft."""


def record(facts: Facts, policy: CompiledPolicy) -> Mapping[str, Any]:
    """What a policy read of a device, as a JSON object.

    Members: `dps`, `id` (as sent), `hubs` (linked, as sent), `current` (None for none), `kind` and
    `enrollment`,
    `read` (name -> value, None for missing), `unread` (names of what could not be told).
    """
    read: dict[str, Any] = {}
    unread: list[str] = []
    for name, reading in policy.readings.items():
        try:
            read[name] = facts.evidence.read(reading)
        except Unread as problem:
            if problem.recorded:
                unread.append(name)
    _shorten(read)
    return {
        "dps": facts.dps,
        "id": facts.registration_id,
        "hubs": list(facts.linked_hubs.values()),
        "current": facts.current_hub,
        "kind": facts.enrollment_kind,
        "enrollment": facts.enrollment_id,
        "read": read,
        "unread": unread,
    }


def _shorten(read: dict[str, Any]) -> None:
    sizes = {name: len(name) + len(json.dumps(value)) for name, value in read.items()}
    total = sum(sizes.values())
    while total > LARGEST:
        largest = max(sizes, key=sizes.__getitem__)
        total -= sizes.pop(largest)
        del read[largest]


def recall(recorded: Mapping[str, Any]) -> Facts:
    """The facts as far as they were recorded.

    Args:
        recorded: what `record` gave, also after JSON.

    Raises:
        ValueError: it is nothing that `record` gives; names the member.
    """
    types = {
        "dps": str,
        "id": str,
        "hubs": list,
        "kind": str,
        "enrollment": str,
        "read": dict,
        "unread": list,
    }
    for name, kind in types.items():
        if not isinstance(recorded.get(name), kind):
            problem = f"recorded facts: {name} is missing or of another type; they cannot be replayed"
            raise ValueError(problem)  # noqa: TRY004 - the record is wrong, not a caller's type
    kind, current = recorded["kind"], recorded.get("current")
    return Facts(
        dps=recorded["dps"],
        registration_id=recorded["id"],
        registration=registration_key(recorded["id"]),
        linked_hubs=linked([name for name in recorded["hubs"] if isinstance(name, str)]),
        current_hub=HubKey(current) if isinstance(current, str) else None,
        enrollment_kind=kind if kind in ("individual", "group") else "unknown",
        enrollment_id=recorded["enrollment"],
        evidence=Recalled(recorded["read"], frozenset(map(str, recorded["unread"]))),
    )


def decide_recorded(facts: Facts, policy: CompiledPolicy, fleet: FleetView) -> Decision | Undecidable:
    """Decide on recalled facts as `decide` would have on the original ones, or say what was not recorded."""
    try:
        return outcome(facts, policy, fleet)
    except Unread as unread:
        if not unread.recorded:
            return Undecidable(unread.reading)
        return undecided(facts, policy, unread)
