"""Files that only their owner may read, written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING

from local.host.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_private_json(path: Path, value: Mapping[str, object]) -> None:
    """Replace ``path`` atomically with ``value`` as JSON, readable by the owner only.

    A reader sees the old file or the new one, never a part. The directory must exist.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json_object(path: Path) -> dict[str, object] | None:
    """The JSON object in ``path``, or None when there is no such file.

    Raises:
        HostError: the file is there and is not a JSON object. It is never overwritten silently.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"{path} cannot be read: {error}") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise HostError(f"{path} is not JSON ({error}): mend it or delete it") from error
    if not isinstance(value, dict):
        raise HostError(f"{path} is not a JSON object: mend it or delete it")
    return value


def make_private_directory(path: Path) -> None:
    """Make ``path`` for its owner only, with its parents; leave an existing one as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
