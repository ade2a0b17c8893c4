"""The state file, and how commands end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.connect import state_settings
from cli.errors import CliError, ExitCode, Usage, exit_code, paragraph
from clients.errors import OutcomeUnknown, PreconditionFailed, Throttled, Unauthenticated, Unavailable
from tests.cli.rig import Rig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dps": {"connection_string": 1}}', "not json"])
def test_a_file_that_is_no_state_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(Usage, match="--state"):
        state_settings(path)


def test_a_state_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text("{}")
    path.chmod(0o644)
    with pytest.raises(Usage, match="chmod 600"):
        state_settings(path)


def test_a_state_file_says_all_a_command_needs(rig: Rig) -> None:
    held = json.loads(rig.state.read_text())
    held |= {
        "tables": "UseDevelopmentStorage=true",
        "functions": {"allocate_url": "https://x/api/a?code=key"},
    }
    path = rig.folder / "s.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(held))
    read = state_settings(path)
    assert read["WEBHOOK_URL"] == "https://x/api/a"
    assert read["VAULT_URL"] == rig.cloud.vault_address.url
    assert read["DPS_RESOURCE_ID"] == rig.cloud.dps_resource
    assert rig.cloud.identity.items() <= read.items()


def test_each_end_has_its_exit_code() -> None:
    ends: list[tuple[BaseException, ExitCode]] = [
        (Usage("x"), ExitCode.USAGE),
        (OutcomeUnknown("x", service="DPS"), ExitCode.UNKNOWN),
        (PreconditionFailed("x", service="DPS"), ExitCode.MOVED),
        (Throttled("x", service="DPS"), ExitCode.TRY_AGAIN),
        (Unavailable("x", service="DPS"), ExitCode.TRY_AGAIN),
        (Unauthenticated("x", service="DPS"), ExitCode.FAILED),
        (CliError("x"), ExitCode.FAILED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (BrokenPipeError(), ExitCode.READER_GONE),
        (KeyError("x"), ExitCode.FAULT),
    ]
    assert [exit_code(error) for error, _ in ends] == [code for _, code in ends]
    assert "--debug" in paragraph(KeyError("x"))


def test_a_reader_that_stops_is_no_fault() -> None:
    command = [sys.executable, "-m", "cli", "--help"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(20)) == (b"", 141)
