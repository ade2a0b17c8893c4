"""The services around DPS together on the wire, as ./run local serves them, with real clients."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from azure.identity import ManagedIdentityCredential
from azure.iot.hub import IoTHubRegistryManager  # type: ignore[import-untyped]  # it ships no types
from azure.keyvault.secrets import SecretClient

from local.clients import Device, ServiceClient, connect
from local.cloud import Cloud, serve_cloud
from local.dps.limits import UNTHROTTLED
from local.faults import Faults
from local.issuer import ARM, DPS
from local.switches import Switches
from local.tls import CertificateAuthority, ServerCertificate
from local.world import World

HUBS = {"hub-a.azure-devices.net": 1, "hub-b.azure-devices.net": 1}


@asynccontextmanager
async def cloud(folder: Path) -> AsyncIterator[tuple[Cloud, ServerCertificate]]:
    certificate = CertificateAuthority(folder / "tls").issue()
    world = World()
    async with serve_cloud(
        HUBS,
        certificate,
        world=world,
        name="local-dps",
        limits=UNTHROTTLED,
        faults=Faults(world),
        switches=Switches(),
    ) as served:
        yield served, certificate


async def test_a_device_that_registers_is_found_on_its_hub_by_the_hubs_own_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloud(tmp_path) as (served, certificate):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.ca_pem))
        async with connect(served.dps_address.url, certificate.client_context()) as http:
            operator = ServiceClient(http, served.state()["dps"]["connection_string"])
            await operator.put_enrollment(
                {
                    "registrationId": "dev-1",
                    "attestation": {"type": "symmetricKey"},
                    "initialTwin": {"tags": {"site": "x"}},
                }
            )
            key = (await operator.keys("enrollments/dev-1"))["primaryKey"]
            state = await Device("dev-1", key).register(http, served.dps.id_scope)
        connection_string = served.state()["hub_connection_strings"][state["assignedHub"]]

        def look() -> tuple[str, str, dict[str, str]]:
            manager = IoTHubRegistryManager.from_connection_string(connection_string)
            device, twin = manager.get_device("dev-1"), manager.get_twin("dev-1")
            return device.device_id, device.authentication.symmetric_key.primary_key, twin.tags

        assert await asyncio.to_thread(look) == ("dev-1", key, {"site": "x"})
        gc.collect()  # the client leaves its connection in a reference cycle


async def test_a_managed_identity_reaches_vault_dps_and_management_plane_and_each_by_its_own_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloud(tmp_path) as (served, certificate):
        for name, value in served.identity.items():
            monkeypatch.setenv(name, value)

        def keep() -> tuple[str | None, str, str]:
            with ManagedIdentityCredential() as credential:
                secrets = SecretClient(
                    served.vault_address.url,
                    credential,
                    verify_challenge_resource=False,
                    connection_verify=str(certificate.ca_pem),
                )
                secrets.set_secret("line-a", "a value")
                read = secrets.get_secret("line-a").value
                secrets.close()
                scopes = (f"{DPS[0]}/.default", f"{ARM[0]}/.default")
                return read, *(credential.get_token(scope).token for scope in scopes)

        read, dps_token, arm_token = await asyncio.to_thread(keep)
        gc.collect()
        assert read == "a value"

        async def ask(base: str, path: str, token: str, version: str) -> httpx.Response:
            async with connect(base, certificate.client_context()) as http:
                headers = {"Authorization": f"Bearer {token}"}
                return await http.get(path, params={"api-version": version}, headers=headers)

        dps, arm = served.dps_address.url, served.arm_address.url
        assert (await ask(dps, "/enrollments/none", dps_token, "2021-10-01")).status_code == 404
        assert (await ask(dps, "/enrollments/none", arm_token, "2021-10-01")).status_code == 401
        shown = await ask(arm, served.dps_resource, arm_token, "2022-12-12")
        assert [hub["name"] for hub in shown.json()["properties"]["iotHubs"]] == list(HUBS)
        assert (await ask(arm, served.dps_resource, dps_token, "2022-12-12")).status_code == 401
