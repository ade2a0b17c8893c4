"""Both schemas of Event Grid, and everything that is none: read as one value, or refused with the member."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.errors import NotAnEvent
from lifecycle.events import DeviceDeleted, EventType, device_deleted, read, secret_event

VERSION = "0123456789abcdef0123456789ABCDEF"
SOURCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv-1"
NEAR = "Microsoft.KeyVault.SecretNearExpiry"


def data(**changes: Any) -> dict[str, Any]:
    return {
        "Id": f"https://kv-1.vault.azure.net/secrets/line-a-key/{VERSION}",
        "VaultName": "KV-1",
        "ObjectType": "Secret",
        "ObjectName": "line-a-key",
        "Version": VERSION,
        "NBF": None,
        "EXP": 1767225600,
        **changes,
    }


def cloud(kind: str = NEAR, said: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": "e-1",
        "source": SOURCE,
        "specversion": "1.0",
        "type": kind,
        "subject": "line-a-key",
        "time": "2026-01-01T00:00:00.1234567Z",
        "data": data() if said is None else said,
        **changes,
    }


def grid(kind: str = NEAR, said: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": "e-1",
        "topic": SOURCE,
        "eventType": kind,
        "subject": "line-a-key",
        "eventTime": "2026-01-01T00:00:00.1234567Z",
        "data": data() if said is None else said,
        "dataVersion": "1",
        "metadataVersion": "1",
        **changes,
    }


@pytest.mark.parametrize(
    "raw", [cloud(), grid(), [cloud()], [grid()]], ids=["cloud", "grid", "[cloud]", "[grid]"]
)
def test_both_schemas_say_the_same(raw: Any) -> None:
    event = read(raw)
    assert (event.known, event.source, event.subject) == (EventType.SECRET_NEAR_EXPIRY, SOURCE, "line-a-key")
    assert event.at == datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)
    said = secret_event(event)
    assert (said.vault, said.secret, said.version) == ("kv-1", "line-a-key", VERSION.lower())
    assert said.expires == datetime(2026, 1, 1, tzinfo=UTC)


def test_members_of_data_are_read_in_any_case_and_with_blanks_around_them() -> None:
    camel = {name[0].lower() + name[1:]: value for name, value in data().items()}
    blank = {f"{name} ": f" {value}" if isinstance(value, str) else value for name, value in data().items()}
    small = {name.lower(): value for name, value in data().items()}
    plain = secret_event(read(cloud()))
    for said in (camel, blank, small, {**data(), "unknown": [1]}):
        assert secret_event(read(cloud(said=said))) == plain


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (1767225600, datetime(2026, 1, 1, tzinfo=UTC)),
        (1767225600.0, datetime(2026, 1, 1, tzinfo=UTC)),
        ("1767225600", datetime(2026, 1, 1, tzinfo=UTC)),
        (" 1767225600 ", datetime(2026, 1, 1, tzinfo=UTC)),
        (None, None),
        ("", None),
        ("soon", None),
        (True, None),
        (10**30, None),
        (float("nan"), None),
        (-1e300, None),
        ([1], None),
        ({"a": 1}, None),
    ],
)
def test_times_of_a_version_are_numbers_texts_or_nothing(written: Any, meant: datetime | None) -> None:
    said = secret_event(read(cloud(said=data(NBF=written, EXP=written))))
    assert (said.not_before, said.expires) == (meant, meant)


HOSTILE = [
    data(VaultName="https://evil.example"),
    data(VaultName="kv-1.vault.azure.net@evil"),
    data(VaultName=None),
    data(VaultName=["kv-1"]),
    data(ObjectName="../../etc"),
    data(ObjectName="line-a-key?x=1"),
    data(ObjectName="x" * 2000),
    data(ObjectName="line-b-key"),
    data(ObjectType="Key"),
    data(ObjectType=None),
    data(Version=""),
    data(Version="latest"),
    data(Version=f"{VERSION}/../x"),
    data(Version=f"{VERSION}\n"),
    {},
]


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("schema", [cloud, grid])
def test_what_is_no_event_of_a_secret_is_refused_with_the_member(schema: Any, said: Any) -> None:
    if said.get("Version") == f"{VERSION}\n":  # blanks around a text are samples' carelessness
        assert secret_event(read(schema(said=said))).version == VERSION.lower()
        return
    with pytest.raises(NotAnEvent, match=r"event"):
        secret_event(read(schema(said=said)))


def test_a_hostile_address_is_never_looked_at() -> None:
    said = secret_event(
        read(cloud(said=data(Id="https://evil.example/secrets/x", Url="http://169.254.169.254")))
    )
    assert "evil" not in repr(said)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        1,
        "text",
        b"{}",
        [],
        [cloud(), cloud()],
        {},
        {"data": None},
        cloud(said=[]),
        cloud(data="{}"),
        cloud(type=7),
        cloud(source={"a": 1}),
        cloud(id="x" * 5000),
        {**cloud(), "Type": "another"},
    ],
    ids=str,
)
def test_what_is_no_event_is_refused(raw: Any) -> None:
    with pytest.raises(NotAnEvent):
        read(raw)


@pytest.mark.parametrize(
    "kind", ["Microsoft.KeyVault.KeyNearExpiry", "", "x", "microsoft.devices.DeviceDeletedX"]
)
def test_an_unknown_type_is_an_event_of_no_known_type(kind: str) -> None:
    event = read(cloud(kind))
    assert event.known is None
    with pytest.raises(NotAnEvent):
        secret_event(event)


@pytest.mark.parametrize("time", [None, "", "yesterday", 7, "9999-99-99", "x" * 100])
def test_a_time_that_cannot_be_read_costs_nothing(time: Any) -> None:
    assert read(cloud(time=time)).at is None


def deleted(**changes: Any) -> dict[str, Any]:
    said = {"deviceId": "Dev-1", "hubName": "HUB-A", "twin": {"deviceId": "Dev-1"}, "opType": "x", **changes}
    return grid("Microsoft.Devices.DeviceDeleted", said, subject="devices/Dev-1")


def test_a_deleted_device_is_read_with_its_case_and_the_hub_without() -> None:
    assert device_deleted(read([deleted()])) == DeviceDeleted("hub-a", "Dev-1")
    for wrong in (deleted(deviceId="Dev-2"), deleted(hubName="a/b"), deleted(hubName=None), grid()):
        with pytest.raises(NotAnEvent):
            device_deleted(read(wrong))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
members = ("id", "topic", "source", "type", "eventType", "subject", "data", "specversion", "time")
names = st.sampled_from([*data(), *(name.lower() for name in data())])
anything = json_values | st.dictionaries(
    st.sampled_from(members), json_values | st.dictionaries(names, json_values), max_size=9
)


@settings(max_examples=100, deadline=None)
@given(anything)
def test_nothing_else_is_raised_whatever_is_delivered(raw: Any) -> None:
    with suppress(NotAnEvent):
        event = read(raw)
        assert isinstance(json.dumps(event.subject), str)
        secret_event(event)
