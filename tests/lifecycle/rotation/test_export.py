"""The export of device keys: whole or not there, for its owner alone, in the casing of each record."""

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clients.errors import ContinuationExpired, Unavailable
from lifecycle.errors import InvalidOption, RotationRefused
from lifecycle.rotation.export import export_device_keys, live_key
from local.dps.keys import derive_key
from provisioning.keys import SymmetricKey
from tests.lifecycle.rotation.rig import GROUP, PRIMARY, SECONDARY, SECRET, RotationRig


@pytest.fixture
async def rig() -> AsyncIterator[RotationRig]:
    made = RotationRig()
    await made.furnish()
    yield made
    await made.aclose()


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_every_registration_gets_the_key_of_its_id_as_it_is_written(
    rig: RotationRig, tmp_path: Path
) -> None:
    for name in ("dev-1", "Dev-2", "DEV-3"):
        assert await rig.device(name, PRIMARY) == "assigned"
    await rig.start()
    await rig.work()
    key, version = await live_key(rig.dps().groups, rig.vault_client(), GROUP, SECRET)
    assert version == rig.vault.peek(SECRET)[-1].id
    file = tmp_path / "keys.jsonl"
    assert await export_device_keys(rig.dps().registrations, GROUP, key, file) == (3, 2)
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert {each["registrationId"]: each["deviceKey"] for each in told} == {
        name: derive_key(rig.live(), name) for name in ("dev-1", "Dev-2", "DEV-3")
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["keys.jsonl"]


async def test_a_live_key_that_no_slot_holds_is_not_exported(rig: RotationRig) -> None:
    rig.vault.put(SECRET, "bm90LWEta2V5LW9mLXRoaXMtZ3JvdXA=")
    with pytest.raises(RotationRefused, match="neither slot"):
        await live_key(rig.dps().groups, rig.vault_client(), GROUP, SECRET)
    with pytest.raises(RotationRefused, match="no live secret"):
        await live_key(rig.dps().groups, rig.vault_client(), GROUP, "another")


class Breaking:
    """Listings that end in an error after some pages, so many times."""

    def __init__(self, rig: RotationRig, error: Exception, times: int) -> None:
        self._records, self._error, self.left = rig.dps().registrations, error, times

    async def pages(self, group_id: str, *, start: str | None = None, size: int | None = None) -> Any:
        assert size
        async for page in self._records.pages(group_id, start=start, size=2):
            yield page
            if self.left:
                self.left -= 1
                raise self._error


async def test_a_listing_that_expires_begins_again_and_writes_no_device_twice(
    rig: RotationRig, tmp_path: Path
) -> None:
    for n in range(5):
        await rig.device(f"dev-{n}", PRIMARY)
    expired = ContinuationExpired("expired", service="DPS", status=400)
    file = tmp_path / "keys.jsonl"
    key = SymmetricKey.parse(PRIMARY)
    assert (await export_device_keys(Breaking(rig, expired, 2), GROUP, key, file))[0] == 5
    assert len(file.read_text().splitlines()) == 5


async def test_a_listing_that_fails_leaves_no_file(rig: RotationRig, tmp_path: Path) -> None:
    for n in range(5):
        await rig.device(f"dev-{n}", PRIMARY)
    down = Unavailable("down", service="DPS", status=503)
    with pytest.raises(Unavailable):
        await export_device_keys(
            Breaking(rig, down, 1), GROUP, SymmetricKey.parse(SECONDARY), tmp_path / "keys.jsonl"
        )
    assert names_in(tmp_path) == []


async def test_a_file_that_is_there_is_not_touched(rig: RotationRig, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text("mine")
    link = tmp_path / "link.jsonl"
    (tmp_path / "link.jsonl.part").symlink_to(file)
    for path in (file, link, tmp_path / "no" / "folder"):
        with pytest.raises(InvalidOption, match="cannot be made"):
            await export_device_keys(rig.dps().registrations, GROUP, SymmetricKey.parse(PRIMARY), path)
    assert file.read_text() == "mine"
