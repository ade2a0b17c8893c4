"""One contract for every Table: the one in memory that tests use, and Azure Table storage, here Azurite.

Azure Table storage both ways: by plain calls where it has them, and by azure-data-tables throughout.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any, Literal
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.errors import ClientError, NotStorable
from clients.ports import Change, Receipt, Row, Scalar, Table
from clients.tables import TableAccount
from tests.memory_table import MemoryTable


@pytest.fixture(params=["memory", "azurite", "azurite by the SDK"])
def account(request: pytest.FixtureRequest) -> TableAccount | None:
    """None: tables in memory."""
    if request.param == "memory":
        return None
    made = TableAccount.from_connection_string(request.getfixturevalue("azurite"))
    made.by_sdk = request.param != "azurite"
    return made


@pytest.fixture
async def table(account: TableAccount | None) -> AsyncIterator[Table]:
    if account is None:
        yield MemoryTable()
        return
    yield account.table(f"t{uuid4().hex}")
    await account.close()


def row(key: str = "k", etag: str | None = None, **values: Scalar) -> Row:
    return Row("p", key, values, etag)


async def keys(table: Table, partition: str = "p", **bounds: str) -> list[str]:
    return [found.key async for found in table.scan(partition, **bounds)]


async def values(table: Table, key: str = "k") -> Any:
    found = await table.get("p", key)
    return found and found.values


async def fill(table: Table, names: list[str]) -> None:
    for start in range(0, len(names), 100):
        batch = [Change("insert", row(name)) for name in names[start : start + 100]]
        assert (await table.write(batch)).outcome == "written"


# --- one row


async def test_missing_row_is_none_and_an_empty_table_scans_to_nothing(table: Table) -> None:
    assert await table.get("p", "k") is None
    assert await keys(table) == []


async def test_inserted_row_is_read_back_with_its_receipts_etag(table: Table) -> None:
    receipt = await table.insert(row(n=1, text="x"))
    assert receipt.outcome == "written"
    assert receipt.etag
    assert await table.get("p", "k") == Row("p", "k", {"n": 1, "text": "x"}, receipt.etag)


async def test_insert_of_a_present_row_says_exists_and_changes_nothing(table: Table) -> None:
    await table.insert(row(n=1))
    assert await table.insert(row(n=2)) == Receipt("exists")
    assert await values(table) == {"n": 1}


async def test_replace_with_the_current_etag_drops_columns_that_are_not_given(table: Table) -> None:
    etag = (await table.insert(row(n=1, old=True))).etag
    receipt = await table.replace(row(etag=etag, n=2))
    assert receipt.outcome == "written"
    assert await table.get("p", "k") == Row("p", "k", {"n": 2}, receipt.etag)


async def test_replace_with_a_stale_etag_says_moved_and_changes_nothing(table: Table) -> None:
    stale = (await table.insert(row(n=1))).etag
    await table.put(row(n=2))
    assert await table.replace(row(etag=stale, n=3)) == Receipt("moved")
    assert await values(table) == {"n": 2}


@pytest.mark.parametrize("guarded", [True, False])
async def test_replace_of_a_missing_row_says_gone_and_makes_none(table: Table, guarded: bool) -> None:
    etag = (await table.insert(row())).etag
    await table.delete(row())
    assert await table.replace(row(etag=etag if guarded else None)) == Receipt("gone")
    assert await table.get("p", "k") is None


async def test_replace_without_etag_replaces_whatever_is_there(table: Table) -> None:
    await table.insert(row(n=1))
    assert (await table.replace(row(n=2))).outcome == "written"
    assert await values(table) == {"n": 2}


async def test_put_creates_then_replaces_and_never_merges(table: Table) -> None:
    first = await table.put(row(n=1, old=True))
    second = await table.put(row(n=2))
    assert (first.outcome, second.outcome) == ("written", "written")
    assert await table.get("p", "k") == Row("p", "k", {"n": 2}, second.etag)


async def test_put_ignores_a_stale_etag(table: Table) -> None:
    stale = (await table.insert(row(n=1))).etag
    await table.put(row(n=2))
    assert (await table.put(row(etag=stale, n=3))).outcome == "written"


async def test_delete_with_the_current_etag_deletes(table: Table) -> None:
    etag = (await table.insert(row())).etag
    assert await table.delete(row(etag=etag)) == Receipt("written")
    assert await table.get("p", "k") is None


async def test_delete_with_a_stale_etag_says_moved_and_deletes_nothing(table: Table) -> None:
    stale = (await table.insert(row(n=1))).etag
    await table.put(row(n=2))
    assert await table.delete(row(etag=stale)) == Receipt("moved")
    assert await values(table) == {"n": 2}


async def test_delete_without_etag_deletes_whatever_is_there(table: Table) -> None:
    await table.insert(row(n=1))
    assert await table.delete(row()) == Receipt("written")
    assert await table.get("p", "k") is None


@pytest.mark.parametrize("guarded", [True, False])
async def test_delete_of_a_missing_row_says_gone(table: Table, guarded: bool) -> None:
    etag = (await table.insert(row())).etag
    await table.delete(row())
    assert await table.delete(row(etag=etag if guarded else None)) == Receipt("gone")


async def test_every_write_gives_another_etag_even_of_the_same_values(table: Table) -> None:
    etags = [(await table.insert(row(n=1))).etag]
    etags += [(await table.put(row(n=1))).etag for _ in range(10)]
    etags += [(await table.replace(row(etag=etags[-1], n=1))).etag]
    await table.delete(row())
    etags += [(await table.insert(row(n=1))).etag]
    assert None not in etags
    assert len(set(etags)) == len(etags)


async def test_a_row_read_and_changed_by_its_reader_does_not_change_in_the_table(table: Table) -> None:
    await table.insert(row(n=1))
    found = await table.get("p", "k")
    assert found
    assert isinstance(found.values, dict)
    found.values["n"] = 2
    assert await values(table) == {"n": 1}


# --- races


async def test_counter_under_twenty_concurrent_writers_ends_exact(table: Table) -> None:
    await table.insert(row(n=0))

    async def add_one() -> None:
        while True:
            found = await table.get("p", "k")
            assert found
            count = found.values["n"]
            assert isinstance(count, int)
            if (await table.replace(row(etag=found.etag, n=count + 1))).outcome == "written":
                return

    await asyncio.gather(*[add_one() for _ in range(20)])
    assert await values(table) == {"n": 20}


async def test_one_of_many_concurrent_inserts_wins_although_the_table_is_new(table: Table) -> None:
    receipts = await asyncio.gather(*[table.insert(row(n=n)) for n in range(20)])
    winners = [n for n, receipt in enumerate(receipts) if receipt.outcome == "written"]
    assert len(winners) == 1
    assert [receipt.outcome for receipt in receipts].count("exists") == 19
    assert await values(table) == {"n": winners[0]}


async def test_one_of_many_concurrent_batches_with_a_row_in_common_wins(table: Table) -> None:
    batches = [[Change("insert", row("common")), Change("insert", row(f"own{n}"))] for n in range(8)]
    outcomes = [receipt.outcome for receipt in await asyncio.gather(*map(table.write, batches))]
    assert sorted(outcomes) == ["exists"] * 7 + ["written"]
    assert await keys(table) == ["common", f"own{outcomes.index('written')}"]


# --- batches


async def test_batch_of_every_kind_of_change_is_written_whole(table: Table) -> None:
    guarded = (await table.insert(row("guarded", n=1))).etag
    doomed = (await table.insert(row("doomed"))).etag
    await table.insert(row("loose", n=1))
    await table.insert(row("dropped"))
    receipt = await table.write(
        [
            Change("insert", row("new", n=2)),
            Change("put", row("other", n=2)),
            Change("replace", row("guarded", guarded, n=2)),
            Change("replace", row("loose", n=2)),
            Change("delete", row("doomed", doomed)),
            Change("delete", row("dropped")),
        ]
    )
    assert receipt == Receipt("written")
    found = [found async for found in table.scan("p")]
    assert [(each.key, dict(each.values)) for each in found] == [
        (key, {"n": 2}) for key in ("guarded", "loose", "new", "other")
    ]
    assert all(each.etag for each in found)
    assert found[0].etag != guarded


@pytest.mark.parametrize(
    ("kind", "key", "outcome"),
    [
        ("insert", "there", "exists"),
        ("replace", "missing", "gone"),
        ("delete", "missing", "gone"),
        ("replace", "moved", "moved"),
        ("delete", "moved", "moved"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_batch_with_a_failing_change_says_its_outcome_and_writes_nothing(
    table: Table, kind: Literal["insert", "replace", "delete"], key: str, outcome: str, place: int
) -> None:
    await table.insert(row("there", n=1))
    stale = (await table.insert(row("moved", n=1))).etag
    await table.put(row("moved", n=2))
    changes = [Change("insert", row("new")), Change("put", row("there", n=9))]
    if key == "there":
        changes[1] = Change("put", row("other", n=9))
    changes.insert(place, Change(kind, row(key, stale if key == "moved" else None)))
    assert await table.write(changes) == Receipt(outcome)  # type: ignore[arg-type]  # parametrised
    assert await keys(table) == ["moved", "there"]
    assert await values(table, "there") == {"n": 1}
    assert await values(table, "moved") == {"n": 2}


async def test_batch_with_two_failing_changes_says_the_outcome_of_one_of_them(table: Table) -> None:
    await table.insert(row("there"))
    failing = [Change("insert", row("there")), Change("delete", row("missing"))]
    for order in (failing, failing[::-1]):
        assert (await table.write([Change("insert", row("new")), *order])).outcome in ("exists", "gone")
    assert await keys(table) == ["there"]


async def test_batch_may_have_a_hundred_changes_and_be_the_first_write_of_all(table: Table) -> None:
    names = [f"{n:03}" for n in range(100)]
    assert await table.write([Change("insert", row(name)) for name in names]) == Receipt("written")
    assert await keys(table) == names


async def test_batch_of_deletes_in_an_empty_table_says_gone(table: Table) -> None:
    assert await table.write([Change("delete", row())]) == Receipt("gone")


# --- scans


async def test_scan_crosses_pages_in_key_order_and_keeps_to_its_partition(table: Table) -> None:
    names = [f"{n:05}" for n in range(1_150)]
    await fill(table, names[::2])
    await fill(table, names[1::2])
    await table.insert(Row("p2", "00000"))
    await table.insert(Row("", "00000"))
    assert await keys(table) == names
    assert await keys(table, start="00100", stop="01149") == names[100:-1]
    assert await keys(table, "p2") == ["00000"]
    assert await keys(table, "") == ["00000"]


async def test_scan_that_is_left_early_leaves_the_table_usable(table: Table) -> None:
    await fill(table, [f"{n:05}" for n in range(1_100)])
    async for found in table.scan("p", start="00500"):
        assert found.key == "00500"
        break
    assert await table.get("p", "00500")


async def test_scan_does_not_repeat_or_skip_when_rows_vanish_between_pages(table: Table) -> None:
    names = [f"{n:05}" for n in range(1_100)]
    await fill(table, names)
    seen = []
    async for found in table.scan("p"):
        seen.append(found.key)
        if found.key == names[999]:
            await table.write([Change("delete", row(name)) for name in names[950:1010]])
    assert seen == names[:1000] + names[1010:]


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        ("", None, ["B", "a", "a-", "a.", "a.1", "b", "b'c", "é"]),
        ("a", None, ["a", "a-", "a.", "a.1", "b", "b'c", "é"]),
        ("", "a", ["B"]),
        ("a", "b", ["a", "a-", "a.", "a.1"]),
        ("a.", "a/", ["a.", "a.1"]),
        ("b'", "b'd", ["b'c"]),
        ("a", "a", []),
        ("b", "a", []),
        ("z", "\uffff", ["é"]),
    ],
)
async def test_scan_is_from_start_up_to_but_without_stop(
    table: Table, start: str, stop: str | None, expected: list[str]
) -> None:
    await fill(table, ["b", "a", "é", "a.1", "a-", "b'c", "B", "a."])
    assert [found.key async for found in table.scan("p", start=start, stop=stop)] == expected


@pytest.mark.parametrize(
    "key",
    [
        *["", "it's", "''", "a b", " a ", "100%", "a%2Fb", "%27", "a+b", "a&b=c", "(x)", "a:b@c,d;e", ".."],
        *['"q"', "[x]{y}|^`<>~!$*", "é", "a\u0300", "\U0001f600", "\ue000", "\u2028", "k" * 512],
    ],
)
async def test_any_allowed_key_can_be_written_read_scanned_batched_and_deleted(
    table: Table, key: str
) -> None:
    etag = (await table.insert(Row(key, key, {"n": 1}))).etag
    found = await table.get(key, key)
    assert found == Row(key, key, {"n": 1}, etag)
    assert [each async for each in table.scan(key, start=key)] == [found]
    assert await table.write([Change("replace", Row(key, key, {"n": 2}, etag))]) == Receipt("written")
    assert await table.delete(Row(key, key)) == Receipt("written")


# --- values

LIMIT = 64 * 1024

COLUMNS = st.dictionaries(
    st.sampled_from(["a", "B", "_c", "etag", "odata", "id", "x" * 255]),
    st.one_of(
        st.text(st.characters(codec="utf-8")),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.booleans(),
        st.binary(),
        st.datetimes(
            datetime(1601, 1, 2),  # noqa: DTZ001 - hypothesis adds the time zone
            datetime(9999, 12, 30, 23, 59, 59, 999_999),  # noqa: DTZ001
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
        ),
    ),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # one table serves all examples: each puts the whole row
@given(columns=COLUMNS)
async def test_values_come_back_as_they_were_written(table: Table, columns: dict[str, Scalar]) -> None:
    whole = Row("p", "k", columns)
    assert (await table.put(whole)).outcome == "written"
    found = await values(table)
    assert found == columns
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in columns.items()
    }
    assert await table.write([Change("put", whole)]) == Receipt("written")
    assert await values(table) == columns


async def test_datetimes_come_back_in_utc(table: Table) -> None:
    local = datetime(2026, 3, 1, 1, 2, 3, 456_789, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    await table.put(row(at=local))
    found = (await values(table))["at"]
    assert found == local
    assert found.tzinfo is UTC
    await table.put(row(at=found + timedelta(microseconds=1)))
    assert (await values(table))["at"] == local + timedelta(microseconds=1)


async def test_not_a_number_and_infinities_survive(table: Table) -> None:
    await table.put(row(nan=float("nan"), up=float("inf"), down=float("-inf")))
    found = await values(table)
    assert found["nan"] != found["nan"]
    assert (found["up"], found["down"]) == (float("inf"), float("-inf"))


async def test_subclasses_of_plain_types_are_stored_as_the_plain_value(table: Table) -> None:
    class Colour(StrEnum):
        RED = "red"

    await table.put(row(colour=Colour.RED))
    assert await values(table) == {"colour": "red"}
    assert type((await values(table))["colour"]) is str


async def test_row_with_as_many_columns_and_as_long_values_as_allowed_is_stored(table: Table) -> None:
    # Well under 1 MiB: Azurite counts the JSON, where Azure counts the values.
    columns: dict[str, Scalar] = {f"c{n}": 0 for n in range(252 - 12)}
    columns |= {f"b{n}": bytes(LIMIT) for n in range(10)}
    columns |= {"text": "x" * 32_768, "x" * 255: "\U0001f600"}
    await table.put(Row("p", "k", columns))
    assert await values(table) == columns


# --- refusals: the service's limits, most of which Azurite does not keep

LONE_SURROGATE = "\ud800"

REFUSED_COLUMNS: list[tuple[str, dict[str, Any], str]] = [
    ("text over 32,768 UTF-16 units", {"col": "x" * 32_769}, "col"),
    ("astral text over 32,768 UTF-16 units", {"col": "\U0001f600" * 16_385}, "col"),
    ("binary over 64 KiB", {"col": bytes(LIMIT + 1)}, "col"),
    ("integer over 64 bits", {"col": 2**63}, "col"),
    ("integer under 64 bits", {"col": -(2**63) - 1}, "col"),
    ("datetime without zone", {"col": datetime(2026, 1, 1)}, "col"),  # noqa: DTZ001 - the point
    ("datetime before 1601", {"col": datetime(1600, 12, 31, tzinfo=UTC)}, "col"),
    ("datetime after 9999", {"col": datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))}, "col"),
    ("no value", {"col": None}, "col"),
    ("list", {"col": [1]}, "col"),
    ("half a surrogate pair", {"col": LONE_SURROGATE}, "col"),
    ("253 columns", {f"c{n}": 0 for n in range(253)}, "253 columns"),
    ("over 1 MiB in all", {"a": 0} | {f"c{n}": bytes(LIMIT) for n in range(16)}, "c0"),
    ("name with a dash", {"a-b": 1}, "a-b"),
    ("name with a dot", {"a.b": 1}, "a.b"),
    ("name beginning with a digit", {"1a": 1}, "1a"),
    ("empty name", {"": 1}, "column ''"),
    ("name of 256 characters", {"x" * 256: 1}, "xxx"),
    ("name with a newline at the end", {"a\n": 1}, r"a\n"),
    ("non-ASCII name", {"é": 1}, "é"),
    ("PartitionKey as a column", {"PartitionKey": "p"}, "PartitionKey"),
    ("RowKey as a column", {"RowKey": "k"}, "RowKey"),
    ("Timestamp as a column", {"Timestamp": datetime(2026, 1, 1, tzinfo=UTC)}, "Timestamp"),
]

REFUSED_KEYS = ["a/b", "a\\b", "a#b", "a?b", "a\x00", "a\t", "a\n", "a\x7f", "a\x9f", LONE_SURROGATE]
REFUSED_KEYS += ["k" * 1025, "k" * 513, "\u20ac" * 342]


def refused(table: Table, key: str = "k", **columns: Any) -> list[Any]:
    """Every way to write such a row."""
    bad = Row("p", key, columns)
    return [
        table.insert(bad),
        table.replace(bad),
        table.put(bad),
        table.write([Change("insert", bad)]),
        table.write([Change("put", row("fine")), Change("replace", bad)]),
    ]


@pytest.mark.parametrize(
    ("columns", "named"),
    [case[1:] for case in REFUSED_COLUMNS],
    ids=[case[0] for case in REFUSED_COLUMNS],
)
async def test_row_that_table_storage_refuses_is_refused_by_column_before_the_call(
    table: Table, columns: dict[str, Any], named: str
) -> None:
    for call in refused(table, **columns):
        with pytest.raises(NotStorable) as caught:
            await call
        assert named in str(caught.value)
    assert await keys(table) == []


@pytest.mark.parametrize("key", REFUSED_KEYS, ids=ascii)
async def test_key_that_table_storage_refuses_is_refused_before_the_call(table: Table, key: str) -> None:
    calls = [
        *refused(table, key),
        table.get("p", key),
        table.get(key, "k"),
        table.delete(row(key)),
        table.insert(Row(key, "k")),
        table.delete(Row(key, "k")),
        table.write([Change("delete", row(key))]),
        keys(table, key),
    ]
    for call in calls:
        with pytest.raises(NotStorable, match="key: "):
            await call


@pytest.mark.parametrize("bound", [LONE_SURROGATE, "k" * 1025], ids=ascii)
async def test_scan_bound_that_no_key_can_be_compared_with_is_refused(table: Table, bound: str) -> None:
    with pytest.raises(NotStorable, match="start"):
        await keys(table, start=bound)
    with pytest.raises(NotStorable, match="stop"):
        await keys(table, stop=bound)


def batch_of(*names: str, **columns: Scalar) -> list[Change]:
    return [Change("put", Row("p", name, columns)) for name in names]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([], "0 changes"),
        (batch_of(*map(str, range(101))), "101 changes"),
        ([*batch_of("a"), Change("put", Row("other", "b"))], "one partition"),
        ([*batch_of("a"), Change("delete", row("a"))], "at most once"),
        (batch_of(*"abcd", **{f"c{n}": bytes(LIMIT) for n in range(15)}), "split it"),
        (batch_of(*"abcdefghi", **{f"c{n}": "é" * 16_000 for n in range(5)}), "split it"),
    ],
    ids=["empty", "101", "two partitions", "a row twice", "4 MiB of bytes", "4 MiB of escaped text"],
)
async def test_batch_that_table_storage_refuses_is_refused_before_the_call(
    table: Table, changes: list[Change], why: str
) -> None:
    with pytest.raises(NotStorable, match=why):
        await table.write(changes)
    assert await keys(table) == []


async def test_refusal_is_a_client_error_and_a_value_error_and_shows_no_value(table: Table) -> None:
    with pytest.raises(NotStorable) as caught:
        await table.put(row(secret="hush" * 10_000))
    assert isinstance(caught.value, ClientError | ValueError)
    assert "hush" not in str(caught.value)
    assert "secret" in str(caught.value)


async def test_deleting_a_row_looks_at_its_keys_only(table: Table) -> None:
    await table.insert(row())
    unstorable = row(huge="x" * 100_000)
    assert await table.write([Change("delete", unstorable)]) == Receipt("written")
    assert await table.delete(unstorable) == Receipt("gone")
