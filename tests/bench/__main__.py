"""./run bench: what the webhook and the local host cost, as ratios against peers of the same run.

Each peer is a process of its own on loopback; the rounds go round robin, so that a slow spell of the machine
meets all of them alike.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.load import Target, first_answer, hit

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "app"
BODY = (ROOT / "tests" / "events" / "allocation_group.json").read_bytes()


@dataclass(frozen=True)
class Figure:
    """Latency of one target at one concurrency, in milliseconds, over all rounds."""

    target: str
    connections: int
    median_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Ratio:
    """One figure against its peer: the median over the rounds of the ratio within each round."""

    what: str
    ratio: float
    aim: float | None = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is ended with the block; its output goes to a file."""
    with log.open("wb") as out, subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=out) as child:
        try:
            yield child
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()


def host_argv(app: Path, port: int, folder: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "local.host",
        "--app",
        str(app),
        "--port",
        str(port),
        "--state",
        str(folder),
    ]


def keys(ready: Path, child: subprocess.Popen[bytes]) -> dict[str, str]:
    """The function keys a host wrote when it was ready."""
    for _ in range(3_000):
        if ready.exists():
            read: dict[str, str] = json.loads(ready.read_text())["function_keys"]
            return read
        if child.poll() is not None:
            break
        time.sleep(0.01)
    raise SystemExit(f"bench: a host did not start; its log is {ready.parent}")


@contextmanager
def targets(folder: Path) -> Iterator[list[Target]]:
    """Start the bare server and two hosts; the same body goes to all."""
    ports = [free_port() for _ in range(3)]
    folders = [folder / name for name in ("peers", "app")]
    with (
        process([sys.executable, str(ROOT / "tests/bench/bare.py"), str(ports[0])], folder / "bare.log"),
        process(
            [*host_argv(PEERS, ports[1], folders[0]), "--ready-file", str(folder / "peers.json")],
            folder / "peers.log",
        ) as peers,
        process(
            [*host_argv(ROOT, ports[2], folders[1]), "--ready-file", str(folder / "app.json")],
            folder / "app.log",
        ) as app,
    ):
        peer_keys, app_keys = keys(folder / "peers.json", peers), keys(folder / "app.json", app)
        found = [
            Target("bare starlette route", ports[0], "/bare", BODY),
            Target("no-op function", ports[1], f"/api/noop?code={peer_keys['noop']}", BODY),
            Target("first-hub function", ports[1], f"/api/first?code={peer_keys['first']}", BODY),
            Target(
                "first-hub function that logs it", ports[1], f"/api/logged?code={peer_keys['logged']}", BODY
            ),
            Target("webhook", ports[2], f"/api/allocate?code={app_keys['allocate']}", BODY),
        ]
        for target in found:
            asyncio.run(first_answer(target))
        yield found


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def latency(rounds: int, scale: float, tell: Callable[[str], None]) -> tuple[list[Figure], list[Ratio]]:
    """Median and p99 of every target at 1 and 32 concurrent, and the ratios that the aims are about."""
    figures: list[Figure] = []
    ratios: list[Ratio] = []
    with tempfile.TemporaryDirectory() as name, targets(Path(name)) as found:
        for connections, requests in ((1, int(1_500 * scale)), (32, int(4_800 * scale))):
            seconds: dict[str, list[float]] = {target.name: [] for target in found}
            medians: dict[str, list[float]] = {target.name: [] for target in found}
            for number in range(rounds + 1):
                tell(f"{connections} concurrent, round {number} of {rounds}")
                for target in found:
                    taken = asyncio.run(hit(target, connections=connections, requests=requests))
                    if number:  # the first round warms up
                        seconds[target.name] += taken
                        medians[target.name].append(statistics.median(taken))
            figures += [
                Figure(
                    target.name,
                    connections,
                    round(statistics.median(seconds[target.name]) * 1_000, 3),
                    round(percentile(seconds[target.name], 0.99) * 1_000, 3),
                )
                for target in found
            ]
            bare, noop, first, logged, webhook = (medians[target.name] for target in found)
            for what, over, under, aim in (
                ("no-op function / bare starlette", noop, bare, 2.0),
                ("webhook / first-hub function", webhook, first, 1.5),
                ("webhook / first-hub function that logs it", webhook, logged, None),
                ("webhook / bare starlette", webhook, bare, None),
            ):
                ratio = statistics.median(a / b for a, b in zip(over, under, strict=True))
                ratios.append(Ratio(f"{what}, {connections} concurrent", round(ratio, 2), aim))
    return figures, ratios


def cold_start(rounds: int, tell: Callable[[str], None]) -> tuple[list[Figure], list[Ratio]]:
    """Process start to the first answer: the webhook's first allocation against the no-op's first answer."""
    taken: dict[str, list[float]] = {"no-op function": [], "webhook": []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds + 1):
            tell(f"cold start, round {number} of {rounds}")
            for target, app, function in (("no-op function", PEERS, "noop"), ("webhook", ROOT, "allocate")):
                folder = Path(name) / f"{function}-{number}"
                ready, port = Path(name) / f"{function}-{number}.json", free_port()
                # A first start makes the keys that the measured one is called with.
                with process(
                    [*host_argv(app, port, folder), "--ready-file", str(ready)], Path(name) / "log"
                ) as child:
                    code = keys(ready, child)[function]
                port = free_port()
                started = time.perf_counter()
                with process(host_argv(app, port, folder), Path(name) / "log"):
                    called = Target(target, port, f"/api/{function}?code={code}", BODY)
                    seconds = asyncio.run(first_answer(called)) - started
                if number:
                    taken[target].append(seconds)
    figures = [
        Figure(f"cold start: {target}", 1, round(statistics.median(each) * 1_000), round(max(each) * 1_000))
        for target, each in taken.items()
    ]
    ratio = statistics.median(a / b for a, b in zip(taken["webhook"], taken["no-op function"], strict=True))
    return figures, [Ratio("cold start: first allocation / first no-op answer", round(ratio, 2))]


def show(console: Console, figures: list[Figure], ratios: list[Ratio]) -> None:
    table = Table(
        "target", "concurrent", "median ms", "p99 ms", title="Latency (of cold starts: median, most)"
    )
    for figure in figures:
        table.add_row(figure.target, str(figure.connections), f"{figure.median_ms:g}", f"{figure.p99_ms:g}")
    console.print(table)
    table = Table("ratio of medians, round by round", "is", "aim", title="Ratios")
    for ratio in ratios:
        table.add_row(ratio.what, f"{ratio.ratio:.2f}", f"≤ {ratio.aim:g}" if ratio.aim else "")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./run bench", description="Measure the webhook and the local host."
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON alone")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="counted rounds (default 7)")
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that it runs")
    options = parser.parse_args()
    rounds, scale = (2, 0.1) if options.quick else (options.rounds, 1.0)
    console = Console(stderr=options.json)
    with console.status("measuring") as status:
        figures, ratios = latency(rounds, scale, status.update)
        more_figures, more_ratios = cold_start(rounds, status.update)
    figures, ratios = figures + more_figures, ratios + more_ratios
    if options.json:
        machine = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
        told = {
            "machine": machine,
            "figures": [asdict(f) for f in figures],
            "ratios": [asdict(r) for r in ratios],
        }
        print(json.dumps(told, indent=2))
    else:
        show(console, figures, ratios)


if __name__ == "__main__":
    main()
