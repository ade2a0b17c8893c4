"""Over real TLS: two hubs beside a provisioning service, each on a port of its own."""

from datetime import timedelta
from pathlib import Path

import httpx

from local.dps import sas
from local.dps.service import ProvisioningService
from local.hub import DeviceKeys, InitialTwin, IotHub
from local.iothub.service import HubService
from local.serve import serve
from local.tls import CertificateAuthority
from local.world import World
from tests.local.iothub.rig import PRIMARY, SECONDARY, VERSION


async def test_hubs_are_served_beside_a_provisioning_service(tmp_path: Path) -> None:
    certificate = CertificateAuthority(tmp_path / "tls").issue()
    world = World(seed=7)
    hubs = [IotHub(f"hub-{name}.azure-devices.net") for name in "ab"]
    first, second = (HubService(hub, world=world) for hub in hubs)
    dps = ProvisioningService(hubs=hubs, world=world)
    async with (
        serve(dps.asgi, certificate),
        serve(first.asgi, certificate) as at_first,
        serve(second.asgi, certificate) as at_second,
        httpx.AsyncClient(verify=certificate.client_context(), trust_env=False) as http,
    ):
        keys = DeviceKeys(PRIMARY, SECONDARY)
        linked = dps.hubs[1]
        linked.create_or_get("d", keys=keys, iot_edge=False, twin=InitialTwin(), now=world.clock.now())
        answers = []
        for service, address in ((first, at_first), (second, at_second)):
            parts = dict(part.split("=", 1) for part in service.connection_string(address.host).split(";"))
            expires = world.clock.now() + timedelta(hours=1)
            token = sas.sign(
                parts["HostName"], parts["SharedAccessKey"], expires, parts["SharedAccessKeyName"]
            )
            answers.append(
                await http.get(
                    f"{address.url}/devices/d?api-version={VERSION}", headers={"authorization": token}
                )
            )
            assert answers[-1].headers["x-ms-request-id"]
        assert [answer.status_code for answer in answers] == [404, 200]
        assert answers[1].json()["authentication"]["symmetricKey"]["primaryKey"] == PRIMARY
    await dps.aclose()
