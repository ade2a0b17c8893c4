"""Which records of a group that goes may go with it: pure.

The operator has named the group, so a record needs no reason to go, only nothing that keeps it. What is not
known for certain keeps it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules import AtHub, Seen, Unasked, Why, excluded, live, tagged, tells_enough
from provisioning.documents import MalformedDocument
from provisioning.hubs import HubKey
from provisioning.registrations import Registration

REFUSING = frozenset({Why.ACTIVE, Why.EDGE, Why.UNKNOWN, Why.EXCLUDED, Why.TAGGED})
"""What stops the whole: somebody must decide. Others stay without the group, or are looked at again."""


def at_dps(
    record: Registration, policy: PurgePolicy, now: datetime, *, settle: timedelta, even_active: bool
) -> Why | None:
    """What DPS's record alone says: why it stays; None: the hubs decide.

    Args:
        record: of the group.
        policy: whose exclusions count, and after how many days a device is quiet.
        now: the time of day.
        settle: how long a registration may be under way.
        even_active: whether the operator wants devices that are in use to go too.
    """
    updated = _updated(record)
    if updated is None or not tells_enough(record):
        return Why.UNREADABLE
    if excluded(record.key, "", policy):
        return Why.EXCLUDED
    if record.status == "assigning" and now - updated < settle:
        return Why.UNDER_WAY
    # An attempt that failed says nothing of use: of those the hubs tell.
    lately = now - updated < timedelta(days=policy.quiet_days)
    if record.status in ("assigned", "assigning") and lately and not even_active:
        return Why.ACTIVE
    return None


def hubs_of(record: Registration, linked: frozenset[HubKey] | None) -> frozenset[HubKey] | None:
    """The hubs that may have the record's device; None: not known.

    A record of a failed attempt may not name the hub of before (unknown): the device may be at any.
    """
    return linked if record.hub is None else frozenset({record.hub})


def at_hubs(  # noqa: PLR0911 - a guard each
    answers: Mapping[HubKey, AtHub] | None, policy: PurgePolicy, now: datetime
) -> Why | None:
    """What the hubs say: why the record stays; None: it may go.

    Args:
        answers: of all that may have the device; None: which those are is not known.
        policy: when a device is quiet, and which tags keep it.
        now: the time of day.
    """
    if answers is None:
        return Why.UNKNOWN
    seen = [each for each in answers.values() if isinstance(each, Seen)]
    if any(live(each, now - timedelta(days=policy.quiet_days)) for each in seen):
        return Why.ACTIVE
    if any(each.edge for each in seen):
        return Why.EDGE
    if any(tagged(each.tags, policy) for each in seen):
        return Why.TAGGED
    if any(isinstance(each, Unasked) for each in answers.values()):
        return Why.UNKNOWN
    if policy.keep_tags and any(each.tags is None for each in seen):
        return Why.UNKNOWN
    return None


def _updated(record: Registration) -> datetime | None:
    try:
        return record.updated
    except MalformedDocument:
        return None
