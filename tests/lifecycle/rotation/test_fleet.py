"""A fleet that lives through three rolls of its group's key."""

import json
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from lifecycle.rotation.export import export_device_keys, live_key
from lifecycle.rotation.row import Stage
from local.dps.keys import derive_key
from tests.lifecycle.rotation.rig import DAY, GROUP, PRIMARY, SECRET, RotationRig

DEVICES = 1_000
ROLLS = 3
IGNORANT = 0.01
"""The part of the fleet that takes no new key at all during a roll: off, lost, forgotten."""


@dataclass
class Device:
    name: str
    key: str
    takes_new_at: datetime | None = None
    new_key: str = ""
    ignored: set[int] = field(default_factory=set)
    """The rolls whose overlap it ignored from end to end."""


@dataclass
class Refused:
    device: str
    roll: int
    consented: int
    """Rolls of which somebody had consented to retire the old slot."""


async def test_no_device_is_refused_unless_it_ignored_a_whole_overlap_that_somebody_ended(  # noqa: C901 - one story
    tmp_path: Path,
) -> None:
    rig = RotationRig()
    await rig.furnish()
    chance = random.Random(11)
    fleet = [Device(f"Dev-{n:04}", derive_key(PRIMARY, f"Dev-{n:04}")) for n in range(DEVICES)]
    for device in fleet:
        assert (await rig.register(device.name, device.key))["status"] == "assigned"
    refused: list[Refused] = []
    consents = 0

    async def live_a_day(roll: int) -> None:
        await rig.pass_time(DAY)
        accepted = list(rig.slots().values())
        for device in fleet:
            if device.takes_new_at is not None and rig.clock.now() >= device.takes_new_at:
                device.key, device.takes_new_at = device.new_key, None
            if chance.random() > 1 / 7:
                continue
            let_in = device.key in (derive_key(key, device.name) for key in accepted)
            if not let_in or chance.random() < 0.002:  # DPS itself says so of all that are refused, and some
                status = (await rig.register(device.name, device.key))["status"]
                assert (status == "assigned") is let_in, (device, status)
            if not let_in:
                refused.append(Refused(device.name, roll, consents))
                # Its owner fetches it a key by hand.
                device.key = derive_key(rig.live(), device.name)

    for roll in range(1, ROLLS + 1):
        await rig.start()
        for _ in range(3):  # staged, verified and published while devices come and go
            await rig.work()
            await live_a_day(roll)
        assert (await rig.row()).stage is Stage.OVERLAP
        key, _version = await live_key(rig.dps().groups, rig.vault_client(), GROUP, SECRET)
        file = tmp_path / f"roll-{roll}.jsonl"
        assert (await export_device_keys(rig.dps().registrations, GROUP, key, file)) == (DEVICES, DEVICES)
        exported = {
            told["registrationId"]: told["deviceKey"]
            for told in map(json.loads, file.read_text().splitlines())
        }
        for device in fleet:
            assert exported[device.name] == derive_key(rig.live(), device.name)
            if chance.random() < IGNORANT:
                device.ignored.add(roll)
            else:
                device.new_key = exported[device.name]
                device.takes_new_at = rig.clock.now() + timedelta(days=chance.uniform(0, 25))
        for _ in range(30):
            await live_a_day(roll)
        await rig.advance()
        await rig.work()
        assert (await rig.row()).stage is Stage.RETIRING
        for _ in range(5):  # nobody has consented: both keys count
            await live_a_day(roll)
        consents = roll
        await rig.consent("retire")
        for _ in range(5):  # consented: the old key counts until the next roll overwrites it
            await live_a_day(roll)
    await rig.start()  # one more, which overwrites the last retired slot
    await rig.work()
    for _ in range(30):
        await live_a_day(ROLLS + 1)

    print("refused:", ", ".join(f"{each.device} in roll {each.roll}" for each in refused))
    assert refused, "a fleet that cannot be refused proves nothing"
    ignored = {device.name: device.ignored for device in fleet}
    for each in refused:
        # The slot of the roll before the last is what a roll overwrites.
        assert each.roll - 1 in ignored[each.device], f"{each} took its keys and was refused"
        assert each.consented >= each.roll - 1, f"{each} was refused before anybody consented"
    await rig.aclose()
