"""No check concludes anything from what is not known, under any behaviour that the services may have."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from allocation import FleetView, HubState
from clients.arm import LinkedHub, Unknown
from clients.hubs import HubStatistics
from lifecycle.audit.checks import not_evaluated
from lifecycle.audit.evidence import DeviceEvidence, OperationEvidence, OrphanEvidence, WebhookEvidence
from lifecycle.audit.finding import Severity, Source
from lifecycle.audit.webhook_address import shows_key
from provisioning.enrollments import EnrollmentGroup
from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import registration_key
from tests.lifecycle.audit.made import (
    GONE,
    HUB_A,
    HUB_B,
    KEYED,
    NOW,
    WEBHOOK,
    ago,
    around,
    calls,
    counts,
    findings,
    found,
    group,
    individual,
    linked,
    not_told,
    page,
    policy,
    record,
    row,
    secret,
    wire,
)
from tests.lifecycle.audit.planted import OLD

KEY_MISSING, NOT_OURS, OLD_VERSION, FAILING = (f"DPS-ALLOC-{n:03}" for n in (1, 2, 5, 6))
NEVER_APPLIES, UNLINKED, OUT, NOT_IN_POLICY = (f"DPS-ALLOC-{n:03}" for n in (8, 9, 10, 11))
OLD_KEY, DIFFERS, OLD_WEBHOOK_KEY = "DPS-CRED-017", "DPS-CRED-020", "DPS-CRED-021"
NOT_IN_HUB, TWO_HUBS, NEVER_REGISTERED = "DPS-REC-005", "DPS-REC-007", "DPS-REC-009"
FULL_HUB = "DPS-QUOTA-007"


@pytest.mark.parametrize("url", [f"{WEBHOOK}?****", f"{WEBHOOK}?code=****", f"{WEBHOOK}?code=***", WEBHOOK])
def test_a_key_is_not_missing_because_a_reading_masks_or_strips_it(url: str) -> None:
    evidence = group(calls(url), webhook_keys_shown=False)
    assert found(evidence) == []
    assert not_told(evidence) == {KEY_MISSING}


def test_a_masked_key_is_there_even_where_other_readings_show_theirs() -> None:
    assert found(group(calls(f"{WEBHOOK}?****"))) == []


def test_a_key_in_the_clear_needs_no_proof() -> None:
    evidence = group(webhook_keys_shown=False)
    assert found(evidence) == []
    assert not_told(evidence) == set()
    assert shows_key(evidence.enrollment)


@pytest.mark.parametrize(
    "definition",
    [
        calls(WEBHOOK),
        calls(f"{WEBHOOK}?****"),
        calls(f"{WEBHOOK}?code=****"),
        calls("http://[broken"),
        {"customAllocationDefinition": None},
        {"customAllocationDefinition": {"webhookUrl": 7}},
    ],
)
def test_a_reading_without_a_key_in_the_clear_proves_nothing_of_readings(definition: Any) -> None:
    assert not shows_key(group(definition).enrollment)


def test_another_programs_webhook_may_have_its_key_under_another_name() -> None:
    assert found(group(calls("https://other.example/hook?sig=abc"))) == [NOT_OURS]
    [missing, _] = findings(group(calls("https://other.example/hook")))
    assert (missing.check, missing.severity) == (KEY_MISSING, Severity.MEDIUM)


@pytest.mark.parametrize(
    "url",
    [
        "https://FLEET.example:443/API/allocate/?code=x",
        "https://fleet.example/api/allocate/DPS-1?code=x",
        "https://fleet.example./api/allocate?clientId=a&CODE=x",
    ],
)
def test_this_apps_webhook_is_known_in_every_spelling(url: str) -> None:
    assert found(group(calls(url))) == []


def test_another_path_of_this_host_is_another_webhook() -> None:
    [finding] = findings(group(calls("https://fleet.example/api/allocate/dps-2?code=x")))
    assert (finding.check, finding.evidence["differs"]) == (NOT_OURS, "path")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7071", "[::1]:7071"])
def test_http_that_leaves_no_machine_is_no_fault(host: str) -> None:
    url = f"http://{host}/api/allocate?code=x"
    assert found(group(calls(url)), around(webhook=url.partition("?")[0])) == []


def test_one_more_a_day_is_no_trend_until_half_is_used() -> None:
    assert found(counts(growth={"symmetric_groups": 2.0})) == []
    assert found(counts(symmetric_groups=60, growth={"symmetric_groups": 2.0})) == ["DPS-QUOTA-003"]
    assert found(counts(growth={"symmetric_groups": 5.0})) == ["DPS-QUOTA-003"]


def test_without_a_configured_webhook_none_is_told_from_another() -> None:
    assert found(group(calls("https://other.example/api?code=x")), around(webhook="")) == []


@pytest.mark.parametrize("version", ["2021-10-01", "2026-11-01", "2030-01-01-preview"])
def test_a_newer_api_version_is_not_old(version: str) -> None:
    assert found(group(calls(KEYED, version))) == []


@pytest.mark.parametrize("version", [None, "latest", "2021-99-01", "\uff12\uff10\uff11\uff19-03-31"])
def test_an_api_version_that_is_not_told_or_no_date_is_not_evaluated(version: str | None) -> None:
    assert found(group(calls(KEYED, version))) == []
    assert not_told(group(calls(KEYED, version))) == {OLD_VERSION}


@pytest.mark.parametrize(
    "unknown", [Unknown("no right to read it"), page(Unknown("nothing shown")), page(())]
)
def test_no_hub_is_unlinked_because_the_management_plane_is_silent(unknown: Any) -> None:
    with_ = around(page=unknown)
    assert found(group({"iotHubs": [GONE]}), with_) == []
    assert found(record({"assignedHub": GONE}), with_) == []


def test_why_the_management_plane_was_not_read_is_said_once_for_the_run() -> None:
    for unknown in (Unknown("no right to read it"), page(Unknown("no right to read it"))):
        with_ = around(page=unknown)
        assert {each.reason for each in not_evaluated(with_) if each.check == UNLINKED} == {
            "no right to read it"
        }
        assert not_told(group({"iotHubs": [GONE]}), with_) == set()
        assert not_told(record({"assignedHub": GONE}), with_) == set()


def test_a_hub_under_another_host_name_of_its_own_is_not_unlinked() -> None:
    other = "hub-a.device.azure-devices.net"
    assert found(group({"iotHubs": [other]})) == []
    assert not_told(group({"iotHubs": [other]})) == {UNLINKED}
    assert found(record({"assignedHub": other})) == []
    assert not_told(record({"assignedHub": other})) == {"DPS-REC-004"}


def test_an_enrollment_with_no_linked_hub_left_is_critical() -> None:
    [finding] = findings(group({"iotHubs": [GONE]}), around(policy=None))
    assert (finding.check, finding.severity) == (UNLINKED, Severity.CRITICAL)


def test_some_hubs_out_of_rotation_are_ordinary_work() -> None:
    hubs = linked(HUB_A, applies=False) + linked(HUB_B)
    assert found(group(), around(page=page(hubs))) == []


def test_hub_states_of_this_app_say_nothing_of_devices_that_it_does_not_place() -> None:
    fleet = FleetView(states={HUB_A: HubState.DRAINING, HUB_B: HubState.CORDONED})
    hashed = {"allocationPolicy": "hashed", "customAllocationDefinition": None}
    assert found(group(hashed), around(fleet=fleet)) == []
    assert found(group(), around(fleet=fleet)) == [OUT]
    assert found(group({"iotHubs": None}), around(fleet=fleet)) == [OUT]


def test_a_policy_that_allows_unlisted_hubs_refuses_none() -> None:
    assert found(group(), around(policy=policy(f"hubs: [{{name: {HUB_A}}}]"))) == []


def test_linked_hubs_outside_the_policy_are_no_fault_of_an_enrollment_that_names_none() -> None:
    strict = policy(f"hubs: [{{name: {HUB_A}}}]\nunlisted_hubs: refuse")
    assert found(group({"iotHubs": []}), around(policy=strict)) == []
    nothing = policy(f"hubs: [{{name: {GONE}}}]\nunlisted_hubs: refuse")
    [finding] = findings(group({"iotHubs": []}), around(policy=nothing))
    assert (finding.check, finding.severity) == (NOT_IN_POLICY, Severity.HIGH)


def test_a_hub_of_weight_zero_is_in_the_policy() -> None:
    zero = policy(f"hubs: [{{name: {HUB_A}}}, {{name: {HUB_B}, weight: 0}}]\nunlisted_hubs: refuse")
    assert found(group(), around(policy=zero)) == []


@pytest.mark.parametrize(
    "twin",
    [
        {"tags": {str(n): "x" * 4000 for n in range(2)}},
        {"tags": {"count": 3, "version": "ä" * 4000}},
        {"properties": {"desired": {str(n): n for n in range(4000)}}},
        {"tags": {"a": [None]}},
    ],
)
def test_a_twin_that_some_hub_may_take_can_apply(twin: Mapping[str, Any]) -> None:
    assert found(group({"initialTwin": twin})) == []


@pytest.mark.parametrize(
    "twin",
    [
        {"tags": {"a.b": 1}},
        {"tags": {"$x": 1}},
        {"properties": {"desired": {"x": {"y z": 1}}}},
        {"properties": {"desired": {"x": ["\x00", {"\x01": 1}]}}},
        {"tags": {"a": "x" * 4097}},
        {"tags": {"a" * 1025: 1}},
    ],
)
def test_a_twin_that_every_hub_refuses_can_never_apply(twin: Mapping[str, Any]) -> None:
    assert found(group({"initialTwin": twin})) == [NEVER_APPLIES]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_a_twin_too_deep_for_every_hub_can_never_apply() -> None:
    assert found(group({"initialTwin": {"tags": nested(12)}})) == [NEVER_APPLIES]
    assert found(group({"initialTwin": {"tags": nested(10)}})) == []


def test_a_twin_too_deep_to_be_looked_at_is_not_evaluated() -> None:
    document = group().enrollment.document() | {"initialTwin": {"tags": nested(900)}}
    evidence = replace(group(), enrollment=EnrollmentGroup.adopt(document))
    assert found(evidence) == []
    assert not_told(evidence) == {NEVER_APPLIES, "DPS-REC-010"}


def test_a_twin_never_applies_where_every_rule_of_the_policy_gives_another() -> None:
    hubs = f"hubs: [{{name: {HUB_A}}}, {{name: {HUB_B}}}]\n"
    always = policy(hubs + "default: {twin: {tags: {site: porto}}}")
    [finding] = findings(group(), around(policy=always))
    assert (finding.check, finding.severity) == (NEVER_APPLIES, Severity.LOW)
    sometimes = policy(
        hubs + "rules: [{name: a, when: {registration_id: 'a-*'}}]\ndefault: {twin: {tags: {site: porto}}}"
    )
    assert found(group(), around(policy=sometimes)) == []
    may_be_left_out = policy(hubs + "default: {twin: {tags: {site: {$from: payload.site}}}}")
    assert found(group(), around(policy=may_be_left_out)) == []


@pytest.mark.parametrize("status", [None, 404, 429, 500, 503])
def test_a_webhook_that_does_not_answer_without_a_key_is_not_called_open(status: int | None) -> None:
    evidence = WebhookEvidence("group:line-a", status, "no", 1.0, with_key=False)
    assert found(evidence) == []
    assert not_told(evidence) == {"DPS-ALLOC-004"}


@pytest.mark.parametrize(
    ("status", "severity"),
    [(None, Severity.HIGH), (503, Severity.HIGH), (429, Severity.HIGH), (404, Severity.CRITICAL)],
)
def test_a_webhook_that_dps_would_ask_again_matters_less(status: int | None, severity: Severity) -> None:
    [finding] = findings(WebhookEvidence("group:line-a", status, "failed", 1.0))
    assert (finding.check, finding.severity) == (FAILING, severity)


def test_an_explicit_reject_of_this_app_is_no_failure() -> None:
    assert found(WebhookEvidence("group:line-a", 403, "", 0.1)) == []


def test_keys_that_were_not_read_are_not_judged() -> None:
    evidence = group(keys=None)
    assert found(evidence) == []
    assert not_told(evidence) == {f"DPS-CRED-{n:03}" for n in (12, 13, 15, 16)}
    assert not_told(individual(keys=None)) == set()


def test_an_enrollment_that_was_changed_lately_hides_the_age_of_its_keys() -> None:
    changed = {**OLD, "lastUpdatedDateTimeUtc": wire(ago(days=3))}
    evidence = group(changed, secret=None)
    assert {OLD_KEY, OLD_WEBHOOK_KEY} <= not_told(evidence)
    assert found(evidence) == ["DPS-CRED-018"]


@pytest.mark.parametrize(
    ("check", "most", "made"),
    [
        (OLD_KEY, 365, lambda at: group(secret=secret(updated=at))),
        (OLD_WEBHOOK_KEY, 180, lambda at: individual(_dated(at))),
        (NEVER_REGISTERED, 90, lambda at: group({"createdDateTimeUtc": at.isoformat()}, registered=False)),
        ("DPS-REC-002", 60 / 1440, lambda at: record({"status": "assigning", **_dated(at)})),
    ],
)
def test_an_age_counts_from_its_threshold_on(check: str, most: float, made: Any) -> None:
    assert check not in found(made(ago(days=most) + timedelta(seconds=1)))
    assert check in found(made(ago(days=most)))


def _dated(at: datetime) -> dict[str, str]:
    return {"createdDateTimeUtc": at.isoformat(), "lastUpdatedDateTimeUtc": at.isoformat()}


def test_a_secret_whose_value_was_not_read_differs_from_nothing() -> None:
    assert found(group(secret=secret(holds=""))) == []
    assert not_told(group(secret=secret(holds=""))) == {DIFFERS}


@pytest.mark.parametrize("moment", [NOW, NOW + timedelta(hours=1), None])
def test_a_rotation_during_the_run_makes_no_secret_differ(moment: Any) -> None:
    evidence = group(secret=secret(holds="neither", updated=moment))
    assert found(evidence) == []
    assert not_told(evidence) == {DIFFERS}


def test_a_vault_that_was_not_asked_misses_nothing() -> None:
    unknown = Unknown("the vault refuses")
    assert found(group(secret=unknown)) == []
    assert not_told(group(secret=unknown)) == {"DPS-CRED-018", "DPS-CRED-019"}


def test_no_ca_is_missing_because_none_is_shown() -> None:
    named = group({"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "root"}}}})
    for nothing in (Unknown("no right"), ()):
        assert found(named, around(certificates=nothing)) == []


@pytest.mark.parametrize("status", ["failed", "disabled", "unassigned", "assigning"])
def test_the_hub_of_a_record_that_is_not_assigned_is_not_judged(status: str) -> None:
    late = wire(ago(seconds=30))
    evidence = record({"status": status, "assignedHub": GONE, "lastUpdatedDateTimeUtc": late}, device=None)
    assert not {"DPS-REC-004", NOT_IN_HUB} & set(found(evidence))


@pytest.mark.parametrize(
    "evidence",
    [
        record(device=None),
        record({"lastUpdatedDateTimeUtc": wire(ago(minutes=50))}, device=None, confirmed=True),
        record({"lastUpdatedDateTimeUtc": wire(NOW + timedelta(hours=1))}, device=None, confirmed=True),
        record({"lastUpdatedDateTimeUtc": None}, device=None, confirmed=True),
    ],
)
def test_a_device_is_not_gone_because_a_query_missed_it(evidence: Any) -> None:
    assert found(evidence) == []
    assert not_told(evidence) == {NOT_IN_HUB}


def test_a_hub_that_was_not_read_to_its_end_lacks_no_device() -> None:
    unread = Unknown("the hub was not read to its end")
    assert found(record(device=unread, confirmed=True)) == []
    assert found(record(device=unread, other_hubs=(HUB_B,), confirmed=True)) == []


@pytest.mark.parametrize(
    "evidence",
    [
        record(other_hubs=(HUB_B,)),
        record({"lastUpdatedDateTimeUtc": wire(ago(minutes=20))}, other_hubs=(HUB_B,), confirmed=True),
    ],
)
def test_a_device_is_not_in_two_hubs_because_a_query_still_finds_it_where_it_was(evidence: Any) -> None:
    assert found(evidence) == []
    assert not_told(evidence) == {TWO_HUBS}


def test_the_assigned_hub_is_no_other_hub() -> None:
    assert found(record(other_hubs=(HUB_A,), confirmed=True)) == []


def test_a_device_at_an_unlinked_hub_is_reported_once_and_not_as_gone() -> None:
    evidence = record({"assignedHub": GONE}, device=None, confirmed=True)
    assert found(evidence) == ["DPS-REC-004"]


def test_a_device_that_only_queries_know_is_not_without_a_record() -> None:
    evidence = DeviceEvidence(HUB_A, row())
    assert found(evidence) == []
    assert not_told(evidence) == {"DPS-REC-006"}


def test_an_orphan_that_was_not_read_is_none() -> None:
    evidence = OrphanEvidence(registration_key("dev-1"), "line-z", None)
    assert found(evidence) == []
    assert not_told(evidence) == {"DPS-REC-008"}


@pytest.mark.parametrize("evidence", [group, individual])
def test_an_enrollment_is_not_unused_because_its_records_are_not_known(evidence: Any) -> None:
    old = {"createdDateTimeUtc": wire(ago(days=100))}
    assert found(evidence(old, registered=None)) == []
    assert found(evidence(old, registered=False)) == [NEVER_REGISTERED]
    assert NEVER_REGISTERED in not_told(evidence({"createdDateTimeUtc": None}, registered=False))


def test_an_old_failure_matters_less_than_one_of_today() -> None:
    [finding] = findings(record({"status": "failed"}))
    assert finding.severity is Severity.LOW


def test_a_count_that_may_never_fall_fills_no_hub() -> None:
    says = {HUB_A: HubStatistics(900_000, 1, 1)}
    assert found(counts(by_hub=says, listed={HUB_A: 500})) == []
    assert not_told(counts(by_hub=says, listed={})) == {FULL_HUB}
    assert not_told(counts(by_hub={HUB_A: HubStatistics(5, 1, 1)}, listed={})) == set()


def test_a_hub_is_full_by_what_the_policy_gives_it() -> None:
    own = policy(f"hubs: [{{name: {HUB_A}, capacity: 1000, headroom: 400}}]")
    [finding] = findings(counts(), around(policy=own))
    assert (finding.check, finding.evidence["limit"], finding.evidence["share"]) == (FULL_HUB, 600, 0.8333)


@pytest.mark.parametrize("growth", [float("nan"), float("inf"), -5.0, 0.0])
def test_a_growth_that_is_none_forecasts_nothing(growth: float) -> None:
    assert found(counts(growth={"registrations": growth})) == []


def test_what_an_unfinished_listing_counted_is_a_fact_all_the_same() -> None:
    with_ = around(without=frozenset({Source.REGISTRATIONS}))
    assert found(counts(registrations=900_000), with_) == ["DPS-QUOTA-001"]


def test_which_policy_is_active_must_be_known_before_another_is_a_drift() -> None:
    evidence = OperationEvidence(policy_seen=frozenset({"one"}))
    assert found(evidence) == []
    assert not_told(evidence) == {"DPS-OPS-003"}


def test_fifty_linked_hubs_are_all_there_may_be() -> None:
    hubs = tuple(LinkedHub(name, HubKey(name), 1, True, "") for name in map(_hub, range(48)))
    [finding] = findings(counts(), around(page=page(linked(HUB_A, HUB_B) + hubs)))
    assert (finding.check, finding.severity) == ("DPS-QUOTA-006", Severity.CRITICAL)


def _hub(number: int) -> HubKey:
    return hub_key(f"hub-{number}.example.net")
