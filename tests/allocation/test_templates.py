"""Templates: values go out with their types, within the limits, or not at all and as the operator said."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocation import request
from allocation.decision import decide
from allocation.facts import Placed, Rejected
from allocation.fleet import ALL_OPEN
from allocation.policy import compile_policy, read_document
from allocation.templates import (
    DESIRED_LIMIT,
    MESSAGE_LIMIT,
    TAGS_LIMIT,
    template,
    twin_size,
)
from tests.allocation.making import body, hub


def answered(rule: dict[str, Any], payload: Any = None, device: str = "Dev-1") -> Any:
    """The decision for a device, and its answer as read from the wire."""
    text = json.dumps({"hubs": [{"name": hub("a"), "region": "westeurope"}], "default": rule})
    whole = body(device, hubs=[hub("A")])
    if payload is not None:
        whole["deviceRuntimeContext"]["payload"] = payload
    facts = request.parse(json.dumps(whole).encode(), "plant")
    decision = decide(facts, compile_policy(read_document(text)), ALL_OPEN)
    answer = request.answer(decision)
    return decision, json.loads(answer.body) if answer.status == 200 else answer.status


def tags(written: Any, payload: Any = None, device: str = "Dev-1") -> Any:
    _, told = answered({"twin": {"tags": {"x": written}}}, payload, device)
    return told["initialTwin"]["tags"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ({"$from": "payload.n"}, 5),
        ({"$from": "payload.text"}, "t"),
        ({"$from": "payload.yes"}, True),
        ({"$from": "payload.real"}, 1.5),
        ({"$from": "payload.object"}, {"a": [1, {"b": 2}]}),
        ({"$from": "registration_id"}, "Dev-1"),
        ({"$from": "dps"}, "plant"),
        ({"$from": "enrollment.id"}, "g1"),
        ({"$from": "enrollment.kind"}, "group"),
        ({"$from": "hub.name"}, hub("A")),
        ({"$from": "hub.region"}, "westeurope"),
        ({"$from": "attestation"}, "symmetricKey"),
        (
            {"$text": "{payload.text}/{payload.n}/{payload.yes}/{payload.real} {{}} at {hub.name}"},
            f"t/5/true/1.5 {{}} at {hub('A')}",
        ),
        ({"$from": "payload.none", "$on_missing": {"default": 7}}, 7),
        ({"$from": "payload.none", "$on_missing": {"default": None}}, None),
        ({"$text": "{payload.object}", "$on_missing": {"default": "-"}}, "-"),
        ({"$from": "payload.null", "$on_missing": {"default": "-"}}, "-"),
        ([1, {"$from": "payload.none"}, {"$from": "payload.n"}], [1, 5]),
        (
            {"deep": {"er": {"$from": "payload.n"}, "fixed": "{payload.n}"}},
            {"deep": {"er": 5, "fixed": "{payload.n}"}},
        ),
    ],
)
def test_a_value_keeps_its_type(written: Any, value: Any) -> None:
    payload = {"n": 5, "text": "t", "yes": True, "real": 1.5, "object": {"a": [1, {"b": 2}]}, "null": None}
    assert tags(written, payload) == {"x": value}


@pytest.mark.parametrize(
    "spoilt",
    [
        "x" * 4097,
        2**52,
        -(2**52) - 1,
        {"a.b": 1},
        {"$x": 1},
        {"a b": 1},
        {"a\u0007": 1},
        {"k" * 1025: 1},
        "\ud800",
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": {}}}}}}}}}}},
        [{"a": "x" * 4097}],
        float("inf"),
        None,
    ],
)
def test_a_value_that_a_twin_cannot_hold_is_missing(spoilt: Any) -> None:
    payload = {"v": spoilt}
    text = json.dumps(payload).replace("Infinity", "1e999")
    for on_missing, expected in (("omit", {}), ({"default": "d"}, {"x": "d"})):
        written = {"$from": "payload.v", "$on_missing": on_missing}
        rule = json.dumps({"default": {"twin": {"tags": {"x": written}}}})
        raw = json.dumps(body()).replace('"symmetricKey": {}', f'"symmetricKey": {{}}, "payload": {text}')
        facts = request.parse(raw.encode(), "")
        decision = decide(facts, compile_policy(read_document(rule)), ALL_OPEN)
        assert json.loads(request.answer(decision).body)["initialTwin"]["tags"] == expected
    rejected, status = answered(
        {"twin": {"tags": {"x": {"$from": "payload.v", "$on_missing": "reject"}}}}, {}
    )
    assert isinstance(rejected, Rejected)
    assert status == 403
    assert rejected.reason == "the rule needs payload.v, which the request does not tell"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5_000])
def test_a_number_beyond_all_bounds_is_missing_from_a_text(number: str) -> None:
    rule = json.dumps(
        {"default": {"twin": {"tags": {"x": {"$text": "v {payload.v}", "$on_missing": {"default": "d"}}}}}}
    )
    told = f'"symmetricKey": {{}}, "payload": {{"v": {number}}}'
    raw = json.dumps(body()).replace('"symmetricKey": {}', told)
    decision = decide(request.parse(raw.encode(), ""), compile_policy(read_document(rule)), ALL_OPEN)
    assert json.loads(request.answer(decision).body)["initialTwin"]["tags"] == {"x": "d"}


def test_the_deepest_and_largest_that_iot_hub_takes_is_taken() -> None:
    deep: Any = {"property": "value"}
    for name in ("ten", "nine", "eight", "seven", "six", "five", "four", "three", "two", "one"):
        deep = {name: deep}
    template(deep, twin=True)
    with pytest.raises(ValueError, match="deeper than 10"):
        template({"zero": deep}, twin=True)
    template({"a": "x" * 4096, "b": 2**52 - 1, "c": -(2**52), "k" * 1024: None}, twin=True)


def test_a_twin_that_is_too_large_as_a_whole_is_left_out_and_the_device_placed() -> None:
    desired = {f"k{number}": {"$from": "payload.v"} for number in range(9)}
    small, large = {"v": "x" * 3000}, {"v": "x" * 4000}
    placed, told = answered({"twin": {"desired": desired}, "payload": {"p": 1}}, small)
    assert twin_size(told["initialTwin"]["properties"]["desired"]) <= DESIRED_LIMIT
    placed, told = answered({"twin": {"desired": desired}, "payload": {"p": 1}}, large)
    assert told == {"iotHubHostName": hub("A"), "payload": {"p": 1}}
    assert isinstance(placed, Placed)
    assert placed.initial_twin is None
    assert "left_out: twin: desired of 36018 bytes; IoT Hub takes 32768" in [
        ": ".join(step) for step in placed.trail
    ]


def test_an_answer_beyond_what_dps_takes_goes_without_the_payload() -> None:
    filled = {f"k{number}": {"$from": "payload.v"} for number in range(30)}
    placed, told = answered({"twin": {"tags": {"a": 1}}, "payload": filled}, {"v": "x" * 4000})
    assert told.keys() == {"iotHubHostName", "initialTwin"}
    assert "left_out" in [step.step for step in placed.trail]


def test_a_rule_without_substitution_is_rendered_once() -> None:
    text = json.dumps({"default": {"twin": {"tags": {"a": 1}}, "payload": {"b": "\u00e9"}}})
    policy = compile_policy(read_document(text))
    facts = request.parse(json.dumps(body()).encode(), "")
    one, two = decide(facts, policy, ALL_OPEN), decide(facts, policy, ALL_OPEN)
    assert isinstance(one, Placed)
    assert isinstance(two, Placed)
    assert one.encoded is two.encoded
    assert json.loads(request.answer(one).body)["payload"] == {"b": "\u00e9"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
        max_leaves=20,
    )
)
def test_whatever_a_device_sends_what_goes_out_is_within_the_limits(value: Any) -> None:
    rule = {
        "twin": {
            "tags": {"a": {"$from": "payload.v"}, "b": {"$text": "{payload.v}!"}},
            "desired": {"c": [{"$from": "payload.v"}]},
        },
        "payload": {"d": {"$from": "payload.v"}},
    }
    text = json.dumps({"default": rule})
    facts = request.parse(json.dumps(body()).encode(), "")
    whole = body()
    whole["deviceRuntimeContext"]["payload"] = {"v": value}
    try:
        facts = request.parse(json.dumps(whole).encode(), "")
    except Exception:  # noqa: BLE001 - NaN is no JSON
        return
    answer = request.answer(decide(facts, compile_policy(read_document(text)), ALL_OPEN))
    assert answer.status == 200
    assert len(answer.body) <= MESSAGE_LIMIT
    told = json.loads(answer.body.decode())
    sections = (told["initialTwin"]["tags"], told["initialTwin"]["properties"]["desired"])
    assert twin_size(sections[0]) <= TAGS_LIMIT
    for section in sections:
        template(section, twin=True)
