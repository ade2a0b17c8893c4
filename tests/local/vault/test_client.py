"""azure-keyvault-secrets, unmodified, over TLS."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

from local.issuer import ARM, Issuer, TokenService
from local.serve import serve
from local.tls import CertificateAuthority
from local.vault import KeyVault
from local.world import World
from tests.local.vault.rig import QUICK


class Handed:
    """A credential that hands out what it was given."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        return AccessToken(self._token, 4_000_000_000)


@pytest_asyncio.fixture
async def world() -> World:
    return World()


@pytest_asyncio.fixture
async def issuer(world: World) -> Issuer:
    return Issuer(world.clock)


@pytest_asyncio.fixture
async def connect(
    world: World, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., SecretClient]]:
    certificate = CertificateAuthority(tmp_path / "ca").issue()
    tokens, vault = TokenService(issuer, world), KeyVault(issuer, world, behaviour=QUICK)
    async with serve(tokens, None) as identity, serve(vault, certificate) as address:
        for name, value in tokens.environment(identity.url).items():
            monkeypatch.setenv(name, value)

        managed = ManagedIdentityCredential()

        def client(credential: object = None, **options: object) -> SecretClient:
            return SecretClient(
                address.url,
                credential or managed,  # type: ignore[arg-type]  # Handed is one too
                verify_challenge_resource=False,
                connection_verify=str(certificate.ca_pem),
                retry_total=0,
                **options,
            )

        yield client
        managed.close()
        gc.collect()  # azure-core leaves answers with a challenge unread, and errors hold on to them
    await vault.aclose()


def all_operations(client: SecretClient) -> None:
    ends = datetime(2040, 1, 1, tzinfo=UTC)
    made = client.set_secret("s1", "one", tags={"a": "b"}, content_type="text/plain", expires_on=ends)
    assert (made.value, made.name, made.properties.expires_on) == ("one", "s1", ends)
    second = client.set_secret("s1", "two", not_before=ends - timedelta(days=1), enabled=True)
    assert client.get_secret("s1").value == "two"
    assert client.get_secret("s1", made.properties.version).value == "one"
    listed = list(client.list_properties_of_secret_versions("s1", max_page_size=1))
    assert {each.version for each in listed} == {made.properties.version, second.properties.version}

    updated = client.update_secret_properties("s1", tags={"x": "y"}, expires_on=ends)
    assert (updated.version, updated.tags) == (second.properties.version, {"x": "y"})
    client.update_secret_properties("s1", made.properties.version, enabled=False)
    with pytest.raises(HttpResponseError) as disabled:
        client.get_secret("s1", made.properties.version)
    assert disabled.value.status_code == 403
    assert disabled.value.error is not None
    assert disabled.value.error.innererror == {"code": "SecretDisabled"}

    for n in range(30):
        client.set_secret(f"many-{n:02}", "x")
    names = [each.name for each in client.list_properties_of_secrets()]
    assert names == sorted([*(f"many-{n:02}" for n in range(30)), "s1"])
    pages = client.list_properties_of_secrets(max_page_size=10).by_page()
    assert [len(list(page)) for page in pages] == [10, 10, 10, 1]

    with pytest.raises(ResourceNotFoundError, match="was not found in this key vault"):
        client.get_secret("missing")
    with pytest.raises(HttpResponseError, match="invalid name"):
        client.set_secret("bad_name", "x")


def delete_and_recover(client: SecretClient) -> None:
    client.set_secret("s1", "one")
    gone = client.begin_delete_secret("s1", _polling_interval=0.01)
    gone.wait()
    assert gone.result().scheduled_purge_date is not None
    assert client.get_deleted_secret("s1").recovery_id is not None
    assert [each.name for each in client.list_deleted_secrets()] == ["s1"]
    with pytest.raises(ResourceExistsError) as taken:
        client.set_secret("s1", "two")
    assert taken.value.error is not None
    assert taken.value.error.innererror == {"code": "ObjectIsDeletedButRecoverable"}
    client.begin_recover_deleted_secret("s1", _polling_interval=0.01).wait()
    assert client.get_secret("s1").value == "one"
    client.begin_delete_secret("s1", _polling_interval=0.01).wait()
    client.purge_deleted_secret("s1")
    with pytest.raises(ResourceNotFoundError, match="Deleted Secret not found"):
        client.get_deleted_secret("s1")
    assert client.set_secret("s1", "new").value == "new"


@pytest.mark.parametrize("version", [None, "7.4", "7.5", "7.6", "2025-07-01"])
async def test_the_real_client_does_all_it_can(
    connect: Callable[..., SecretClient], version: str | None
) -> None:
    options = {"api_version": version} if version else {}
    with connect(**options) as client:
        await asyncio.to_thread(all_operations, client)


async def test_the_real_client_deletes_recovers_and_purges(connect: Callable[..., SecretClient]) -> None:
    with connect() as client:
        await asyncio.to_thread(delete_and_recover, client)


async def test_the_real_client_is_challenged_before_it_sends_a_value(
    connect: Callable[..., SecretClient], world: World
) -> None:
    with connect() as client:
        await asyncio.to_thread(client.set_secret, "s1", "v")
    challenged, done = world.journal.of("kv-local")
    assert (challenged.status, challenged.request) == (401, None)
    assert (done.status, done.request["value"]) == (200, "****")


async def test_the_real_client_with_a_token_for_another_service_is_refused(
    connect: Callable[..., SecretClient], issuer: Issuer
) -> None:
    with (
        connect(Handed(issuer.token(ARM[0]))) as client,
        pytest.raises(ClientAuthenticationError, match="AKV10022: Invalid audience"),
    ):
        await asyncio.to_thread(client.get_secret, "s1")
