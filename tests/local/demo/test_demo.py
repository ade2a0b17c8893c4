"""The demo as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("chapter", "each_step"),
    [
        (
            "main",
            (
                "300/300",
                "hub-south ends empty",
                "errorCode 400207",
                "each answer is one span",
                "all 15 checks hold",
                '"policy"',
            ),
        ),
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
        pytest.param(
            "purge",
            (
                "exactly the records without a live device are stale: 5 of 5",
                "exactly the orphans' records are gone: 4 of 4",
                "no record of a live look-alike was touched: 5 of 5",
                "each deleted record is in the archive, once: 4 of 4",
                "all 10 checks hold",
            ),
            marks=pytest.mark.soak,
        ),
        pytest.param(
            "rotation",
            (
                "SecretNearExpiry, delivered by Event Grid, asked for it: event",
                "every device's key is in it, derived from the new one: 12 of 12",
                "half have their new keys, and both keys open",
                "the new slot is in use, the old one free: 2 of 2",
                "every enrollment has the new key, and the same one: 4 of 4",
                "the old key opens the webhook no more, and the new one does: status 401 and 200",
                "all 16 checks hold",
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
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    for shown in each_step:
        assert shown in ran.stdout
    for secret in ("code=", "SharedAccessKey", "primaryKey"):
        assert secret not in ran.stdout
