"""./run bench: what the webhook, the local host and the DPS emulator cost: ratios to peers of the same run.

Each peer is a process of its own on loopback (but for `policy`, which knows no network); the rounds go round
robin, so that a slow spell of the machine meets all of them alike.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.audit import audit
from tests.bench.ledger import azurite, ledger
from tests.bench.listing import listing
from tests.bench.load import BadAnswerError, Target, first_answer, hit
from tests.bench.measure import ROOT, Figure, Ratio, Results, free_port, percentile, process
from tests.bench.pages import pages
from tests.bench.policy import policy
from tests.bench.simulation import simulation

PEERS = Path(__file__).parent / "app"
BODY = (ROOT / "tests" / "events" / "allocation_group.json").read_bytes()
RECORDS, ENROLLMENTS, AUDITED, FEW_RECORDS = 1_000_000, 100_000, 100_000, 20_000


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


def latency(rounds: int, scale: float, tell: Callable[[str], None]) -> Results:
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
    return Results(tuple(figures), tuple(ratios))


def cold_start(rounds: int, tell: Callable[[str], None]) -> Results:
    """Process start to the first answer: the webhook's first allocation against the no-op's first answer.

    With telemetry on, Microsoft's worker imports OpenTelemetry's interface before any app: so does the host
    here, and the no-op function pays for it too. Nothing is exported before the first answer.
    """
    with tempfile.TemporaryDirectory() as name, azurite(Path(name)) as tables:
        on = {
            "PYTHON_ENABLE_OPENTELEMETRY": "true",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": "IngestionEndpoint=http://127.0.0.1:9/;"
            "InstrumentationKey=00000000-0000-0000-0000-000000000001",
        }
        role = {"APP_ROLE": "allocation"}
        starts: dict[str, tuple[Path, str, dict[str, str]]] = {
            "no-op function": (PEERS, "noop", {}),
            "no-op function, telemetry on": (PEERS, "noop", on),
            "webhook": (ROOT, "allocate", role),
            "webhook, telemetry on": (ROOT, "allocate", role | on),
            "webhook, telemetry on, ledger": (ROOT, "allocate", role | on | {"STATE_TABLES": tables}),
        }
        taken: dict[str, list[float]] = {target: [] for target in starts}
        for number in range(rounds + 1):
            tell(f"cold start, round {number} of {rounds}")
            for each, (target, (app, function, settings)) in enumerate(starts.items()):
                seconds = _start(Path(name) / f"{number}-{each}", target, app, function, settings)
                if number:
                    taken[target].append(seconds)
    figures = tuple(
        Figure(f"cold start: {target}", 1, round(statistics.median(each) * 1_000), round(max(each) * 1_000))
        for target, each in taken.items()
    )
    ratios = []
    for what, over, under, aim in (
        ("first allocation / first no-op answer", "webhook", "no-op function", None),
        (
            "first allocation / first no-op answer, telemetry on for both",
            "webhook, telemetry on",
            "no-op function, telemetry on",
            None,
        ),
        (
            "first allocation, telemetry on, with its ledger write / first no-op answer",
            "webhook, telemetry on, ledger",
            "no-op function",
            1.5,
        ),
        (
            "the same, telemetry on for the no-op too",
            "webhook, telemetry on, ledger",
            "no-op function, telemetry on",
            None,
        ),
    ):
        ratio = statistics.median(a / b for a, b in zip(taken[over], taken[under], strict=True))
        ratios.append(Ratio(f"cold start: {what}", round(ratio, 2), aim))
    return Results(figures, tuple(ratios))


AS_DEPLOYED = (
    "import os, runpy, sys; sys.path[0] = os.getcwd(); sys.modules['pygments'] = sys.modules['rich'] = None; "
    "runpy.run_module('local.host', run_name='__main__', alter_sys=True)"
)
"""A host without two libraries of the commands, which httpx imports where they are: they are not deployed."""


def _start(folder: Path, target: str, app: Path, function: str, settings: dict[str, str]) -> float:
    """Seconds from the start of a process to its first answer of 200; as DPS does, it asks again at a 503."""
    folder.mkdir()
    argv = [*host_argv(app, free_port(), folder), *(f"--setting={n}={v}" for n, v in settings.items())]
    ready = folder / "ready.json"
    # A first start makes the keys that the measured one is called with.
    with process([*argv, "--ready-file", str(ready)], folder / "log") as child:
        code = keys(ready, child)[function]
    port = free_port()
    argv[argv.index("--port") + 1] = str(port)
    argv[1:3] = ["-c", AS_DEPLOYED]
    started = time.perf_counter()
    with process(argv, folder / "log"):
        called = Target(target, port, f"/api/{function}?code={code}", BODY)
        while True:
            with suppress(BadAnswerError):
                return asyncio.run(first_answer(called)) - started


def show(console: Console, results: Results) -> None:
    table = Table(
        "target", "concurrent", "median ms", "p99 ms", title="Latency (of cold starts: median, most)"
    )
    for figure in results.figures:
        table.add_row(figure.target, str(figure.connections), f"{figure.median_ms:g}", f"{figure.p99_ms:g}")
    console.print(table)
    table = Table("ratio of medians, round by round", "is", "aim", title="Ratios")
    for ratio in results.ratios:
        table.add_row(ratio.what, f"{ratio.ratio:.2f}", _aim(ratio.aim))
    console.print(table)
    if results.amounts:
        table = Table("what", "is", "unit", "aim", title="Amounts")
        for amount in results.amounts:
            table.add_row(amount.what, f"{amount.value:,g}", amount.unit, _aim(amount.aim))
        console.print(table)


def _aim(aim: float | None) -> str:
    return f"≤ {aim:g}" if aim else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./run bench",
        description="Measure the webhook, its policy, the local host and the DPS emulator.",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON alone")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="counted rounds (default 7)")
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that it runs")
    parser.add_argument(
        "--only",
        action="append",
        choices=("latency", "cold-start", "ledger", "pages", "listing", "policy", "simulation", "audit"),
        help="leave the other sections out; repeatable",
    )
    options = parser.parse_args()
    rounds, scale, records = (2, 0.1, FEW_RECORDS) if options.quick else (options.rounds, 1.0, RECORDS)
    console = Console(stderr=options.json)
    results = Results()
    with console.status("measuring") as status:
        sections: dict[str, Callable[[], Results]] = {
            "latency": lambda: latency(rounds, scale, status.update),
            "cold-start": lambda: cold_start(rounds, status.update),
            "ledger": lambda: ledger(rounds, scale, status.update),
            "pages": lambda: pages(rounds, records, scale, status.update),
            "listing": lambda: listing(
                rounds, ENROLLMENTS if records == RECORDS else FEW_RECORDS, status.update
            ),
            "policy": lambda: policy(rounds, scale, status.update),
            "audit": lambda: audit(min(3, rounds), min(AUDITED, records), status.update),
            "simulation": lambda: simulation(records, status.update),
        }
        for name, section in sections.items():
            if not options.only or name in options.only:
                results += section()
    if options.json:
        machine = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
        print(json.dumps({"machine": machine, **asdict(results)}, indent=2))
    else:
        show(console, results)


if __name__ == "__main__":
    main()
