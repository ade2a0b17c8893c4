"""What the measurements share: figures, ratios, and the processes that are measured."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


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


@dataclass(frozen=True)
class Amount:
    """Something that is no latency; `aim` is the most it should be."""

    what: str
    value: float
    unit: str
    aim: float | None = None


@dataclass(frozen=True)
class Results:
    """What a section found."""

    figures: tuple[Figure, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    amounts: tuple[Amount, ...] = ()

    def __add__(self, other: "Results") -> "Results":
        return Results(self.figures + other.figures, self.ratios + other.ratios, self.amounts + other.amounts)


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


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
