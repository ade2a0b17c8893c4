"""Lists of enrollments and addresses: strangers are told of, and where one is refused nobody is stranded."""

import json
import subprocess
import sys
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from allocation import Admission, LoadRow, write_load
from allocation.admission import MOST_TOLD, NO_ADDRESS, TELL_AGAIN, Doubt, caller
from allocation.facts import Answer
from setting_readers import MOST_LISTED
from settings import Settings, SettingsError
from tests.allocation.instance import Instance, State
from tests.allocation.making import body, facts, hub, key
from tests.clocks import HandClock

ROOT = Path(__file__).parents[2]
INSIDE, OUTSIDE = "40.74.1.2:50123", "203.0.113.7:443"
RANGES = (ip_network("40.74.0.0/15"),)


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("40.74.1.2", "40.74.1.2"),
        ("40.74.1.2:50123", "40.74.1.2"),
        (" 40.74.1.2 ", "40.74.1.2"),
        ("2603:1030::5", "2603:1030::5"),
        ("[2603:1030::5]:443", "2603:1030::5"),
        ("[2603:1030::5]", "2603:1030::5"),
        ("::ffff:40.74.1.2", "40.74.1.2"),
        ("10.0.0.1, 40.74.1.2:1", "40.74.1.2"),
    ],
)
def test_an_address_is_read_in_every_way_that_it_is_written(entry: str, address: str) -> None:
    assert caller(entry) == ip_address(address)


@pytest.mark.parametrize(
    "entry",
    [
        "", ",", "40.74.1.2,", "unknown", "40.74.1.2:", "40.74.1.2:x", "40.74.1.2:123456", "[::1", "[::1]x",
        "fe80::1%40.74.1.2", "040.074.001.002", "1076494594", "40.74.1", "40.74.1.2/32", "40.74.1.2\x00",
        "\u0664\u0660.74.1.2", "40.74.1.2" + " " * 60 + "x", "::1" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_address_is_none(entry: str) -> None:
    assert caller(entry) is None


@given(st.text(), st.ip_addresses(v=4), st.integers(0, 65_535))
@example("203.0.113.7", ip_address("40.74.1.2"), 1)
@example("40.74.1.2,", ip_address("203.0.113.7"), 1)
def test_what_a_caller_sends_never_changes_who_the_nearest_proxy_says_it_is(
    sent: str, address: Any, port: int
) -> None:
    assert caller(f"{sent},{address}:{port}") == address
    assert caller(f"{sent}, {address}:{port}, 10.0.0.9:80", proxies=1) == address


@given(st.text() | st.text("0123456789abcdef:.[]%, "), st.integers(0, 3))
def test_no_header_raises(forwarded: str, proxies: int) -> None:
    caller(forwarded, proxies)


async def asked(
    admission: Admission, forwarded: str = "", *, state: State | None = None, **more: Any
) -> tuple[Instance, Answer]:
    """One request to an app with these lists."""
    instance = instance_of(admission, state)
    return instance, await ask(instance, forwarded, **more)


def instance_of(admission: Admission, state: State | None = None, **options: Any) -> Instance:
    return Instance.of(state or State(), admission=admission, **options)


async def ask(instance: Instance, forwarded: str = "", device: str = "dev-1", **more: Any) -> Answer:
    return await instance.allocator.answer(json.dumps(body(device, **more)).encode(), "factory", forwarded)


async def rows(state: State) -> int:
    return len([row async for row in state.ledger.scan("factory|group|g1")])


async def test_a_caller_from_elsewhere_is_told_of_and_answered_as_any_other() -> None:
    state = State()
    instance, answer = await asked(Admission(ranges=RANGES), OUTSIDE, state=state)
    assert answer.status == 200
    [told] = instance.heard.of("request_doubted")
    assert told == {
        "dps": "factory",
        "doubt": "caller",
        "caller": "203.0.113.7",
        "enrollment": "",
        "setting": "CALLER_RANGES",
        "handled": "told",
    }
    assert await rows(state) == 1
    assert instance.degraded == ""


@pytest.mark.parametrize("lists", [{"ranges": RANGES}, {"enrollments": [("group", "G*")]}])
@pytest.mark.parametrize("mode", ["log", "refuse"])
async def test_who_is_on_the_list_is_not_told_of(lists: dict[str, Any], mode: Any) -> None:
    admission = Admission(**lists, ranges_mode=mode, enrollments_mode=mode)
    instance, answer = await asked(admission, INSIDE)
    assert answer.status == 200
    assert instance.heard.of("request_doubted") == []


@given(
    st.lists(
        st.sampled_from(
            ["40.74.0.0/15", "40.74.7.0/24", "0.0.0.0/1", "20.1.2.3/32", "2603:1030::/32", "::/0"]
        )
    ),
    st.ip_addresses(v=4) | st.ip_addresses(v=6) | st.sampled_from([ip_address("40.75.1.1")]),
)
def test_an_address_is_within_the_networks_that_hold_it(texts: list[str], address: Any) -> None:
    networks = [ip_network(text) for text in texts]
    if getattr(address, "ipv4_mapped", None):
        address = address.ipv4_mapped
    doubted = Admission(ranges=networks).doubts(facts(), str(address))
    assert bool(doubted) == (bool(networks) and not any(address in each for each in networks))


REFUSING = {
    "caller": Admission(ranges=RANGES, ranges_mode="refuse"),
    "enrollment": Admission(enrollments=[("individual", "*"), ("group", "h*")], enrollments_mode="refuse"),
}


@pytest.mark.parametrize("which", REFUSING)
async def test_a_refused_request_strands_nobody_and_leaves_no_trace(which: str) -> None:
    state = State()
    await write_load(state.fleet, "factory", LoadRow(hub=key("a"), devices=5, as_of=HandClock().now()))
    instance = instance_of(REFUSING[which], state)
    known = await ask(instance, OUTSIDE, current=hub("c"))
    new = await ask(instance, OUTSIDE)
    gone = await ask(instance, OUTSIDE, current=hub("elsewhere"))
    assert json.loads(known.body) == {"iotHubHostName": hub("c")}
    assert (new.status, gone.status) == (503, 503)
    assert "is not in" in json.loads(new.body)["error"]
    assert await rows(state) == 0
    assert instance.heard.counted("requests_doubted") == 3
    [loads] = [one._since for one in instance.knowledge._of.values()]
    assert [loads.on(key(name)) for name in "abc"] == [0, 0, 0]


@pytest.mark.parametrize("which", REFUSING)
async def test_a_reject_of_the_policy_holds_for_whoever_asks(which: str) -> None:
    state = State()
    rule = {"name": "stolen", "when": {"registration_id": "dev-*"}, "reject": {"reason": "stolen"}}
    await state.activate({"rules": [rule]}, "factory")
    _, answer = await asked(REFUSING[which], OUTSIDE, state=state, current=hub("a"))
    assert answer.status == 403


async def test_a_request_that_names_no_enrollment_is_on_no_list() -> None:
    instance = instance_of(REFUSING["enrollment"])
    answer = await ask(instance, enrollmentGroup=None)
    assert answer.status == 503
    assert instance.heard.of("request_doubted")[0]["enrollment"] == "unknown:"


async def test_an_individual_enrollment_is_listed_by_its_registration_id() -> None:
    named: dict[str, Any] = {
        "enrollmentGroup": None,
        "individualEnrollment": {"registrationId": "Press-7"},
    }
    admission = Admission(enrollments=[("individual", "press-?")], enrollments_mode="refuse")
    assert (await asked(admission, device="press-7", **named))[1].status == 200
    admission = Admission(enrollments=[("group", "press-?")], enrollments_mode="refuse")
    assert (await asked(admission, device="press-7", **named))[1].status == 503


@given(st.text() | st.text("0123456789abcdef:.[]%, \r\n"))
@example('\r\n{"event":"allocation"}')
async def test_no_text_of_a_header_reaches_the_log_or_the_answer(forwarded: str) -> None:
    instance, answer = await asked(Admission(ranges=RANGES, ranges_mode="refuse"), forwarded)
    for told in instance.heard.of("request_doubted"):
        assert told["caller"] == NO_ADDRESS or str(ip_address(told["caller"])) == told["caller"]
    assert answer.status in (200, 503)
    if forwarded.strip() and answer.status == 503:
        assert json.loads(answer.body) == {"error": "the caller is not in CALLER_RANGES"}


async def test_a_stranger_is_told_of_once_in_a_while_and_counted_each_time() -> None:
    clock = HandClock()
    instance = instance_of(Admission(ranges=RANGES), clock=clock)
    for _ in range(20):
        await ask(instance, OUTSIDE)
    assert len(instance.heard.of("request_doubted")) == 1
    assert instance.heard.counted("requests_doubted") == 20
    clock.move(TELL_AGAIN.total_seconds())
    await ask(instance, OUTSIDE)
    assert len(instance.heard.of("request_doubted")) == 2
    clock.move(-3_600, monotonic=False)  # the date was wrong: nobody is forgotten until it comes by again
    await ask(instance, OUTSIDE)
    assert len(instance.heard.of("request_doubted")) == 3


def test_made_up_strangers_take_no_memory() -> None:
    admission = Admission(enrollments=[("group", "x")])
    now = HandClock().now()
    for number in range(3 * MOST_TOLD):
        doubt = Doubt("enrollment", f"group:{number}", "ALLOWED_ENROLLMENTS", refused=False)
        assert admission.is_news(doubt, now + timedelta(microseconds=number))
    assert len(admission._told) == MOST_TOLD


def test_lists_are_read_from_settings() -> None:
    read = Settings.read(
        {
            "ALLOWED_ENROLLMENTS": " group:line-*, individual:press-7 ,",
            "CALLER_RANGES": "40.74.0.0/15, 2603:1030::/32, 20.1.2.3",
            "CALLER_RANGES_MODE": "refuse",
            "CALLER_PROXIES": "1",
        }
    )
    assert read.allowed_enrollments == (("group", "line-*"), ("individual", "press-7"))
    assert [str(each) for each in read.caller_ranges] == ["40.74.0.0/15", "2603:1030::/32", "20.1.2.3/32"]
    assert (read.caller_ranges_mode, read.allowed_enrollments_mode, read.caller_proxies) == (
        "refuse",
        "log",
        1,
    )


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        ("ALLOWED_ENROLLMENTS", "line-*", "group:line-"),
        ("ALLOWED_ENROLLMENTS", "group:", "'group:' is none"),
        ("ALLOWED_ENROLLMENTS", "Group:x", "KIND:GLOB"),
        ("ALLOWED_ENROLLMENTS", "group:" + "x" * 257, "is none"),
        ("ALLOWED_ENROLLMENTS", ",".join(["group:x"] * (MOST_LISTED + 1)), "at most 1000"),
        ("ALLOWED_ENROLLMENTS_MODE", "warn", "log or refuse"),
        ("CALLER_RANGES", "40.74.0.1/15", "without bits beyond the prefix"),
        ("CALLER_RANGES", "AzureIoTHub", "'AzureIoTHub' is none"),
        ("CALLER_RANGES_MODE", "Refuse", "log or refuse"),
        ("CALLER_PROXIES", "-1", "from 0 to 3"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_the_entry(name: str, text: str, fix: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*{fix}"):
        Settings.read({name: text})


WHOLE = """
import asyncio, json, logging, azure.functions as func
logging.basicConfig(level=logging.INFO, format="%(message)s")
import function_app
[allocate] = function_app.app.get_functions()
body = open("tests/events/allocation_group.json", "rb").read()
first = json.loads(body)
first["deviceRuntimeContext"].pop("currentIotHubHostName", None)
for sent in (None, "20.1.2.3, 203.0.113.7:443", "203.0.113.7,20.1.2.3:50123"):
    sent = {"x-forwarded-for": sent} if sent else {}
    request = func.HttpRequest("POST", "/api/allocate", headers=sent, body=json.dumps(first).encode())
    print(asyncio.run(allocate.get_user_function()(request)).status_code)
"""


def test_the_app_looks_at_the_address_that_the_nearest_proxy_adds() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WHOLE],
        cwd=ROOT,
        env={"APP_ROLE": "allocation", "CALLER_RANGES": "20.1.2.0/24", "CALLER_RANGES_MODE": "refuse"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["503", "503", "200"]
    told = [json.loads(line) for line in ran.stderr.splitlines() if '"request_doubted"' in line]
    assert [each["caller"] for each in told] == ["unreadable", "203.0.113.7"]
