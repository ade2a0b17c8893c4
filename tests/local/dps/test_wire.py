"""Once over real TLS: service client, device and webhook, each on its own connection."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.serve import serve
from local.tls import CertificateAuthority
from local.world import World
from tests.local.dps.rig import HUBS, PRIMARY, SCOPE, Rig, custom, group
from tests.openapi.judge import Judge

FLEET = 60


async def webhook(_scope: Any, receive: Any, send: Any) -> None:
    """Puts every device on the second linked hub."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = json.dumps({"iotHubHostName": json.loads(body)["linkedHubs"][1], "payload": {"hello": "device"}})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer.encode()})


@pytest.mark.parametrize("tls_webhook", [True, False])
async def test_a_fleet_registers_over_tls_at_once(tmp_path: Path, tls_webhook: bool) -> None:
    certificate = CertificateAuthority(tmp_path / "tls").issue()
    trust = certificate.client_context()
    dps = ProvisioningService(hubs=[IotHub(host) for host in HUBS], world=World(), webhook_trust=trust)
    judge = Judge(dps.asgi)
    async with (
        serve(webhook, certificate if tls_webhook else None) as hook,
        serve(judge, certificate) as address,
        httpx.AsyncClient(verify=trust, trust_env=False, base_url=address.url) as client,
    ):
        signer = Rig()
        signer.clock.now = dps.world.clock.now  # type: ignore[method-assign]  # tokens of the real time
        signer.http = client
        policy = dps.policies[0]
        token = signer.owner(policy.primary_key)
        body = group(
            **custom(
                customAllocationDefinition={"webhookUrl": f"{hook.url}/?code=x", "apiVersion": "2021-10-01"}
            )
        )
        made = await signer.call("PUT", "/EnrollmentGroups/g1/", body, authorization=token)
        assert made.status_code == 200, made.text

        async def one(device: str) -> dict[str, Any]:
            started = await signer.start(device)
            assert started.status_code == 202
            while True:
                polled = await client.get(
                    started.headers["location"], headers={"authorization": signer.token(device)}
                )
                if polled.status_code == 200:
                    return dict(polled.json())
                assert polled.headers["retry-after"] == "3"
                await asyncio.sleep(0.05)

        count = FLEET if tls_webhook else 3
        done = await asyncio.gather(*(one(f"dev-{number}") for number in range(count)))
        assert {each["status"] for each in done} == {"assigned"}
        assert {each["registrationState"]["payload"]["hello"] for each in done} == {"device"}
        hub = dps.hub(HUBS[1])
        assert hub is not None
        assert len(hub.devices) == count
        big = await signer.call("PUT", "/enrollmentGroups/g2", b"x" * 10_000_000, authorization=token)
        assert big.status_code == 413
        listed = await signer.call(
            "POST", "/registrations/g1/query", authorization=token, x_ms_max_item_count="2"
        )
        assert (len(listed.json()), "x-ms-continuation" in listed.headers) == (2, True)
        refused = await client.put(f"/{SCOPE}/registrations/x/register?api-version=2021-10-01")
        assert refused.json()["errorCode"] == 401000
        assert PRIMARY not in repr(list(dps.world.journal))
        await dps.aclose()
    judge.check()
