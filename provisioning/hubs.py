"""Names of linked IoT hubs."""

from typing import NewType

HubKey = NewType("HubKey", str)
"""A hub's host name in the form that compares: lower-case, no trailing dot."""


HIGH_TIER = 50
"""How many times more a unit of S3 or B3 allows of a hub's registry operations and queries (documented)."""


def hub_key(name: str) -> HubKey:
    """The form of a host name under which hubs are compared, hashed and stored.

    Host names are case-insensitive, and Event Grid upper-cases parts of what it sends, so a name is never
    compared as it came.
    """
    return HubKey(name.strip().rstrip(".").lower())
