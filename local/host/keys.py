"""The access keys of the app, and which of them opens what.

[source: the host's key handler] ``x-functions-key`` is looked at first and, when it is there, alone; then
``code`` of the query. The master key opens everything. Host keys and a function's own keys open functions of
level ``function``. A system key opens the webhook of its extension and nothing else.

Keys are never logged and never part of a ``repr``.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from local.host.errors import HostError
from local.host.files import make_private_directory, read_json_object, write_private_json
from local.host.named_keys import FILE, NamedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

EVENT_GRID_KEY = "eventgrid_extension"
"""Name of the system key that Event Grid presents."""


@dataclass(frozen=True, slots=True)
class Lock:
    """The set of keys that open one door."""

    _keys: tuple[bytes, ...] = field(repr=False)
    _more: Callable[[], tuple[bytes, ...]] | None = field(default=None, repr=False)
    """Keys that come and go."""

    def opens(self, presented: str | None) -> bool:
        """Whether ``presented`` is one of the keys; each is compared in constant time."""
        if not presented:
            return False
        candidate = presented.encode("utf-8", "surrogateescape")
        opened = False
        for key in self._keys if self._more is None else (*self._keys, *self._more()):
            opened |= hmac.compare_digest(key, candidate)
        return opened


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one app."""

    master: str = field(repr=False)
    host: str = field(repr=False)
    functions: Mapping[str, str] = field(repr=False)
    system: Mapping[str, str] = field(repr=False)
    named: NamedKeys | None = field(default=None, repr=False)
    """What has changed since of the functions' own keys."""

    def for_function(self, name: str) -> Lock:
        """What opens a function of level ``function``."""
        named, own = self.named, self.functions[name].encode()
        if named is None:
            return Lock((self.master.encode(), self.host.encode(), own))
        return Lock((self.master.encode(), self.host.encode()), lambda: named.of(name, own))

    def for_admin(self) -> Lock:
        """What opens ``/admin`` and functions of level ``admin``."""
        return Lock((self.master.encode(),))

    def for_webhook(self, system_key: str) -> Lock:
        """What opens the webhook of an extension."""
        return Lock((self.master.encode(), self.system[system_key].encode()))


def new_key() -> str:
    """A random key of 320 bits that needs no escaping in a URL."""
    return secrets.token_urlsafe(40)


def make_keys(function_names: Iterable[str], kept: Mapping[str, object] | None = None) -> Keys:
    """Keys for these functions: those ``kept`` from before, and new ones for the rest."""
    kept = kept or {}
    functions, system = _texts(kept.get("functions")), _texts(kept.get("system"))
    singles = _texts(kept)
    for name in function_names:
        functions.setdefault(name, new_key())
    system.setdefault(EVENT_GRID_KEY, new_key())
    return Keys(
        master=singles.get("master", "") or new_key(),
        host=singles.get("host", "") or new_key(),
        functions=functions,
        system=system,
    )


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str) and text}


def stored_keys(directory: Path, function_names: Iterable[str]) -> Keys:
    """The keys kept in ``directory/keys.json`` (owner-only), completed and saved again.

    Keys of functions that are gone stay in the file: the app may come back in its other role.

    Raises:
        HostError: the file is there and cannot be understood, or others may read it.
    """
    make_private_directory(directory)
    path = directory / "keys.json"
    kept = read_json_object(path)
    if kept is not None and path.stat().st_mode & 0o077:
        raise HostError(f"{path} holds keys and others may read it: chmod 600 it, or delete it for new keys")
    keys = make_keys(function_names, kept)
    write_private_json(
        path,
        {
            "master": keys.master,
            "host": keys.host,
            "functions": dict(keys.functions),
            "system": dict(keys.system),
        },
    )
    return replace(keys, named=NamedKeys(directory / FILE))
