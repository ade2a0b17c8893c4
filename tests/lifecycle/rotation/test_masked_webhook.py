"""A group whose webhook's key DPS masks is rotated with the key that the vault has, and blocked without."""

from typing import Any

from lifecycle.rotation.row import Stage, Why
from lifecycle.rotation.webhook_key.age import own_webhook
from local.switches import Switches
from tests.lifecycle.enrollments.rig import WEBHOOK
from tests.lifecycle.rotation.rig import RotationRig

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


async def test_without_it_nothing_is_written() -> None:
    rig = await rotated(None)
    row = await rig.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.UNWRITABLE)
    assert "WEBHOOK_KEY_SECRET" in row.problem
    assert held(rig) == WEBHOOK
    await rig.aclose()
