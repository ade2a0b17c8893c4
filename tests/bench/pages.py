"""Pages of registration records: the emulator, a million records in one group, against the least possible.

The peer is a starlette route over the same TLS server that answers the same bytes and headers. The emulator
works as it does in ./run local: it checks the token, finds the page, writes the journal.
"""

import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.dps import sas
from tests.bench.measure import Amount, Figure, Ratio, Results, percentile, process
from tests.bench.walker import CONTINUATION, PAGE, Answer, Server, Walker

RATIO_AIM = 1.4
MEMORY_AIM_MB = 600
FILL_PATIENCE_SECONDS = 300
TURNS = 3
"""Turns of a round: short ones, as a page is short against the slow spells of a machine."""


def pages(rounds: int, records: int, scale: float, tell: Callable[[str], None]) -> Results:
    """Latency of a page at 1 and 8 concurrent walkers, the memory of the emulator, the speed of a walk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tell(f"filling an emulator with {records} records")
        with emulator(folder, records) as (dps, fill_seconds):
            filled = resident_mb(dps.pid)
            tell("one walk through all records")
            tokens, walk_seconds = whole_walk(dps, records)
            with bare(folder, dps) as peer:
                figures, ratios = latency(rounds, scale, [dps, peer], tokens, tell)
            amounts = (
                Amount("emulator: filling it", round(fill_seconds, 1), "s"),
                Amount("emulator: resident after filling", filled, "MB", MEMORY_AIM_MB),
                Amount("emulator: resident after the walks", resident_mb(dps.pid), "MB", MEMORY_AIM_MB),
                Amount("emulator: one walker", round(records / walk_seconds), "records/s"),
            )
    return Results(figures, ratios, amounts)


@contextmanager
def server(folder: Path, *arguments: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The process id and ready file of one of `page_servers`."""
    folder.mkdir()
    argv = [sys.executable, "-m", "tests.bench.page_servers", str(folder), *arguments]
    with process(argv, folder / "log") as child:
        yield child.pid, _ready(folder, child)


def _ready(folder: Path, child: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + FILL_PATIENCE_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        if (folder / "ready.json").exists():
            told: dict[str, Any] = json.loads((folder / "ready.json").read_text())
            return told
        time.sleep(0.05)
    raise SystemExit(f"bench: a server did not start:\n{(folder / 'log').read_text()}")


@contextmanager
def emulator(folder: Path, records: int) -> Iterator[tuple[Server, float]]:
    """A filled emulator, and how many seconds filling took."""
    with server(folder / "dps", "dps", str(records)) as (pid, told):
        parts = dict(part.split("=", 1) for part in told["connection_string"].split(";"))
        expires = datetime.now(UTC) + timedelta(hours=1)
        token = sas.sign("localhost", parts["SharedAccessKey"], expires, parts["SharedAccessKeyName"])
        dps = Server("emulator", pid, told["port"], Path(told["ca"]), told["group"], token)
        yield dps, told["fill_seconds"]


@contextmanager
def bare(folder: Path, dps: Server) -> Iterator[Server]:
    """The peer, which answers what the emulator answered once."""
    with Walker(dps) as walker:
        answer = walker.page()
    file = folder / "page.json"
    kept = {
        name.decode(): value.decode()
        for name, value in answer.headers.items()
        if name not in (b"date", b"content-length")
    }
    file.write_text(json.dumps({"headers": kept, "body": base64.b64encode(answer.body).decode()}))
    with server(folder / "bare", "bare", str(file)) as (pid, told):
        yield Server("bare starlette", pid, told["port"], Path(told["ca"]), dps.group, dps.authorization)


def whole_walk(dps: Server, records: int) -> tuple[list[bytes], float]:
    """The continuation of every page, and the seconds of a walk through all; each record must come."""
    tokens, seen, token = [], 0, b""
    started = time.perf_counter()
    with Walker(dps) as walker:
        while True:
            answer = walker.page(token)
            seen += answer.records
            token = answer.headers.get(CONTINUATION, b"")
            if not token:
                break
            tokens.append(token)
    seconds = time.perf_counter() - started
    if seen != records:
        raise SystemExit(f"bench: a walk through {records} records found {seen}")
    return tokens, seconds


def latency(
    rounds: int, scale: float, servers: list[Server], tokens: list[bytes], tell: Callable[[str], None]
) -> tuple[tuple[Figure, ...], tuple[Ratio, ...]]:
    """Both servers in turn, each walker from another place in the list than before."""
    figures: list[Figure] = []
    ratios: list[Ratio] = []
    turns = rounds * TURNS
    for walkers, each in ((1, int(200 * scale)), (8, int(60 * scale))):
        seconds: dict[str, list[float]] = {one.name: [] for one in servers}
        medians: dict[str, list[float]] = {one.name: [] for one in servers}
        cpu: dict[str, list[float]] = {one.name: [] for one in servers}
        for number in range(turns + 1):
            tell(f"pages: {walkers} concurrent, turn {number} of {turns}")
            starts = [
                len(tokens) * (walker * (turns + 1) + number) // (walkers * (turns + 1))
                for walker in range(walkers)
            ]
            for one in servers:
                before = cpu_seconds(one.pid)
                taken = walk(one, [tokens[start] for start in starts], each)
                if number:  # the first round warms up
                    seconds[one.name] += taken
                    medians[one.name].append(statistics.median(taken))
                    if before is not None:
                        cpu[one.name].append((cpu_seconds(one.pid) or 0) - before)
        figures += [
            Figure(
                f"page of {PAGE} records: {one.name}",
                walkers,
                round(statistics.median(seconds[one.name]) * 1_000, 3),
                round(percentile(seconds[one.name], 0.99) * 1_000, 3),
            )
            for one in servers
        ]
        dps, peer = (medians[one.name] for one in servers)
        ratio = statistics.median(a / b for a, b in zip(dps, peer, strict=True))
        what = f"page of {PAGE} records: emulator / bare starlette, {walkers} concurrent"
        ratios.append(Ratio(what, round(ratio, 2), RATIO_AIM))
        dps, peer = (cpu[one.name] for one in servers)
        if sum(peer) > 0.5:  # the kernel counts in hundredths
            ratios.append(Ratio(f"{what}: processor time of the server", round(sum(dps) / sum(peer), 2)))
    return tuple(figures), tuple(ratios)


def walk(one: Server, starts: list[bytes], each: int) -> list[float]:
    """Seconds of every page, with one walker from each start."""

    def run(start: bytes) -> list[float]:
        taken: list[float] = []
        with Walker(one) as walker:
            token = start
            for _ in range(each):
                answer: Answer = walker.page(token)
                taken.append(answer.seconds)
                token = answer.headers.get(CONTINUATION, b"") or start
        return taken

    with ThreadPoolExecutor(len(starts)) as pool:
        return [seconds for taken in pool.map(run, starts) for seconds in taken]


def resident_mb(pid: int) -> float:
    """What `ps` calls the resident set; of Linux and macOS alike."""
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True)
    return round(int(told.stdout) * 1024 / 1e6)


def cpu_seconds(pid: int) -> float | None:
    """User and system time of a process; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
