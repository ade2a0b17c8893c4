"""A group whose webhook's key DPS masks is rotated with the key that the vault has, and blocked without."""

from itertools import count
from typing import Any

import pytest

from lifecycle.enrollments.at_dps import groups
from lifecycle.enrollments.change import change
from lifecycle.rotation.row import Stage, Why
from lifecycle.rotation.webhook_key.age import own_webhook
from lifecycle.rotation.webhook_key.urls import keyed
from local.switches import Switches
from tests.lifecycle.enrollments.rig import WEBHOOK
from tests.lifecycle.rotation.rig import GROUP, RotationRig

BASE, _, KEY = WEBHOOK.partition("?code=")
CUSTOM: dict[str, Any] = {
    "allocationPolicy": "custom",
    "customAllocationDefinition": {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"},
}


async def rotated(secret: str | None) -> RotationRig:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", True)
    rig = RotationRig(switches)
    await rig.furnish(**CUSTOM)
    if secret is not None:
        rig.vault.put("webhook-key", secret)
    rig.webhook = own_webhook(rig.vault_client(), "webhook-key", BASE)
    await rig.start()
    await rig.work()
    return rig


def held(rig: RotationRig) -> str:
    [found] = rig.service.store.groups
    return str(found.members["customAllocationDefinition"]["webhookUrl"])


async def test_the_vaults_key_is_put_where_the_read_masked_it() -> None:
    rig = await rotated(KEY)
    assert (await rig.row()).stage is Stage.OVERLAP
    assert held(rig) == WEBHOOK
    await rig.aclose()


@pytest.mark.parametrize("reading", range(1, 7))
async def test_a_key_that_is_rolled_between_two_readings_is_not_undone(reading: int) -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", True)
    rig = RotationRig(switches)
    await rig.furnish(**CUSTOM)
    rig.vault.put("webhook-key", KEY)
    own = own_webhook(rig.vault_client(), "webhook-key", BASE)
    readings = count(1)

    async def read_before_the_roll() -> str | None:
        found = await own()
        if next(readings) == reading:
            rig.vault.put("webhook-key", "rolled")
            await change(groups(rig.dps()), GROUP, keyed((BASE,), "rolled"))
        return found

    rig.webhook = read_before_the_roll
    await rig.start()
    await rig.work()
    assert (await rig.row()).stage is Stage.OVERLAP
    assert held(rig) == f"{BASE}?code=rolled"
    await rig.aclose()


async def test_without_it_nothing_is_written() -> None:
    rig = await rotated(None)
    row = await rig.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.UNWRITABLE)
    assert "WEBHOOK_KEY_SECRET" in row.problem
    assert held(rig) == WEBHOOK
    await rig.aclose()
