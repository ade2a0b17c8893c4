"""A million devices against a draft, by the command, in a process of its own: its rate and peak memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.measure import ROOT, Amount, Results
from tests.bench.policy import document, host

HUBS, RULES = 10, 20
MEMORY_AIM = 150.0
"""Megabytes: a process that has pydantic and rich loaded, and keeps nothing of each device."""


def simulation(count: int, tell: Callable[[str], None]) -> Results:
    """Replay a file of devices against a draft with one weight changed, over the policy in force."""
    amounts: list[Amount] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, after = document(HUBS, RULES), document(HUBS, RULES)
        after["hubs"][0]["weight"] = 9
        (folder / "before.json").write_text(json.dumps(before))
        (folder / "after.json").write_text(json.dumps(after))
        for size in (count // 10, count):
            tell(f"simulation of {size:,} devices")
            _write(folder / "devices.jsonl", size)
            seconds, memory = _run(folder)
            what = f"simulation of {size:,} devices, {HUBS} hubs x {RULES} rules"
            amounts += [
                Amount(f"{what}: rate", round(size / seconds), "devices/s"),
                Amount(f"{what}: peak memory", round(memory, 1), "MB", MEMORY_AIM),
            ]
    return Results(amounts=tuple(amounts))


def _write(file: Path, count: int) -> None:
    hubs = json.dumps([host(number) for number in range(HUBS)])
    sent = '"payload": {"fw": {"major": 4}, "region": "south", "model": "VX-1"}'
    known = '"enrollmentGroupId": "line-a", "attestation": "symmetricKey", "edge": false, "tags": null'
    with file.open("w") as out:
        for number in range(count):
            out.write(
                f'{{"registrationId": "dev-{number:07}", "currentHub": null, "linkedHubs": {hubs}, {known}, '
                f"{sent}}}\n"
            )


def _run(folder: Path) -> tuple[float, float]:
    """Seconds, and the most memory the process held, in megabytes."""
    argv = [
        *(sys.executable, "-m", "cli", "simulate", str(folder / "after.json")),
        *("--against", str(folder / "before.json"), "--devices", str(folder / "devices.jsonl")),
        *("--as-new", "--output", "none"),
    ]
    started = time.perf_counter()
    child = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode:
        raise SystemExit(
            f"bench: the simulation ended with {child.returncode}: {said.decode(errors='replace')}"
        )
    return time.perf_counter() - started, usage.ru_maxrss / 1024
