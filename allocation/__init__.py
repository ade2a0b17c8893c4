"""The custom-allocation webhook: a request of DPS becomes a decision, and the decision an answer."""

from allocation.admission import Admission
from allocation.errors import AllocationError, Overtaken, PolicyError
from allocation.facts import Answer
from allocation.fleet import ALL_OPEN, FleetView, HubState
from allocation.fleet_table import (
    FleetRows,
    LoadRow,
    StateRow,
    cordon,
    disable,
    drain,
    forget_load,
    read_fleet,
    uncordon,
    write_load,
)
from allocation.key_use import KeyUse, Use, fingerprint, presented, read_uses, uses_of
from allocation.knowledge import FixedKnowledge, Freshness, Knowledge, StoredKnowledge
from allocation.ledger import UNLIST_AFTER, Entry, Ledger, checkpoint_of, listing_of, written_at
from allocation.policy.compile import CompiledPolicy
from allocation.policy.source import FilePolicy, PackagedPolicy, PolicySource
from allocation.policy.store import Activation, PolicyStore
from allocation.recorded import record
from allocation.serve import Allocator, Budget

__all__ = [
    "ALL_OPEN",
    "UNLIST_AFTER",
    "Activation",
    "Admission",
    "AllocationError",
    "Allocator",
    "Answer",
    "Budget",
    "CompiledPolicy",
    "Entry",
    "FilePolicy",
    "FixedKnowledge",
    "FleetRows",
    "FleetView",
    "Freshness",
    "HubState",
    "KeyUse",
    "Knowledge",
    "Ledger",
    "LoadRow",
    "Overtaken",
    "PackagedPolicy",
    "PolicyError",
    "PolicySource",
    "PolicyStore",
    "StateRow",
    "StoredKnowledge",
    "Use",
    "checkpoint_of",
    "cordon",
    "disable",
    "drain",
    "fingerprint",
    "forget_load",
    "listing_of",
    "presented",
    "read_fleet",
    "read_uses",
    "record",
    "uncordon",
    "uses_of",
    "write_load",
    "written_at",
]
