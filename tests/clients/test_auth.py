"""The ways into a service: signatures, connection strings, Entra tokens over our own connections."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from azure.core.credentials import AccessToken
from azure.identity import CredentialUnavailableError
from hypothesis import given
from hypothesis import strategies as st

from clients.auth import (
    DPS_SCOPE,
    HUB_SCOPE,
    RENEW_SECONDS,
    SAS_SECONDS,
    AzureCredential,
    ConnectionString,
    SasAuth,
    TokenAuth,
    credential,
)
from clients.connections import Connections
from clients.dps import DpsClient
from clients.errors import NoCredential, NotSendable
from clients.pacing import UnpacedShare
from local.dps import sas
from local.dps.service import ProvisioningService
from local.issuer import DPS, Identity, Issuer, TokenService
from local.serve import serve
from local.tls import ServerCertificate
from local.world import ManualClock, World
from provisioning.keys import SymmetricKey
from tests.clients.stage import leaks, no_jitter
from tests.local.dps.rig import POLICY_KEY

HOST = "mine.azure-devices-provisioning.net"
KEY = SymmetricKey.parse(POLICY_KEY)
GOOD = f"HostName={HOST};SharedAccessKeyName=owner;SharedAccessKey={POLICY_KEY}"


class WanderingClock(ManualClock):
    """Its date can be set, as an operator or a time server does; its seconds go on."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


# Shared access signatures


async def test_a_signature_is_the_documented_one() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    header = await SasAuth(f"{HOST.upper()}:8443", "owner", KEY, clock).header()
    expiry = int(clock.now().timestamp()) + SAS_SECONDS
    assert header.startswith(f"SharedAccessSignature sr={HOST}&sig=")
    assert header.endswith(f"&se={expiry}&skn=owner")
    assert sas.parse(header).signed_with(POLICY_KEY)


@given(st.lists(st.floats(-4 * 3600, 4 * 3600), max_size=6), st.floats(-1700, 1700))
async def test_a_signature_in_use_is_valid_at_the_service_whatever_our_clock_did(
    jumps: list[float], skew: float
) -> None:
    """The service's clock differs from ours as it is now by up to half an hour less a little."""
    clock = WanderingClock()
    auth = SasAuth(HOST, "owner", KEY, clock)
    for jump in jumps:
        clock.ahead += timedelta(seconds=jump)
        token = sas.parse(await auth.header())
        assert not token.expired(clock.now() + timedelta(seconds=skew))


async def test_a_signature_is_kept_and_renewed_before_it_expires() -> None:
    clock = ManualClock()
    auth = SasAuth(HOST, "owner", KEY, clock)
    first = await auth.header()
    await clock.advance(SAS_SECONDS / 2 - 1)
    assert await auth.header() == first
    await clock.advance(1)
    second = await auth.header()
    assert second != first
    await clock.advance(1)
    assert await auth.header(fresh=True) != second


# Connection strings


def test_connection_strings_are_read_in_any_order_and_case() -> None:
    read = ConnectionString.parse(
        f" sharedaccesskey={POLICY_KEY};HOSTNAME={HOST};SharedAccessKeyName=owner; "
    )
    assert (read.host, read.policy) == (HOST, "owner")
    assert read.key.reveal() == POLICY_KEY
    assert leaks_nothing(read, read.auth(ManualClock()))


def leaks_nothing(*things: Any) -> bool:
    return all(POLICY_KEY not in text for thing in things for text in (str(thing), repr(thing), f"{thing}"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "lacks HostName and SharedAccessKeyName and SharedAccessKey"),
        (f"HostName={HOST};SharedAccessKey={POLICY_KEY}", "lacks SharedAccessKeyName"),
        (f"HostName={HOST};DeviceId=d;SharedAccessKey={POLICY_KEY}", "that of a device"),
        (GOOD.replace(HOST, f"https://{HOST}/"), "no host name"),
        (GOOD[:-5], "cut or mistyped"),
        (f"{GOOD};SharedAccessKey={POLICY_KEY}", "one twice"),
        (f"{GOOD};{POLICY_KEY.strip('=')}", "no NAME=VALUE"),
        (POLICY_KEY.strip("="), "no NAME=VALUE"),
    ],
)
def test_a_bad_connection_string_is_told_without_repeating_it(text: str, complaint: str) -> None:
    with pytest.raises(NotSendable, match=complaint) as caught:
        ConnectionString.parse(text)
    assert POLICY_KEY.strip("=")[:20] not in "".join(map(repr, (caught.value, caught.value.__cause__)))


@given(st.text())
def test_no_text_is_more_than_refused(text: str) -> None:
    with contextlib.suppress(NotSendable):
        ConnectionString.parse(text)


# Entra tokens


class Credential:
    """Gives tokens that live for so long, or fails; counts."""

    def __init__(self, clock: ManualClock, lifetime: float = 3600) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.failure: Exception | None = None
        self.silent = False
        self._clock = clock
        self._lifetime = lifetime

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked.append(scopes)
        await asyncio.sleep(0.001)
        if self.silent:
            await asyncio.Event().wait()
        if self.failure:
            raise self.failure
        expires = int(self._clock.now().timestamp() + self._lifetime)
        return AccessToken(f"token-{len(self.asked)}", expires)


async def test_a_token_is_kept_and_renewed_before_it_expires() -> None:
    clock = ManualClock()
    given_out = Credential(clock)
    auth = TokenAuth(given_out, DPS_SCOPE, clock)
    assert await auth.header() == "Bearer token-1"
    await clock.advance(3600 - RENEW_SECONDS - 1)
    assert await auth.header() == "Bearer token-1"
    await clock.advance(1)
    assert await auth.header() == "Bearer token-2"
    assert await auth.header(fresh=True) == "Bearer token-3"
    assert given_out.asked == [(DPS_SCOPE,)] * 3


async def test_a_short_lived_token_is_not_asked_for_at_each_call() -> None:
    clock = ManualClock()
    auth = TokenAuth(Credential(clock, lifetime=120), HUB_SCOPE, clock)
    assert {await auth.header() for _ in range(5)} == {"Bearer token-1"}
    await clock.advance(61)
    assert await auth.header() == "Bearer token-2"


async def test_all_who_wait_share_one_question() -> None:
    clock = ManualClock()
    given_out = Credential(clock)
    auth = TokenAuth(given_out, DPS_SCOPE, clock)
    assert set(await asyncio.gather(*(auth.header() for _ in range(20)))) == {"Bearer token-1"}
    assert len(given_out.asked) == 1


async def test_who_gives_up_does_not_take_the_others_token_with_it() -> None:
    clock = ManualClock()
    auth = TokenAuth(Credential(clock), DPS_SCOPE, clock)
    first, second = (asyncio.create_task(auth.header()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "Bearer token-1"


async def test_the_old_token_serves_while_a_renewal_fails() -> None:
    clock = ManualClock()
    given_out = Credential(clock)
    auth = TokenAuth(given_out, DPS_SCOPE, clock)
    await auth.header()
    given_out.failure = RuntimeError("the identity endpoint is down")
    await clock.advance(3600 - RENEW_SECONDS)
    assert await auth.header() == "Bearer token-1"
    await clock.advance(RENEW_SECONDS)
    with pytest.raises(NoCredential, match="identity endpoint is down"):
        await auth.header()
    given_out.failure = None
    assert await auth.header() == "Bearer token-4"


async def test_a_failure_says_what_to_do_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    given_out = Credential(clock)
    given_out.failure = CredentialUnavailableError(message=f"secret={POLICY_KEY} refused\n\x1b[31m")
    with pytest.raises(NoCredential, match="az login") as caught:
        await TokenAuth(given_out, DPS_SCOPE, clock).header()
    assert leaks([POLICY_KEY], caplog, caught.value.__cause__, str(caught.value)) == []
    assert str(caught.value).isprintable()


async def test_a_silent_credential_is_given_up() -> None:
    clock = ManualClock()
    given_out = Credential(clock)
    given_out.silent = True
    with pytest.raises(NoCredential, match=r"within 0\.01 s"):
        await TokenAuth(given_out, DPS_SCOPE, clock, seconds=0.01).header()


async def test_an_expired_token_is_none() -> None:
    clock = ManualClock()
    with pytest.raises(NoCredential, match="clock"):
        await TokenAuth(Credential(clock, lifetime=-1), DPS_SCOPE, clock).header()


# azure-identity over our own connections

USER = Identity("33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444")


@pytest_asyncio.fixture
async def issuer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Issuer]:
    world = World()
    made = Issuer(world.clock, identities=[USER])
    service = TokenService(made, world)
    async with serve(service, None) as address:
        for name, value in service.environment(address.url).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.mark.parametrize("client_id", [None, USER.client_id])
async def test_the_apps_identity_opens_dps_over_tls(
    issuer: Issuer, certificate: ServerCertificate, client_id: str | None
) -> None:
    world = World()
    dps = ProvisioningService(world=world, tokens=issuer)
    connections = Connections(ca_file=certificate.ca_pem)
    async with serve(dps.asgi, certificate) as address, credential(connections, client_id) as identity:
        client = DpsClient(
            address.host,
            auth=TokenAuth(identity, DPS_SCOPE, world.clock),
            connections=connections,
            share=UnpacedShare(),
            clock=world.clock,
            jitter=no_jitter,
        )
        assert await client.groups.get("nobody") is None
        token = await identity.get_token_info(DPS_SCOPE)
        issuer.accept(token.token, DPS)
    await connections.close()
    await dps.aclose()


async def test_an_identity_that_the_app_does_not_have_is_told(issuer: Issuer) -> None:
    connections = Connections()
    async with AzureCredential(connections, "55555555-5555-4555-8555-555555555555") as identity:
        with pytest.raises(NoCredential, match=r"No managed identity found.*client id"):
            await TokenAuth(identity, DPS_SCOPE, World().clock).header()
    await connections.close()


async def test_without_an_identity_endpoint_the_default_chain_is_asked_and_no_virtual_machines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))  # no `az` that somebody has logged in with
    monkeypatch.setenv("HOME", str(tmp_path))
    seen: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(404)

    connections = Connections(transport=httpx.MockTransport(answer))
    async with AzureCredential(connections, environment={}) as identity:
        with pytest.raises(NoCredential, match="az login"):
            await TokenAuth(identity, DPS_SCOPE, World().clock).header()
    await connections.close()
    assert [url for url in seen if url.host == "169.254.169.254"] == []


def test_nothing_heavy_is_imported_before_a_token_is_asked_for() -> None:
    script = """
import sys
from clients.auth import credential
from clients.connections import Connections
from clients.dps import DpsClient
credential(Connections())
print([name for name in ("httpx", "azure.identity", "azure.core", "cryptography") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
