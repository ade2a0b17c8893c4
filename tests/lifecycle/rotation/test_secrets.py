"""Whatever a rotation goes through, its keys reach no log, table, event, exception, repr or journal."""

import logging
from dataclasses import replace

import pytest

from clients.errors import ClientError
from lifecycle.jobs import history
from lifecycle.rotation.observe import observe
from local.dps.keys import derive_key
from tests.lifecycle.rotation.rig import GROUP, PRIMARY, SECONDARY, SECRET, TERMS, RotationRig
from tests.memory_table import MemoryTable


async def test_no_key_is_told_anywhere_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rig = RotationRig()
    await rig.furnish(terms=replace(TERMS, canary=True, hold=True))
    await rig.start()
    await rig.work()
    seen = await observe(await rig.row(), rig.dps().groups, rig.vault_client(), webhook_url=None)
    shown = [repr(seen), str(seen), repr(seen.reality), repr(await rig.row())]
    await rig.consent("promote")
    await rig.command(do="breach", rotation="b" * 32)
    await rig.work()
    rig.vault.secrets.delete(f"{SECRET}-pending")  # and one that fails
    await rig.start()
    await rig.work()
    shown += [repr(await rig.row()), repr(rig.told.events), repr(await history(rig.jobs)), caplog.text]
    assert isinstance(rig.table, MemoryTable)
    shown += [repr(rows) for rows in rig.table._partitions.values()]
    shown += [repr(rig.ports), repr(rig.kind())]
    try:
        await rig.vault_client().get(SECRET, "0" * 32)
    except ClientError as error:
        shown.append(repr(error))
    keys = {PRIMARY, SECONDARY, *rig.slots().values(), *rig.in_vault()}
    assert len(keys) >= 5
    derived = {derive_key(key, name) for key in keys for name in ("rotation-canary", GROUP)}
    for text in shown:
        for key in keys | derived:
            assert key not in text
            assert key[:20] not in text
    await rig.aclose()
