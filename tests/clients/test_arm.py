"""The management plane's page over TLS, and all that makes it unknown rather than empty."""

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from clients.arm import ArmClient, CaCertificate, DpsPage, LinkedHub, Unknown
from clients.connections import Connections
from clients.errors import NoCredential, NotSendable
from local.arm import API_VERSIONS, ArmBehaviour, ArmPage, ProvisioningResource
from local.dps.authorities import CaCertificate as Uploaded
from local.dps.service import ProvisioningService
from local.faults import Faults, shapes
from local.faults.rules import Fault, Rule
from local.hub import IotHub
from local.issuer import ARM, DPS, Issuer
from local.serve import serve
from local.tls import CertificateAuthority, ServerCertificate
from local.world import World
from provisioning.hubs import hub_key
from tests.clients.stage import (
    CountingShare,
    Handed,
    QuickClock,
    StoppedError,
    closing,
    every_fault,
    everything_logged,
    leaks,
    no_jitter,
)

__all__ = ["everything_logged"]

A, B, C = (f"hub-{letter}.azure-devices.net" for letter in "abc")
RESOURCE = (
    "/subscriptions/00000000-0000-4000-8000-00000000005b/resourceGroups/rg-(x).1"
    "/providers/Microsoft.Devices/provisioningServices/dps-x"
)


@dataclass
class Plane:
    client: ArmClient
    connections: Connections
    issuer: Issuer
    resource_id: str
    url: str
    faults: Faults

    def other(self, **options: Any) -> ArmClient:
        token = options.pop("token", self.issuer.token(ARM[0]))
        given = {
            "auth": Handed(f"Bearer {token}"),
            "connections": self.connections,
            "share": CountingShare(),
            "clock": QuickClock(),
            "jitter": no_jitter,
            "url": self.url,
            **options,
        }
        return ArmClient(given.pop("resource_id", self.resource_id), **given)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@pytest.fixture(params=[False, True], ids=["defaults left out", "defaults shown"])
async def plane(certificate: ServerCertificate, request: pytest.FixtureRequest) -> AsyncIterator[Plane]:
    world = World(seed=7)
    issuer, faults = Issuer(world.clock), Faults(world)
    dps = ProvisioningService(
        "dps-x",
        hubs=(IotHub(A), IotHub(B.upper(), allocation_weight=5), IotHub(C, apply_allocation_policy=False)),
        ca_certificates=[Uploaded("factory", certificate.ca_pem.read_bytes(), verified=False)],
        world=world,
    )
    resource = ProvisioningResource(dps, hub_locations={C: "northeurope"}, capacity=2)
    page = ArmPage([resource], issuer, world, behaviour=ArmBehaviour(show_default_allocation=request.param))
    connections = Connections(ca_file=certificate.ca_pem)
    async with (
        serve(faults.around("arm", page, shapes.arm), certificate) as address,
        aclosing(dps),
        closing(connections),
    ):
        stage = Plane(None, connections, issuer, page.resource_id(resource), address.url, faults)  # type: ignore[arg-type]  # set in the next line
        stage.client = stage.other()
        yield stage


def answering(*answers: httpx.Response) -> tuple[ArmClient, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    client = ArmClient(
        RESOURCE,
        auth=Handed("Bearer x"),
        connections=Connections(transport=httpx.MockTransport(answer)),
        share=CountingShare(),
        clock=QuickClock(),
        jitter=no_jitter,
    )
    return client, asked


def shown(**changes: Any) -> dict[str, Any]:
    properties = {
        "iotHubs": [{"name": A, "connectionString": f"HostName={A};SharedAccessKey=c4n4ry"}],
        "allocationPolicy": "Hashed",
        "serviceOperationsHostName": "dps-x.azure-devices-provisioning.net",
        "deviceProvisioningHostName": "global.azure-devices-provisioning.net",
        "idScope": "0ne",
    }
    return {"name": "dps-x", "location": "westeurope", "sku": {}, "properties": properties | changes}


async def test_page_tells_hubs_weights_and_policies_as_linked_whether_defaults_are_shown_or_not(
    plane: Plane,
) -> None:
    page = await plane.client.page()
    assert isinstance(page, DpsPage)
    assert page.linked_hubs == (
        LinkedHub(A, hub_key(A), 1, True, "westeurope"),
        LinkedHub(B.upper(), hub_key(B), 5, True, "westeurope"),
        LinkedHub(C, hub_key(C), 1, False, "northeurope"),
    )
    assert (page.name, page.allocation_policy, page.sku, page.capacity) == ("dps-x", "Hashed", "S1", 2)
    assert (page.device_host, page.local_auth_disabled) == ("global.azure-devices-provisioning.net", None)


@pytest.mark.parametrize("version", API_VERSIONS)
async def test_page_reads_alike_in_every_version(plane: Plane, version: str) -> None:
    page, other = await plane.client.page(), await plane.other(api_version=version).page()
    assert isinstance(other, DpsPage)
    assert replace(other, local_auth_disabled=None) == page


async def test_certificates_come_with_verification_expiry_and_content(
    plane: Plane, certificate: ServerCertificate
) -> None:
    found = await plane.client.certificates()
    assert isinstance(found, tuple)
    (one,) = found
    assert (one.name, one.verified) == ("factory", False)
    assert one.pem == certificate.ca_pem.read_text()
    assert one.expires is not None
    assert one.expires.tzinfo is not None


async def test_refused_or_missing_page_is_unknown_with_its_reason(plane: Plane) -> None:
    wrong = await plane.other(token=plane.issuer.token(DPS[0])).page()
    other = await plane.other(resource_id=plane.resource_id.replace("dps-x", "dps-y")).certificates()
    assert isinstance(wrong, Unknown)
    assert isinstance(other, Unknown)
    assert "InvalidAuthenticationTokenAudience" in wrong.reason
    assert "ResourceNotFound" in other.reason


@every_fault
async def test_page_outlives_one_fault_and_under_a_lasting_one_is_unknown(
    plane: Plane, fault: Fault, everything_logged: pytest.LogCaptureFixture
) -> None:
    expected = await plane.client.page()
    with plane.faults.during(Rule(fault)):
        assert await plane.client.page() == expected
    with plane.faults.during(Rule(fault, count=None)):
        page, certificates = await plane.client.page(), await plane.client.certificates()
    assert isinstance(page, Unknown)
    assert isinstance(certificates, Unknown)
    assert leaks(["SharedAccessKey", "Bearer "], everything_logged, page, certificates, expected) == []


@pytest.mark.parametrize(
    "hubs",
    [
        None,
        [],
        {},
        [{}],
        [{"name": A}, {"name": ""}],
        [{"name": A}, 5],
        [{"name": A, "allocationWeight": "1"}],
    ],
)
async def test_hubs_that_are_not_all_understood_are_unknown_and_never_a_shorter_list(hubs: Any) -> None:
    client, _ = answering(httpx.Response(200, json=shown(iotHubs=hubs)))
    page = await client.page()
    assert isinstance(page, DpsPage)
    assert isinstance(page.linked_hubs, Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"properties": None}),
        httpx.Response(200, json=shown(idScope=None)),
        httpx.Response(204),
        httpx.Response(302, headers={"location": "https://evil.example/"}),
        httpx.Response(403, json={"error": {"code": "AuthorizationFailed", "message": "no"}}),
        httpx.Response(404, text="<html>"),
    ],
)
async def test_answer_that_is_no_page_is_unknown(answer: httpx.Response) -> None:
    client, _ = answering(answer)
    assert isinstance(await client.page(), Unknown)
    assert isinstance(await client.certificates(), Unknown)


async def test_without_a_token_the_page_is_unknown_and_a_stop_is_a_stop(plane: Plane) -> None:
    class Nothing:
        async def header(self, *, fresh: bool = False) -> str:
            raise NoCredential("no token: give the app an identity")

    assert await plane.other(auth=Nothing()).page() == Unknown("no token: give the app an identity")
    with pytest.raises(StoppedError):
        await plane.other(share=CountingShare(0)).page()


async def test_connection_strings_are_held_nowhere() -> None:
    client, _ = answering(httpx.Response(200, json=shown()))
    page = await client.page()
    assert isinstance(page, DpsPage)
    assert isinstance(page.linked_hubs, tuple)
    hub = page.linked_hubs[0]
    assert [getattr(hub, name) for name in hub.__slots__ if "c4n4ry" in str(getattr(hub, name))] == []
    assert "c4n4ry" not in repr(page)


def certificate_body(**changes: Any) -> dict[str, Any]:
    properties = {"isVerified": True, "expiry": "Sat, 31 Dec 2039 23:59:59 GMT", **changes}
    return {"value": [{"name": "ca", "properties": properties}]}


DER = b"\x30\x82\x01\x0a" + bytes(40)
PEM = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(DER).decode()}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("given", "der"),
    [
        (base64.b64encode(DER).decode(), DER),
        (PEM, DER),
        (base64.b64encode(PEM.encode()).decode(), DER),
        (None, None),
        ("", None),
        ("not base64 !", None),
        (base64.b64encode(b"no certificate").decode(), None),
    ],
)
async def test_certificate_is_read_in_every_shape_it_might_come_in(
    given: str | None, der: bytes | None
) -> None:
    client, _ = answering(httpx.Response(200, json=certificate_body(certificate=given)))
    found = await client.certificates()
    assert found == (CaCertificate("ca", "", "", True, datetime(2039, 12, 31, 23, 59, 59, tzinfo=UTC), der),)


@pytest.mark.parametrize(
    "body",
    [
        {"value": []},
        {"value": None},
        {},
        certificate_body(isVerified=None),
        certificate_body(expiry="soon"),
        {**certificate_body(), "nextLink": "https://evil.example/"},
    ],
)
async def test_certificates_that_are_not_all_understood_are_unknown(body: Any) -> None:
    client, asked = answering(httpx.Response(200, json=body))
    assert isinstance(await client.certificates(), Unknown)
    assert {request.url.host for request in asked} == {"management.azure.com"}


@pytest.mark.parametrize(
    "resource_id",
    [
        "",
        "dps-x",
        RESOURCE.replace("dps-x", "dps-x/listkeys"),
        RESOURCE.replace("rg-(x).1", ".."),
        RESOURCE.replace("rg-(x).1", "a?b"),
        RESOURCE.replace("provisioningServices", "IotHubs"),
        "https://management.azure.com" + RESOURCE,
    ],
)
def test_id_that_is_not_of_a_dps_is_refused(resource_id: str) -> None:
    with pytest.raises(NotSendable, match="resource id"):
        ArmClient(
            resource_id,
            auth=Handed(""),
            connections=Connections(),
            share=CountingShare(),
            clock=QuickClock(),
            jitter=no_jitter,
        )


async def test_only_reads_of_the_page_and_its_certificates_are_ever_sent() -> None:
    client, asked = answering(httpx.Response(200, json=shown()))
    await client.page()
    await client.certificates()
    assert [(request.method, request.url.path) for request in asked] == [
        ("GET", RESOURCE),
        ("GET", f"{RESOURCE}/certificates"),
    ]
