"""One event fifty times across four processes, with the timer and an operator: one rotation, no key told."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clients.auth import ConnectionString
from clients.pacing import UnpacedShare
from lifecycle.jobs import JobStore
from lifecycle.rotation.row import RotationTerms, Stage, adopt
from lifecycle.rotation.run import KIND
from lifecycle.rotation.store import RotationStore
from local.tls import CertificateAuthority
from provisioning.enrollments import EnrollmentGroup
from tests.cli.rig import serving
from tests.lifecycle.enrollments.rig import PRIMARY, SECONDARY, group
from tests.lifecycle.rotation.app import wiring_of

ROOT = Path(__file__).parents[3]
WORKERS = 4
DELIVERIES = 50
DAY = timedelta(days=1)
SECRET = "line-a-key"


async def test_fifty_deliveries_over_four_processes_a_timer_and_an_operator_make_one_rotation(
    azurite: str, tmp_path: Path
) -> None:
    certificate = CertificateAuthority(tmp_path / "tls").issue()
    async with serving(certificate, tmp_path) as stack:
        name = f"race-{os.getpid()}-{int(datetime.now(UTC).timestamp())}"
        environment = {"DPS_NAME": name}
        wiring = wiring_of(stack.state, azurite, environment)
        by_key = ConnectionString.parse(stack.connection_string).auth(wiring.clock)
        dps = wiring.dps(UnpacedShare(), auth=by_key)
        # azure-identity reads the process's environment
        os_environment = {**os.environ, **stack.cloud.identity, "DPS_NAME": name}
        vault = stack.cloud.vault
        expires = int((datetime.now(UTC) + 20 * DAY).timestamp())
        version = vault.put(SECRET, PRIMARY, expires=expires)
        document = {**group(), "allocationPolicy": "hashed", "iotHubs": []}
        del document["customAllocationDefinition"]
        await dps.groups.create(EnrollmentGroup.read(document))
        rotations = RotationStore(wiring.table("rotations"), name, wiring.clock)
        jobs = JobStore(wiring.table("jobs"), name, wiring.clock)
        terms = RotationTerms(30 * DAY, 90 * DAY)
        row = adopt("line-a", SECRET, terms, active="primary", others="free", by="t", now=wiring.clock.now())
        await rotations.insert(row)
        event = {
            "id": "e-1",
            "topic": vault.resource_id,
            "subject": SECRET,
            "eventType": "Microsoft.KeyVault.SecretNearExpiry",
            "eventTime": "2026-01-01T00:00:00Z",
            "data": {
                "VaultName": "kv-local",
                "ObjectType": "Secret",
                "ObjectName": SECRET,
                "Version": version,
            },
        }
        command = [sys.executable, "-m", "tests.lifecycle.rotation.worker", str(stack.state), azurite]
        shares = [DELIVERIES // WORKERS + (n < DELIVERIES % WORKERS) for n in range(WORKERS)]
        workers = [
            await asyncio.create_subprocess_exec(
                *(*command, json.dumps(event), str(times)),
                cwd=ROOT,
                env=os_environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            for times in shares
        ]
        params = {"do": "start", "group": "line-a", "version": version, "insist": True}
        await jobs.create("rotate:line-a:start:1", KIND, by="operator", params=params)
        try:
            async with asyncio.timeout(90):
                said = await asyncio.gather(*(worker.communicate() for worker in workers))
        finally:
            for worker in workers:
                if worker.returncode is None:
                    worker.kill()
                    await worker.wait()
        assert [worker.returncode for worker in workers] == [0] * WORKERS, said[0][1][-2000:]
        versions = vault.peek(SECRET)
        assert len(versions) == 2
        assert len({(each.tags or {}).get("RotationId") for each in vault.peek(f"{SECRET}-pending")}) == 1
        held = stack.cloud.dps.store.groups.get("line-a")
        assert held
        assert held.keys
        assert (held.keys.primary, held.keys.secondary) == (PRIMARY, versions[-1].value)
        done = await rotations.get("line-a")
        assert done.stage is Stage.OVERLAP
        # Every log of every worker, at debug level: a rotation's keys are in none.
        told = b"".join(out + err for out, err in said).decode(errors="replace")
        assert "rotation_step" in told
        for key in (PRIMARY, SECONDARY, versions[-1].value):
            assert key not in told
        await wiring.close()
