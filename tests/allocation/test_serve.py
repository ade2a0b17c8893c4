"""The webhook as a whole: whatever comes in, an answer of the design's table goes out."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocation import ALL_OPEN, Allocator, FleetView, KnownFleet, PackagedPolicy
from allocation.policy import CompiledPolicy
from clients.clock import SystemClock
from tests.allocation.making import body, hub


class Heard:
    """Telemetry that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.measures: list[tuple[str, float, dict[str, str]]] = []

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        self.measures.append((name, value, dimensions))


class Nothing:
    """A policy source that could not read any policy."""

    def current(self) -> CompiledPolicy | None:
        return None


class Broken:
    """A policy source with a bug."""

    def current(self) -> CompiledPolicy | None:
        raise RuntimeError("a text that quotes the request: SECRET")


def allocator(heard: Heard, policies: Any = None, fleet: FleetView = ALL_OPEN) -> Allocator:
    return Allocator(
        policies=policies or PackagedPolicy(), fleet=KnownFleet(fleet), clock=SystemClock(), telemetry=heard
    )


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=15,
)
member_names = st.sampled_from(
    ["registrationId", "REGISTRATIONID", "currentIotHubHostName", "currentIoTHubHostname", "payload", "x509"]
)
hub_lists = st.lists(st.text(max_size=30) | st.sampled_from([hub("a"), hub("B")]), max_size=8)
near_requests = st.fixed_dictionaries(
    {},
    optional={
        "deviceRuntimeContext": st.dictionaries(member_names, st.text(max_size=30) | json_values)
        | json_values,
        "linkedHubs": hub_lists | json_values,
        "LINKEDHUBS": hub_lists,
        "enrollmentGroup": json_values,
        "individualEnrollment": json_values,
    },
)
bodies = st.one_of(
    st.binary(max_size=300),
    near_requests.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda value, at, junk: (raw := json.dumps(value).encode())[: at % (len(raw) + 1)] + junk,
        near_requests,
        st.integers(0, 1_000),
        st.binary(max_size=5),
    ),
)


async def check(raw: bytes) -> None:
    reply = await allocator(Heard()).answer(raw)
    assert reply.status in (200, 400, 413, 503), reply
    told = json.loads(reply.body)
    if reply.status == 200:
        request = json.loads(raw)
        hubs = request["linkedHubs"] if "linkedHubs" in request else request["LINKEDHUBS"]
        assert told["iotHubHostName"] in hubs
    else:
        assert "iotHubHostName" not in told
        assert told["error"]


@given(bodies)
@settings(max_examples=3_000, deadline=None)
@example(json.dumps(body(device="\ud800")).encode())
@example(json.dumps(body(hubs=["\udfff"], current="\udfff")).encode())
@example(b'{"linkedHubs":["x"],"linkedHubs":["y"],"deviceRuntimeContext":{"registrationId":"d"}}')
@example(b"\x00")
@example(b"1e999")
@example(b" " * 10_000_000)
async def test_hostile_bodies_get_an_answer_of_the_table_and_no_foreign_hub(raw: bytes) -> None:
    await check(raw)


@pytest.mark.soak
@given(bodies)
@settings(max_examples=100_000, deadline=None)
async def test_a_hundred_thousand_hostile_bodies_get_an_answer_of_the_table(raw: bytes) -> None:
    await check(raw)


async def test_a_placed_device_gets_200_and_its_decision_is_logged_whole() -> None:
    heard = Heard()
    reply = await allocator(heard).answer(json.dumps(body(current=hub("B"))).encode(), "factory")
    assert json.loads(reply.body) == {"iotHubHostName": hub("b")}
    [(name, fields)] = heard.events
    assert name == "allocation"
    assert fields["registration_id"] == "dev-1"
    assert fields["dps"] == "factory"
    assert (fields["outcome"], fields["hub"], fields["why"]) == ("placed", hub("b"), "stay")
    assert "stay: already on b.azure-devices.net" in fields["trail"]
    [(metric, _, dimensions)] = heard.measures
    assert (metric, dimensions) == ("allocation_ms", {"outcome": "placed", "status": "200"})


async def test_a_refused_body_is_logged_by_its_field_and_never_quoted() -> None:
    heard = Heard()
    reply = await allocator(heard).answer(b'{"deviceRuntimeContext": "SECRET"}')
    assert reply.status == 503
    assert heard.events[0][0] == "allocation_refused"
    assert "SECRET" not in str(heard.events) + reply.body.decode()


async def test_a_bug_of_ours_is_retriable_and_tells_no_secret() -> None:
    heard = Heard()
    reply = await allocator(heard, Broken()).answer(json.dumps(body()).encode())
    assert reply.status == 503
    [(name, fields)] = heard.events
    assert name == "allocation_broken"
    assert fields["error"] == "RuntimeError"
    assert "SECRET" not in str(fields) + reply.body.decode()


@pytest.mark.parametrize(("current", "status"), [(None, 503), (hub("a"), 200), (hub("gone"), 503)])
async def test_without_a_policy_devices_stay_and_new_ones_are_told_to_come_again(
    current: str | None, status: int
) -> None:
    reply = await allocator(Heard(), Nothing()).answer(json.dumps(body(current=current)).encode())
    assert reply.status == status
