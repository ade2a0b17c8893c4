"""Findings in rows: kept as they come, put in order at the end, and read back."""

from copy import deepcopy
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.audit.fenced import Spans, mark, total
from lifecycle.audit.finding import Finding, Severity
from lifecycle.audit.places import findings
from lifecycle.audit.report import identity
from lifecycle.audit.runs import ROW, RunStore
from tests.lifecycle.audit.engine_rig import DPS
from tests.memory_table import MemoryTable

RUN = "audit:1"
CHECKS = ("DPS-REC-001", "DPS-REC-003", "DPS-ALLOC-012")


def found(check: str, number: int, text: str = "") -> Finding:
    return Finding(check, f"registration:d{number}", Severity.LOW, {"text": text, "list": ("a",)}, "fix it")


made = st.builds(found, st.sampled_from(CHECKS), st.integers(0, 30), st.text(max_size=5))


@given(st.lists(st.lists(made, max_size=12), max_size=6), st.lists(made, max_size=5))
async def test_what_was_kept_is_read_in_order_and_nothing_twice(
    flushes: list[list[Finding]], stale: list[Finding]
) -> None:
    store = RunStore(MemoryTable(), DPS)
    rows: Spans = []
    for lease, each in enumerate(flushes):
        # Of a slice that died, or woke up late, before a checkpoint counted it.
        await store.keep(RUN, deepcopy(rows), mark(10 + lease), stale)
        await store.keep(RUN, rows, mark(20 + lease), each)
        await store.keep(RUN, deepcopy(rows), mark(20 + lease), stale)
    latest = {identity(each): each for each in chain(*flushes) if each.check != CHECKS[0]}
    counts = await store.settle(RUN, rows, dict.fromkeys(CHECKS[1:], 100))
    assert [each async for each in store.findings(RUN, "")] == [latest[key] for key in sorted(latest)]
    for check in CHECKS:
        mine = [latest[key] for key in sorted(latest) if latest[key].check == check]
        assert [each async for each in store.findings(RUN, check)] == mine
        assert counts.get(check, 0) == len(mine)


@pytest.mark.parametrize("at_once", [10, 10_000])
async def test_more_than_a_row_holds_and_more_than_memory_takes_at_once(at_once: int) -> None:
    table = MemoryTable()
    store = RunStore(table, DPS)
    every = [found(check, number) for check in CHECKS for number in range(ROW + 1)]
    rows: Spans = []
    await store.keep(RUN, rows, mark(1), every)
    assert total(rows) == 4
    assert await store.settle(RUN, rows, dict.fromkeys(CHECKS, ROW + 1), at_once) == dict.fromkeys(
        CHECKS, ROW + 1
    )
    assert [each async for each in store.findings(RUN, "")] == sorted(every, key=identity)
    assert len([row async for row in table.scan(findings(DPS, RUN))]) == 2 * len(CHECKS)


async def test_findings_of_any_length_fit_into_rows() -> None:
    table = MemoryTable()
    store = RunStore(table, DPS)
    long = [found(CHECKS[0], number, "€" * 40_000) for number in range(9)]
    rows: Spans = []
    await store.keep(RUN, rows, mark(1), long)
    assert total(rows) > 1
    assert await store.settle(RUN, rows, {CHECKS[0]: 9}) == {CHECKS[0]: 9}
    assert [each async for each in store.findings(RUN, CHECKS[0])] == sorted(long, key=identity)
