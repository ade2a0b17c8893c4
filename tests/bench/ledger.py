"""The webhook with its ledger, against functions that do nothing but one upsert into the same Azurite.

One upserts by the app's own client of tables, the other by azure-data-tables; each a row of one column with
1,000 characters.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local.azurite import Azurite
from tests.bench.load import BadAnswerError, Target, first_answer, hit
from tests.bench.measure import ROOT, Figure, Ratio, Results, free_port, percentile, process

RATIO_AIM = 1.15
PEERS = Path(__file__).parent / "app"
BODY = (ROOT / "tests" / "events" / "allocation_group.json").read_bytes()
PATIENCE_SECONDS = 30.0
TURNS = 6
"""Turns of a round: short ones, so that a slow spell of the machine meets all alike."""


def ledger(rounds: int, scale: float, tell: Callable[[str], None]) -> Results:
    """Latency of all, one call at a time and eight at once, and their ratios, round by round."""
    figures: list[Figure] = []
    ratios: list[Ratio] = []
    with tempfile.TemporaryDirectory() as name, targets(Path(name)) as found:
        for connections, requests in ((1, int(600 * scale)), (8, int(1_200 * scale))):
            seconds: dict[str, list[float]] = {target.name: [] for target in found}
            medians: dict[str, list[float]] = {target.name: [] for target in found}
            for number in range(rounds + 1):
                tell(f"ledger: {connections} concurrent, round {number} of {rounds}")
                taken: dict[str, list[float]] = {target.name: [] for target in found}
                for turn in range(TURNS):
                    for target in found if turn % 2 else reversed(found):
                        share = requests // TURNS
                        taken[target.name] += asyncio.run(
                            hit(target, connections=connections, requests=share)
                        )
                if number:  # the first round warms up
                    for target in found:
                        seconds[target.name] += taken[target.name]
                        medians[target.name].append(statistics.median(taken[target.name]))
            figures += [
                Figure(
                    target.name,
                    connections,
                    round(statistics.median(seconds[target.name]) * 1_000, 3),
                    round(percentile(seconds[target.name], 0.99) * 1_000, 3),
                )
                for target in found
            ]
            peer, by_sdk, webhook = (medians[target.name] for target in found)
            for upsert, under, aim in (
                ("one upsert", peer, RATIO_AIM),
                ("one upsert by azure-data-tables", by_sdk, None),
            ):
                ratio = statistics.median(a / b for a, b in zip(webhook, under, strict=True))
                what = f"webhook with ledger / no-op function with {upsert}, {connections} concurrent"
                ratios.append(Ratio(what, round(ratio, 2), aim))
    return Results(tuple(figures), tuple(ratios))


@contextmanager
def targets(folder: Path) -> Iterator[list[Target]]:
    """Both apps over one Azurite."""
    with (
        azurite(folder) as connection,
        host(folder, "peers", PEERS, connection) as (peer_port, peer_keys),
        host(folder, "app", ROOT, connection) as (app_port, app_keys),
    ):
        found = [
            Target("no-op function, one upsert", peer_port, f"/api/upsert?code={peer_keys['upsert']}", BODY),
            Target(
                "no-op function, one upsert by azure-data-tables",
                peer_port,
                f"/api/upsert_by_sdk?code={peer_keys['upsert_by_sdk']}",
                BODY,
            ),
            Target("webhook, ledger", app_port, f"/api/allocate?code={app_keys['allocate']}", BODY),
        ]
        for target in found:
            _until_it_answers(target)
        yield found


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Its connection string."""
    with asyncio.Runner() as runner:
        running = Azurite(log=folder / "azurite.log")
        runner.run(running.__aenter__())
        try:
            yield running.connection_string
        finally:
            runner.run(running.__aexit__())


@contextmanager
def host(folder: Path, name: str, app: Path, connection: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Port and function keys of an app in a Functions host."""
    port, ready = free_port(), folder / f"{name}.json"
    argv = [sys.executable, "-m", "local.host", "--app", str(app), "--port", str(port)]
    argv += ["--state", str(folder / name), "--ready-file", str(ready)]
    argv += ["--setting=APP_ROLE=allocation", f"--setting=STATE_TABLES={connection}"]
    with process(argv, folder / f"{name}.log") as child:
        until = time.monotonic() + PATIENCE_SECONDS
        while not ready.exists():
            if child.poll() is not None or time.monotonic() > until:
                raise SystemExit(
                    f"bench: a host did not start: {(folder / f'{name}.log').read_text()[-2_000:]}"
                )
            time.sleep(0.01)
        keys: dict[str, str] = json.loads(ready.read_text())["function_keys"]
        yield port, keys


def _until_it_answers(target: Target) -> None:
    """A cold instance says 503 until it has read its state."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            asyncio.run(first_answer(target))
        except BadAnswerError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return
