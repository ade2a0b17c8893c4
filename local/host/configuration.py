"""What this host reads of ``host.json``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.host.errors import AppError
from local.host.files import read_json_object

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostConfiguration:
    """The part of ``host.json`` that changes what this host does; the rest is left to the real one."""

    route_prefix: str = "api"
    """First part of the path of every HTTP function; may be empty."""


def read_configuration(directory: Path) -> HostConfiguration:
    """Read ``host.json`` of the app in ``directory``.

    Raises:
        AppError: it is missing, or not version 2.0, or its route prefix is not text.
    """
    path = directory / "host.json"
    document = read_json_object(path)
    if document is None:
        raise AppError(f'{path} is missing: a Functions app needs one, at least {{"version": "2.0"}}')
    if document.get("version") != "2.0":
        raise AppError(f'{path} must say "version": "2.0"')
    extensions = document.get("extensions", {})
    http = extensions.get("http", {}) if isinstance(extensions, dict) else {}
    prefix = http.get("routePrefix", "api") if isinstance(http, dict) else "api"
    if not isinstance(prefix, str):
        raise AppError(f"{path}: extensions.http.routePrefix must be text")
    prefix = prefix.strip("/")
    if prefix.lower().split("/")[0] in {"admin", "runtime"}:
        raise AppError(f"{path}: the route prefix {prefix!r} belongs to the host itself; choose another")
    return HostConfiguration(route_prefix=prefix)
