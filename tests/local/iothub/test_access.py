"""Who gets in, and where."""

from collections.abc import Collection

import pytest

from local.issuer import HUBS, Refusal, TokenRefused
from tests.local.iothub.rig import HOST, KEY, OTHER_KEY, PRIMARY, Rig, code

OK, NO = 200, 401


@pytest.mark.parametrize(
    ("policy", "read", "write", "twin", "service"),
    [
        ("iothubowner", OK, OK, OK, OK),
        ("registryReadWrite", OK, OK, NO, OK),
        ("registryRead", OK, NO, NO, OK),
        ("service", NO, NO, OK, OK),
        ("device", NO, NO, NO, NO),
    ],
)
async def test_each_policy_opens_what_its_permissions_open(
    rig: Rig, policy: str, read: int, write: int, twin: int, service: int
) -> None:
    rig.make("d")
    token = rig.token(policy)

    async def status(method: str, path: str, body: object = None) -> int:
        answer = await rig.call(method, path, body, authorization=token, if_match="*")
        if answer.status_code == NO:
            assert code(answer) == (401, "IotHubUnauthorizedAccess")
        return answer.status_code

    for path in ("/devices/d", "/devices", "/statistics/devices"):
        assert await status("GET", path) == read
    assert await status("POST", "/devices/query", {"query": "SELECT * FROM devices"}) == read
    assert await status("PUT", "/devices/d", {}) == write
    assert await status("POST", "/devices", []) == write
    assert await status("GET", "/twins/d") == twin
    assert await status("PATCH", "/twins/d", {}) == twin
    assert await status("GET", "/statistics/service") == service


@pytest.mark.parametrize(
    "resource",
    [
        HOST,
        HOST.upper(),
        f"https://{HOST}/",
        "localhost:8444",
        "127.0.0.1",
        f"{HOST}/devices",
        f"{HOST}/devices/d",
    ],
)
async def test_a_signature_for_the_hub_or_a_part_of_it_is_good(rig: Rig, resource: str) -> None:
    rig.make("d")
    for key in (KEY, OTHER_KEY):
        token = rig.token(key=key, resource=resource)
        assert (await rig.call("GET", "/devices/d", authorization=token)).status_code == 200


async def test_a_signature_for_something_else_is_refused(rig: Rig) -> None:
    rig.make("d")
    tokens = [
        rig.token(resource="hub-b.azure-devices.net"),
        rig.token(resource=f"{HOST}/devices/e"),
        rig.token(resource=f"{HOST}/devices/d/more"),
        rig.token("nobody"),
        rig.token(key=PRIMARY),
        rig.token(seconds=-1),
        "SharedAccessSignature sr=x",
        "Basic abc",
        "Bearer abc",
        "",
    ]
    for token in tokens:
        refused = await rig.call("GET", "/devices/d", authorization=token)
        assert code(refused) == (401, "IotHubUnauthorizedAccess")
    anonymous = await rig.http.get("/devices/d?api-version=2021-04-12")
    assert code(anonymous) == (401, "IotHubUnauthorizedAccess")


async def test_a_token_that_was_good_expires(rig: Rig) -> None:
    rig.make("d")
    token = rig.token(seconds=60)
    assert (await rig.call("GET", "/devices/d", authorization=token)).status_code == 200
    await rig.clock.advance(60)
    assert (await rig.call("GET", "/devices/d", authorization=token)).status_code == 401


async def test_a_token_remembered_at_one_path_does_not_open_another(rig: Rig) -> None:
    rig.make("d", "e")
    token = rig.token(resource=f"{HOST}/devices/d")
    assert (await rig.call("GET", "/devices/d", authorization=token)).status_code == 200
    assert (await rig.call("GET", "/devices/e", authorization=token)).status_code == 401


class Judge:
    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def accept(self, token: str, audiences: Collection[str]) -> None:
        self.asked.append((token, tuple(audiences)))
        if token != "good":
            raise TokenRefused(Refusal.SIGNATURE)


async def test_bearer_tokens_are_judged_for_the_hubs_audience() -> None:
    judge = Judge()
    async with Rig(tokens=judge) as rig:
        rig.make("d")
        for word in ("Bearer", "bearer"):
            good = await rig.call("GET", "/twins/d", authorization=f"{word} good")
            assert good.status_code == 200
        bad = await rig.call("GET", "/twins/d", authorization="Bearer bad")
        assert code(bad) == (401, "IotHubUnauthorizedAccess")
    assert judge.asked[0] == ("good", HUBS)


@pytest.mark.parametrize("version", ["2020-09-30", "2021-04-12", "2024-03-31"])
async def test_versions_that_clients_send_are_good(rig: Rig, version: str) -> None:
    assert (await rig.call("GET", f"/devices?api-version={version}")).status_code == 200


@pytest.mark.parametrize("query", ["?api-version=1999-01-01", "?api-version=", "?x=api-version"])
async def test_another_version_or_none_is_refused(rig: Rig, query: str) -> None:
    assert code(await rig.call("GET", f"/devices{query}")) == (400, "InvalidProtocolVersion")


async def test_unknown_paths_and_methods_are_refused_in_the_hubs_words(rig: Rig) -> None:
    for path in ("/", "/device", "/twins", "/devices/d/modules", "/statistics/other", "/twins/d/methods"):
        assert code(await rig.call("GET", path)) == (404, "GenericNotFound")
    refused = await rig.call("POST", "/twins/d")
    assert code(refused) == (405, "GenericMethodNotAllowed")
    assert refused.headers["allow"] == "GET, PATCH, PUT"


async def test_a_slash_at_the_end_and_the_case_of_fixed_words_do_not_count(rig: Rig) -> None:
    rig.make("d")
    assert (await rig.call("GET", "/Devices/d/")).status_code == 200
    assert (await rig.call("POST", "/devices/Query", {"query": "SELECT * FROM devices"})).status_code == 200


def test_keys_are_not_in_a_repr(rig: Rig) -> None:
    assert KEY not in repr((rig.service.policies, rig.hub))
    assert rig.service.connection_string("localhost:1", "service") == (
        f"HostName=localhost:1;SharedAccessKeyName=service;SharedAccessKey={KEY}"
    )
