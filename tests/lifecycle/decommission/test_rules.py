"""What keeps a record of a group that goes: by table, and as properties."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.decommission.rules import REFUSING, at_dps, at_hubs, hubs_of
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules import AtHub, Seen, Unasked, Why
from provisioning.hubs import HubKey
from provisioning.registrations import Registration

NOW = datetime(2026, 6, 1, tzinfo=UTC)
A, B = HubKey("hub-a.azure-devices.net"), HubKey("hub-b.azure-devices.net")
POLICY = PurgePolicy(exclude=("keep-*",))
SETTLE = timedelta(minutes=10)


def record(age: timedelta = timedelta(days=90), **members: Any) -> Registration:
    updated = (NOW - age).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
    return Registration.read(
        {
            "registrationId": "dev-1",
            "status": "assigned",
            "assignedHub": A,
            "deviceId": "dev-1",
            "etag": "1",
            "lastUpdatedDateTimeUtc": updated,
            **members,
        }
    )


@pytest.mark.parametrize(
    ("found", "even_active", "why"),
    [
        (record(), False, None),
        (record(timedelta(days=29)), False, Why.ACTIVE),
        (record(timedelta(days=29)), True, None),
        (record(timedelta(), status="failed"), False, None),
        (record(timedelta(), status="disabled"), False, None),
        (record(timedelta(minutes=9), status="assigning"), True, Why.UNDER_WAY),
        (record(timedelta(minutes=11), status="assigning"), False, Why.ACTIVE),
        (record(timedelta(days=90), status="assigning"), False, None),
        (record(registrationId="Keep-1"), True, Why.EXCLUDED),
        (record(etag=""), True, Why.UNREADABLE),
        (record(lastUpdatedDateTimeUtc="soon"), True, Why.UNREADABLE),
        (record(assignedHub=""), True, Why.UNREADABLE),
    ],
)
def test_what_dps_alone_says(found: Registration, even_active: bool, why: Why | None) -> None:
    assert at_dps(found, POLICY, NOW, settle=SETTLE, even_active=even_active) == why


QUIET = Seen(connected=False, last_activity=NOW - timedelta(days=31), tags={})


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({}, None),
        ({A: None}, None),
        ({A: QUIET}, None),
        ({A: Seen(connected=True, last_activity=None, tags={})}, Why.ACTIVE),
        ({A: None, B: Seen(connected=False, last_activity=NOW - timedelta(days=29), tags={})}, Why.ACTIVE),
        ({A: Seen(connected=False, last_activity=None, tags={"purge": "never"})}, Why.TAGGED),
        ({A: Seen(connected=False, last_activity=None, tags=None)}, Why.UNKNOWN),
        ({A: Seen(connected=False, last_activity=None, tags={}, edge=True)}, Why.EDGE),
        ({A: None, B: Unasked("down")}, Why.UNKNOWN),
        (None, Why.UNKNOWN),
    ],
)
def test_what_the_hubs_say(answers: dict[HubKey, AtHub] | None, why: Why | None) -> None:
    assert at_hubs(answers, POLICY, NOW) == why


def test_a_record_without_a_hub_may_be_at_any_linked_one() -> None:
    assert hubs_of(record(), None) == frozenset({A})
    failed = record(status="failed", assignedHub="")
    assert hubs_of(failed, frozenset({A, B})) == frozenset({A, B})
    assert hubs_of(failed, None) is None


answers = st.dictionaries(
    st.sampled_from([A, B]),
    st.one_of(
        st.none(),
        st.just(Unasked("down")),
        st.builds(
            Seen,
            st.booleans(),
            st.one_of(st.none(), st.integers(0, 90).map(lambda days: NOW - timedelta(days=days))),
            st.sampled_from([None, {}, {"purge": "never"}]),
        ),
    ),
)


@given(answers)
def test_only_what_every_hub_agrees_to_may_go(found: dict[HubKey, AtHub]) -> None:
    why = at_hubs(found, POLICY, NOW)
    harmless = all(
        each is None
        or (
            isinstance(each, Seen)
            and not each.connected
            and (each.last_activity is None or NOW - each.last_activity > timedelta(days=30))
            and each.tags == {}
        )
        for each in found.values()
    )
    assert (why is None) == harmless
    assert why is None or why in REFUSING
