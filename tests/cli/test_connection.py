"""Which DPS, and the way in: options, settings, the state file."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.rig import Rig, run
from tests.cli.rig_clients import azure
from tests.local.dps.rig import group

LIST = ("enrollment-group", "list")
pytestmark = pytest.mark.asyncio(loop_scope="package")


def secret_of(connection_string: str) -> str:
    return connection_string.partition("SharedAccessKey=")[2]


async def test_a_connection_string_comes_from_option_file_or_environment(rig: Rig) -> None:
    trust = {"CA_FILE": str(rig.ca)}
    path = rig.folder / "login"
    path.write_text(rig.connection_string + "\n")
    assert (await run(*LIST, "--login", rig.connection_string, environment=trust)).json == []
    assert (await run("-l", f"@{path}", *LIST, environment=trust)).json == []
    held = {**trust, "DPS_CONNECTION_STRING": rig.connection_string}
    assert (await run(*LIST, environment=held)).json == []
    assert (await run(*LIST, "--auth-type", "KEY", environment=held)).json == []


async def test_the_options_of_every_command_stand_before_or_after_its_name(rig: Rig) -> None:
    state = ("--state", str(rig.state))
    for words in ((*state, *LIST), (LIST[0], *state, LIST[1]), (*LIST, *state)):
        assert (await run(*words)).json == []


async def test_an_entra_login_enters_by_name(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rig.cloud.identity.items():
        monkeypatch.setenv(name, value)  # azure-identity reads the process's environment
    host = rig.cloud.dps_address.host
    trust = {"CA_FILE": str(rig.ca)}
    words = (
        "--dps-name",
        host,
        "--auth-type",
        "login",
        "-g",
        "a-group",
        "--subscription",
        "one",
        "--verbose",
    )
    ran = await run(*LIST, *words, environment=trust)
    assert ran.json == []
    assert f"working on {host} by an Entra login" in ran.err
    assert (await run(*LIST, environment={**trust, "DPS_HOST": host})).json == []


async def test_login_has_priority_over_a_name_and_says_so(rig: Rig) -> None:
    words = ("--login", rig.connection_string, "--dps-name", "another")
    ran = await run(*LIST, *words, environment={"CA_FILE": str(rig.ca)})
    assert ran.json == []
    assert "priority" in ran.err


async def test_a_name_never_meets_the_key_of_another_dps(rig: Rig) -> None:
    held = {"DPS_CONNECTION_STRING": rig.connection_string, "CA_FILE": str(rig.ca)}
    ran = await run(*LIST, "--dps-name", "another", environment=held)
    assert (ran.code, "another.azure-devices-provisioning.net" in ran.err) == (2, True)
    assert rig.calls == []


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ((), "--login"),
        (("--auth-type", "key", "--dps-name", "x"), "--auth-type login"),
        (("--login", "HostName=x"), "SharedAccessKeyName"),
        (
            ("--login", "HostName=x;SharedAccessKeyName=y;SharedAccessKey=c2VjcmV0LXNlY3JldC1zZWNyZXQ"),
            "--login",
        ),
        (("--dps-name", "a b", "--auth-type", "login"), "--dps-name"),
        (("--state", "/nowhere"), "./run local"),
    ],
)
async def test_no_way_in_is_told_with_the_fix(words: tuple[str, ...], fix: str) -> None:
    ran = await run(*LIST, *words)
    assert (ran.code, fix in ran.err, "c2VjcmV0" in ran.err) == (2, True, False)


async def test_a_setting_that_cannot_be_used_is_named_without_its_secret() -> None:
    ran = await run(*LIST, environment={"DPS_HOST": "https://x"})
    assert (ran.code, "DPS_HOST" in ran.err) == (2, True)
    ran = await run(*LIST, environment={"DPS_CONNECTION_STRING": "HostName=x;SharedAccessKey=not-to-be-seen"})
    assert (ran.code, "DPS_CONNECTION_STRING" in ran.err, "not-to-be-seen" in ran.err) == (2, True, False)


async def test_a_wrong_key_is_refused_and_in_no_message(rig: Rig) -> None:
    wrong = rig.connection_string.replace(secret_of(rig.connection_string), "A" * 43 + "=")
    for words in ((), ("--debug",)):
        ran = await run(*LIST, *words, "--login", wrong, environment={"CA_FILE": str(rig.ca)})
        assert (ran.code, "401" in ran.err, "A" * 20 in ran.err) == (1, True, False)


async def test_debug_shows_where_and_still_no_secret(rig: Rig) -> None:
    ran = await rig.run("--debug", "enrollment-group", "show", "--eid", "nobody")
    assert (ran.code, "Traceback" in ran.err) == (4, True)
    assert secret_of(rig.connection_string) not in ran.err


@pytest.mark.parametrize(
    "words", [("--login", "TEXT", "--bogus"), ("TEXT",), ("--top", "TEXT"), ("--login=TEXT", "x")]
)
async def test_a_command_line_that_cannot_be_parsed_is_not_repeated_with_its_secrets(
    words: tuple[str, ...],
) -> None:
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
    text = f"HostName=x.example;SharedAccessKeyName=y;SharedAccessKey={secret}"
    ran = await run("--debug", *LIST, *(word.replace("TEXT", text) for word in words))
    assert (ran.code, secret in ran.err, "--help" in ran.err) == (2, False, True)


async def test_only_errors_are_told_when_asked_for(rig: Rig) -> None:
    await azure(rig, lambda client: client.enrollment_group.create_or_update("g1", group("g1")))
    words = ("enrollment-group", "update", "--eid", "g1", "--ps", "enabled")
    assert "note:" in (await rig.run(*words)).err
    assert (await rig.run(*words, "--only-show-errors")).err == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
async def test_a_completion_script_knows_commands_options_and_values(shell: str) -> None:
    ran = await run("completion", "print", "--shell", shell)
    assert (ran.code, ran.err) == (0, "")
    for word in ("enrollment-group", "compute-device-key", "allocation-policy", "geoLatency", "state"):
        assert word in ran.out


async def test_a_completion_script_is_valid_and_is_written_where_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "dps.bash"
    ran = await run("completion", "install", "--shell", "bash", "--to", str(path))
    assert (ran.code, str(path) in ran.err) == (0, True)
    subprocess.run(["bash", "-n", str(path)], check=True)  # noqa: ASYNC221 - a moment


async def test_help_and_version_need_no_settings() -> None:
    for words in (("--help",), (*LIST, "--help"), ("enrollment-group",), ()):
        ran = await run(*words)
        assert (ran.code, "Usage: dps" in ran.out) == (0, True)
    assert "service API 2021-10-01" in (await run("--version")).out


async def test_help_tells_of_no_default_that_says_nothing() -> None:
    told = (await run("audit", "suppress", "--help")).out
    assert re.findall(r"\[default: (.*?)\]", told) == ["json"]
