"""Microsoft's own device clients, unmodified, over TLS."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from local.dps.keys import derive_key
from local.mqtt import MqttBehaviour, codec, serve_mqtt
from local.mqtt.packets import Connect
from local.serve import Address
from local.tls import CertificateAuthority, ServerCertificate
from tests.local.dps.rig import HUBS, OTHER_KEY, PRIMARY, SCOPE, Rig, choose, custom
from tests.local.mqtt.tunnel import tunnel_to
from tests.local.mqtt.wire import until

MQTT_PORT = 8883
NODE = Path(__file__).parents[2] / "node"


@dataclass(frozen=True, slots=True)
class Served:
    """A service with a custom allocation group, on MQTT."""

    rig: Rig
    address: Address
    certificate: ServerCertificate
    proxy_port: int | None
    """None: its clients reach it without."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@asynccontextmanager
async def serving(
    certificate: ServerCertificate, behaviour: MqttBehaviour | None = None
) -> AsyncIterator[Served]:
    async with Rig() as rig:  # its clock starts in the past: the clients' tokens do not expire
        await rig.put_group(**custom())
        async with (
            serve_mqtt(rig.dps, certificate, behaviour=behaviour) as address,
            tunnel_to(address.port) as proxy_port,
        ):
            yield Served(rig, address, certificate, proxy_port)


@pytest_asyncio.fixture
async def served(certificate: ServerCertificate) -> AsyncIterator[Served]:
    async with serving(certificate) as running:
        yield running


async def python_registers(served: Served, device: str, key: str, payload: Any = None) -> dict[str, Any]:
    script, ca = str(Path(__file__).with_name("python_device.py")), str(served.certificate.ca_pem)
    proxy = "-" if served.proxy_port is None else str(served.proxy_port)
    return await registers([sys.executable, script, proxy, ca], device, key, payload)


async def node_registers(served: Served, device: str, key: str, payload: Any = None) -> dict[str, Any]:
    node, script = os.environ.get("NODE", "node"), str(NODE / "register_mqtt.js")
    trust = {"NODE_EXTRA_CA_CERTS": str(served.certificate.ca_pem)}
    return await registers([node, script, f"localhost:{served.address.port}"], device, key, payload, trust)


async def registers(
    command: list[str], device: str, key: str, payload: Any, settings: Mapping[str, str] | None = None
) -> dict[str, Any]:
    told = {"DEVICE_KEY": key, "PAYLOAD": "" if payload is None else json.dumps(payload)}
    process = await asyncio.create_subprocess_exec(
        *(*command, SCOPE, device),
        env={**os.environ, **told, **(settings or {})},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert out, "the client's message is above; `./run test` installs the clients"
    return dict(json.loads(out))


async def test_a_client_without_tls_gets_nothing(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.address.port)
    writer.write(codec.encode(Connect("dev-1", "name", b"")))
    with contextlib.suppress(ConnectionResetError):
        assert b"\x20\x02" not in await asyncio.wait_for(reader.read(), 5)  # a TLS alert at most, no CONNACK
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()


async def test_python_client_registers(served: Served) -> None:
    served.rig.webhook = choose(HUBS[1], payload={"hello": "device"})
    result = await python_registers(served, "py-1", derive_key(PRIMARY, "py-1"), {"model": "m"})
    assert (result["status"], result["assignedHub"], result["deviceId"]) == ("assigned", HUBS[1], "py-1")
    assert result["payload"] == {"hello": "device"}
    assert served.rig.asked[0]["deviceRuntimeContext"]["payload"] == {"model": "m"}
    assert "py-1" in served.rig.hub_b.devices


async def test_a_client_that_knows_only_dps_own_port_needs_no_proxy_there(
    certificate: ServerCertificate,
) -> None:
    """Where that port is taken or not allowed, the endpoint says so and goes nowhere else."""
    async with Rig() as rig:
        await rig.put_group(**custom())
        endpoint = serve_mqtt(rig.dps, certificate, port=MQTT_PORT)
        if not is_free(MQTT_PORT):
            with pytest.raises(OSError, match=str(MQTT_PORT)):
                await endpoint.__aenter__()
            return
        async with endpoint as address:
            served = Served(rig, address, certificate, proxy_port=None)
            result = await python_registers(served, "py-1", derive_key(PRIMARY, "py-1"))
    assert (address.port, result["status"]) == (MQTT_PORT, "assigned")


async def test_a_taken_port_is_an_error_that_names_it(served: Served, certificate: ServerCertificate) -> None:
    with pytest.raises(OSError, match=str(served.address.port)):
        await serve_mqtt(served.rig.dps, certificate, port=served.address.port).__aenter__()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def test_python_client_is_told_of_a_wrong_key(served: Served) -> None:
    result = await python_registers(served, "py-1", OTHER_KEY)
    assert "status code 401" in result["message"]
    assert served.rig.asked == []


async def test_python_client_takes_a_refused_connection_for_a_wrong_key(
    certificate: ServerCertificate,
) -> None:
    async with serving(certificate, MqttBehaviour(credentials_checked="connect")) as served:
        result = await python_registers(served, "py-1", OTHER_KEY)
    assert result["error"] == "CredentialError"


async def test_python_client_ends_with_the_outage_of_the_webhook(served: Served) -> None:
    served.rig.webhook = lambda _: httpx.Response(503)
    registering = asyncio.create_task(python_registers(served, "py-1", derive_key(PRIMARY, "py-1")))
    await over(served, registering)
    assert "failed registration status" in (await registering)["message"]


async def test_node_client_registers(served: Served) -> None:
    served.rig.webhook = choose(HUBS[2], payload={"hello": "device"})
    result = await node_registers(served, "node-1", derive_key(PRIMARY, "node-1"), {"model": "m"})
    assert (result["status"], result["assignedHub"]) == ("assigned", HUBS[2])
    assert result["payload"] == {"hello": "device"}
    assert served.rig.asked[0]["deviceRuntimeContext"]["payload"] == {"model": "m"}


async def test_node_client_is_told_of_a_wrong_key(served: Served) -> None:
    result = await node_registers(served, "node-1", OTHER_KEY)
    assert result["error"] == "UnauthorizedError"
    assert served.rig.asked == []


async def test_node_client_ends_with_the_outage_of_the_webhook(served: Served) -> None:
    served.rig.webhook = lambda _: httpx.Response(503)
    registering = asyncio.create_task(node_registers(served, "node-1", derive_key(PRIMARY, "node-1")))
    await over(served, registering)
    result = (await registering)["result"]
    assert (result["status"], result["registrationState"]["errorCode"]) == ("failed", 400207)


async def over(served: Served, registering: "asyncio.Task[Any]") -> None:
    """Move the service on by the seven minutes for which DPS asks a webhook, once it has begun to."""
    await until(lambda: served.rig.asked or registering.done())
    await served.rig.clock.advance(450)
    assert len(served.rig.asked) == 11
