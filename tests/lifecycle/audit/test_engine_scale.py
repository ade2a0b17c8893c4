"""What an audit takes: calls, memory and time, in a process of its own."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.audit import CALLS_AIM, MEMORY_AIM_MB, RATIO_AIM, child, ratio_of, served


def check(bare: dict[str, Any], ours: dict[str, Any], records: int) -> None:
    assert ours["state"] == "done", ours["problem"]
    assert ours["counts"]["registrations"] == records
    assert ours["calls"] <= CALLS_AIM * bare["calls"]
    assert ours["peak_mb"] <= MEMORY_AIM_MB


async def test_twenty_thousand_records_take_the_fewest_calls_and_bounded_memory(
    tmp_path: Path, azurite: str
) -> None:
    with served(tmp_path, 20_000, azurite) as ready:
        bare, ours = child(ready, "bare"), child(ready, "audit")
    check(bare, ours, 20_000)


@pytest.mark.soak
async def test_a_million_records_take_bounded_memory_and_half_as_long_again_as_reading_them(
    tmp_path: Path, azurite: str
) -> None:
    with served(tmp_path, 1_000_000, azurite) as ready:
        before, ours, after = child(ready, "bare"), child(ready, "audit"), child(ready, "bare")
    check(before, ours, 1_000_000)
    assert ratio_of(before, ours, after) <= RATIO_AIM
