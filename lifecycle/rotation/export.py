"""The device keys of a group, derived from its live key, for a re-key campaign.

Which slot's key a device uses now is not known: DPS does not tell (its webhook's symmetricKey is empty:
seen), so every device of the group is in the export. A key is derived from an id in one exact casing, and
DPS does not mind the case: the casing is that of the registration record, which is all that is known of it.
A device that writes its own id otherwise does not match its key.
"""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol, TextIO

from clients.dps_paging import Page
from clients.errors import ContinuationExpired
from clients.vault_shapes import Secret
from lifecycle.errors import InvalidOption, NoSuchEnrollment, RotationRefused
from lifecycle.rotation.observe import Groups, Vault
from provisioning.keys import SymmetricKey
from provisioning.registrations import Registration

PAGE = 1000
LISTINGS = 3
"""How often a listing whose continuation has expired is begun again."""


class Records(Protocol):
    """Registration records: see clients.dps."""

    def pages(
        self, group_id: str, *, start: str | None = None, size: int | None = None
    ) -> AsyncIterator[Page[Registration]]:
        """The records of a group's devices, page by page."""


async def live_key(groups: Groups, vault: Vault, group: str, secret: str) -> tuple[SymmetricKey, str]:
    """The key that new device keys come from, and its version: that of the live secret.

    Raises:
        NoSuchEnrollment: there is no such group.
        RotationRefused: the live secret has no key, or none that opens the group.
    """
    found = await groups.with_keys(group)
    if found is None:
        raise NoSuchEnrollment("group", group)
    live = await vault.get(secret)
    if not isinstance(live, Secret):
        raise RotationRefused(
            group, f"has no live secret {secret} that can be read", "start a rotation first"
        )
    keys = [] if found.keys is None else [found.keys.primary, found.keys.secondary]
    if not any(key is not None and live.value.same_as(key) for key in keys):
        raise RotationRefused(
            group, "has its live secret's key in neither slot: devices would be refused", "see `rotate plan`"
        )
    return SymmetricKey.parse(live.value.reveal()), live.about.version


async def export_device_keys(records: Records, group: str, key: SymmetricKey, path: Path) -> tuple[int, int]:
    """Write a line `{"registrationId": …, "deviceKey": …}` for each registration of a group.

    The file is new, readable by its owner alone, and appears under its name only when it is whole. Memory
    holds one page.

    Returns:
        How many devices, and how many of them have capitals in their ids.

    Raises:
        InvalidOption: the file is there already, or cannot be made.
        ClientError: what a call may raise; no file is left.
    """
    part = path.with_name(f"{path.name}.part")
    descriptor = _new(path, part)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
            counted = await _listed(records, group, key, file)
            file.flush()
            os.fsync(file.fileno())
        _name(part, path)
    finally:
        part.unlink(missing_ok=True)
    return counted


def _new(path: Path, part: Path) -> int:
    """A new file for its owner alone."""
    try:
        if path.exists():
            raise FileExistsError(17, "it is there already")
        return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InvalidOption(
            "file", f"{str(path)!a} cannot be made ({error.strerror})", "name a new file in a folder of yours"
        ) from None


def _name(part: Path, path: Path) -> None:
    """Give the whole file its name; a link and not a rename, which would replace what somebody made there."""
    try:
        os.link(part, path)
    except OSError as error:
        raise InvalidOption(
            "file", f"{str(path)!a} cannot be named so ({error.strerror})", "name a new file"
        ) from None


async def _listed(records: Records, group: str, key: SymmetricKey, file: TextIO) -> tuple[int, int]:
    """Write every record's line, from the beginning again where a continuation has expired."""
    for _ in range(LISTINGS - 1):
        try:
            return await _write(records, group, key, file)
        except ContinuationExpired:
            file.seek(0)
            file.truncate()
    return await _write(records, group, key, file)


async def _write(records: Records, group: str, key: SymmetricKey, file: TextIO) -> tuple[int, int]:
    devices = mixed = 0
    async for page in records.pages(group, size=PAGE):
        for record in page.items:
            line = {"registrationId": record.id, "deviceKey": key.derive(record.id).reveal()}
            file.write(json.dumps(line) + "\n")
            devices += 1
            mixed += record.id != record.id.lower()
    return devices, mixed
