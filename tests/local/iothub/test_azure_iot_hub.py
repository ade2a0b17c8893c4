"""Python's azure-iot-hub, unmodified, for the surface it shares with the emulator."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from local.hub import DeviceKeys, InitialTwin, IotHub
from local.iothub.service import HubService
from local.issuer import HUBS, Granted
from local.serve import serve
from local.tls import CertificateAuthority, ServerCertificate
from local.world import World
from tests.local.iothub.rig import HOST, PRIMARY, SECONDARY

try:
    from azure.core.credentials import AccessToken
    from azure.iot.hub import IoTHubRegistryManager  # type: ignore[import-untyped]  # it has no types
    from azure.iot.hub.protocol import models  # type: ignore[import-untyped]  # nor its parts
    from msrest.exceptions import HttpOperationError
except ImportError:
    pytest.fail("azure-iot-hub is not installed: `./run test` installs it", pytrace=False)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Served:
    hub: IotHub
    host: str
    connection_string: str


class Judge:
    """Accepts one token for the hubs' audience."""

    def accept(self, token: str, audiences: Any) -> Granted:
        assert (token, audiences == HUBS) == ("good", True)
        return Granted("object", "client", "tenant", data_actions=("*",))


class Credential:
    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == (f"{HUBS[0]}/.default",)
        return AccessToken("good", 2**40)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@pytest_asyncio.fixture
async def served(certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    # The client takes its authorities from the environment alone, afresh for each request.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.ca_pem))
    service = HubService(IotHub(HOST, seed=1), world=World(seed=7), throttled=False, tokens=Judge())
    async with serve(service.asgi, certificate) as address:
        yield Served(service.hub, address.host, service.connection_string(address.host))


async def with_client(served: Served, work: Callable[[Any], T], *, bearer: bool = False) -> T:
    """A blocking client's work, beside the server's event loop."""

    def run() -> T:
        try:
            return call()
        finally:
            gc.collect()  # its last connection hangs in a cycle of the client's own objects

    def call() -> T:
        if bearer:
            client = IoTHubRegistryManager.from_token_credential(served.host, Credential())
        else:
            client = IoTHubRegistryManager.from_connection_string(served.connection_string)
        with client.protocol:  # the client itself cannot be closed
            return work(client)

    return await asyncio.wait_for(asyncio.to_thread(run), 60)


def status_of(call: Callable[..., Any], *arguments: Any) -> int:
    with pytest.raises(HttpOperationError) as refusal:
        call(*arguments)
    return int(refusal.value.response.status_code)


async def test_a_device_lives_and_dies(served: Served) -> None:
    def work(client: Any) -> None:
        made = client.create_device_with_sas("d", PRIMARY, SECONDARY, "enabled", status_reason="new")
        assert made.authentication.symmetric_key.primary_key == PRIMARY
        found = client.get_device("d")
        assert (found.device_id, found.status, found.status_reason) == ("d", "enabled", "new")
        assert (found.etag, found.generation_id) == (made.etag, made.generation_id)
        assert status_of(client.create_device_with_sas, "d", PRIMARY, SECONDARY, "enabled") == 409
        changed = client.update_device_with_sas("d", made.etag, SECONDARY, PRIMARY, "disabled")
        assert (changed.status, changed.etag != made.etag) == ("disabled", True)
        assert changed.authentication.symmetric_key.primary_key == SECONDARY
        assert status_of(client.delete_device, "d", made.etag) == 412
        client.delete_device("d", changed.etag)
        assert status_of(client.get_device, "d") == 404
        assert status_of(client.delete_device, "d") == 404

    await with_client(served, work)
    assert not served.hub.devices


async def test_other_kinds_of_authentication(served: Served) -> None:
    def work(client: Any) -> None:
        thumbprint = "AB" * 20
        client.create_device_with_x509("x", thumbprint, thumbprint, "enabled")
        client.create_device_with_certificate_authority("ca", "enabled", iot_edge=True)
        assert client.get_device("x").authentication.x509_thumbprint.primary_thumbprint == thumbprint
        assert client.get_twin("ca").authentication_type == "certificateAuthority"
        assert client.get_device("ca").capabilities.iot_edge

    await with_client(served, work)


async def test_devices_are_listed_queried_and_counted(served: Served) -> None:
    for number in range(25):
        served.hub.create_or_get(
            f"d{number:02}",
            keys=DeviceKeys(PRIMARY, SECONDARY),
            iot_edge=False,
            twin=InitialTwin({"site": "x"}),
            now=served.hub.clock.now(),
        )
    served.hub.connect("d03")

    def work(client: Any) -> None:
        assert len(client.get_devices(10)) == 10
        everything = models.QuerySpecification(query="SELECT * FROM devices")
        seen, token = [], None
        while True:
            page = client.query_iot_hub(everything, token, 10)
            assert page.type == "Twin"
            seen += [twin.device_id for twin in page.items]
            token = page.continuation_token
            if not token:
                break
        assert seen == [f"d{number:02}" for number in range(25)]
        some = models.QuerySpecification(query="SELECT * FROM devices WHERE deviceId IN ['d03', 'd99']")
        [twin] = client.query_iot_hub(some).items
        assert (twin.connection_state, twin.tags, twin.last_activity_time.year >= 2026) == (
            "Connected",
            {"site": "x"},
            True,
        )
        counted = models.QuerySpecification(query="SELECT COUNT() AS n FROM devices")
        answer = client.query_iot_hub(counted)
        assert (answer.type, answer.items[0].additional_properties) == ("Raw", {"n": 25})
        statistics = client.get_device_registry_statistics()
        assert (statistics.total_device_count, statistics.disabled_device_count) == (25, 0)
        assert client.get_service_statistics().connected_device_count == 1

    await with_client(served, work)


async def test_twins_are_read_patched_and_replaced(served: Served) -> None:
    def work(client: Any) -> None:
        client.create_device_with_sas("d", PRIMARY, SECONDARY, "enabled")
        twin = client.get_twin("d")
        assert (twin.version, twin.last_activity_time.year) == (2, 1)
        desired = models.TwinProperties(desired={"rate": 1})
        patched = client.update_twin("d", models.Twin(tags={"a": 1}, properties=desired), twin.etag)
        assert (patched.tags, patched.properties.desired["rate"]) == ({"a": 1}, 1)
        assert status_of(client.update_twin, "d", models.Twin(tags={"a": 2}), twin.etag) == 412
        replaced = client.replace_twin("d", models.Twin(tags={"b": 1}), patched.etag)
        assert (replaced.tags, "rate" in replaced.properties.desired) == ({"b": 1}, False)

    await with_client(served, work)


async def test_devices_are_changed_in_bulk(served: Served) -> None:
    def work(client: Any) -> None:
        keys = models.AuthenticationMechanism(
            type="sas",
            symmetric_key=models.SymmetricKey(primary_key=PRIMARY, secondary_key=SECONDARY),
        )
        made = client.bulk_create_or_update_devices(
            [models.ExportImportDevice(id=each, import_mode="create", authentication=keys) for each in "ab"]
        )
        assert (made.is_successful, made.errors) == (True, [])
        again = client.bulk_create_or_update_devices(
            [models.ExportImportDevice(id=each, import_mode="create", authentication=keys) for each in "bc"]
        )
        assert (again.is_successful, [each.error_code for each in again.errors]) == (
            False,
            ["DeviceAlreadyExists"],
        )

    await with_client(served, work)
    assert list(served.hub.devices) == ["a", "b", "c"]


async def test_bearer_tokens_of_a_credential_work(served: Served) -> None:
    def work(client: Any) -> None:
        client.create_device_with_sas("d", PRIMARY, SECONDARY, "enabled")
        assert client.get_twin("d").device_id == "d"

    await with_client(served, work, bearer=True)
