"""Canary registrations over TLS against the emulated DPS."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from clients.connections import Connections
from clients.device import Assigned, DeviceClient, Disabled, Failed
from clients.errors import (
    BadRequest,
    ClientError,
    NotSendable,
    OutcomeUnknown,
    ServiceError,
    Unauthenticated,
)
from local.clients import ServiceClient, connect
from local.dps.limits import UNTHROTTLED
from local.dps.service import ProvisioningService
from local.faults import Faults, shapes
from local.faults.rules import Fault, Rule
from local.hub import IotHub
from local.serve import serve
from local.tls import CertificateAuthority, ServerCertificate
from local.world import World
from provisioning.keys import SymmetricKey
from tests.clients.stage import (
    CountingShare,
    QuickClock,
    StoppedError,
    closing,
    every_fault,
    everything_logged,
    leaks,
    no_jitter,
)

__all__ = ["everything_logged"]

HUB = "hub-a.azure-devices.net"


@dataclass
class Stage:
    client: DeviceClient
    operator: ServiceClient
    dps: ProvisioningService
    faults: Faults
    world: World
    clock: QuickClock
    share: CountingShare

    async def group_keys(self) -> tuple[SymmetricKey, SymmetricKey]:
        await self.operator.put_group({"enrollmentGroupId": "line", "attestation": {"type": "symmetricKey"}})
        keys = await self.operator.keys("enrollmentGroups/line")
        return SymmetricKey.parse(keys["primaryKey"]), SymmetricKey.parse(keys["secondaryKey"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@asynccontextmanager
async def stage_of(
    certificate: ServerCertificate, hubs: Sequence[IotHub], **options: Any
) -> AsyncIterator[Stage]:
    world = World(seed=7)
    faults, clock, share = Faults(world), QuickClock(), CountingShare()
    dps = ProvisioningService("dps-x", hubs=hubs, world=world, limits=UNTHROTTLED)
    connections = Connections(ca_file=certificate.ca_pem)
    async with (
        serve(faults.around("dps", dps.asgi, shapes.dps), certificate) as address,
        aclosing(dps),
        closing(connections),
        connect(address.url, certificate.client_context()) as http,
    ):
        client = DeviceClient(
            address.url,
            dps.id_scope,
            connections=connections,
            share=share,
            clock=clock,
            jitter=no_jitter,
            **options,
        )
        operator = ServiceClient(http, dps.connection_string(address.host))
        yield Stage(client, operator, dps, faults, world, clock, share)


@pytest.fixture
async def stage(certificate: ServerCertificate) -> AsyncIterator[Stage]:
    async with stage_of(certificate, [IotHub(HUB)]) as made:
        yield made


def answering(*answers: httpx.Response, **options: Any) -> tuple[DeviceClient, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    client = DeviceClient(
        "https://dps-x.azure-devices-provisioning.net",
        "0ne",
        connections=Connections(transport=httpx.MockTransport(answer)),
        share=CountingShare(),
        clock=options.pop("clock", QuickClock()),
        jitter=no_jitter,
        **options,
    )
    return client, asked


KEY = SymmetricKey(bytes(range(32)))
ACCEPTED = httpx.Response(
    202,
    json={"operationId": "4.5-x", "status": "assigning"},
    headers={"location": "https://evil.example/", "retry-after": "5"},
)
DONE = httpx.Response(
    200,
    json={
        "operationId": "4.5-x",
        "status": "assigned",
        "registrationState": {"status": "assigned", "assignedHub": HUB.upper(), "deviceId": "d"},
    },
)


async def test_device_with_either_derived_key_is_assigned(stage: Stage) -> None:
    primary, secondary = await stage.group_keys()
    first = await stage.client.register("Canary-1", primary.derive("Canary-1"), {"model": "x"})
    second = await stage.client.register("canary-2", secondary.derive("canary-2"))
    assert isinstance(first, Assigned)
    assert isinstance(second, Assigned)
    assert (first.hub, first.device_id.lower(), first.substatus) == (HUB, "canary-1", "initialAssignment")
    looked = await stage.client.look_up("Canary-1", primary.derive("Canary-1"))
    assert looked == first


async def test_wrong_key_is_refused_and_the_groups_own_key_too(stage: Stage) -> None:
    group, _ = await stage.group_keys()
    for key in (group, KEY, group.derive("another")):
        with pytest.raises(Unauthenticated) as refused:
            await stage.client.register("canary-1", key)
        assert refused.value.code == "401002"
    assert await stage.client.look_up("canary-1", group.derive("canary-1")) is None


async def test_failed_and_disabled_registrations_are_values_with_their_code(
    certificate: ServerCertificate,
) -> None:
    async with stage_of(certificate, []) as stage:
        key, _ = await stage.group_keys()
        failed = await stage.client.register("canary-1", key.derive("canary-1"))
        await stage.operator.put_enrollment(
            {
                "registrationId": "canary-2",
                "attestation": {"type": "symmetricKey"},
                "provisioningStatus": "disabled",
            }
        )
        own = SymmetricKey.parse((await stage.operator.keys("enrollments/canary-2"))["primaryKey"])
        disabled = await stage.client.register("canary-2", own)
    assert isinstance(failed, Failed)
    assert failed.code is not None
    assert isinstance(disabled, Disabled)


async def test_polls_keep_the_time_dps_names_and_go_only_to_the_configured_host() -> None:
    clock = QuickClock()
    client, asked = answering(ACCEPTED, ACCEPTED, DONE, clock=clock)
    assert await client.register("d", KEY) == Assigned(HUB, "d")  # type: ignore[arg-type]  # it is a HubKey
    assert clock.pauses == [5.0, 5.0]
    assert {request.url.host for request in asked} == {"dps-x.azure-devices-provisioning.net"}
    assert [request.url.path for request in asked[1:]] == ["/0ne/registrations/d/operations/4.5-x"] * 2


async def test_registration_that_is_not_decided_in_its_time_is_left_open() -> None:
    clock = QuickClock()
    client, _ = answering(ACCEPTED, clock=clock, seconds=30)
    with pytest.raises(OutcomeUnknown, match="30 s"):
        await client.register("d", KEY)
    assert sum(clock.pauses) <= 30


@pytest.mark.parametrize(
    "poll",
    [
        httpx.Response(401, json={"errorCode": 401002, "message": "no"}),
        httpx.Response(404, json={"errorCode": 404000, "message": "no"}),
        httpx.Response(200, json={"operationId": "x", "status": "odd"}),
        httpx.Response(200, json={"operationId": "x", "status": "assigned"}),
        httpx.Response(503),
    ],
)
async def test_accepted_registration_whose_outcome_cannot_be_read_is_left_open(poll: httpx.Response) -> None:
    client, _ = answering(ACCEPTED, poll)
    with pytest.raises(OutcomeUnknown, match="accepted"):
        await client.register("d", KEY)


@pytest.mark.parametrize("operation", ["../../x", "a/b", "", "..", "a?b", 5])
async def test_operation_id_that_would_lead_elsewhere_is_not_followed(operation: Any) -> None:
    client, asked = answering(httpx.Response(202, json={"operationId": operation, "status": "assigning"}))
    with pytest.raises(OutcomeUnknown):
        await client.register("d", KEY)
    assert len(asked) == 1


@pytest.mark.parametrize("hostile", ["", "a/b", "..", ".a", "a.", "a b", "a\n", "x" * 129, "ü", "a%2e"])
async def test_registration_id_that_is_none_is_not_sent(hostile: str) -> None:
    client, asked = answering(DONE)
    for call in (client.register(hostile, KEY), client.look_up(hostile, KEY)):
        with pytest.raises(NotSendable, match="registration id") as refused:
            await call
        assert str(refused.value).isprintable()
    assert asked == []


def test_endpoint_that_all_dps_share_needs_to_be_allowed() -> None:
    def client(**options: Any) -> DeviceClient:
        return DeviceClient(
            "https://Global.azure-devices-provisioning.net",
            "0ne",
            connections=Connections(),
            share=CountingShare(),
            clock=QuickClock(),
            jitter=no_jitter,
            **options,
        )

    with pytest.raises(NotSendable, match="global_endpoint"):
        client()
    client(global_endpoint=True)


async def test_stopped_share_stops_between_two_polls() -> None:
    client, asked = answering(ACCEPTED)
    client._share = CountingShare(2)
    with pytest.raises(StoppedError):
        await client.register("d", KEY)
    assert len(asked) == 2


async def test_error_of_dps_is_told_with_its_code_and_tracking_id() -> None:
    body = {"errorCode": 400004, "message": "bad\x1b[2J", "trackingId": "t-1"}
    client, _ = answering(httpx.Response(400, json=body))
    with pytest.raises(BadRequest) as refused:
        await client.register("d", KEY)
    assert (refused.value.code, refused.value.tracking_id) == ("400004", "t-1")
    assert str(refused.value).isprintable()


async def test_hostile_words_of_a_failure_are_made_plain() -> None:
    state = {"status": "failed", "errorCode": 400207, "errorMessage": "a\x1b[31m\nb\u202e"}
    client, _ = answering(
        httpx.Response(200, json={"operationId": "x", "status": "failed", "registrationState": state})
    )
    failed = await client.register("d", KEY)
    assert isinstance(failed, Failed)
    assert failed.code == 400207
    assert failed.message.isprintable()


@every_fault
@pytest.mark.parametrize("method", ["PUT", "GET"])
async def test_registration_under_a_fault_ends_or_is_left_open_and_can_be_looked_up(
    stage: Stage, fault: Fault, method: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    group, _ = await stage.group_keys()
    key = group.derive("canary-1")
    outcome: Any
    with stage.faults.during(Rule(fault, method=method, path="*/registrations/*")) as armed:
        try:
            outcome = await stage.client.register("canary-1", key)
        except ClientError as error:
            outcome = error
    assert armed.met == 1
    refused = fault.kind == "status" and fault.status == 429
    assert isinstance(outcome, Assigned) is (refused or method == "GET")  # a poll is sent again
    if isinstance(outcome, Assigned):
        assert await stage.client.look_up("canary-1", key) == outcome
    else:
        assert isinstance(outcome, OutcomeUnknown)
        again = await stage.client.register("canary-1", key)
        assert isinstance(again, Assigned)
    secrets = [group.reveal(), key.reveal(), "SharedAccessSignature"]
    assert leaks(secrets, everything_logged, outcome, stage.client) == []


async def test_lasting_fault_ends_in_an_error_within_the_budget(stage: Stage) -> None:
    key = (await stage.group_keys())[0].derive("canary-1")
    for fault in (Fault(kind="status", status=429), Fault(kind="drop"), Fault(kind="status", status=503)):
        with stage.faults.during(Rule(fault, path="*/registrations/*", count=None)):
            with pytest.raises((ServiceError, OutcomeUnknown)):
                await stage.client.register("canary-1", key)
            with pytest.raises(ServiceError):
                await stage.client.look_up("canary-1", key)
