"""The custom-allocation webhook: a request of DPS becomes a decision, and the decision an answer."""

from allocation.facts import Answer
from allocation.fleet import ALL_OPEN, FleetView, KnownFleet
from allocation.policy.source import FilePolicy, PackagedPolicy, PolicySource
from allocation.serve import Allocator

__all__ = [
    "ALL_OPEN",
    "Allocator",
    "Answer",
    "FilePolicy",
    "FleetView",
    "KnownFleet",
    "PackagedPolicy",
    "PolicySource",
]
