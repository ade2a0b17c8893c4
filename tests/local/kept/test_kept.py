"""What is saved comes back as it was, and a file that is not as it was written is not used."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.dps import ids
from local.dps.records import Registration
from local.dps.seed import seed
from local.hub import DeviceKeys, Entry, Thumbprints, Twin
from local.kept import Damaged, InUse, Store
from local.kept.file import line, write
from local.tls import CertificateAuthority
from local.vault import EXPIRED, NEAR_EXPIRY
from local.world import ManualClock
from tests.local.kept.rig import GROUP, HUBS, INDIVIDUAL, KEY, CaCertificate, Rig

DAY = 86_400
START = datetime(1990, 1, 1, tzinfo=UTC)
GOLDEN = Path(__file__).with_name("version-1.jsonl")
NAMES = st.from_regex(r"[A-Za-z0-9]{1,12}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)
MOMENTS = st.integers(0, 4 * 10**15).map(lambda micros: START + timedelta(microseconds=micros))
MAYBE = st.none() | st.text(max_size=6)


@st.composite
def records(draw: st.DrawFn) -> Registration:
    return Registration(
        draw(NAMES),
        draw(st.none() | NAMES),
        draw(MOMENTS),
        draw(MOMENTS),
        draw(st.text()),
        draw(st.sampled_from(["assigned", "failed"])),
        draw(MAYBE),
        draw(MAYBE),
        draw(MAYBE),
        draw(st.none() | st.integers()),
        draw(MAYBE),
        draw(JSON),
    )


@st.composite
def worlds(draw: st.DrawFn) -> Rig:
    rig = Rig()
    for kind in (GROUP, INDIVIDUAL):
        for name in draw(st.lists(NAMES, max_size=3)):
            rig.enroll(kind, name, optionalDeviceInformation=draw(OBJECTS), unknown=draw(JSON))
    for record in draw(st.lists(records(), max_size=6)):
        rig.dps.store.registrations.put(ids.key(record.registration_id), record)
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        hub = rig.hubs[draw(st.sampled_from(HUBS))]
        entry = Entry(
            name,
            DeviceKeys(draw(st.none() | st.just(KEY)), None),
            thumbprints=Thumbprints(draw(MAYBE)),
            iot_edge=draw(st.booleans()),
            status=draw(st.sampled_from(["enabled", "disabled"])),
            status_reason=draw(MAYBE),
        )
        hub.add(entry, draw(MOMENTS), Twin(draw(OBJECTS), draw(OBJECTS), draw(OBJECTS)))
        if draw(st.booleans()):
            hub.connect(name, draw(MOMENTS))
    for name in draw(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=3, unique=True)):
        for _ in range(draw(st.integers(1, 2))):
            expires = draw(st.none() | st.integers(0, 2**32))
            rig.vault.put(name, draw(st.text()), expires=expires, tags=draw(st.none() | st.just({"a": "b"})))
        if draw(st.booleans()):
            rig.vault.secrets.delete(name)
    return rig


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_saved_loaded_and_saved_again_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, rig: Rig
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    store = rig.save(folder / "first")
    again = Rig(Store(store.folder), rig.clock).save(folder / "second")
    assert again.path.read_bytes() == store.path.read_bytes()


def test_a_seeded_world_comes_back_record_by_record(tmp_path: Path) -> None:
    rig = Rig()
    seed(rig.dps, registrations=400, enrollments=40)
    back = Rig(rig.save(tmp_path), rig.clock)
    assert list(back.dps.registrations()) == list(rig.dps.registrations())
    for kind in (GROUP, INDIVIDUAL):
        assert list(back.dps.store.enrollments(kind)) == list(rig.dps.store.enrollments(kind))
    for name, hub in rig.hubs.items():
        assert list(back.hubs[name].devices.values()) == list(hub.devices.values())
        assert back.served[name].policies == rig.served[name].policies
    assert back.dps.connection_string("localhost:1") == rig.dps.connection_string("localhost:1")
    [told] = {hub.allocation_weight for hub in back.hubs.values()}
    assert told == 2


def test_ca_certificates_come_back(tmp_path: Path) -> None:
    pem = CertificateAuthority(tmp_path / "ca").ca_pem.read_bytes()
    rig = Rig()
    rig.dps.authorities.put(CaCertificate("line", pem, verified=False))
    assert list(Rig(rig.save(tmp_path / "store")).dps.authorities) == [
        CaCertificate("line", pem, verified=False)
    ]


async def test_an_event_of_a_secret_is_raised_once_over_two_lives(tmp_path: Path) -> None:
    rig = Rig()
    now = int(rig.clock.now().timestamp())
    told = rig.vault.put("near", "v", expires=now + 31 * DAY)
    later = rig.vault.put("later", "v", expires=now + 40 * DAY)
    await rig.clock.advance(2 * DAY)
    assert [(each.kind, each.version) for each in rig.events if each.kind == NEAR_EXPIRY] == [
        (NEAR_EXPIRY, told)
    ]
    store = rig.save(tmp_path)
    await rig.vault.aclose()

    # The machine is off for twenty days, in which the second comes due.
    clock = ManualClock(rig.clock.now() + timedelta(days=20))
    back = Rig(store, clock)
    back.vault.watch.run()
    await clock.advance(1)
    assert [(each.kind, each.version) for each in back.events] == [(NEAR_EXPIRY, later)]
    await clock.advance(60 * DAY)
    assert [(each.kind, each.version) for each in back.events[1:]] == [(EXPIRED, told), (EXPIRED, later)]
    await back.vault.aclose()


async def test_a_deleted_secret_is_still_deleted_and_purged_in_its_time(tmp_path: Path) -> None:
    rig = Rig()
    rig.vault.put("gone", "v")
    rig.vault.secrets.delete("gone")
    back = Rig(rig.save(tmp_path), rig.clock)
    await rig.clock.advance(6)
    assert [secret.name for secret in back.vault.secrets.deleted()] == ["gone"]
    await rig.clock.advance(90 * DAY)
    assert back.vault.secrets.find("gone") is None
    for each in (rig, back):
        await each.vault.aclose()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    rig = Rig()
    seed(rig.dps, registrations=3, enrollments=1)
    rig.vault.put("secret", "v", expires=2_000_000_000)
    return rig.save(tmp_path_factory.mktemp("whole")).path.read_bytes()


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_file_with_any_byte_changed_or_cut_off_is_refused(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    other = data.draw(st.integers(0, 255).filter(lambda octet: octet != whole[at]))
    store = Store(tmp_path_factory.mktemp("hurt"))
    store.path.write_bytes(whole[:at] if cut else whole[:at] + bytes([other]) + whole[at + 1 :])
    with pytest.raises(Damaged) as refused:
        assert store.head
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON object"),
        (b"{}\n", "no state of a local stack"),
        (b'{"format":"local dps stack","version":2}\n', "of version '2' and this reads 1"),
        (b'{"format":"local dps stack","version":1}\n', "ends too early"),
    ],
)
def test_another_file_is_refused_by_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    store = Store(tmp_path)
    store.path.write_bytes(content)
    with pytest.raises(Damaged, match=said) as refused:
        assert store.head
    assert "take it away to start empty" in str(refused.value)


@pytest.mark.parametrize(
    "record",
    [
        {"nothing": 1},
        {"registration": ["too", "short"]},
        {"registration": [1, None, "2026-01-01", "2026-01-01", "", ""]},
        {"device": ["hub-z.azure-devices.net", "11", []]},
        {"device": ["hub-a.azure-devices.net", "11", [1]]},
        {"enrollment": {"kind": "none"}},
        {"secret": {"name": "s"}},
        {"due": {}},
        {"raised": 7},
        {},
        {"a": 1, "b": 2},
    ],
)
def test_a_sealed_file_with_a_senseless_record_is_refused(
    tmp_path: Path, whole: bytes, record: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    body = whole.splitlines(keepends=True)[1:-1]
    write(store.path, [*body, line(record)])
    assert store.head is not None
    with pytest.raises(Damaged, match="a record that cannot be read"):
        Rig(store)


def test_a_save_that_fails_leaves_what_was_kept_and_nothing_beside_it(tmp_path: Path) -> None:
    store = Rig().save(tmp_path)
    before = store.path.read_bytes()

    def full() -> Any:
        yield line({"world": {}})
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        store.save(full())
    assert store.path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [store.path.name]


def test_what_is_kept_is_its_owners_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "made")
    with store.used():
        Rig().save(store.folder)
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(each.stat().st_mode) for each in store.folder.iterdir()} == {0o600}
        with pytest.raises(InUse, match="stop it first"), Store(store.folder).used():
            pass
    with Store(store.folder).used():
        assert os.listdir(store.folder)  # noqa: PTH208  that it can be used again is the point


def test_no_key_is_in_the_repr_of_what_was_read(tmp_path: Path) -> None:
    rig = Rig()
    head = rig.save(tmp_path).head
    assert "a-key-of-tables" not in repr(head)
    assert rig.dps.policies[0].primary_key not in repr(head)


def test_files_of_version_1_can_still_be_read(tmp_path: Path) -> None:
    """Whoever changes a record's form in memory must not change what is on disks."""
    store = Store(tmp_path)
    store.path.write_bytes(GOLDEN.read_bytes())
    assert store.head is not None
    back = Rig(store, ManualClock(store.head.made)).save(tmp_path / "again")
    assert back.path.read_bytes() == GOLDEN.read_bytes()
