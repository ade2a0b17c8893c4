"""The demo as a user runs it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_demo_ends_well_and_shows_each_step() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "local.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    for shown in ("300/300", "hub-south ends empty", "errorCode 400207", "all 13 checks hold", '"policy"'):
        assert shown in ran.stdout
    for secret in ("code=", "SharedAccessKey", "primaryKey"):
        assert secret not in ran.stdout
