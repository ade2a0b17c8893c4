"""Shared access signatures of service clients and devices, keys and their derivation."""

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from local.dps import sas
from local.dps.errors import DpsError
from local.dps.keys import derive_key
from local.dps.policies import ENROLLMENT_READ, OWNER, REGISTRATION_READ, Access, AccessPolicy
from local.dps.service import ProvisioningService
from local.issuer import DPS, VAULT, Identity, Issuer, Role
from local.issuer.roles import DPS_DATA_CONTRIBUTOR, DPS_DATA_READER, PROVISIONING
from local.world import ManualClock, World
from tests.local.dps.rig import OTHER_KEY, POLICY_KEY, PRIMARY, SCOPE, SECONDARY, Rig
from tests.openapi.judge import Judge

# From the public documentation, where it stands with its two derived keys.
DOCUMENTED_GROUP_KEY = (
    "oiK77Oy7rBw8YB6IS6ukRChAw+Yq6GC61RMrPLSTiOOtdI+XDu0LmLuNm11p+qv2I+adqGUdZHm46zXAQdZoOA=="
)


@pytest.mark.parametrize(
    ("device", "key"),
    [
        ("breakroom499-contoso-tstrsd-007", "JC8F96eayuQwwz+PkE7IzjH2lIAjCUnAa61tDigBnSs="),
        ("mainbuilding167-contoso-hpsd-088", "6uejA9PfkQgmYylj8Zerp3kcbeVrGZ172YLa7VSnJzg="),
    ],
)
def test_derived_keys_are_the_documented_ones(device: str, key: str) -> None:
    assert derive_key(DOCUMENTED_GROUP_KEY, device) == key


def raw_token(key: str, resource: str, expiry: int, policy: str | None, order: str = "sr sig se skn") -> str:
    """A token whose `sr` is signed and sent exactly as given."""
    digest = hmac.digest(base64.b64decode(key), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    fields = {
        "sr": resource,
        "sig": quote(base64.b64encode(digest), safe=""),
        "se": str(expiry),
        "skn": policy,
    }
    return "SharedAccessSignature " + "&".join(
        f"{name}={fields[name]}" for name in order.split() if fields[name]
    )


@pytest.mark.parametrize(
    "resource",
    [
        "localhost",
        "LocalHost",
        "localhost:8443",
        "localhost%3a8443",
        "localhost%3A8443",
        "https://localhost:8443/",
        "https%3A%2F%2Flocalhost%3A8443%2F",
        "127.0.0.1:443",
        "[::1]:8443",
        "dps-local.azure-devices-provisioning.net",
        "DPS-LOCAL.azure-devices-provisioning.net",
    ],
)
async def test_service_tokens_are_read_in_every_spelling(rig: Rig, resource: str) -> None:
    await rig.put_group()
    expiry = int((rig.clock.now() + timedelta(hours=1)).timestamp())
    for order in ("sr sig se skn", "skn se sig sr"):
        token = raw_token(POLICY_KEY, resource, expiry, OWNER, order)
        assert (await rig.call("GET", "/enrollmentGroups/g1", authorization=token)).status_code == 200


async def test_both_keys_of_a_policy_are_good(rig: Rig) -> None:
    await rig.put_group()
    answer = await rig.call("GET", "/enrollmentGroups/g1", authorization=rig.owner(SECONDARY))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("key", "policy", "resource"),
    [
        (OTHER_KEY, OWNER, "localhost"),
        (POLICY_KEY, "nobody", "localhost"),
        (POLICY_KEY, "", "localhost"),
        (POLICY_KEY, OWNER, "another.azure-devices-provisioning.net"),
    ],
)
async def test_bad_service_tokens_are_401(rig: Rig, key: str, policy: str, resource: str) -> None:
    answer = await rig.call("GET", "/enrollmentGroups/g1", authorization=rig.owner(key, policy, resource))
    assert (answer.status_code, answer.json()["errorCode"]) == (401, 401000)


HOSTILE_HEADERS = [
    "",
    "Bearer x",
    "SharedAccessSignature",
    "SharedAccessSignature ",
    "SharedAccessSignature sr=&sig=&se=&skn=",
    "SharedAccessSignature sr=localhost&sig=***&se=9999999999&skn=provisioningserviceowner",
    "SharedAccessSignature sr=localhost&sig=%ff&se=9999999999&skn=provisioningserviceowner",
    "SharedAccessSignature sr=localhost&sig=AAAA&se=1e9&skn=provisioningserviceowner",
    "SharedAccessSignature sr=localhost&sig=AAAA&se=" + "9" * 5000,
]


@pytest.mark.parametrize("header", HOSTILE_HEADERS)
async def test_hostile_authorization_headers_are_401(rig: Rig, header: str) -> None:
    assert (await rig.call("GET", "/enrollmentGroups/g1", authorization=header)).status_code == 401
    path = f"/{SCOPE}/registrations/dev-1/register?api-version=2021-10-01"
    assert (await rig.http.put(path, headers={"authorization": header})).status_code == 401


async def test_no_authorization_at_all_is_401(rig: Rig) -> None:
    answer = await rig.http.get("/enrollmentGroups/g1?api-version=2021-10-01")
    assert answer.status_code == 401


async def test_service_token_expires_by_the_worlds_clock(rig: Rig) -> None:
    token = rig.owner()
    await rig.clock.advance(3599)
    assert (await rig.call("GET", "/enrollmentGroups/g1", authorization=token)).status_code == 404
    await rig.clock.advance(1)
    assert (await rig.call("GET", "/enrollmentGroups/g1", authorization=token)).status_code == 401


async def test_policies_open_only_what_they_allow() -> None:
    reader = AccessPolicy("reader", OTHER_KEY, SECONDARY, frozenset({ENROLLMENT_READ, REGISTRATION_READ}))
    async with Rig() as rig:
        dps = ProvisioningService(
            policies=[*rig.dps.policies, reader], world=rig.world, host_names=["dps.test"]
        )
        judge = Judge(dps.asgi)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(judge), base_url="https://dps.test"
        ) as rig.http:
            await rig.put_group()
            token = rig.owner(OTHER_KEY, "reader", "dps.test")
            tried = {
                ("GET", "/enrollmentGroups/g1"): 200,
                ("POST", "/registrations/g1/query"): 200,
                ("GET", "/registrations/dev-1"): 404,
                ("PUT", "/enrollmentGroups/g1"): 403,
                ("DELETE", "/enrollmentGroups/g1"): 403,
                ("POST", "/enrollmentGroups"): 403,
                ("POST", "/enrollmentGroups/g1/attestationmechanism"): 403,
                ("DELETE", "/registrations/dev-1"): 403,
            }
            found = {call: (await rig.call(*call, authorization=token)).status_code for call in tried}
            assert found == tried
        judge.check()


@pytest.mark.parametrize(
    "resource",
    [
        f"{SCOPE}/registrations/Dev:1",
        f"{SCOPE}%2Fregistrations%2FDev%3A1",
        f"{SCOPE}%2fregistrations%2fdev%3a1",
        f"{SCOPE.upper()}%2fregistrations%2fDEV:1/",
    ],
)
@pytest.mark.parametrize("policy", [None, "registration"])
async def test_device_tokens_are_read_in_every_spelling(rig: Rig, resource: str, policy: str | None) -> None:
    await rig.put_enrollment("Dev:1")
    expiry = int((rig.clock.now() + timedelta(hours=1)).timestamp())
    token = raw_token(PRIMARY, resource, expiry, policy, "se skn sr sig")
    path = f"/{SCOPE}/registrations/Dev%3A1/register?api-version=2021-10-01"
    assert (await rig.http.put(path, headers={"authorization": token})).status_code == 202


async def test_expired_or_foreign_device_token_is_401002(rig: Rig) -> None:
    await rig.put_enrollment()
    path = f"/{SCOPE}/registrations/dev-1/register?api-version=2021-10-01"
    expires = rig.clock.now() + timedelta(hours=1)
    tokens = [
        rig.token("dev-1", PRIMARY, seconds=-1),
        rig.token("dev-1", OTHER_KEY),
        rig.token("dev-2", PRIMARY),
        sas.sign("0ne99999999/registrations/dev-1", PRIMARY, expires),
    ]
    for token in tokens:
        answer = await rig.http.put(path, headers={"authorization": token})
        assert (answer.status_code, answer.json()["errorCode"]) == (401, 401002)


async def test_polling_needs_the_devices_key_too(rig: Rig) -> None:
    await rig.put_group()
    operation = (await rig.start("dev-1")).json()["operationId"]
    assert (await rig.poll("dev-1", operation, OTHER_KEY)).status_code == 401
    assert (await rig.look_up("dev-1", OTHER_KEY)).status_code == 401


async def test_another_devices_operation_cannot_be_polled(rig: Rig) -> None:
    await rig.put_group()
    operation = (await rig.start("dev-1")).json()["operationId"]
    assert (await rig.poll("dev-2", operation)).status_code == 404


def test_connection_string_names_host_policy_and_key() -> None:
    dps = ProvisioningService(policies=[AccessPolicy(OWNER, POLICY_KEY, SECONDARY)])
    expected = f"HostName=localhost:8443;SharedAccessKeyName={OWNER};SharedAccessKey={POLICY_KEY}"
    assert dps.connection_string("localhost:8443") == expected
    with pytest.raises(KeyError):
        dps.connection_string("localhost", "nobody")


def test_custom_cannot_be_the_default_policy() -> None:
    with pytest.raises(ValueError, match="custom"):
        ProvisioningService(default_policy="custom")


def test_a_remembered_token_opens_no_more_than_an_unknown_one() -> None:
    reader = AccessPolicy("reader", OTHER_KEY, SECONDARY, frozenset({ENROLLMENT_READ}))
    owner = AccessPolicy(OWNER, POLICY_KEY, SECONDARY)
    now = ManualClock().now()
    ends = now + timedelta(hours=1)
    good = sas.sign("localhost", OTHER_KEY, ends, "reader")

    def outcome(access: Access, header: str, permission: str, at: datetime) -> int:
        try:
            access.check(header, permission, (), at)
        except DpsError as error:
            return error.status
        return 200

    warm = Access([reader, owner], ["localhost"])
    flipped = good.replace("sig=", "sig=A", 1)
    cases = [
        (good, ENROLLMENT_READ, now, 200),
        (good, ENROLLMENT_READ, now, 200),
        (good, REGISTRATION_READ, now, 403),
        (good, ENROLLMENT_READ, ends, 401),
        (good, ENROLLMENT_READ, ends - timedelta(seconds=1), 200),
        (flipped, ENROLLMENT_READ, now, 401),
        (good[:-6] + OWNER, ENROLLMENT_READ, now, 401),
        (good.replace(str(int(ends.timestamp())), "9999999999"), ENROLLMENT_READ, now, 401),
        (good.lower(), ENROLLMENT_READ, now, 401),
        (good, ENROLLMENT_READ, now, 200),
    ]
    for header, permission, at, status in cases:
        assert outcome(Access([reader, owner], ["localhost"]), header, permission, at) == status
        assert outcome(warm, header, permission, at) == status
    for number in range(Access.REMEMBERED * 2):
        assert (
            outcome(
                warm,
                sas.sign("localhost", OTHER_KEY, ends + timedelta(seconds=number), "reader"),
                ENROLLMENT_READ,
                now,
            )
            == 200
        )
    assert len(warm._good) <= Access.REMEMBERED


async def test_a_bearer_token_of_the_issuer_opens_the_service_api_and_no_other_token_does() -> None:
    clock = ManualClock()
    identity = Identity("11111111-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002")
    issuer = Issuer(clock, identities=[identity])
    service = ProvisioningService(world=World(clock), tokens=issuer)
    other = Issuer(clock, identities=[identity])

    async def status(token: str, target: ProvisioningService = service) -> int:
        transport = httpx.ASGITransport(Judge(target.asgi))
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as http:
            answer = await http.get(
                "/enrollments/none",
                params={"api-version": "2021-10-01"},
                headers={"Authorization": f"Bearer {token}"},
            )
            return answer.status_code

    good = issuer.token(DPS[0], identity)
    assert await status(good) == 404
    assert await status(issuer.token(VAULT[0], identity)) == 401
    assert await status(other.token(DPS[0], identity)) == 401
    assert await status("garbage") == 401
    assert await status(good, ProvisioningService(world=World(clock))) == 401
    await clock.advance(2 * 24 * 3600)
    assert await status(good) == 401


NEEDS = {
    ("GET", "/enrollments/e1"): {"enrollments/read"},
    ("PUT", "/enrollments/e1"): {"enrollments/write"},
    ("DELETE", "/enrollments/e1"): {"enrollments/delete"},
    ("POST", "/enrollments"): {"enrollments/write", "enrollments/delete"},
    ("POST", "/enrollments/query"): {"enrollments/read"},
    ("POST", "/enrollments/e1/attestationmechanism"): {"attestationmechanism/details/action"},
    ("GET", "/enrollmentGroups/g1"): {"enrollmentGroups/read"},
    ("PUT", "/enrollmentGroups/g1"): {"enrollmentGroups/write"},
    ("DELETE", "/enrollmentGroups/g1"): {"enrollmentGroups/delete"},
    ("POST", "/enrollmentGroups"): {"enrollmentGroups/write", "enrollmentGroups/delete"},
    ("POST", "/enrollmentGroups/query"): {"enrollmentGroups/read"},
    ("POST", "/enrollmentGroups/g1/attestationmechanism"): {"attestationmechanism/details/action"},
    ("GET", "/registrations/dev-1"): {"registrationStates/read"},
    ("DELETE", "/registrations/dev-1"): {"registrationStates/delete"},
    ("POST", "/registrations/g1/query"): {"registrationStates/read"},
}
EVERY = set().union(*NEEDS.values())
ISSUER = Issuer(ManualClock(), lifetime=10**9)


async def answers(roles: list[Role], *calls: tuple[str, str]) -> list[int]:
    """The statuses of calls with a token of these roles."""
    async with Rig(tokens=ISSUER) as rig:
        await rig.put_group()
        bearer = f"Bearer {ISSUER.token(DPS[0], roles=roles)}"
        return [(await rig.call(*call, authorization=bearer)).status_code for call in calls]


@pytest.mark.parametrize("call", NEEDS, ids=" ".join)
async def test_each_call_needs_the_roles_for_it_and_no_other(call: tuple[str, str]) -> None:
    def roles(actions: set[str]) -> list[Role]:
        return [Role(each, data_actions=(f"{PROVISIONING}/{each}",)) for each in actions]

    [allowed] = await answers(roles(NEEDS[call]), call)
    assert allowed not in (401, 403)
    for missing in NEEDS[call]:
        assert await answers(roles(EVERY - {missing}), call) == [403]


async def test_a_reader_reads_without_keys_and_a_contributor_does_everything() -> None:
    calls = [
        ("GET", "/enrollmentGroups/g1"),
        ("POST", "/enrollmentGroups/g1/attestationmechanism"),
        ("DELETE", "/enrollmentGroups/g1"),
    ]
    assert await answers([DPS_DATA_READER], *calls) == [200, 403, 403]
    assert await answers([DPS_DATA_CONTRIBUTOR], *calls) == [200, 200, 204]
