"""azure-identity, unmodified, gets its tokens from the issuer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential, CredentialUnavailableError, ManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential as AsyncManagedIdentityCredential

from clients.azure_transport import HttpxTransport
from clients.http import http_client
from local.issuer import DPS, VAULT, Identity, Issuer, TokenService
from local.serve import Address, serve
from local.tls import CertificateAuthority
from local.world import World

USER = Identity("33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444")
APP = Identity("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "hush-hush")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def issuer(world: World) -> Issuer:
    return Issuer(world.clock, identities=[USER, APP])


@pytest_asyncio.fixture
async def endpoint(issuer: Issuer, world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Address]:
    service = TokenService(issuer, world)
    async with serve(service, None) as address:  # Azure too serves it without TLS
        for name, value in service.environment(address.url).items():
            monkeypatch.setenv(name, value)
        yield address


async def test_the_functions_credential_gets_tokens(endpoint: Address, issuer: Issuer) -> None:
    with ManagedIdentityCredential() as credential:
        token = await asyncio.to_thread(credential.get_token, f"{DPS[0]}/.default")
    assert issuer.system is not None
    assert issuer.accept(token.token, DPS).client_id == issuer.system.client_id


async def test_the_functions_credential_of_a_user_assigned_identity_gets_tokens(
    endpoint: Address, issuer: Issuer
) -> None:
    with ManagedIdentityCredential(client_id=USER.client_id) as credential:
        token = await asyncio.to_thread(credential.get_token, f"{VAULT[0]}/.default")
    assert issuer.accept(token.token, VAULT).object_id == USER.object_id


async def test_the_async_credential_gets_tokens_over_the_apps_own_transport(
    endpoint: Address, issuer: Issuer
) -> None:
    async with http_client() as client:
        credential = AsyncManagedIdentityCredential(
            client_id=USER.client_id, transport=HttpxTransport(client)
        )
        async with credential:
            token = await credential.get_token_info(f"{VAULT[0]}/.default")
    assert issuer.accept(token.token, VAULT).object_id == USER.object_id


async def test_an_unknown_identity_is_told_so(endpoint: Address) -> None:
    with (
        ManagedIdentityCredential(client_id="55555555-5555-4555-8555-555555555555") as credential,
        pytest.raises(CredentialUnavailableError, match="No managed identity found"),
    ):
        await asyncio.to_thread(credential.get_token, f"{VAULT[0]}/.default")


async def test_an_application_gets_tokens_over_tls(tmp_path: Path, issuer: Issuer, world: World) -> None:
    certificate = CertificateAuthority(tmp_path / "ca").issue()
    async with serve(TokenService(issuer, world), certificate) as address:

        def credential(secret: str) -> ClientSecretCredential:
            return ClientSecretCredential(
                issuer.tenant,
                APP.client_id,
                secret,
                authority=address.url,
                disable_instance_discovery=True,
                connection_verify=str(certificate.ca_pem),
            )

        with credential("hush-hush") as good:
            token = await asyncio.to_thread(good.get_token, f"{VAULT[0]}/.default")
        issuer.accept(token.token, VAULT)
        with credential("wrong") as bad, pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
            await asyncio.to_thread(bad.get_token, f"{VAULT[0]}/.default")
