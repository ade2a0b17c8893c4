"""host.json: what the host documents of each member; it passes over what it does not know, without a word."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from lifecycle.jobs.lease import Terms

HOST: dict[str, Any] = json.loads((Path(__file__).parents[1] / "host.json").read_text())

LEVELS = {"Trace", "Debug", "Information", "Warning", "Error", "Critical", "None"}
DEFAULT_TIMEOUT = timedelta(minutes=30)
"""Of functions on Flex Consumption (documented; also the host's ScriptJobHostOptionsSetup)."""


def test_it_has_known_members_alone() -> None:
    """Not `id`, by which apps would share their timers' locks, nor `functions`, which would hide new ones."""
    assert set(HOST) <= {
        "version",
        "telemetryMode",
        "extensionBundle",
        "extensions",
        "functionTimeout",
        "logging",
    }
    assert HOST["version"] == "2.0"
    assert set(HOST["extensions"]) == {"http"}


def test_the_bundle_is_the_stable_one_of_this_host() -> None:
    """Event Grid's trigger comes with it; timers and HTTP are the host's own."""
    assert HOST["extensionBundle"] == {
        "id": "Microsoft.Azure.Functions.ExtensionBundle",
        "version": "[4.*, 5.0.0)",
    }


def test_the_webhooks_path_begins_as_everything_here_says() -> None:
    assert HOST["extensions"]["http"] == {"routePrefix": "api"}


def test_nothing_stands_there_that_opentelemetry_makes_the_host_ignore() -> None:
    assert HOST["telemetryMode"] == "OpenTelemetry"
    assert "applicationInsights" not in HOST["logging"]


def test_levels_are_levels() -> None:
    levels = HOST["logging"]["logLevel"]
    assert set(levels.values()) <= LEVELS
    assert levels["default"] == "Information", "the lines of the app are of that level"


def test_no_function_is_cut_off_within_a_slice_of_a_job() -> None:
    """A timeout ends the worker, and with it all that it runs."""
    given = HOST.get("functionTimeout")
    hours, minutes, seconds = map(int, given.split(":")) if given else (0, 30, 0)
    timeout = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    assert DEFAULT_TIMEOUT >= timeout > 2 * timedelta(seconds=Terms().lease_seconds)
