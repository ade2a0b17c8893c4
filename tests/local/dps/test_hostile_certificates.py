"""Whatever a device sends as its certificates: 401 or what they prove, never a failure of the emulator."""

import base64
import textwrap
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from local.asgi import Request
from local.dps.authorities import CaCertificate
from tests.local.dps import pki
from tests.local.dps.rig import HUBS, SCOPE, VERSION, Rig, group

ROOT = pki.root()
LINE = ROOT.issue("Line", ca=True)
DEVICE = LINE.issue("dev-1")
OTHERS = [pki.root("Root"), pki.self_signed("dev-1"), DEVICE.issue("dev-1", ca=True), LINE.issue("dev-2")]


async def rig_with_a_group() -> Rig:
    rig = Rig()
    await rig.clock.advance((datetime.now(UTC) - rig.clock.now()).total_seconds())
    rig.dps.authorities.put(CaCertificate("ca", ROOT.pem.encode()))
    signers = {"signingCertificates": {"primary": {"certificate": ROOT.pem}}}
    body = group(attestation={"type": "x509", "x509": signers}, allocationPolicy="static", iotHubs=[HUBS[0]])
    assert (await rig.call("PUT", "/enrollmentGroups/g1", body)).status_code == 200
    return rig


def register(rig: Rig, *sent: str) -> int:
    path = (SCOPE, "registrations", "dev-1", "register")
    request = Request("PUT", path, {"api-version": VERSION}, {}, certificates=sent)
    return rig.dps.asgi.handle(request).status


def pem(der: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


ANYTHING = st.text(max_size=300) | st.binary(max_size=300).map(pem)


@st.composite
def damaged(draw: st.DrawFn, der: bytes) -> bytes:
    """The bytes with some of them changed, left out or put in; never the same."""
    at = draw(st.integers(0, len(der) - 1))
    count = draw(st.integers(0, 8))
    put = draw(st.binary(max_size=8).filter(lambda new: new != der[at : at + count]))
    return der[:at] + put + der[at + count :]


async def test_garbage_in_the_place_of_a_certificate_is_a_401() -> None:
    async with await rig_with_a_group() as rig:

        @given(st.lists(ANYTHING, min_size=1, max_size=4))
        def check(sent: list[str]) -> None:
            assert register(rig, *sent) == 401

        check()


async def test_a_damaged_device_certificate_is_a_401() -> None:
    async with await rig_with_a_group() as rig:

        @given(damaged(DEVICE.der))
        def check(der: bytes) -> None:
            if der.startswith(DEVICE.der):  # trailing bytes are not part of it
                return
            assert register(rig, pem(der), LINE.pem) == 401

        check()


async def test_a_damaged_intermediate_never_opens_nor_breaks_anything() -> None:
    async with await rig_with_a_group() as rig:

        @given(damaged(LINE.der), st.booleans())
        def check(der: bytes, complete: bool) -> None:
            whole = (LINE.pem,) if complete else ()
            answer = register(rig, DEVICE.pem, pem(der), *whole)
            assert answer == 401 or (complete and answer == 202)

        check()


async def test_order_and_company_of_the_chain_do_not_count_but_the_first_place_does() -> None:
    everybody = [LINE, ROOT, *OTHERS]
    async with await rig_with_a_group() as rig:

        @given(st.lists(st.sampled_from(everybody), min_size=1, max_size=12))
        def check(company: list[pki.Party]) -> None:
            texts = [party.pem for party in company]
            assert register(rig, DEVICE.pem, *texts) == (202 if LINE in company else 401)
            assert register(rig, *texts, DEVICE.pem) == 401

        check()
