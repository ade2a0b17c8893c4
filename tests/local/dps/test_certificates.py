"""Devices that prove themselves by X.509, over real TLS: which certificate opens which enrollment."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from local.dps.authorities import CA_LIMIT, CaCertificate
from local.dps.behaviour import Behaviour
from local.serve import serve
from local.tls import CertificateAuthority, ServerCertificate
from tests.local.dps import pki
from tests.local.dps.pki import YEAR, Party
from tests.local.dps.rig import (
    HUBS,
    NEVER,
    PRIMARY,
    SCOPE,
    VERSION,
    Rig,
    custom,
    group,
    individual,
    symmetric,
)

ROOT = pki.root()
FACTORY = ROOT.issue("Factory", ca=True)
LINE = FACTORY.issue("Line", ca=True)
OTHER = pki.root("Other")
STATIC = {"allocationPolicy": "static", "iotHubs": [HUBS[0]]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@dataclass
class Site:
    """A service over TLS, and devices that call it each with its own certificate."""

    rig: Rig
    url: str
    server: ServerCertificate
    folder: Path
    tls: ssl.TLSVersion = field(default=ssl.TLSVersion.TLSv1_3)

    def trust(self, party: Party, name: str = "", *, verified: bool = True) -> None:
        """Upload a CA certificate."""
        certificate = CaCertificate(name or "ca", party.pem.encode(), verified)
        self.rig.dps.authorities.put(certificate)

    async def put(self, body: dict[str, Any], **headers: str) -> None:
        kind = "enrollments" if "registrationId" in body else "enrollmentGroups"
        name = body.get("registrationId") or body["enrollmentGroupId"]
        answer = await self.rig.call("PUT", f"/{kind}/{name}", {**STATIC, **body}, **headers)
        assert answer.status_code == 200, answer.text

    def client(self, device: Party | None, above: int | None = None) -> httpx.AsyncClient:
        context = self.server.client_context()
        context.maximum_version = self.tls
        if device is not None:
            device.shown_by(context, self.folder, above)
        return httpx.AsyncClient(verify=context, trust_env=False, base_url=self.url)

    async def start(
        self,
        device: Party | None,
        name: str = "dev-1",
        above: int | None = None,
        token: str | None = None,
        **members: Any,
    ) -> httpx.Response:
        headers = {} if token is None else {"authorization": token}
        async with self.client(device, above) as http:
            return await http.put(_register(name), json={"registrationId": name, **members}, headers=headers)

    async def refused(self, device: Party | None, name: str = "dev-1", above: int | None = None) -> int:
        """The error code; its body and header are those of every refusal."""
        answer = await self.start(device, name, above)
        assert answer.status_code == 401, answer.text
        assert answer.headers["x-ms-error-code"] == str(answer.json()["errorCode"])
        return int(answer.json()["errorCode"])

    async def register(
        self, device: Party, name: str = "dev-1", above: int | None = None, **members: Any
    ) -> dict[str, Any]:
        """The registration state that a whole registration ends with."""
        async with self.client(device, above) as http:
            started = await http.put(_register(name), json={"registrationId": name, **members})
            assert started.status_code == 202, started.text
            await self.rig.clock.advance(0)
            polled = await http.get(started.headers["location"])
            assert polled.status_code == 200, polled.text
            state: dict[str, Any] = polled.json()["registrationState"]
            looked_up = await http.post(f"/{SCOPE}/registrations/{name}?api-version={VERSION}")
            assert looked_up.json() == state
            return state


def _register(name: str) -> str:
    return f"/{SCOPE}/registrations/{name}/register?api-version={VERSION}"


def x509_group(name: str = "g1", *signers: Party, **members: Any) -> dict[str, Any]:
    slots = zip(("primary", "secondary"), signers, strict=False)
    certificates = {slot: {"certificate": signer.pem} for slot, signer in slots}
    attestation = {"type": "x509", "x509": {"signingCertificates": certificates}}
    return group(name, attestation=attestation, **members)


def x509_individual(*devices: Party, name: str = "dev-1", **members: Any) -> dict[str, Any]:
    slots = zip(("primary", "secondary"), devices, strict=False)
    certificates = {slot: {"certificate": device.pem} for slot, device in slots}
    attestation = {"type": "x509", "x509": {"clientCertificates": certificates}}
    return individual(name, attestation=attestation, **members)


def referring(*names: str) -> dict[str, Any]:
    references = dict(zip(("primary", "secondary"), names, strict=False))
    return {"type": "x509", "x509": {"caReferences": references}}


@asynccontextmanager
async def serving(
    server: ServerCertificate, folder: Path, behaviour: Behaviour | None = None
) -> AsyncIterator[Site]:
    async with Rig(behaviour) as rig:
        await rig.clock.advance((datetime.now(UTC) - rig.clock.now()).total_seconds())
        async with serve(rig.judge, server, ask_for_certificate=True) as address:
            yield Site(rig, address.url, server, folder)


@pytest_asyncio.fixture
async def site(server: ServerCertificate, tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(server, tmp_path) as made:
        yield made


class TestIndividual:
    async def test_its_primary_and_its_secondary_certificate_open_it(self, site: Site) -> None:
        first, second = pki.self_signed("dev-1"), ROOT.issue("dev-1", kind="rsa")
        await site.put(x509_individual(first, second))
        for device in (first, second):
            state = await site.register(device)
            assert (state["status"], state["deviceId"], state["x509"]) == ("assigned", "dev-1", {})
            assert "symmetricKey" not in state

    async def test_another_certificate_of_the_same_name_and_issuer_does_not(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_individual(ROOT.issue("dev-1")))
        assert await site.refused(ROOT.issue("dev-1")) == 401002

    async def test_a_registration_without_a_certificate_is_a_401(self, site: Site) -> None:
        await site.put(x509_individual(pki.self_signed("dev-1")))
        assert await site.refused(None) == 401000

    async def test_the_common_name_must_be_the_registration_id_without_case(self, site: Site) -> None:
        device, shouting = pki.self_signed("other"), pki.self_signed("DEV-2")
        await site.put(x509_individual(device))
        await site.put(x509_individual(shouting, name="dev-2"))
        assert await site.refused(device) == 401002
        await site.register(shouting, "Dev-2")

    async def test_it_wins_over_a_group_also_when_disabled(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        device = ROOT.issue("dev-1")
        await site.put(x509_individual(device, provisioningStatus="disabled"))
        assert (await site.register(device))["status"] == "disabled"
        assert await site.refused(ROOT.issue("dev-1")) == 401002
        assert not site.rig.hub_a.devices

    async def test_one_with_keys_takes_no_certificate(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        await site.put(individual("dev-1"))
        assert await site.refused(ROOT.issue("dev-1")) == 401000
        assert (
            await site.start(ROOT.issue("dev-1"), token=site.rig.token("dev-1", PRIMARY))
        ).status_code == 202

    async def test_one_read_back_without_the_certificate_text_still_opens(self, site: Site) -> None:
        device = pki.self_signed("dev-1")
        await site.put(x509_individual(device))
        body = (await site.rig.call("GET", "/enrollments/dev-1")).json()
        del body["attestation"]["x509"]["clientCertificates"]["primary"]["certificate"]
        await site.put(body, if_match="*")
        await site.register(device)

    async def test_one_that_refers_to_a_ca_takes_what_it_signed(self, site: Site) -> None:
        site.trust(ROOT, "Factory-CA")
        await site.put(individual("dev-1", attestation=referring("factory-ca")))
        assert await site.refused(OTHER.issue("dev-1")) == 401002
        assert await site.refused(ROOT.issue("dev-2")) == 401002
        assert (await site.register(LINE.issue("dev-1")))["x509"] == {}

    @pytest.mark.parametrize("expire", [True, False])
    async def test_its_dates_count_as_the_behaviour_says(
        self, server: ServerCertificate, tmp_path: Path, expire: bool
    ) -> None:
        now = datetime.now(UTC)
        old = pki.self_signed("dev-1", end=now - timedelta(days=1))
        early = pki.self_signed("dev-2", start=now + timedelta(days=1))
        async with serving(server, tmp_path, Behaviour(client_certificates_expire=expire)) as site:
            await site.put(x509_individual(old))
            await site.put(x509_individual(early, name="dev-2"))
            answers = [await site.start(old), await site.start(early, "dev-2")]
        assert {answer.status_code for answer in answers} == {401 if expire else 202}


class TestGroup:
    @pytest.mark.parametrize("kind", ["ec", "rsa"])
    @pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize("depth", [0, 1, 2, 5])
    async def test_a_chain_of_any_length_up_to_a_verified_root_opens_it(
        self, site: Site, kind: pki.KeyKind, tls: ssl.TLSVersion, depth: int
    ) -> None:
        signer = top = pki.root(kind=kind)
        for number in range(depth):
            signer = signer.issue(f"Intermediate {number}", ca=True)
        site.trust(top)
        site.tls = tls
        await site.put(x509_group("G1", top))
        state = await site.register(signer.issue("dev-1", kind=kind))
        assert (state["status"], state["x509"]) == ("assigned", {"enrollmentGroupId": "G1"})

    @pytest.mark.parametrize("above", [2, 3])
    async def test_its_signing_certificate_may_be_an_intermediate(self, site: Site, above: int) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", OTHER, LINE))
        assert (await site.register(LINE.issue("dev-1"), above=above))["status"] == "assigned"
        assert await site.refused(FACTORY.issue("dev-2"), "dev-2") == 401002

    async def test_a_chain_with_a_gap_opens_nothing(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", LINE))
        device = LINE.issue("dev-1")
        assert await site.refused(device, above=0) == 401002
        assert await site.refused(device, above=1) == 401002
        await site.register(device, above=2)

    async def test_a_verified_intermediate_needs_nothing_above_it(self, site: Site) -> None:
        site.trust(LINE)
        await site.put(x509_group("g1", LINE))
        await site.register(LINE.issue("dev-1"), above=0)

    async def test_a_group_of_the_root_takes_devices_of_a_verified_intermediate(self, site: Site) -> None:
        site.trust(ROOT, "root")
        site.trust(LINE, "line")
        await site.put(x509_group("g1", ROOT))
        await site.register(LINE.issue("dev-1"))

    @pytest.mark.parametrize("trusted", [False, True])
    async def test_without_a_verified_ca_it_opens_only_as_the_behaviour_says(
        self, server: ServerCertificate, tmp_path: Path, trusted: bool
    ) -> None:
        async with serving(server, tmp_path, Behaviour(signing_certificates_are_trusted=trusted)) as site:
            site.trust(ROOT, verified=False)
            await site.put(x509_group("g1", FACTORY))
            answer = await site.start(LINE.issue("dev-1"))
        assert answer.status_code == (202 if trusted else 401)
        assert trusted or answer.json()["message"] == "CA certificate not found."

    async def test_ca_references_name_verified_certificates(self, site: Site) -> None:
        site.trust(ROOT, "Root-CA")
        site.trust(OTHER, "unverified", verified=False)
        await site.put(group("g1", attestation=referring("unverified", "root-ca")))
        assert (await site.register(LINE.issue("dev-1")))["x509"] == {"enrollmentGroupId": "g1"}
        assert await site.refused(OTHER.issue("dev-2"), "dev-2") == 401002
        site.rig.dps.authorities.remove("ROOT-CA")
        assert await site.refused(LINE.issue("dev-1")) == 401002

    async def test_another_root_of_the_same_name_opens_nothing(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        assert await site.refused(pki.root("Root").issue("dev-1"), above=1) == 401002

    async def test_a_device_certificate_signs_for_no_other_device(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        assert await site.refused(ROOT.issue("dev-1").issue("dev-2"), "dev-2") == 401002

    async def test_the_common_name_must_be_the_registration_id(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        assert await site.refused(ROOT.issue("dev-1"), "dev-2") == 401002

    async def test_a_certificate_without_any_group_opens_nothing(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(group("g1"))
        assert await site.refused(LINE.issue("dev-1")) == 401002

    async def test_dates_count_by_the_worlds_clock(self, site: Site) -> None:
        now = site.rig.clock.now()
        short = ROOT.issue("Short", ca=True, end=now + timedelta(days=10))
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        later = ROOT.issue("dev-1", start=now + timedelta(days=5))
        brief = ROOT.issue("dev-2", end=now + timedelta(days=3))
        under_brief = short.issue("dev-3")
        assert await site.refused(later) == 401002
        await site.register(brief, "dev-2")
        await site.register(under_brief, "dev-3")
        await site.rig.clock.advance(timedelta(days=6).total_seconds())
        await site.register(later)
        assert await site.refused(brief, "dev-2") == 401002
        await site.register(under_brief, "dev-3")
        await site.rig.clock.advance(timedelta(days=6).total_seconds())
        assert await site.refused(under_brief, "dev-3") == 401002
        await site.rig.clock.advance(YEAR.total_seconds())
        assert await site.refused(later) == 401002

    async def test_the_group_nearest_to_the_device_counts_whatever_its_state(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("all", ROOT))
        await site.put(x509_group("line", LINE, provisioningStatus="disabled"))
        assert (await site.register(LINE.issue("dev-1")))["status"] == "disabled"
        assert (await site.register(FACTORY.issue("dev-2"), "dev-2"))["x509"] == {"enrollmentGroupId": "all"}

    async def test_devices_with_keys_register_beside_it(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        await site.put(group("g2", attestation=symmetric()))
        assert (await site.start(None, token=site.rig.token("dev-1"))).status_code == 202
        assert (
            await site.start(OTHER.issue("dev-2"), "dev-2", token=site.rig.token("dev-2"))
        ).status_code == 202
        assert await site.refused(None, "dev-3") == 401000


class TestOutcome:
    @pytest.mark.parametrize("shows", [False, True])
    async def test_result_tells_of_certificates_as_the_behaviour_says(
        self, server: ServerCertificate, tmp_path: Path, shows: bool
    ) -> None:
        async with serving(server, tmp_path, Behaviour(x509_result_shows_certificates=shows)) as site:
            site.trust(ROOT)
            await site.put(x509_group("g1", FACTORY))
            device = LINE.issue("dev-1")
            told = (await site.register(device))["x509"]
        assert told.pop("enrollmentGroupId") == "g1"
        thumbprints = {name: info["sha256Thumbprint"] for name, info in told.items()}
        expected = {"certificateInfo": device.thumbprint, "signingCertificateInfo": FACTORY.thumbprint}
        assert thumbprints == (expected if shows else {})

    async def test_hub_identity_of_a_groups_device_has_its_thumbprint(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        first, second = ROOT.issue("dev-1"), ROOT.issue("dev-1")
        for device in (first, second):
            await site.register(device)
            entry = site.rig.hub_a.devices["dev-1"].identity.entry
            assert (entry.authentication_type, entry.keys.primary) == ("selfSigned", None)
            assert entry.thumbprints.primary == entry.thumbprints.secondary == device.thumbprint

    async def test_hub_identity_of_an_individual_one_has_both_thumbprints(self, site: Site) -> None:
        first, second = pki.self_signed("dev-1"), pki.self_signed("dev-1")
        await site.put(x509_individual(first, second, deviceId="Pump"))
        assert (await site.register(second))["deviceId"] == "Pump"
        held = site.rig.hub_a.devices["Pump"].identity.entry.thumbprints
        assert (held.primary, held.secondary) == (first.thumbprint, second.thumbprint)

    @pytest.mark.parametrize("follows", [True, False])
    async def test_new_proof_reaches_the_hub_as_the_behaviour_says(
        self, server: ServerCertificate, tmp_path: Path, follows: bool
    ) -> None:
        async with serving(server, tmp_path, Behaviour(hub_key_follows_registration=follows)) as site:
            await site.put(individual("dev-1"))
            assert (await site.start(None, token=site.rig.token("dev-1", PRIMARY))).status_code == 202
            device = pki.self_signed("dev-1")
            await site.put(x509_individual(device), if_match="*")
            await site.register(device)
            entry = site.rig.hub_a.devices["dev-1"].identity.entry
        assert (entry.thumbprints.primary == device.thumbprint) is follows
        assert entry.authentication_type == ("selfSigned" if follows else "sas")

    async def test_a_migrated_device_takes_its_new_certificate_along(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT))
        await site.register(ROOT.issue("dev-1"))
        site.rig.hub_a.report("dev-1", {"mark": 1})
        await site.put(x509_group("g1", ROOT) | {"iotHubs": [HUBS[1]]}, if_match="*")
        renewed = ROOT.issue("dev-1")
        assert (await site.register(renewed))["substatus"] == "deviceDataMigrated"
        moved = site.rig.hub_b.devices["dev-1"]
        assert moved.identity.entry.thumbprints.primary == renewed.thumbprint
        assert (moved.twin.reported, list(site.rig.hub_a.devices)) == ({"mark": 1}, [])

    async def test_webhook_gets_the_device_certificate_and_no_chain(self, site: Site) -> None:
        site.trust(ROOT)
        await site.put(x509_group("g1", ROOT, **custom(reprovisionPolicy=NEVER)))
        device = LINE.issue("dev-1")
        state = await site.register(device, payload={"model": 1})
        [asked] = site.rig.asked
        context = asked["deviceRuntimeContext"]
        assert context["x509"] == {"clientCertificate": base64.b64encode(device.der).decode()}
        assert "symmetricKey" not in context
        assert (state["status"], context["payload"]) == ("assigned", {"model": 1})

    async def test_a_tpm_device_gets_a_clear_error(self, site: Site) -> None:
        await site.put(individual("dev-1", attestation={"type": "tpm", "tpm": {"endorsementKey": "AAAA"}}))
        answer = await site.start(ROOT.issue("dev-1"))
        assert (answer.status_code, "tpm" in answer.json()["message"]) == (400, True)


def test_a_service_takes_25_ca_certificates() -> None:
    authorities = Rig().dps.authorities
    for number in range(CA_LIMIT):
        authorities.put(CaCertificate(f"ca-{number}", ROOT.pem.encode()))
    authorities.put(CaCertificate("CA-1", OTHER.pem.encode()))
    with pytest.raises(ValueError, match="25"):
        authorities.put(CaCertificate("one-more", ROOT.pem.encode()))
    assert authorities.remove("Ca-1") == CaCertificate("CA-1", OTHER.pem.encode())
    assert (authorities.remove("Ca-1"), len(authorities)) == (None, CA_LIMIT - 1)
    with pytest.raises(ValueError, match="PEM"):
        authorities.put(CaCertificate("ca", b"no certificate"))
    assert len(list(authorities)) == CA_LIMIT - 1
