"""The environment a Functions worker would give the app: its settings as environment variables."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from local.host.errors import HostError
from local.host.files import read_json_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping
    from pathlib import Path

_SETTING = re.compile(r"%([^%]+)%")


class UnknownSettingError(LookupError):
    """A ``%SETTING%`` names a setting that does not exist; the argument is its name."""


def read_settings_file(path: Path) -> dict[str, str]:
    """The ``Values`` of a ``local.settings.json``.

    Numbers and booleans become text, as in Core Tools.

    Raises:
        HostError: the file is missing, encrypted, or holds something else than plain values.
    """
    document = read_json_object(path)
    if document is None:
        raise HostError(f"{path} does not exist")
    if document.get("IsEncrypted"):
        raise HostError(f"{path} is encrypted: run `func settings decrypt` on it first")
    values = document.get("Values", {})
    if not isinstance(values, dict):
        raise HostError(f"{path}: Values must be an object of names and texts")
    settings = {}
    for name, value in values.items():
        if isinstance(value, bool):
            settings[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            settings[name] = str(value)
        else:
            raise HostError(f"{path}: the value of {name} must be text")
    return settings


def parse_setting(text: str) -> tuple[str, str]:
    """``NAME=VALUE`` as a pair.

    Raises:
        HostError: there is no name or no ``=``. The text is not repeated: it may be a secret.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise HostError("a setting must be given as NAME=VALUE")
    return name.strip(), value


def worker_variables(directory: Path, port: int) -> dict[str, str]:
    """What Core Tools and the host set for a Python worker, apart from the app's own settings."""
    return {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsScriptRoot": str(directory),
        "FUNCTIONS_EXTENSION_VERSION": "~4",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "WEBSITE_HOSTNAME": f"127.0.0.1:{port}",
    }


def apply_environment(
    *,
    given: Iterable[tuple[str, str]],
    from_file: Mapping[str, str],
    worker: Mapping[str, str],
    environment: MutableMapping[str, str] = os.environ,
) -> list[str]:
    """Set the variables of the app; answer the names of the file's settings that were passed over.

    A setting of the command line beats the environment, which beats the file (Core Tools, too, leaves a
    variable alone that is already there), which beats what the worker sets by itself.
    """
    passed_over = sorted(name for name in from_file if name in environment)
    for name, value in given:
        environment[name] = value
    for name, value in (*from_file.items(), *worker.items()):
        environment.setdefault(name, value)
    return passed_over


def resolve_settings(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Replace each ``%NAME%`` by the setting of that name, matched without regard to case.

    Raises:
        UnknownSettingError: there is no such setting.
    """

    def value_of(found: re.Match[str]) -> str:
        value = _find(found.group(1), environment)
        if value is None:
            raise UnknownSettingError(found.group(1))
        return value

    return _SETTING.sub(value_of, text)


def is_enabled(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a setting is ``1`` or ``true``, as the real host reads its switches."""
    return (_find(name, environment) or "").lower() in {"1", "true"}


def _find(name: str, environment: Mapping[str, str]) -> str | None:
    """A setting's value, its name matched without regard to case."""
    if name in environment:
        return environment[name]
    return next((value for other, value in environment.items() if other.lower() == name.lower()), None)
