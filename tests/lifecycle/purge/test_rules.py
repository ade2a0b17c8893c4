"""The rules by table, and what no evidence and no policy can make them do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import InvalidOption
from lifecycle.purge.marks import Mark
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules import Evidence, Kept, Reason, Seen, Stale, Unasked, Why, judge, needed, suspect
from provisioning.hubs import HubKey
from provisioning.registrations import Registration

NOW = datetime(2026, 6, 1, tzinfo=UTC)
A, B, GONE = (HubKey(f"hub-{each}.azure-devices.net") for each in ("a", "b", "gone"))
POLICY = PurgePolicy(disabled_days=30, old_days=90)
SILENT = Seen(connected=False, last_activity=NOW - timedelta(days=200), tags={})
NEVER = Seen(connected=False, last_activity=None, tags={})
LATELY = Seen(connected=False, last_activity=NOW - timedelta(days=3), tags={})
CONNECTED = Seen(connected=True, last_activity=None, tags={})


def record(
    status: str = "assigned", *, hub: HubKey | None = A, days: float = 200, etag: str = '"1"'
) -> Registration:
    document = {
        "registrationId": "Dev-1",
        "status": status,
        "assignedHub": hub,
        "deviceId": "Dev-1",
        "lastUpdatedDateTimeUtc": (NOW - timedelta(days=days)).isoformat(),
        "etag": etag,
    }
    return Registration.read({name: value for name, value in document.items() if value is not None})


def evidence(registration: Registration | None = None, **members: Any) -> Evidence:
    base = Evidence(
        registration or record(),
        "Line-A",
        individual=False,
        hubs={A: None, B: None},
        linked=frozenset({A, B}),
    )
    return replace(base, **members)


ORPHAN: dict[str, Any] = {"gone": True, "listed": False}
CASES: list[tuple[Evidence, Reason | Why]] = [
    (evidence(), Reason.DEVICE_GONE),
    (evidence(linked=None, hubs={A: None}), Reason.DEVICE_GONE),
    (evidence(hubs={A: None}), Why.UNKNOWN),
    (evidence(hubs={A: Unasked("down"), B: None}), Why.UNKNOWN),
    (evidence(hubs={A: None, B: Unasked("down")}), Why.UNKNOWN),
    (evidence(hubs={A: None, B: SILENT}), Why.ELSEWHERE),
    (evidence(hubs={A: None, B: LATELY}), Why.ACTIVE),
    (evidence(hubs={A: LATELY, B: None}, **ORPHAN), Why.ACTIVE),
    (evidence(hubs={A: SILENT, B: None}), Reason.OLD),
    (evidence(hubs={A: NEVER, B: None}), Reason.OLD),
    (evidence(hubs={A: CONNECTED, B: None}), Why.ACTIVE),
    (evidence(record(days=60), hubs={A: SILENT, B: None}), Why.SOUND),
    (evidence(record(days=0.5)), Why.RECENT),
    (evidence(record(etag="")), Why.UNREADABLE),
    (evidence(record(hub=None)), Why.UNREADABLE),
    (evidence(record("assigning")), Why.UNDER_WAY),
    (evidence(record("unassigned")), Why.SOUND),
    (evidence(individual=True), Why.INDIVIDUAL),
    (evidence(individual=None), Why.UNKNOWN),
    (evidence(record(hub=GONE)), Reason.UNLINKED_HUB),
    (evidence(record(hub=GONE), linked=None), Why.UNKNOWN),
    (evidence(record(hub=GONE), linked=frozenset()), Why.UNKNOWN),
    (evidence(record(hub=GONE), hubs={A: None, B: SILENT}), Why.ELSEWHERE),
    (evidence(record(hub=HubKey("hub-a.private.net")), hubs={A: None, B: None}), Why.UNKNOWN),
    (evidence(record("failed", hub=None)), Reason.FAILED),
    (evidence(record("failed", hub=None), linked=None), Why.UNKNOWN),
    (evidence(record("failed", hub=None, days=20)), Why.SOUND),
    (evidence(record("failed", hub=None), hubs={A: None, B: LATELY}), Why.ACTIVE),
    (evidence(record("disabled"), hubs={A: SILENT, B: None}), Reason.DISABLED),
    (evidence(hubs={A: None}, **ORPHAN), Why.UNKNOWN),
    (evidence(**ORPHAN), Reason.ORPHAN),
    (evidence(hubs={A: SILENT, B: None}, **ORPHAN), Reason.ORPHAN),
    (evidence(record("failed", hub=None), **ORPHAN), Reason.ORPHAN),
    (evidence(record(hub=GONE), linked=None, **ORPHAN), Why.UNKNOWN),
    (evidence(individual=True, **ORPHAN), Why.INDIVIDUAL),
    (evidence(gone=True, listed=True), Reason.DEVICE_GONE),
    (evidence(gone=False, listed=False), Why.UNKNOWN),
    (evidence(hubs={A: replace(SILENT, tags={"purge": "Never"}), B: None}), Why.TAGGED),
    (evidence(hubs={A: replace(SILENT, tags=None), B: None}), Why.UNKNOWN),
]


@pytest.mark.parametrize(("given_", "expected"), CASES)
def test_the_rules_by_table(given_: Evidence, expected: Reason | Why) -> None:
    verdict = judge(given_, POLICY, NOW)
    assert verdict == (Stale(expected) if isinstance(expected, Reason) else Kept(expected))


@pytest.mark.parametrize("member", [{"exclude": ("dev-*",)}, {"exclude_groups": ("line-?",)}])
def test_the_exclusion_list_keeps(member: dict[str, Any]) -> None:
    assert judge(evidence(), replace(POLICY, **member), NOW) == Kept(Why.EXCLUDED)


def test_the_last_look_asks_only_the_own_hub_where_that_is_linked() -> None:
    linked = frozenset({A, B})
    assert needed(Reason.DEVICE_GONE, A, linked, confirming=True) == frozenset({A})
    assert needed(Reason.DEVICE_GONE, A, linked) == linked
    assert needed(Reason.UNLINKED_HUB, GONE, linked, confirming=True) == linked
    assert needed(Reason.FAILED, None, None, confirming=True) is None


answers = st.one_of(
    st.none(),
    st.just(Unasked("down")),
    st.builds(
        Seen,
        st.booleans(),
        st.one_of(st.none(), st.integers(0, 400).map(lambda days: NOW - timedelta(days=days))),
        st.sampled_from([None, {}, {"purge": "never"}, {"site": "x"}]),
    ),
)
records = st.builds(
    record,
    st.sampled_from(["assigned", "failed", "disabled", "unassigned", "assigning", ""]),
    hub=st.sampled_from([None, A, B, GONE]),
    days=st.floats(-1, 500),
    etag=st.sampled_from(["", '"1"']),
)
some_evidence = st.builds(
    Evidence,
    records,
    st.just("line-a"),
    gone=st.booleans(),
    listed=st.booleans(),
    individual=st.sampled_from([None, True, False]),
    hubs=st.dictionaries(st.sampled_from([A, B, GONE]), answers),
    linked=st.sampled_from([None, frozenset(), frozenset({A}), frozenset({A, B})]),
    confirming=st.booleans(),
)
days = st.one_of(st.none(), st.integers(30, 400))
policies = st.builds(
    PurgePolicy,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    days,
    days,
    days,
    settle_hours=st.integers(1, 100),
    quiet_days=st.integers(1, 100),
    keep_tags=st.sampled_from([(), ("purge=never",)]),
)


@given(some_evidence, policies)
def test_no_policy_switches_a_guard_off(found: Evidence, policy: PurgePolicy) -> None:
    verdict = judge(found, policy, NOW)
    if isinstance(verdict, Kept):
        return
    quiet = NOW - timedelta(days=policy.quiet_days)
    assert found.individual is False
    assert found.record.etag
    assert found.record.updated
    assert NOW - found.record.updated >= timedelta(hours=policy.settle_hours)
    hubs = needed(verdict.reason, found.record.hub, found.linked, confirming=found.confirming)
    assert hubs
    for hub in hubs:
        answer = found.hubs[hub]  # every one of them was asked, and answered
        assert not isinstance(answer, Unasked)
        if isinstance(answer, Seen):
            assert hub == found.record.hub
            assert not answer.connected
            assert answer.last_activity is None or answer.last_activity < quiet
    if verdict.reason is Reason.ORPHAN:
        assert found.gone
        assert not found.listed
    else:
        assert found.listed
    if verdict.reason is Reason.UNLINKED_HUB:
        assert found.linked
        assert found.record.hub not in found.linked


@given(some_evidence, policies)
def test_whatever_is_stale_was_suspect_before_hubs_were_asked(found: Evidence, policy: PurgePolicy) -> None:
    if isinstance(judge(found, policy, NOW), Stale):
        assert isinstance(suspect(replace(found, hubs={}), policy, NOW), Stale)


REFUSED: list[tuple[Any, str]] = [
    ("all of them", "purge"),
    ({"quiet_day": 3}, "quiet_days"),
    ({"quiet_days": 0}, "purge.quiet_days"),
    ({"quiet_days": True}, "purge.quiet_days"),
    ({"settle_hours": 0}, "purge.settle_hours"),
    ({"quarantine_days": 0}, "purge.quarantine_days"),
    ({"old_days": 3}, "purge.old_days"),
    ({"failed_days": "30"}, "purge.failed_days"),
    ({"orphans": "yes"}, "purge.orphans"),
    ({"most": -1}, "purge.most"),
    ({"most_percent": 101}, "purge.most_percent"),
    ({"most_percent": float("nan")}, "purge.most_percent"),
    ({"exclude": "dev"}, "purge.exclude"),
    ({"exclude": ["DEV"]}, "purge.exclude"),
    ({"keep_tags": ["purge"]}, "purge.keep_tags"),
    ({"price": "1"}, "purge.price"),
]


@pytest.mark.parametrize(("section", "named"), REFUSED)
def test_a_bad_setting_is_refused_with_its_name_and_the_fix(section: Any, named: str) -> None:
    with pytest.raises(InvalidOption, match=named) as refused:
        PurgePolicy.read(section)
    assert refused.value.fix


@given(policies)
def test_a_policy_reads_as_it_was_written(policy: PurgePolicy) -> None:
    assert PurgePolicy.read(policy.document()) == policy


def test_an_absent_section_is_the_default() -> None:
    assert PurgePolicy.read(None) == PurgePolicy.read({}) == PurgePolicy()


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.floats(0.01, 100))
def test_both_caps_hold(population: int, most: int, percent: float) -> None:
    allowed = PurgePolicy(most=most, most_percent=percent).most_of(population)
    assert allowed <= most
    assert allowed <= population * percent / 100 + 1e-6


def test_a_run_never_deletes_what_it_marked_itself() -> None:
    mark = Mark("d", "d", "g", Reason.OLD, "1", A, NOW - timedelta(days=9), "purge-1", "purge-1:1:0")
    assert mark.due("purge-2", 9, NOW)
    assert not mark.due("purge-2", 10, NOW)
    assert not mark.due("purge-1", 1, NOW)
