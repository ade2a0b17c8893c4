"""Devices that prove themselves by X.509 over MQTT, with azure-iot-device, unmodified."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.dps.authorities import CaCertificate
from local.mqtt import serve_mqtt
from local.tls import CertificateAuthority
from tests.local.dps import pki
from tests.local.dps.pki import Party
from tests.local.dps.rig import HUBS, SCOPE, Rig, custom
from tests.local.mqtt.tunnel import tunnel_to

SCRIPT = Path(__file__).with_name("python_x509_device.py")


async def test_python_client_registers_by_a_chain_and_is_told_of_one_with_a_gap(tmp_path: Path) -> None:
    root = pki.root(kind="rsa")
    line = root.issue("Line", ca=True)
    server = CertificateAuthority(tmp_path / "tls").issue()
    async with Rig() as rig:
        await rig.clock.advance((datetime.now(UTC) - rig.clock.now()).total_seconds())
        rig.dps.authorities.put(CaCertificate("root", root.pem.encode()))
        signers = {"signingCertificates": {"primary": {"certificate": root.pem}}}
        await rig.put_group(attestation={"type": "x509", "x509": signers}, **custom())

        async def register(device: Party, name: str, above: int) -> dict[str, Any]:
            chain, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
            chain.write_text(device.chain_pem(above))
            key.write_text(device.key_pem)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(SCRIPT), str(proxy_port), str(server.ca_pem), SCOPE, name),
                *(str(chain), str(key)),
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await asyncio.wait_for(process.communicate(), 30)
            return dict(json.loads(out))

        async with serve_mqtt(rig.dps, server) as address, tunnel_to(address.port) as proxy_port:
            whole = await register(line.issue("dev-1"), "dev-1", 1)
            gap = await register(line.issue("dev-2"), "dev-2", 0)
        assert whole == {"status": "assigned", "assignedHub": HUBS[0], "deviceId": "dev-1"}
        assert "status code 401" in gap["message"]
        assert "clientCertificate" in rig.asked[0]["deviceRuntimeContext"]["x509"]
