"""Node's azure-iot-provisioning-device-http with azure-iot-security-x509, unmodified."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.dps.authorities import CaCertificate
from local.tls import ServerCertificate
from tests.clients_of_dps.served import Served, serving
from tests.local.dps import pki
from tests.local.dps.pki import Party
from tests.local.dps.rig import SCOPE, VERSION, group, individual

FOLDER = Path(__file__).parents[1] / "node"
CLIENT = "azure-iot-security-x509"


def installed() -> bool:
    """In the tests' own folder, or wherever NODE_PATH says."""
    folders = [str(FOLDER / "node_modules"), *os.environ.get("NODE_PATH", "").split(os.pathsep)]
    return any(folder and (Path(folder) / CLIENT).is_dir() for folder in folders)


if not installed():
    pytest.fail(f"{CLIENT} is not installed: `./run test` installs it", pytrace=False)


async def register(served: Served, device: Party, name: str, *, above: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        os.environ.get("NODE", "node"),
        *(str(FOLDER / "register_x509.js"), "localhost", str(served.address.port), SCOPE, name),
        env={
            **os.environ,
            "NODE_EXTRA_CA_CERTS": str(served.ca),
            "DEVICE_CERTIFICATE": device.chain_pem(above),
            "DEVICE_KEY": device.key_pem,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return dict(json.loads(output))


async def put(served: Served, path: str, body: dict[str, Any]) -> None:
    headers = {"authorization": served.service_token}
    async with httpx.AsyncClient(verify=served.trust, base_url=served.address.url, trust_env=False) as http:
        answer = await http.put(f"{path}?api-version={VERSION}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text


async def test_node_registers_by_a_chain_and_by_a_certificate_of_its_own(
    certificate: ServerCertificate,
) -> None:
    root = pki.root(kind="rsa")
    line = root.issue("Line", ca=True)
    alone = pki.self_signed("dev-2")
    async with serving(certificate, ask_for_certificate=True) as served:
        served.dps.authorities.put(CaCertificate("root", root.pem.encode()))
        signers = {"signingCertificates": {"primary": {"certificate": root.pem}}}
        await put(served, "/enrollmentGroups/g1", group(attestation={"type": "x509", "x509": signers}))
        own = {"clientCertificates": {"primary": {"certificate": alone.pem}}}
        await put(
            served, "/enrollments/dev-2", individual("dev-2", attestation={"type": "x509", "x509": own})
        )
        by_chain = await register(served, line.issue("dev-1", kind="rsa"), "dev-1", above=1)
        by_itself = await register(served, alone, "dev-2", above=0)
        refused = await register(served, line.issue("dev-3"), "dev-3", above=0)
    assert (by_chain["status"], by_chain["deviceId"]) == ("assigned", "dev-1")
    assert (by_itself["status"], by_itself["deviceId"]) == ("assigned", "dev-2")
    assert refused["error"] == "UnauthorizedError"
