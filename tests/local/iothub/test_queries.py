"""Queries: the grammar, pages and continuations."""

from typing import Any

import pytest

from tests.local.iothub.rig import Rig, code

ALL = "SELECT * FROM devices"


async def test_a_row_is_the_twin(rig: Rig) -> None:
    rig.make("dev-1")
    answer = await rig.query(ALL)
    assert answer.headers["x-ms-item-type"] == "Twin"
    assert "x-ms-continuation" not in answer.headers
    assert answer.json() == [(await rig.call("GET", "/twins/dev-1")).json()]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("deviceId = 'b'", "b"),
        ('deviceId="b"', "b"),
        ("devices.deviceId IN ['c', 'a', 'c', 'nobody']", "ca"),
        ("deviceId IN []", ""),
        ("status = 'disabled'", "b"),
        ("status = 'enabled'", "acd"),
        ("status = 'odd'", ""),
        ("connectionState = 'Connected'", "bc"),
        ("connectionState = 'Disconnected' and status = 'enabled'", "ad"),
        ("deviceId IN ['a','b'] AND status='disabled'", "b"),
        ("deviceId IN ['a','b'] AND deviceId = 'c'", ""),
        ("status = 'enabled' AND status = 'disabled'", ""),
    ],
)
async def test_conditions_choose_devices(rig: Rig, where: str, found: str) -> None:
    rig.make("a", "b", "c", "d")
    await rig.put("b", etag="*", status="disabled")
    rig.hub.connect("b")
    rig.hub.connect("c")
    assert await rig.found(f"{ALL} WHERE {where}") == list(found)
    counted = await rig.query(f"select count() as n from devices where {where}")
    assert counted.headers["x-ms-item-type"] == "Raw"
    assert counted.json() == [{"n": len(found)}]


async def test_a_count_of_all_devices(rig: Rig) -> None:
    rig.make("a", "b")
    assert (await rig.query("SELECT COUNT() AS numberOfDevices FROM devices")).json() == [
        {"numberOfDevices": 2}
    ]


async def test_quotes_in_ids_are_escaped(rig: Rig) -> None:
    rig.make("it's", "é")
    assert await rig.found(f"{ALL} WHERE deviceId = 'it\\'s'") == ["it's"]
    assert await rig.found(f'{ALL} WHERE deviceId IN ["it\'s", "\\u00e9"]') == ["it's", "é"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT",
        "SELECT deviceId FROM devices",
        "SELECT * FROM devices.jobs",
        "SELECT * FROM devices WHERE tags.site = 'x'",
        "SELECT * FROM devices WHERE deviceId = dev",
        "SELECT * FROM devices WHERE deviceId = 'a",
        "SELECT * FROM devices WHERE deviceId IN ['a',]",
        "SELECT * FROM devices WHERE deviceId IN 'a'",
        "SELECT * FROM devices WHERE status = 'a' OR status = 'b'",
        "SELECT * FROM devices WHERE",
        "SELECT * FROM devices ORDER BY deviceId",
        "SELECT COUNT() FROM devices",
        "SELECT * FROM devices;",
    ],
)
async def test_what_is_outside_the_grammar_is_refused_and_says_so(rig: Rig, text: str) -> None:
    refused = await rig.query(text)
    assert code(refused) == (400, "ArgumentInvalid")
    assert "The emulator knows SELECT" in refused.json()["Message"]


async def test_pages_hold_every_device_once_whatever_goes_meanwhile(rig: Rig) -> None:
    rig.make(*(f"d{number:03}" for number in range(250)))
    seen: list[str] = []
    token = ""
    while True:
        headers = {"x_ms_max_item_count": "100", **({"x_ms_continuation": token} if token else {})}
        page = await rig.query(ALL, **headers)
        seen += [row["deviceId"] for row in page.json()]
        token = page.headers.get("x-ms-continuation", "")
        if not token:
            break
        rig.hub.remove(seen[-1])
        rig.hub.remove("d240")
    assert seen == [f"d{number:03}" for number in range(250) if number != 240]


@pytest.mark.parametrize("where", ["status = 'disabled'", "deviceId IN [{}]"])
async def test_filtered_pages_hold_every_device_once(rig: Rig, where: str) -> None:
    wanted = [f"d{number}" for number in range(0, 60, 3)]
    rig.make(*(f"d{number}" for number in range(60)))
    for device_id in wanted:
        await rig.put(device_id, etag="*", status="disabled")
    text = f"{ALL} WHERE {where.format(', '.join(repr(each) for each in wanted))}"
    seen: list[str] = []
    headers = {"x_ms_max_item_count": "7"}
    while True:
        page = await rig.query(text, **headers)
        assert len(page.json()) <= 7
        seen += [row["deviceId"] for row in page.json()]
        if "x-ms-continuation" not in page.headers:
            break
        headers["x_ms_continuation"] = page.headers["x-ms-continuation"]
    assert seen == wanted


async def test_a_page_has_a_hundred_rows_unless_asked(rig: Rig) -> None:
    rig.make(*(f"d{number}" for number in range(120)))
    for asked in ({}, {"x_ms_max_item_count": "0"}, {"x_ms_max_item_count": "-1"}):
        assert len((await rig.query(ALL, **asked)).json()) == 100
    assert code(await rig.query(ALL, x_ms_max_item_count="ten")) == (400, "ArgumentInvalid")


async def test_a_continuation_is_good_for_its_own_query_alone(rig: Rig) -> None:
    rig.make("a", "b")
    token = (await rig.query(ALL, x_ms_max_item_count="1")).headers["x-ms-continuation"]
    other = await rig.query(f"{ALL} WHERE status = 'enabled'", x_ms_continuation=token)
    assert code(other) == (400, "ArgumentInvalid")
    for odd in ("junk", "eDp5Ono=", "LTE6MTp4"):
        assert code(await rig.query(ALL, x_ms_continuation=odd)) == (400, "ArgumentInvalid")


async def test_a_query_without_a_text_is_refused(rig: Rig) -> None:
    bodies: list[Any] = [{}, {"query": None}, {"query": 7}, [], None]
    for body in bodies:
        assert code(await rig.call("POST", "/devices/query", body)) == (400, "ArgumentInvalid")
