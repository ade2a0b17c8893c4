"""The vault client over TLS: against the emulated vault, with azure-keyvault-secrets on the other side."""

import asyncio
import copy
import gc
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.keyvault.secrets import SecretClient

from clients.connections import Connections
from clients.errors import (
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    NotFound,
    NotSendable,
    OutcomeUnknown,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnexpectedReply,
)
from clients.outcomes import Deleted, Gone
from clients.vault import Absent, Secret, SecretValue, SecretVersion, VaultClient
from local.faults import Faults, shapes
from local.faults.rules import Fault, Rule
from local.issuer import ARM, VAULT, Issuer
from local.serve import serve
from local.tls import CertificateAuthority, ServerCertificate
from local.vault import KeyVault, VaultBehaviour
from local.world import World
from provisioning.keys import SymmetricKey
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
from tests.local.vault.rig import QUICK

__all__ = ["everything_logged"]

T = TypeVar("T")
CANARY = "c4n4ry-v4lue-Zm9vYmFyYmF6"
VALUE = SecretValue(CANARY)
ENDS = datetime(2040, 1, 1, tzinfo=UTC)


@dataclass
class Vault:
    client: VaultClient
    vault: KeyVault
    faults: Faults
    share: CountingShare
    url: str
    token: str
    ca: ServerCertificate
    connect: Callable[..., VaultClient]

    def versions(self, name: str = "line-a") -> list[str]:
        return [each.value for each in self.vault.peek(name)]

    async def with_peer(self, work: Callable[[SecretClient], T]) -> T:
        """Microsoft's blocking client, beside the server's event loop."""
        token = self.token

        class Credential:
            def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
                return AccessToken(token, 4_000_000_000)

        def run() -> T:
            with SecretClient(
                self.url,
                Credential(),
                verify_challenge_resource=False,
                connection_verify=str(self.ca.ca_pem),
            ) as peer:
                return work(peer)

        try:
            return await asyncio.wait_for(asyncio.to_thread(run), 60)
        finally:
            gc.collect()  # azure-core leaves answers with a challenge unread


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@asynccontextmanager
async def vault_of(certificate: ServerCertificate, behaviour: VaultBehaviour = QUICK) -> AsyncIterator[Vault]:
    world = World(seed=7)
    faults, issuer, share = Faults(world), Issuer(world.clock), CountingShare()
    emulated = KeyVault(issuer, world, behaviour=behaviour)
    connections = Connections(ca_file=certificate.ca_pem)
    async with (
        serve(faults.around("vault", emulated, shapes.vault), certificate) as address,
        aclosing(emulated),
        closing(connections),
    ):
        token = issuer.token(VAULT[0])

        def connect(token: str = token, share: CountingShare = share) -> VaultClient:
            return VaultClient(
                address.url,
                auth=Handed(f"Bearer {token}"),
                connections=connections,
                share=share,
                clock=QuickClock(),
                jitter=no_jitter,
            )

        yield Vault(connect(), emulated, faults, share, address.url, token, certificate, connect)


@pytest.fixture
async def vault(certificate: ServerCertificate) -> AsyncIterator[Vault]:
    async with vault_of(certificate) as made:
        yield made


def answering(*answers: httpx.Response) -> tuple[VaultClient, list[httpx.Request]]:
    """A client of a vault that gives these answers, and what it was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    client = VaultClient(
        "https://kv.vault.azure.net",
        auth=Handed("Bearer x"),
        connections=Connections(transport=httpx.MockTransport(answer)),
        share=CountingShare(),
        clock=QuickClock(),
        jitter=no_jitter,
    )
    return client, asked


def bundle(**changes: Any) -> dict[str, Any]:
    return {
        "id": f"https://kv.vault.azure.net/secrets/line-a/{'1' * 32}",
        "attributes": {"enabled": True, "created": 1, "updated": 1},
        "value": CANARY,
        **changes,
    }


# --- both ways with azure-keyvault-secrets


async def test_secret_set_here_is_read_by_the_peer(vault: Vault) -> None:
    made = await vault.client.set(
        "line-a", VALUE, tags={"RotationId": "r1"}, expires=ENDS, content_type="text/plain"
    )
    seen = await vault.with_peer(lambda peer: peer.get_secret("line-a"))
    assert (seen.value, seen.properties.version) == (CANARY, made.version)
    assert (seen.properties.tags, seen.properties.expires_on) == ({"RotationId": "r1"}, ENDS)
    assert (seen.properties.content_type, seen.properties.enabled) == ("text/plain", True)
    assert (made.name, made.expires, made.tags, made.enabled) == ("line-a", ENDS, {"RotationId": "r1"}, True)


async def test_versions_set_by_the_peer_are_read_here(vault: Vault) -> None:
    def write(peer: SecretClient) -> list[str | None]:
        first = peer.set_secret("line-a", "one", tags={"n": "1"})
        second = peer.set_secret("line-a", "two", expires_on=ENDS)
        return [first.properties.version, second.properties.version]

    first, second = await vault.with_peer(write)
    newest, older = await vault.client.get("line-a"), await vault.client.get("LINE-A", first)
    assert isinstance(newest, Secret)
    assert isinstance(older, Secret)
    assert (newest.value.reveal(), newest.about.version, newest.about.expires) == ("two", second, ENDS)
    assert (older.value.reveal(), older.about.tags) == ("one", {"n": "1"})
    assert {each.version async for each in vault.client.versions("line-a")} == {first, second}


async def test_what_is_changed_here_the_peer_sees_changed_and_the_rest_as_it_was(vault: Vault) -> None:
    made = await vault.client.set("line-a", VALUE, tags={"a": "b"}, expires=ENDS)
    changed = await vault.client.update("line-a", made.version, tags={"c": "d"})
    off = await vault.client.disable("line-a", made.version)
    assert isinstance(changed, SecretVersion)
    assert isinstance(off, SecretVersion)
    assert (off.enabled, off.tags, off.expires) == (False, {"c": "d"}, ENDS)
    properties = await vault.with_peer(lambda peer: list(peer.list_properties_of_secret_versions("line-a")))
    assert [(each.enabled, each.tags, each.expires_on) for each in properties] == [(False, {"c": "d"}, ENDS)]
    assert await vault.client.get("line-a") is Absent.DISABLED
    assert await vault.client.update("line-a", "f" * 32, enabled=True) == Gone()


async def test_deleted_secret_comes_back_with_all_its_versions(vault: Vault) -> None:
    await vault.client.set("line-a", SecretValue("one"))
    newest = await vault.client.set("line-a", VALUE)
    assert await vault.client.delete("line-a") == Deleted()
    assert await vault.client.delete("line-a") == Gone()
    assert await vault.client.get("line-a") is Absent.MISSING
    assert await vault.client.find_version("line-a", "a", "b") is None
    with pytest.raises(Conflict, match="recover it") as refused:
        await vault.client.set("line-a", VALUE)
    assert refused.value.code == "ObjectIsDeletedButRecoverable"
    recovered = await vault.client.recover("line-a")
    assert isinstance(recovered, SecretVersion)
    assert recovered.version == newest.version
    assert await vault.with_peer(lambda peer: peer.get_secret("line-a").value) == CANARY
    assert await vault.client.recover("line-b") == Gone()


# --- versions


@pytest.mark.parametrize("empty_pages", [False, True])
async def test_every_version_is_listed_whatever_the_pages(
    certificate: ServerCertificate, empty_pages: bool
) -> None:
    behaviour = VaultBehaviour(default_page_size=3, empty_pages=empty_pages)
    async with vault_of(certificate, behaviour) as vault:
        made = {vault.vault.put("line-a", f"v{number}", tags={"n": str(number)}) for number in range(8)}
        listed = [each.version async for each in vault.client.versions("line-a")]
        assert sorted(listed) == sorted(made)
        found = await vault.client.find_version("line-a", "n", "5")
        assert found is not None
        assert found.tags == {"n": "5"}
        assert await vault.client.find_version("line-a", "n", "9") is None
        assert await vault.client.find_version("line-a", "m", "5") is None


async def test_of_two_versions_with_one_tag_the_newest_is_found_disabled_or_not() -> None:
    def item(version: str, created: int, tag: str = "r1", *, enabled: bool = True) -> dict[str, Any]:
        return {
            "id": f"https://x/secrets/line-a/{version * 32}",
            "attributes": {"enabled": enabled, "created": created, "updated": created},
            "tags": {"RotationId": tag},
        }

    page = {"value": [item("a", 5), item("1", 9, enabled=False), item("0", 9), item("b", 99, "r2")]}
    client, _ = answering(httpx.Response(200, json=page))
    found = await client.find_version("line-a", "RotationId", "r1")
    assert found is not None
    assert (found.version, found.enabled) == ("1" * 32, False)


async def test_link_to_the_next_page_is_never_followed_elsewhere() -> None:
    link = "https://evil.example/steal?api-version=7.0&$skiptoken=abc%3D&x=y"
    client, asked = answering(
        httpx.Response(200, json={"value": [], "nextLink": link}),
        httpx.Response(200, json={"value": [], "nextLink": None}),
    )
    assert [each async for each in client.versions("line-a")] == []
    assert {(request.url.host, request.url.path) for request in asked} == {
        ("kv.vault.azure.net", "/secrets/line-a/versions")
    }
    assert dict(asked[1].url.params) == {"$skiptoken": "abc=", "api-version": "2025-07-01"}


@pytest.mark.parametrize("link", ["https://kv.vault.azure.net/x", "https://[", "https://a/?$skiptoken=t"])
async def test_listing_that_cannot_go_on_is_an_error_and_no_short_list(link: str) -> None:
    client, _ = answering(httpx.Response(200, json={"value": [], "nextLink": link}))
    with pytest.raises(UnexpectedReply):
        _ = [each async for each in client.versions("line-a")]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "https://kv.vault.azure.net/secrets/line-b/" + "1" * 32},
        {"id": "https://kv.vault.azure.net/secrets/line-a/"},
        {"id": None},
        {"attributes": {"enabled": True}},
        {"attributes": {"enabled": "yes", "created": 1, "updated": 1}},
        {"tags": {"a": 1}},
        {"value": None},
        {"value": [CANARY]},
    ],
)
async def test_answer_about_something_else_is_no_answer_and_shows_no_value(change: dict[str, Any]) -> None:
    client, _ = answering(httpx.Response(200, json=bundle(**change)))
    with pytest.raises(UnexpectedReply) as failed:
        await client.get("line-a")
    assert CANARY not in repr(failed.value)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>"),
        httpx.Response(404, json={"error": {"code": "NotFound", "message": "no such path"}}),
    ],
)
async def test_404_that_is_not_the_vaults_word_on_the_secret_is_no_evidence(answer: httpx.Response) -> None:
    client, _ = answering(answer)
    for call in (
        client.get("line-a"),
        client.delete("line-a"),
        client.recover("line-a"),
        client.update("line-a", "1" * 32, enabled=False),
    ):
        with pytest.raises(NotFound):
            await call


async def test_missing_right_is_no_disabled_secret() -> None:
    denied = {"error": {"code": "Forbidden", "message": "no", "innererror": {"code": "ForbiddenByRbac"}}}
    client, _ = answering(httpx.Response(403, json=denied))
    with pytest.raises(Forbidden) as refused:
        await client.get("line-a")
    assert refused.value.code == "ForbiddenByRbac"


# --- what is refused before any call


@pytest.mark.parametrize("name", ["", "a/b", "..", "a_b", "a b", "x" * 128, "ü", "a\n", "line-a/versions"])
async def test_name_no_vault_takes_is_not_sent(name: str) -> None:
    client, asked = answering(httpx.Response(200, json=bundle()))
    for call in (client.get(name), client.set(name, VALUE), client.delete(name), client.recover(name)):
        with pytest.raises(NotSendable, match="name") as refused:
            await call
        assert str(refused.value).isprintable()
    assert asked == []


@pytest.mark.parametrize("version", ["", "versions", "1" * 31, "../" + "1" * 29, "g" * 32])
async def test_version_that_is_none_is_not_sent(version: str) -> None:
    client, asked = answering(httpx.Response(200, json=bundle()))
    for call in (client.get("line-a", version), client.disable("line-a", version)):
        with pytest.raises(NotSendable, match="version"):
            await call
    assert asked == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tags": {str(number): "" for number in range(16)}}, "tags"),
        ({"tags": {"n": "x" * 257}}, "tag"),
        ({"tags": {"x" * 257: ""}}, "tag"),
        ({"expires": datetime(2030, 1, 1)}, "expires"),  # noqa: DTZ001 - it is what is refused
        ({"not_before": datetime(1960, 1, 1, tzinfo=UTC)}, "not_before"),
        ({"expires": ENDS, "not_before": ENDS + timedelta(seconds=1)}, "expires"),
        ({"content_type": "x" * 256}, "content_type"),
    ],
)
async def test_limit_is_named_and_nothing_is_sent(options: dict[str, Any], named: str) -> None:
    client, asked = answering(httpx.Response(200, json=bundle()))
    with pytest.raises(NotSendable, match=named):
        await client.set("line-a", VALUE, **options)
    with pytest.raises(NotSendable, match=named):
        await client.update("line-a", "1" * 32, **options)
    assert asked == []


@pytest.mark.parametrize("text", ["", CANARY * 1001, CANARY + "\ud800"])
async def test_value_no_vault_takes_is_not_sent_and_not_shown(text: str) -> None:
    client, asked = answering(httpx.Response(200, json=bundle()))
    with pytest.raises(NotSendable, match="value") as refused:
        await client.set("line-a", SecretValue(text))
    assert CANARY not in repr(refused.value)
    assert asked == []


# --- challenges


async def test_challenge_for_another_resource_is_told_and_not_followed() -> None:
    challenge = 'Bearer authorization="https://evil.example/t", resource="https://evil.example\x1b[31m"'
    answer = httpx.Response(401, headers=[("www-authenticate", challenge)], json={})
    client, asked = answering(answer)
    with pytest.raises(Unauthenticated, match=r"evil\.example") as refused:
        await client.get("line-a")
    assert str(refused.value).isprintable()
    assert {request.url.host for request in asked} == {"kv.vault.azure.net"}
    assert len(asked) == 2  # once more with a fresh token


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer authorization="https://login.windows.net/t", resource="https://vault.azure.net"',
        'Bearer authorization="https://x/t", scope="https://vault.azure.net/.default"',
        "PoP",
        "",
    ],
)
async def test_challenge_for_the_vaults_own_resource_means_the_identity(challenge: str) -> None:
    client, _ = answering(httpx.Response(401, headers={"www-authenticate": challenge}))
    with pytest.raises(Unauthenticated) as refused:
        await client.get("line-a")
    assert "only tokens" not in str(refused.value)


async def test_token_for_another_service_does_not_open_the_vault(vault: Vault) -> None:
    issuer_token = Issuer(World().clock).token(ARM[0])
    with pytest.raises(Unauthenticated):
        await vault.connect(issuer_token).get("line-a")


async def test_stopped_share_stops_between_two_calls(vault: Vault) -> None:
    client = vault.connect(share=CountingShare(1))
    assert await client.get("line-a") is Absent.MISSING
    with pytest.raises(StoppedError):
        await client.get("line-a")


# --- faults and leaks


@every_fault
async def test_set_under_a_fault_makes_one_version_at_most_and_a_re_read_tells(
    vault: Vault, fault: Fault, everything_logged: pytest.LogCaptureFixture
) -> None:
    outcome: Any
    with vault.faults.during(Rule(fault, method="PUT")):
        try:
            outcome = await vault.client.set("line-a", VALUE, tags={"RotationId": "r1"})
        except ClientError as error:
            outcome = error
    found = await vault.client.find_version("line-a", "RotationId", "r1")
    assert len(vault.versions()) == (0 if found is None else 1)
    if isinstance(outcome, SecretVersion):
        assert found == outcome
    else:
        assert isinstance(outcome, OutcomeUnknown)
        assert (found is not None) is fault.late
    assert leaks([CANARY, vault.token], everything_logged, outcome, found, vault.client) == []


@every_fault
async def test_read_outlives_one_fault_and_a_lasting_one_is_an_error_without_the_value(
    vault: Vault, fault: Fault, everything_logged: pytest.LogCaptureFixture
) -> None:
    vault.vault.put("line-a", CANARY)
    with vault.faults.during(Rule(fault)):
        read = await vault.client.get("line-a")
    assert isinstance(read, Secret)
    assert read.value.same_as(VALUE)
    with vault.faults.during(Rule(fault, count=None)), pytest.raises((Throttled, Unavailable)) as failed:
        await vault.client.get("line-a")
    assert leaks([CANARY, vault.token], everything_logged, read, failed.value) == []


async def test_vault_that_echoes_a_value_does_not_get_it_into_an_error(
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    echo = {"error": {"code": CANARY, "message": f"cannot take {CANARY}", "innererror": {"code": CANARY}}}
    client, _ = answering(httpx.Response(400, json=echo))
    with pytest.raises(BadRequest) as refused:
        await client.set("line-a", VALUE)
    assert leaks([CANARY], everything_logged, refused.value) == []


def test_value_is_masked_wherever_it_might_be_printed_and_cannot_be_copied_out() -> None:
    about = SecretVersion("a", "1" * 32, True, ENDS, ENDS, None, None, {}, None)
    secret = Secret(about, VALUE)
    for text in (repr(VALUE), str(VALUE), f"{VALUE}", f"{VALUE!r}", repr(secret), repr([secret])):
        assert CANARY not in text
    for copied in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError):
            copied(VALUE)
    with pytest.raises(TypeError):
        asdict(secret)


async def test_symmetric_key_is_kept_as_dps_writes_it_and_compares(vault: Vault) -> None:
    key = SymmetricKey(bytes(range(64)))
    await vault.client.set("line-a", key)
    read = await vault.client.get("line-a")
    assert isinstance(read, Secret)
    assert read.value.same_as(key)
    assert not read.value.same_as(SymmetricKey(bytes(64)))
    assert SymmetricKey.parse(read.value.reveal()).same_as(key)
