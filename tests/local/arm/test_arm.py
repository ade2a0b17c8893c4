"""The management plane shows provisioning services as it is known to, and lets nobody change them."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from local.arm import (
    API_VERSIONS,
    SUBSCRIPTION,
    ArmBehaviour,
    ArmPage,
    Provisioning,
    ProvisioningResource,
)
from local.dps.authorities import CaCertificate
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.issuer import ARM, DPS, Identity, Issuer
from local.issuer.roles import DPS_DATA_CONTRIBUTOR, READER
from local.serve import serve
from local.tls import CertificateAuthority
from local.world import ManualClock, World
from tests.local.issuer.raw import call

A, B, C = (f"hub-{letter}.azure-devices.net" for letter in "abc")
ALL = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Devices/provisioningServices"
GROUP = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-local/providers/Microsoft.Devices/provisioningServices"
)
ONE = f"{GROUP}/dps-local"
STRANGER = Identity("client-of-nobody", "object-of-nobody", roles=(DPS_DATA_CONTRIBUTOR,))


class Rig:
    def __init__(self, behaviour: ArmBehaviour | None = None, pem: bytes = b"", **options: Any) -> None:
        self.clock = ManualClock()
        self.world = World(self.clock, seed=7)
        self.issuer = Issuer(self.clock)
        self.hubs = (IotHub(A), IotHub(B, allocation_weight=5), IotHub(C, apply_allocation_policy=False))
        certificates = [CaCertificate("factory", pem)] if pem else []
        self.dps = ProvisioningService(hubs=self.hubs, world=self.world, ca_certificates=certificates)
        other = ProvisioningService("dps-other", "0ne00000001", world=self.world)
        resources = [
            ProvisioningResource(
                self.dps, linked_by_identity=frozenset({B}), hub_locations={C: "northeurope"}
            ),
            ProvisioningResource(other, resource_group="rg-other", tags={"env": "test"}, capacity=3),
        ]
        self.page = ArmPage(resources, self.issuer, self.world, behaviour=behaviour, **options)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.page), base_url="https://localhost:8443"
        )

    async def call(
        self,
        method: str = "GET",
        path: str = ONE,
        version: str | None = API_VERSIONS[0],
        token: str | None = None,
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {token or self.issuer.token(ARM[0])}"}
        if "://" in path:
            return await self.http.request(method, path, headers=headers)
        query = {"api-version": version} if version is not None else {}
        return await self.http.request(method, path, params=query, headers=headers)

    async def hub(self, host: str, version: str = API_VERSIONS[0]) -> dict[str, Any]:
        found = (await self.call(version=version)).json()["properties"]["iotHubs"]
        return next(dict(hub) for hub in found if hub["name"] == host)


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.http.aclose()


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_dps_emulator_is_a_provisioning_service_to_this_page() -> None:
    service: Provisioning = ProvisioningService()
    assert service.hubs == ()


async def test_a_service_is_shown_with_the_members_seen_in_real_answers(rig: Rig) -> None:
    body = (await rig.call()).json()
    properties = body.pop("properties")
    etag = body.pop("etag")
    assert len(etag) == 12
    assert etag.endswith("=")
    assert body == {
        "name": "dps-local",
        "location": "westeurope",
        "resourcegroup": "rg-local",
        "type": "Microsoft.Devices/provisioningServices",
        "id": ONE,
        "subscriptionid": SUBSCRIPTION,
        "tags": {},
        "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
    }
    assert len(properties.pop("iotHubs")) == 3
    assert properties == {
        "state": "Active",
        "provisioningState": "Succeeded",
        "allocationPolicy": "Hashed",
        "serviceOperationsHostName": "dps-local.azure-devices-provisioning.net",
        "deviceProvisioningHostName": "global.azure-devices-provisioning.net",
        "idScope": "0ne00000000",
        "enableDataResidency": False,
    }


async def test_keys_of_hubs_are_masked(rig: Rig) -> None:
    assert await rig.hub(A) == {
        "name": A,
        "connectionString": f"HostName={A};SharedAccessKeyName=iothubowner;SharedAccessKey=****",
        "location": "westeurope",
    }


async def test_allocation_is_shown_where_it_is_not_the_default(rig: Rig) -> None:
    assert "allocationWeight" not in await rig.hub(A)
    weighted, retired = await rig.hub(B), await rig.hub(C)
    assert (weighted["applyAllocationPolicy"], weighted["allocationWeight"]) == (True, 5)
    assert (retired["applyAllocationPolicy"], retired["allocationWeight"]) == (False, 1)


async def test_the_default_allocation_may_be_shown_too() -> None:
    shown = await Rig(ArmBehaviour(show_default_allocation=True)).hub(A)
    assert (shown["applyAllocationPolicy"], shown["allocationWeight"]) == (True, 1)


@pytest.mark.parametrize("version", API_VERSIONS[1:])
async def test_newer_versions_say_how_hubs_are_linked(rig: Rig, version: str) -> None:
    keyed, trusted = await rig.hub(A, version), await rig.hub(B, version)
    assert (keyed["hostName"], keyed["authenticationType"]) == (A, "KeyBased")
    assert (trusted["hostName"], trusted["authenticationType"]) == (B, "SystemAssigned")
    assert "connectionString" in keyed
    assert "connectionString" not in trusted
    body = (await rig.call(version=version)).json()
    assert body["properties"]["disableLocalAuth"] is False
    assert body["identity"] == {"type": "SystemAssigned"}


async def test_the_oldest_version_knows_nothing_of_identities(rig: Rig) -> None:
    body = (await rig.call()).json()
    assert "identity" not in body
    assert "disableLocalAuth" not in body["properties"]
    assert set(await rig.hub(B)) == {"name", "applyAllocationPolicy", "allocationWeight", "location"}


async def test_the_page_follows_what_is_linked_and_so_does_its_etag(rig: Rig) -> None:
    before = (await rig.call()).json()
    assert (await rig.call()).json() == before
    rig.dps.unlink(A)
    after = (await rig.call()).json()
    assert [hub["name"] for hub in after["properties"]["iotHubs"]] == [B, C]
    assert after["etag"] != before["etag"]


async def test_services_are_listed_by_subscription_and_by_group(rig: Rig) -> None:
    everywhere = (await rig.call(path=ALL)).json()
    assert [each["name"] for each in everywhere["value"]] == ["dps-local", "dps-other"]
    assert "nextLink" not in everywhere
    assert (everywhere["value"][1]["sku"]["capacity"], everywhere["value"][1]["tags"]) == (3, {"env": "test"})
    here = (await rig.call(path=f"{GROUP}/")).json()
    assert here["value"] == [(await rig.call()).json()]


async def test_a_list_may_come_in_pages() -> None:
    rig = Rig(ArmBehaviour(page_size=1))
    first = (await rig.call(path=ALL)).json()
    second = (await rig.call(path=first["nextLink"])).json()
    assert [each["name"] for each in (*first["value"], *second["value"])] == ["dps-local", "dps-other"]
    assert "nextLink" not in second
    assert error(await rig.call(path=f"https://localhost{ALL}?api-version=2022-12-12&$skiptoken=x")) == (
        400,
        "InvalidSkipToken",
    )


async def test_paths_count_without_case(rig: Rig) -> None:
    assert (await rig.call(path=ONE.upper())).json() == (await rig.call()).json()


async def test_certificates_are_described(tmp_path: Path) -> None:
    pem = CertificateAuthority(tmp_path / "ca", name="factory").ca_pem.read_bytes()
    rig = Rig(pem=pem)
    listed = (await rig.call(path=f"{ONE}/certificates")).json()["value"]
    parsed = x509.load_pem_x509_certificate(pem)
    assert [each["id"] for each in listed] == [f"{ONE}/certificates/factory"]
    properties = listed[0]["properties"]
    assert properties["subject"] == "CN=factory CA"
    assert properties["isVerified"] is True
    expiry = datetime.strptime(properties["expiry"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert expiry == parsed.not_valid_after_utc
    assert len(properties["thumbprint"]) == 40
    assert (await rig.call(path=f"{ONE}/certificates/FACTORY")).json() == listed[0]
    assert error(await rig.call(path=f"{ONE}/certificates/none")) == (404, "ResourceNotFound")


async def test_a_service_without_certificates_has_an_empty_list(rig: Rig) -> None:
    assert (await rig.call(path=f"{ONE}/certificates")).json() == {"value": []}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{GROUP}/dps-none", "ResourceNotFound"),
        (f"{GROUP}/dps-other", "ResourceNotFound"),
        (ONE.replace("rg-local", "rg-none"), "ResourceGroupNotFound"),
        (ONE.replace(SUBSCRIPTION, "another"), "SubscriptionNotFound"),
        (f"{ALL}/dps-local", "NotFound"),
        (f"{ONE}/skus", "NotFound"),
        ("/", "NotFound"),
        ("/subscriptions", "NotFound"),
        (ONE.replace("provisioningServices", "IotHubs"), "NotFound"),
    ],
)
async def test_what_is_not_there_is_404(rig: Rig, path: str, code: str) -> None:
    assert error(await rig.call(path=path)) == (404, code)


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (None, "MissingApiVersionParameter"),
        ("", "MissingApiVersionParameter"),
        ("2021-10-01", "NoRegisteredProviderFound"),
    ],
)
async def test_the_api_version_must_be_one_of_the_known(rig: Rig, version: str | None, code: str) -> None:
    assert error(await rig.call(version=version)) == (400, code)


async def test_every_audience_of_the_management_plane_is_accepted(rig: Rig) -> None:
    for audience in ARM:
        assert (await rig.call(token=rig.issuer.token(audience))).status_code == 200


async def test_bad_tokens_are_told_why(rig: Rig) -> None:
    none = await rig.http.get(ONE, params={"api-version": API_VERSIONS[0]})
    assert error(none) == (401, "AuthenticationFailedMissingToken")
    short = rig.issuer.token(ARM[0], lifetime=60)
    wrong = await rig.call(token=rig.issuer.token(DPS[0]))
    assert error(wrong) == (401, "InvalidAuthenticationTokenAudience")
    assert f"'{DPS[0]}'" in wrong.json()["error"]["message"]
    assert error(await rig.call(token="a.b.c")) == (401, "InvalidAuthenticationToken")
    await rig.clock.advance(90)
    expired = await rig.call(token=short)
    assert error(expired) == (401, "ExpiredAuthenticationToken")
    assert expired.json()["error"]["message"] == (
        "The access token expiry UTC time '1/1/2026 12:01:00 AM' is earlier than current UTC time "
        "'1/1/2026 12:01:30 AM'."
    )


async def test_only_those_read_whose_roles_allow_it(rig: Rig) -> None:
    refused = await rig.call(token=rig.issuer.token(ARM[0], STRANGER))
    assert error(refused) == (403, "AuthorizationFailed")
    assert (
        "'client-of-nobody' with object id 'object-of-nobody' does not have authorization to perform action "
        f"'Microsoft.Devices/provisioningServices/read' over scope '{ONE}'"
    ) in refused.json()["error"]["message"]
    assert (await rig.call(token=rig.issuer.token(ARM[0], STRANGER, roles=[READER]))).status_code == 200


async def test_hubs_are_where_they_are_and_else_where_their_service_is(rig: Rig) -> None:
    assert (await rig.hub(A))["location"] == "westeurope"
    assert (await rig.hub(C))["location"] == "northeurope"


async def test_certificates_are_those_the_service_knows_now(rig: Rig, tmp_path: Path) -> None:
    pem = CertificateAuthority(tmp_path / "ca", name="factory").ca_pem.read_bytes()

    async def listed() -> list[tuple[str, bool]]:
        shown = (await rig.call(path=f"{ONE}/certificates")).json()["value"]
        return [(each["name"], each["properties"]["isVerified"]) for each in shown]

    rig.dps.authorities.put(CaCertificate("line", pem, verified=False))
    assert await listed() == [("line", False)]
    rig.dps.authorities.put(CaCertificate("line", pem))
    assert await listed() == [("line", True)]
    rig.dps.authorities.remove("LINE")
    assert await listed() == []


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("PUT", ONE, "provisioningServices/write"),
        ("PATCH", ONE, "provisioningServices/write"),
        ("DELETE", ONE, "provisioningServices/delete"),
        ("PUT", f"{ONE}/certificates/x", "provisioningServices/certificates/write"),
        ("DELETE", f"{ONE}/certificates/x", "provisioningServices/certificates/delete"),
        ("POST", f"{ONE}/listkeys", "provisioningServices/listkeys/action"),
        ("POST", f"{ONE}/keys/provisioningserviceowner/listkeys", "provisioningServices/listkeys/action"),
    ],
)
async def test_nobody_may_change_anything_or_list_keys(rig: Rig, method: str, path: str, action: str) -> None:
    answer = await rig.call(method, path)
    assert error(answer) == (403, "AuthorizationFailed")
    assert f"'Microsoft.Devices/{action}'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path"), [("POST", ONE), ("PUT", ALL), ("OPTIONS", ONE), ("HEAD", ONE)])
async def test_a_method_no_path_takes_is_405(rig: Rig, method: str, path: str) -> None:
    assert (await rig.call(method, path)).status_code == 405


async def test_calls_are_journaled_without_tokens(rig: Rig) -> None:
    token = rig.issuer.token(ARM[0])
    await rig.call(token=token)
    (told,) = rig.world.journal.of("arm")
    assert (told.method, told.path, told.status) == ("GET", ONE, 200)
    assert token not in repr(told)


async def test_the_page_is_served_over_tls(tmp_path: Path, rig: Rig) -> None:
    certificate = CertificateAuthority(tmp_path / "ca").issue()
    async with (
        serve(rig.page, certificate) as address,
        httpx.AsyncClient(verify=certificate.client_context(), trust_env=False) as http,
    ):
        headers = {"authorization": f"Bearer {rig.issuer.token(ARM[1])}"}
        answer = await http.get(f"{address.url}{ONE}?api-version=2026-11-01", headers=headers)
    assert answer.json()["name"] == "dps-local"


FUZZED = Rig()
AUTHORIZATION = (b"authorization", f"Bearer {FUZZED.issuer.token(ARM[0])}".encode())
PARTS = st.sampled_from([*ONE.split("/")[1:], "certificates", "listkeys", "..", "x"]) | st.text(max_size=6)


@given(
    method=st.sampled_from(["GET", "PUT", "PATCH", "DELETE", "POST", "TRACE"]),
    path=st.lists(PARTS, max_size=10).map(lambda parts: "/" + "/".join(parts))
    | st.lists(PARTS, max_size=4).map(lambda parts: "/".join([ONE, *parts])),
    query=st.dictionaries(st.sampled_from(["$skiptoken", "x"]), st.text(max_size=8), max_size=2),
    version=st.sampled_from(API_VERSIONS) | st.text(max_size=8),
    body=st.binary(max_size=20) | st.just(b"x" * 300_000),
)
@settings(max_examples=300, deadline=None)
async def test_no_request_is_a_500(
    method: str, path: str, query: dict[str, str], version: str, body: bytes
) -> None:
    asked = {"api-version": version, **query}
    status, answer = await call(FUZZED.page, method, path, asked, [AUTHORIZATION], body)
    assert status < 500
    json.loads(answer)
