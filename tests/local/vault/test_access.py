"""Nobody gets in without a good token, too many are held off, and no value leaves but in its answer."""

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.issuer import ARM, VAULT, Issuer
from local.issuer.roles import SECRETS, SECRETS_OFFICER, SECRETS_USER, Role
from local.vault import KeyVault, VaultBehaviour
from local.world import ManualClock, World
from tests.local.issuer.raw import call
from tests.local.vault.rig import QUICK, VERSION, Rig, error

CHALLENGE = (
    'Bearer authorization="https://login.microsoftonline.com/00000000-0000-4000-8000-0000000000ff", '
    'resource="https://vault.azure.net"'
)
CANARY = "canary-7f3a-do-not-log"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic eDp5"])
async def test_a_request_without_a_token_is_challenged(rig: Rig, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    for method, path in [("PUT", "/secrets/s1"), ("GET", "/anything")]:
        answer = await rig.http.request(method, path, headers=headers)
        assert error(answer) == (401, "Unauthorized", None)
        assert answer.headers["www-authenticate"] == CHALLENGE
        assert answer.json()["error"]["message"].startswith("AKV10000: ")


async def test_a_token_for_another_service_is_refused_with_the_challenge(rig: Rig) -> None:
    answer = await rig.call("GET", "/secrets", token=rig.issuer.token(ARM[0]))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == CHALLENGE
    assert answer.json()["error"]["message"] == (
        "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://management.azure.com."
    )


async def test_an_expired_or_foreign_token_is_refused(rig: Rig) -> None:
    short = rig.issuer.token(VAULT[0], lifetime=10)
    await rig.clock.advance(10)
    for token in (short, Issuer(rig.clock).token(VAULT[0]), "x.y.z"):
        assert (await rig.call("GET", "/secrets", token=token)).status_code == 401


async def test_the_throttle_allows_4000_requests_in_10_seconds(rig: Rig) -> None:
    scope_headers = [(b"authorization", f"Bearer {rig.token}".encode())]

    async def status() -> int:
        return (await call(rig.vault, "GET", "/secrets", {"api-version": VERSION}, scope_headers))[0]

    granted = rig.issuer.accept(rig.token, VAULT)
    rig.issuer.accept = lambda *_: granted  # type: ignore[method-assign]  # signatures are not the point here
    assert [await status() for _ in range(2000)] == [200] * 2000
    await rig.clock.advance(9)
    assert [await status() for _ in range(2000)] == [200] * 2000
    answer = await rig.call("GET", "/secrets")
    assert error(answer) == (429, "Throttled", None)
    assert "retry-after" not in answer.headers
    await rig.clock.advance(1)
    assert [await status() for _ in range(2001)] == [200] * 2000 + [429]


async def test_the_throttle_can_be_told_to_name_a_time_or_be_turned_off() -> None:
    async with Rig(VaultBehaviour(transactions=1, retry_after=7)) as rig:
        await rig.set()
        assert (await rig.call("GET", "/secrets")).headers["retry-after"] == "7"
    async with Rig(VaultBehaviour(transactions=None)) as rig:
        for _ in range(50):
            await rig.set()


CALLS = {
    "getSecret/action": [("GET", "/secrets/s1"), ("GET", "/secrets/s1/{version}")],
    "setSecret/action": [("PUT", "/secrets/s1")],
    "update/action": [("PATCH", "/secrets/s1"), ("PATCH", "/secrets/s1/{version}")],
    "readMetadata/action": [
        ("GET", "/secrets"),
        ("GET", "/secrets/s1/versions"),
        ("GET", "/deletedsecrets"),
        ("GET", "/deletedsecrets/gone"),
    ],
    "delete": [("DELETE", "/secrets/s1")],
    "recover/action": [("POST", "/deletedsecrets/gone/recover")],
    "purge/action": [("DELETE", "/deletedsecrets/gone")],
}


@pytest.mark.parametrize("action", CALLS)
async def test_each_call_needs_the_role_for_it_and_no_other(action: str) -> None:
    for method, path in CALLS[action]:
        async with Rig(QUICK) as rig:
            made = await rig.set()
            await rig.set("gone")
            await rig.call("DELETE", "/secrets/gone")
            place = path.format(version=made["id"].rpartition("/")[2])
            body = {"value": "v"} if method in ("PUT", "PATCH") else None
            others = [Role(other, data_actions=(f"{SECRETS}/{other}",)) for other in CALLS if other != action]
            refused = await rig.call(method, place, body, token=rig.issuer.token(VAULT[0], roles=others))
            assert error(refused) == (403, "Forbidden", "ForbiddenByRbac")
            assert f"Action: '{SECRETS}/{action}'" in refused.json()["error"]["message"]
            own = Role("own", data_actions=(f"{SECRETS}/{action}",))
            allowed = await rig.call(method, place, body, token=rig.issuer.token(VAULT[0], roles=[own]))
            assert allowed.is_success, allowed.text


async def test_a_secrets_user_reads_and_an_officer_does_everything(rig: Rig) -> None:
    await rig.set()
    user = rig.issuer.token(VAULT[0], roles=[SECRETS_USER])
    assert (await rig.call("GET", "/secrets/s1", token=user)).status_code == 200
    assert (await rig.call("GET", "/secrets", token=user)).status_code == 200
    assert (await rig.call("DELETE", "/secrets/s1", token=user)).status_code == 403
    officer = rig.issuer.token(VAULT[0], roles=[SECRETS_OFFICER])
    assert (await rig.call("DELETE", "/secrets/s1", token=officer)).status_code == 200


async def test_a_refused_token_does_not_count_against_the_throttle() -> None:
    async with Rig(VaultBehaviour(transactions=1)) as rig:
        for _ in range(3):
            assert (await rig.call("GET", "/secrets", token="no")).status_code == 401
        await rig.set()


async def test_values_never_reach_journal_log_repr_or_events(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def stumble(event: object) -> None:
        raise ValueError(f"on {event}")

    rig.vault.subscribe(stumble)
    made = await rig.set(value=CANARY, contentType="text/plain", attributes={"exp": rig.now + 60})
    for method, path, body in [
        ("GET", "/secrets/s1", None),
        ("GET", made["id"].partition(".net")[2], None),
        ("PATCH", "/secrets/s1", {"value": CANARY, "tags": {"a": "b"}}),
        ("PUT", "/secrets/s1", {"value": {"nested": CANARY}}),
        ("PUT", "/secrets/s1", {"value": CANARY * 2000}),
        ("PUT", "/secrets/s1", {"Value": CANARY, "other": [CANARY]}),
        ("PUT", "/secrets/s1", [CANARY]),
        ("PUT", "/secrets/s1", f'{{"value": "{CANARY}"'.encode()),
        ("PUT", "/secrets/bad_name", {"value": CANARY}),
        ("POST", "/secrets/s1", {"value": CANARY}),
        ("GET", "/secrets/s1/versions", None),
        ("DELETE", "/secrets/s1", None),
        ("PUT", "/secrets/s1", {"value": CANARY}),
    ]:
        answer = await rig.call(method, path, body)
        assert (CANARY in answer.text) == (method == "GET" and answer.json().get("value") == CANARY)
    await rig.clock.advance(1000)
    journal = list(rig.world.journal)
    assert len(journal) == 14
    assert journal[0].request == {
        "value": "****",
        "contentType": "text/plain",
        "attributes": {"exp": made["attributes"]["exp"]},
    }
    assert journal[0].response["value"] == "****"
    told = [repr(journal), repr(rig.events), repr(rig.vault), repr(rig.vault.peek("s1")), caplog.text]
    assert "subscriber failed" in caplog.text
    assert all(CANARY not in text and rig.token not in text for text in told)


WORLD = World(ManualClock(), seed=1)
ISSUER = Issuer(WORLD.clock)
FUZZED = KeyVault(ISSUER, WORLD, behaviour=VaultBehaviour(transactions=None, deleting_seconds=0))
AUTHORIZATION = (b"authorization", f"Bearer {ISSUER.token(VAULT[0])}".encode())
WORDS = st.sampled_from(["secrets", "deletedsecrets", "versions", "recover", "s1", "S1", "..", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
BODIES = st.one_of(
    st.binary(max_size=40),
    st.fixed_dictionaries(
        {"value": st.text(max_size=5) | JSON},
        optional={"attributes": JSON, "tags": JSON, "contentType": JSON},
    ).map(lambda body: json.dumps(body).encode()),
    st.sampled_from(
        [b"[" * 50_000, b'{"a":' * 90_000, b'{"value":"\\ud800"}', b'{"value":1e999}', b"x" * 300_000]
    ),
)


@given(
    method=st.sampled_from(["GET", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "get"]),
    path=st.lists(WORDS | st.text(max_size=8), max_size=4).map(lambda parts: "/" + "/".join(parts)),
    query=st.dictionaries(
        st.sampled_from(["maxresults", "$skiptoken", "x"]), st.text(max_size=8) | st.just("1"), max_size=3
    ),
    host=st.binary(max_size=8),
    body=BODIES,
)
@settings(max_examples=400, deadline=None)
async def test_no_request_is_a_500(
    method: str, path: str, query: dict[str, str], host: bytes, body: bytes
) -> None:
    headers = [AUTHORIZATION, (b"host", host)]
    asked = {"api-version": VERSION, **query}
    try:
        status, answer = await call(FUZZED, method, path, asked, headers, body)
    finally:
        await FUZZED.aclose()
    assert status < 500
    if answer:
        json.loads(answer)


async def test_half_a_surrogate_pair_is_no_value(rig: Rig) -> None:
    assert error(await rig.call("PUT", "/secrets/s1", b'{"value":"\\ud800"}')) == (400, "BadParameter", None)
    await rig.set(value="\U0001f511")
    assert (await rig.call("GET", "/secrets/s1")).json()["value"] == "\U0001f511"


async def test_a_body_over_the_limit_is_413(rig: Rig) -> None:
    assert (await rig.call("PUT", "/secrets/s1", b"x" * 300_000)).status_code == 413
