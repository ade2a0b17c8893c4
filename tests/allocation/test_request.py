"""The wire: what is read, what is refused and with which status, and what is answered."""

import json
from pathlib import Path
from typing import Any

import pytest

from allocation.errors import NotAllocatable, NotUnderstood
from allocation.facts import Placed, Rejected, Wait
from allocation.request import BODY_LIMIT, answer, parse, refusal
from tests.allocation.making import body, hub, key

EVENTS = Path(__file__).parents[1] / "events"


def read(request: Any) -> Any:
    return parse(json.dumps(request).encode(), "")


def test_a_real_group_request_is_read_whole() -> None:
    facts = parse((EVENTS / "allocation_group.json").read_bytes(), "factory")
    assert facts.dps == "factory"
    assert (facts.registration_id, facts.registration) == ("Dev-1", "dev-1")
    assert list(facts.linked_hubs.values()) == [hub("hub-a"), hub("hub-b")]
    assert facts.current_hub == key("hub-a")
    assert (facts.enrollment_kind, facts.enrollment_id) == ("group", "g1")


def test_a_real_first_request_of_an_individual_enrollment_is_read_whole() -> None:
    facts = parse((EVENTS / "allocation_individual_first.json").read_bytes(), "")
    assert (facts.enrollment_kind, facts.enrollment_id) == ("individual", "press-7")
    assert facts.current_hub is None


def test_only_the_registration_id_and_the_hubs_are_needed() -> None:
    facts = read({"deviceRuntimeContext": {"registrationId": "d"}, "linkedHubs": [hub("a")]})
    assert (facts.enrollment_kind, facts.enrollment_id, facts.current_hub) == ("unknown", "", None)


def test_member_names_compare_without_case_and_the_documented_spelling_wins() -> None:
    facts = read(
        {
            "DeviceRuntimeContext": {"REGISTRATIONID": "d", "currentIoTHubHostname": hub("B")},
            "LinkedHubs": [hub("x")],
            "linkedHubs": [hub("a"), hub("B")],
        }
    )
    assert facts.registration_id == "d"
    assert facts.current_hub == key("b")
    assert list(facts.linked_hubs.values()) == [hub("a"), hub("B")]


@pytest.mark.parametrize("digits", ["9" * 5_000, "-" + "9" * 200_000])
def test_a_number_of_any_length_in_what_a_device_says_is_no_reason_to_fail_it(digits: str) -> None:
    text = json.dumps(body(payload={"serial": 7})).replace('{"serial": 7}', f'{{"serial": {digits}}}')
    assert digits in text
    assert parse(text.encode(), "").registration_id == "dev-1"


def test_a_byte_order_mark_is_no_reason_to_refuse() -> None:
    assert parse(b"\xef\xbb\xbf" + json.dumps(body()).encode(), "").registration_id == "dev-1"


def test_two_spellings_of_one_hub_are_one_hub() -> None:
    assert list(read(body(hubs=[hub("A"), hub("a"), hub("a") + "."])).linked_hubs.values()) == [hub("A")]


@pytest.mark.parametrize(
    ("raw", "status", "field"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"\xff\xfe{", 400, "body"),
        (b'{"a": "\xc3\x28"}', 400, "body"),
        (b"[]", 400, "body"),
        (b"null", 400, "body"),
        (b"7", 400, "body"),
        (b'{"linkedHubs": NaN}', 400, "body"),
        (b'{"x": -Infinity}', 400, "body"),
        (b'{"x": ' + b"9" * 5_000 + b"}", 400, "deviceRuntimeContext.registrationId"),
        (b"[" * 100_000 + b"]" * 100_000, 400, "body"),
        (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, 400, "body"),
        (b" " * (BODY_LIMIT + 1), 413, "body"),
        (b"{}", 400, "deviceRuntimeContext.registrationId"),
        (b'{"deviceRuntimeContext": null}', 400, "deviceRuntimeContext.registrationId"),
        (b'{"deviceRuntimeContext": {"registrationId": ""}}', 400, "deviceRuntimeContext.registrationId"),
        (b'{"deviceRuntimeContext": {"registrationId": "d"}}', 400, "linkedHubs"),
        (b'{"deviceRuntimeContext": {"registrationId": "d"}, "linkedHubs": []}', 400, "linkedHubs"),
        (b'{"deviceRuntimeContext": {"registrationId": "d"}, "linkedHubs": ["", " ."]}', 400, "linkedHubs"),
    ],
)
def test_what_can_be_no_allocation_request_ends_the_registration(raw: bytes, status: int, field: str) -> None:
    with pytest.raises(NotAllocatable) as error:
        parse(raw, "")
    reply = refusal(error.value)
    assert (reply.status, json.loads(reply.body)["field"]) == (status, field)


@pytest.mark.parametrize(
    ("request_body", "field"),
    [
        (body() | {"deviceRuntimeContext": 5}, "deviceRuntimeContext"),
        (body(device=5), "deviceRuntimeContext.registrationId"),
        (body(device={"id": "d"}), "deviceRuntimeContext.registrationId"),
        (body(device="d" * 2_000), "deviceRuntimeContext.registrationId"),
        (body(hubs=hub("a")), "linkedHubs"),
        (body(hubs={"a": 1}), "linkedHubs"),
        (body(hubs=[hub("a"), None]), "linkedHubs"),
        (body(hubs=[{"hostName": hub("a")}]), "linkedHubs"),
        (body(hubs=[hub("a")] * 1_001), "linkedHubs"),
        (body(current=7), "deviceRuntimeContext.currentIotHubHostName"),
        (body(current=[hub("a")]), "deviceRuntimeContext.currentIotHubHostName"),
    ],
)
def test_a_shape_nobody_knows_lets_dps_try_again(request_body: Any, field: str) -> None:
    with pytest.raises(NotUnderstood) as error:
        read(request_body)
    reply = refusal(error.value)
    assert (reply.status, json.loads(reply.body)["field"]) == (503, field)


@pytest.mark.parametrize("enrollment", [5, [], "g1", {}, {"enrollmentGroupId": 5}, None])
def test_what_no_decision_depends_on_is_no_reason_to_refuse(enrollment: object) -> None:
    assert read(body() | {"enrollmentGroup": enrollment, "capabilities": 3}).enrollment_id == ""


def test_answers_speak_the_words_of_dps() -> None:
    common: dict[str, Any] = {"rule": "r", "policy": "p", "trail": ()}
    place: dict[str, Any] = common | {"hub": key("a"), "host_name": hub("A"), "why": "ranked"}
    assert answer(Placed(**place)).body == b'{"iotHubHostName":"A.azure-devices.net"}'
    full = answer(Placed(**place, initial_twin={"tags": {"x": 1}}, payload={"y": 2}))
    assert json.loads(full.body) == {
        "iotHubHostName": hub("A"),
        "initialTwin": {"tags": {"x": 1}},
        "payload": {"y": 2},
    }
    rejected = answer(Rejected(**common, reason="stolen from site 7"))
    assert rejected.status == 403
    assert b"stolen" not in rejected.body
    assert answer(Wait(**common, reason="no room")).status == 503
