"""Who gets in, and where."""

from collections.abc import Collection

import pytest

from local.issuer import HUBS, Granted, Identity, Issuer, Refusal, Role, TokenRefused
from local.issuer.roles import HUB_DATA_READER, HUB_REGISTRY_CONTRIBUTOR, IOT_HUBS
from local.world import ManualClock
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

    def accept(self, token: str, audiences: Collection[str]) -> Granted:
        self.asked.append((token, tuple(audiences)))
        if token != "good":
            raise TokenRefused(Refusal.SIGNATURE)
        return Granted("object", "client", "tenant", data_actions=("*",))


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


NEEDS = {
    ("GET", "/devices"): {"devices/read"},
    ("GET", "/devices/d"): {"devices/read"},
    ("PUT", "/devices/new"): {"devices/write"},
    ("DELETE", "/devices/d"): {"devices/delete"},
    ("POST", "/devices"): {"devices/write", "devices/delete"},
    ("POST", "/devices/query"): {"devices/read", "twins/read"},
    ("GET", "/twins/d"): {"twins/read"},
    ("PATCH", "/twins/d"): {"twins/write"},
    ("PUT", "/twins/d"): {"twins/write"},
    ("GET", "/statistics/devices"): {"statistics/read"},
    ("GET", "/statistics/service"): {"statistics/read"},
}
BODIES = {
    "/devices": [{"id": "d", "importMode": "update"}],
    "/devices/query": {"query": "SELECT * FROM devices"},
}
EVERY = set().union(*NEEDS.values())
ISSUER = Issuer(ManualClock(), lifetime=10**9)


@pytest.mark.parametrize("call", NEEDS, ids=" ".join)
async def test_each_call_needs_the_roles_for_it_and_no_other(call: tuple[str, str]) -> None:
    method, path = call

    async def answered(*actions: str) -> tuple[int, str]:
        roles = [Role(each, data_actions=(f"{IOT_HUBS}/{each}",)) for each in actions]
        token = ISSUER.token(HUBS[0], Identity("client", "object"), roles=roles)
        async with Rig(tokens=ISSUER) as rig:
            rig.make("d")
            body = BODIES.get(path, {"deviceId": path.rpartition("/")[2]}) if method != "GET" else None
            answer = await rig.call(method, path, body, authorization=f"Bearer {token}", if_match="*")
            return answer.status_code, answer.text

    assert (await answered(*NEEDS[call]))[0] != 401
    for missing in NEEDS[call]:
        status, text = await answered(*(EVERY - {missing}))
        assert status == 401
        assert "ErrorCode:IotHubUnauthorized;Principal object is not authorized for" in text
        assert f"{method} on {path} due to no assigned permissions" in text


async def test_a_reader_reads_and_a_registry_contributor_sees_no_twins() -> None:
    async with Rig(tokens=ISSUER) as rig:
        rig.make("d")

        async def status(role: Role, method: str, path: str) -> int:
            bearer = f"Bearer {ISSUER.token(HUBS[0], roles=[role])}"
            return (await rig.call(method, path, authorization=bearer, if_match="*")).status_code

        assert await status(HUB_DATA_READER, "GET", "/twins/d") == 200
        assert await status(HUB_DATA_READER, "DELETE", "/devices/d") == 401
        assert await status(HUB_REGISTRY_CONTRIBUTOR, "GET", "/twins/d") == 401
        assert await status(HUB_REGISTRY_CONTRIBUTOR, "DELETE", "/devices/d") == 204


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
