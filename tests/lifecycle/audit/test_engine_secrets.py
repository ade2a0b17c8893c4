"""Nothing secret gets out of a run: not in a row, not in what is logged, not in an exception."""

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from clients.ports import Table
from lifecycle.audit.job import Audit
from lifecycle.jobs import State
from tests.clients.stage import everything_logged, leaks
from tests.lifecycle.audit.engine_rig import JOB, AuditRig
from tests.lifecycle.audit.test_engine import CUSTOM, Refusing

__all__ = ["everything_logged"]


async def readable(table: Table) -> str:
    """Everything in a table in memory, unpacked."""
    texts: list[str] = []
    partitions: dict[str, Any] = table._partitions  # type: ignore[attr-defined]  # a table in memory's own
    for partition in list(partitions):
        async for row in table.scan(partition):
            texts += [row.partition, row.key]
            whole: dict[str, bytes] = {}
            for name, value in sorted(row.values.items()):
                if isinstance(value, bytes):
                    whole[name[0]] = whole.get(name[0], b"") + value
                    texts.append(value.decode("latin-1"))
                else:
                    texts.append(str(value))
            texts += map(unpacked, whole.values())
    return "\n".join(texts)


def unpacked(data: bytes) -> str:
    for start in (0, 1):  # a checkpoint's first byte says how it is packed
        try:
            return zlib.decompress(data[start:]).decode("utf-8", "replace")
        except zlib.error:
            continue
    return ""


@pytest.mark.parametrize("fault", ["", "/attestationmechanism", "/devices/query", "/enrollments/query"])
async def test_no_row_log_or_exception_holds_a_key(
    fault: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    rig = AuditRig()
    rig.fill(30, enrollments=6, groups=2, clean=False)
    store = rig.service.store
    for table in (store.groups, store.individuals):
        for each in list(table):
            table.put(replace(each, members={**each.members, **CUSTOM}))
    await rig.clock.advance(3 * 3600)
    secrets = ["canary-function-key"]
    for kind in (store.groups, store.individuals):
        for each in kind:
            assert each.keys is not None
            secrets += [str(each.keys.primary), str(each.keys.secondary)]
    secrets += [key for policy in rig.service.policies for key in (policy.primary_key, policy.secondary_key)]
    for hub in rig.hubs.values():
        secrets += [policy.primary_key for policy in hub.policies]
    secrets += [base64.b64decode(each).hex() for each in secrets[1:]]
    rig.audited = replace(rig.audited, thresholds=replace(rig.audited.thresholds, sample_keys=3))
    transport = Refusing(rig.transport(), fault, 403) if fault else rig.transport()
    ports = rig.ports(transport)
    ended = await rig.audit(ports=ports)
    assert ended.state is State.DONE
    rows = "\n".join([await readable(table) for table in (rig.tables.audit, rig.tables.jobs)])
    assert "fleet-01" in rows, "the rows are readable here"
    told = json.dumps([fields for _, fields in rig.heard.events], default=str)
    shown = [rows, told, repr(Audit(ports, rig.audited)), repr(await rig.report(JOB))]
    assert leaks(secrets, everything_logged, *shown) == []
