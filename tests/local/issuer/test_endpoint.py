"""The endpoints hand out tokens as the documented ones do, and nothing they hand out is journaled."""

import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.issuer import ARM, DPS, VAULT, Identity, Issuer, TokenService
from local.world import ManualClock, World
from tests.local.issuer.raw import call

APP = Identity("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "hush-hush")
USER = Identity("33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444")


class Rig:
    def __init__(self) -> None:
        self.world = World(ManualClock(), seed=1)
        self.issuer = Issuer(self.world.clock, identities=[APP, USER])
        self.service = TokenService(self.issuer, self.world, header="let-me-in")
        transport = httpx.ASGITransport(self.service)
        self.http = httpx.AsyncClient(transport=transport, base_url="https://localhost")

    async def ask(self, header: str | None = "let-me-in", **query: str) -> httpx.Response:
        query = {"api-version": "2019-08-01", "resource": VAULT[0], **query}
        headers = {"X-IDENTITY-HEADER": header} if header else {}
        return await self.http.get("/msi/token", params=query, headers=headers)

    async def grant(self, tenant: str | None = None, **form: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "client_id": APP.client_id,
            "client_secret": "hush-hush",
            "scope": f"{DPS[0]}/.default",
            **form,
        }
        return await self.http.post(f"/{tenant or self.issuer.tenant}/oauth2/v2.0/token", data=form)


@contextlib.asynccontextmanager
async def made() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.http.aclose()


async def test_the_identity_endpoint_answers_as_documented() -> None:
    async with made() as rig:
        answer = await rig.ask()
        body = answer.json()
        expires = int(rig.world.clock.now().timestamp()) + 86_399
        assert answer.status_code == 200
        assert (body["token_type"], body["resource"]) == ("Bearer", VAULT[0])
        assert body["expires_on"] == str(expires)
        rig.issuer.accept(body["access_token"], VAULT)


async def test_a_user_assigned_identity_is_named_by_its_client_id() -> None:
    async with made() as rig:
        body = (await rig.ask(client_id=USER.client_id.upper())).json()
        assert body["client_id"] == USER.client_id


@pytest.mark.parametrize(
    ("query", "header", "status"),
    [
        ({}, None, 403),
        ({}, "wrong", 403),
        ({}, "\xff", 403),
        ({"api-version": "2017-09-01"}, "let-me-in", 400),
        ({"resource": "https://graph.microsoft.com"}, "let-me-in", 400),
        ({"resource": ""}, "let-me-in", 400),
        ({"client_id": "unknown"}, "let-me-in", 400),
        ({"client_id": APP.client_id}, "let-me-in", 400),  # an application is no managed identity
        ({"mi_res_id": "/subscriptions/x"}, "let-me-in", 400),
    ],
)
async def test_the_identity_endpoint_refuses(query: dict[str, str], header: str | None, status: int) -> None:
    async with made() as rig:
        headers = {b"X-IDENTITY-HEADER": header.encode("latin-1")} if header else {}
        asked = {"api-version": "2019-08-01", "resource": VAULT[0], **query}
        answer = await rig.http.get("/msi/token", params=asked, headers=headers)
        assert answer.status_code == status
        assert answer.json()["statusCode"] == status


async def test_the_authority_grants_an_application_its_token() -> None:
    async with made() as rig:
        body = (await rig.grant()).json()
        rig.issuer.accept(body["access_token"], DPS)
        assert (body["token_type"], body["expires_in"]) == ("Bearer", 86_399)


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 400, "unauthorized_client"),
        ({"client_id": USER.client_id}, 400, "unauthorized_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": DPS[0]}, 400, "invalid_scope"),
        ({"scope": "https://elsewhere/.default"}, 400, "invalid_resource"),
        ({"tenant": "other"}, 400, "invalid_request"),
    ],
)
async def test_the_authority_refuses(form: dict[str, str], status: int, error: str) -> None:
    async with made() as rig:
        answer = await rig.grant(**form)
        assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_neither_tokens_nor_secrets_are_journaled() -> None:
    async with made() as rig:
        tokens = [(await rig.ask()).json()["access_token"], (await rig.grant()).json()["access_token"]]
        await rig.grant(client_secret="another-secret")
        told = repr(list(rig.world.journal))
        assert "client_credentials" in told
        assert all(text not in told for text in (*tokens, "hush-hush", "another-secret", "let-me-in"))


WORLD = World(ManualClock(), seed=1)
SERVICE = TokenService(Issuer(WORLD.clock, identities=[APP]), WORLD, header="let-me-in")


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.one_of(st.just("/msi/token"), st.just("/t/oauth2/v2.0/token"), st.text(max_size=30)),
    query=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    body=st.binary(max_size=60),
)
@settings(max_examples=200, deadline=None)
async def test_no_request_is_a_500(method: str, path: str, query: dict[str, str], body: bytes) -> None:
    status, answer = await call(SERVICE, method, path, query, [(b"x-identity-header", b"let-me-in")], body)
    assert 400 <= status < 500
    json.loads(answer)


async def test_every_audience_of_the_emulators_has_tokens() -> None:
    async with made() as rig:
        for resource in (*DPS, *VAULT, *ARM):
            assert (await rig.ask(resource=resource)).status_code == 200
