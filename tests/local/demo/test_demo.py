"""The demo as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("chapter", "each_step"),
    [
        ("main", ("300/300", "hub-south ends empty", "errorCode 400207", "all 13 checks hold", '"policy"')),
        pytest.param(
            "audit",
            (
                "exactly the planted faults are found: 12 of 12",
                "what was mended is resolved: 11 of 11",
                "what waits is shown as suppressed: 1 of 1",
                "all 7 checks hold",
            ),
            marks=pytest.mark.soak,
        ),
    ],
)
def test_a_chapter_ends_well_and_shows_each_step(chapter: str, each_step: tuple[str, ...]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "local.demo", chapter],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    for shown in each_step:
        assert shown in ran.stdout
    for secret in ("code=", "SharedAccessKey", "primaryKey"):
        assert secret not in ran.stdout
