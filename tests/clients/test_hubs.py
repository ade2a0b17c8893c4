"""The hub client over TLS: against the emulated hub, with azure-iot-hub on the other side, under faults."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import pytest
from azure.iot.hub import IoTHubRegistryManager  # type: ignore[import-untyped]  # it ships no types
from azure.iot.hub.models import Twin  # type: ignore[import-untyped]  # nor its parts
from hypothesis import given
from hypothesis import strategies as st

from clients.auth import ConnectionString
from clients.connections import Connections
from clients.errors import (
    BadRequest,
    ClientError,
    NotFound,
    NotSendable,
    OutcomeUnknown,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnexpectedReply,
)
from clients.hub_queries import QUERY_CHARACTERS, QUERY_IDS, batches
from clients.hubs import HubClient, HubDevice, HubShares, is_device_id
from clients.outcomes import Deleted, Gone, Moved
from local.faults import Faults, shapes
from local.faults.rules import Fault, Rule
from local.hub import DeviceKeys, InitialTwin, IotHub
from local.iothub import query
from local.iothub.behaviour import HubBehaviour
from local.iothub.service import HubService
from local.issuer import ARM, HUBS, Issuer
from local.serve import serve
from local.tls import CertificateAuthority, ServerCertificate
from local.world import World
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

__all__ = ["everything_logged"]

T = TypeVar("T")
HOST = "hub-a.azure-devices.net"
PRIMARY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
SECONDARY = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC"
ODD_IDS = ["a','b", "it's", "a%2Fb", "x?y#z", "100%", "A", "a", "b", "(1=1)", "$me;@x", "a,b", "dot.", "..."]


IDENTITY = {
    "deviceId": "dev-1",
    "etag": "e",
    "generationId": "1",
    "status": "enabled",
    "authentication": {"type": "sas", "symmetricKey": {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}},
}


@dataclass
class Hub:
    client: HubClient
    hub: IotHub
    world: World
    faults: Faults
    clock: QuickClock
    connection_string: str
    url: str
    ca: ServerCertificate
    shares: HubShares = field(repr=False)

    def make(self, *device_ids: str) -> None:
        for device_id in device_ids:
            self.hub.create_or_get(
                device_id,
                keys=DeviceKeys(PRIMARY, SECONDARY),
                iot_edge=False,
                twin=InitialTwin({"site": "x"}, {"interval": 5}),
                now=self.world.clock.now(),
            )

    def sent(self, method: str) -> int:
        return sum(call.method == method for call in self.world.journal.of("hub-a"))

    async def with_peer(self, work: Callable[[Any], T]) -> T:
        """Microsoft's blocking client, beside the server's event loop."""

        def run() -> T:
            manager = IoTHubRegistryManager.from_connection_string(self.connection_string)
            with manager.protocol:
                return work(manager)

        try:
            return await asyncio.wait_for(asyncio.to_thread(run), 60)
        finally:
            gc.collect()  # its last connection hangs in a cycle of the client's own objects


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@asynccontextmanager
async def hub_of(
    certificate: ServerCertificate, behaviour: HubBehaviour | None = None, **options: Any
) -> AsyncIterator[Hub]:
    world = World(seed=7)
    faults, clock = Faults(world), QuickClock()
    service = HubService(
        IotHub(HOST, seed=1), world=world, behaviour=behaviour, **{"throttled": False, **options}
    )
    connections = Connections(ca_file=certificate.ca_pem)
    async with (
        serve(faults.around(HOST, service.asgi, shapes.hub), certificate) as address,
        closing(connections),
    ):
        connection_string = service.connection_string(address.host)
        shares = HubShares(CountingShare(), CountingShare(), CountingShare())
        yield Hub(
            client=HubClient(
                HOST.upper(),
                auth=ConnectionString.parse(connection_string).auth(clock),
                connections=connections,
                shares=shares,
                clock=clock,
                jitter=no_jitter,
                url=address.url,
            ),
            hub=service.hub,
            world=world,
            faults=faults,
            clock=clock,
            connection_string=connection_string,
            url=address.url,
            ca=certificate,
            shares=shares,
        )


@pytest.fixture
async def hub(certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.ca_pem))  # where the peer's client looks
    async with hub_of(certificate) as made:
        yield made


def answering(*answers: httpx.Response) -> tuple[HubClient, list[httpx.Request]]:
    """A client of a hub that gives these answers, and what it was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    client = HubClient(
        HOST,
        auth=Handed("Bearer x"),
        connections=Connections(transport=httpx.MockTransport(answer)),
        shares=HubShares(CountingShare(), CountingShare(), CountingShare()),
        clock=QuickClock(),
        jitter=no_jitter,
    )
    return client, asked


async def etag_of(hub: Hub, device_id: str = "dev-1") -> str:
    found = await hub.client.device(device_id)
    assert found is not None
    return found.etag


# --- both ways with azure-iot-hub


async def test_devices_made_by_the_peer_are_read_here_and_counted_alike(hub: Hub) -> None:
    def make(peer: Any) -> Any:
        peer.create_device_with_sas("dev-1", PRIMARY, SECONDARY, "enabled")
        peer.create_device_with_sas("dev-2", PRIMARY, SECONDARY, "disabled")
        return peer.get_device_registry_statistics()

    counted = await hub.with_peer(make)
    read, other = await hub.client.device("dev-1"), await hub.client.device("dev-2")
    assert read is not None
    assert other is not None
    assert (read.device_id, read.status, read.authentication_type) == ("dev-1", "enabled", "sas")
    assert (other.status, read.last_activity) == ("disabled", None)
    here = await hub.client.statistics()
    assert (here.total, here.enabled, here.disabled) == (2, 1, 1)
    assert (counted.total_device_count, counted.disabled_device_count) == (2, 1)


async def test_disabled_device_keeps_its_keys_and_the_peer_sees_the_reason(hub: Hub) -> None:
    hub.make("dev-1")
    changed = await hub.client.set_status("dev-1", "disabled", await etag_of(hub), "stolen, ticket 7")
    seen = await hub.with_peer(lambda peer: peer.get_device("dev-1"))
    assert isinstance(changed, HubDevice)
    assert (changed.status, changed.status_reason) == ("disabled", "stolen, ticket 7")
    assert (seen.status, seen.status_reason, seen.etag) == ("disabled", "stolen, ticket 7", changed.etag)
    keys = seen.authentication.symmetric_key
    assert (keys.primary_key, keys.secondary_key) == (PRIMARY, SECONDARY)


async def test_twin_written_by_the_peer_is_read_here(hub: Hub) -> None:
    hub.make("dev-1")
    patch = Twin(tags={"site": "y"})
    await hub.with_peer(lambda peer: peer.update_twin("dev-1", patch, "*"))
    twin = await hub.client.twin("dev-1")
    assert twin is not None
    assert (twin.tags, twin.desired["interval"]) == ({"site": "y"}, 5)
    assert await hub.client.twin("nobody") is None


async def test_device_deleted_here_is_gone_for_the_peer(hub: Hub) -> None:
    hub.make("dev-1", "dev-2")
    assert await hub.client.delete("dev-1", await etag_of(hub)) == Deleted()
    left = await hub.with_peer(lambda peer: [each.device_id for each in peer.get_devices()])
    assert left == ["dev-2"]


# --- guarded changes


async def test_change_of_what_moved_or_went_is_told_as_a_value_and_changes_nothing(hub: Hub) -> None:
    hub.make("dev-1")
    old = await etag_of(hub)
    first = await hub.client.set_status("dev-1", "disabled", old)
    assert isinstance(first, HubDevice)
    assert await hub.client.set_status("dev-1", "enabled", old) == Moved()
    assert await hub.client.set_status("dev-1", "disabled", old) == Moved()  # as wanted, by somebody else
    assert hub.sent("PUT") == 1
    assert await hub.client.delete("dev-1", old) == Moved()
    assert await hub.client.device("dev-1") == first
    assert await hub.client.delete("dev-2", old) == Gone()
    assert await hub.client.set_status("dev-2", "enabled", old) == Gone()


async def test_device_that_is_that_way_already_is_not_written(hub: Hub) -> None:
    hub.make("dev-1")
    before = await hub.client.device("dev-1")
    assert before is not None
    assert await hub.client.set_status("dev-1", "enabled", before.etag) == before
    assert hub.sent("PUT") == 0


@pytest.mark.parametrize("etag", ["", "*", '"*"', "a b", "a\r\nx: y", 'a"b', "ü"])
async def test_change_without_a_usable_etag_is_not_sent(etag: str) -> None:
    client, asked = answering(httpx.Response(200, json=IDENTITY))
    with pytest.raises(NotSendable, match="etag"):
        await client.delete("dev-1", etag)
    with pytest.raises(NotSendable, match="etag"):
        await client.set_status("dev-1", "disabled", etag)
    assert asked == []


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("unquoted", [False, True])
async def test_outcomes_do_not_depend_on_how_a_hub_words_errors_or_takes_etags(
    certificate: ServerCertificate, numbered: bool, unquoted: bool
) -> None:
    behaviour = HubBehaviour(numbered_errors=numbered, unquoted_if_match=unquoted)
    async with hub_of(certificate, behaviour) as hub:
        hub.make("dev-1", "dev-2")
        assert await hub.client.device("nobody") is None
        assert await hub.client.delete("nobody", "x") == Gone()
        assert await hub.client.delete("dev-1", await etag_of(hub, "dev-1")) == Deleted()
        assert await hub.client.delete("dev-2", "c3RhbGU=") == Moved()
        with pytest.raises(BadRequest) as refused:
            await anext(hub.client.pages(continuation="bm9uc2Vuc2U="))
        assert refused.value.code in {"ArgumentInvalid", "400004"}


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>no such site</html>"),
        httpx.Response(404, json={"Message": "ErrorCode:IotHubNotFound;hub"}),
        httpx.Response(404, json={"errorCode": 404000, "message": "DeviceNotFound"}),
        httpx.Response(404),
    ],
)
async def test_404_that_is_not_the_hubs_word_on_the_device_is_no_evidence(answer: httpx.Response) -> None:
    client, _ = answering(answer)
    for call in (
        client.device("dev-1"),
        client.twin("dev-1"),
        client.delete("dev-1", "e"),
        client.set_status("dev-1", "disabled", "e"),
    ):
        with pytest.raises(NotFound):
            await call


@pytest.mark.parametrize(
    "change",
    [
        {"authentication": None},
        {"authentication": {"type": "sas", "symmetricKey": {"primaryKey": None, "secondaryKey": None}}},
        {"authentication": {"type": "sas", "symmetricKey": {"primaryKey": PRIMARY}}},
        {"authentication": {"symmetricKey": {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}}},
        {"deviceId": "dev-2"},
        {"status": "odd"},
    ],
)
async def test_entry_that_cannot_be_sent_back_whole_is_not_written(change: dict[str, Any]) -> None:
    client, asked = answering(httpx.Response(200, json={**IDENTITY, **change}))
    with pytest.raises(UnexpectedReply):
        await client.set_status("dev-1", "disabled", "e")
    assert [request.method for request in asked] == ["GET"]


async def test_members_nobody_here_knows_are_sent_back_as_they_came() -> None:
    entry = {**IDENTITY, "deviceScope": "ms-azure-iot-edge://x", "futureMember": {"a": [1, None]}}
    client, asked = answering(
        httpx.Response(200, json=entry),
        httpx.Response(200, json={**entry, "status": "disabled", "etag": "f"}),
    )
    await client.set_status("dev-1", "disabled", "e")
    expected = {**entry, "status": "disabled", "statusReason": None}
    assert json.loads(asked[1].read()) == expected
    assert asked[1].headers["if-match"] == '"e"'


async def test_unreadable_answer_to_a_change_leaves_its_outcome_open() -> None:
    client, _ = answering(httpx.Response(200, json=IDENTITY), httpx.Response(200, json=[]))
    with pytest.raises(OutcomeUnknown):
        await client.set_status("dev-1", "disabled", "e")


# --- ids


async def test_odd_ids_reach_their_own_device_and_no_other(hub: Hub) -> None:
    hub.make(*ODD_IDS)
    for device_id in ODD_IDS:
        found, twin = await hub.client.device(device_id), await hub.client.twin(device_id)
        assert (found and found.device_id, twin and twin.device_id) == (device_id, device_id)
        assert list(await hub.client.devices_in([device_id])) == [device_id]
    assert await hub.client.delete("a','b", await etag_of(hub, "a','b")) == Deleted()
    assert set(await hub.client.devices_in(ODD_IDS)) == set(ODD_IDS) - {"a','b"}


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        ".",
        "..",
        "a/b",
        "../twins",
        "a\\",
        "\\'",
        "x'] OR deviceId = 'y",
        'a"b',
        "a\nb",
        "ü",
        "a" * 129,
        "a\x00",
    ],
)
async def test_id_no_hub_can_have_is_refused_before_any_call_and_shown_escaped(hostile: str) -> None:
    client, asked = answering(httpx.Response(200, json=[]))
    for call in (
        client.device(hostile),
        client.twin(hostile),
        client.devices_in(["y", hostile]),
        client.delete(hostile, "e"),
        client.set_status(hostile, "disabled", "e"),
    ):
        with pytest.raises(NotSendable) as refused:
            await call
        assert str(refused.value).isascii()
        assert str(refused.value).isprintable()
    assert asked == []


ALLOWED = st.text(st.sampled_from("abAB01-:.+%_#*?!(),=@;$'"), min_size=1, max_size=128).filter(is_device_id)


@given(st.lists(ALLOWED, max_size=400))
def test_queries_ask_for_exactly_the_given_ids_and_stay_within_their_bounds(ids: list[str]) -> None:
    asked: list[str] = []
    for text, wanted in batches(ids):
        parsed = query.parse(text)
        assert parsed.ids is not None
        assert set(parsed.ids) == wanted
        assert (parsed.count_as, parsed.status, parsed.connection_state) == (None, None, None)
        assert len(text) <= QUERY_CHARACTERS
        assert len(wanted) <= QUERY_IDS
        asked += wanted
    assert set(asked) == set(ids)


async def test_row_nobody_asked_for_is_not_taken_for_an_answer() -> None:
    rows = [{"deviceId": name, "status": "enabled"} for name in ("a", "A", "b")]
    client, _ = answering(httpx.Response(200, json=rows))
    assert list(await client.devices_in(["A", "c"])) == ["A"]


# --- listings


@pytest.mark.parametrize("behaviour", [HubBehaviour(), HubBehaviour(max_page_size=7)])
async def test_every_device_is_listed_once_whatever_the_page_size(
    certificate: ServerCertificate, behaviour: HubBehaviour
) -> None:
    async with hub_of(certificate, behaviour) as hub:
        names = [f"dev-{number:03}" for number in range(230)]
        hub.make(*names)
        pages = [page async for page in hub.client.pages(page_size=50)]
        listed = [row.device_id for page in pages for row in page.rows]
        assert sorted(listed) == names
        assert pages[-1].continuation is None
        resumed = [page async for page in hub.client.pages(pages[1].continuation, page_size=50)]
        assert [page.rows for page in resumed] == [page.rows for page in pages[2:]]
        assert pages[0].rows[0].tags == {"site": "x"}
        found = await hub.client.devices_in([*names, "dev-x"])
        assert sorted(found) == names
        assert all(row.status == "enabled" for row in found.values())


async def test_continuation_that_no_hub_gave_is_not_sent(hub: Hub) -> None:
    for token in ("", "a b", "a\r\nx-y: z", "ü"):
        with pytest.raises(NotSendable, match="continuation"):
            await anext(hub.client.pages(token))
    with pytest.raises(NotSendable, match="page_size"):
        await anext(hub.client.pages(page_size=0))


async def test_page_that_leads_to_itself_ends_the_listing_with_an_error() -> None:
    client, asked = answering(httpx.Response(200, json=[], headers={"x-ms-continuation": "again"}))
    with pytest.raises(UnexpectedReply, match="itself"):
        _ = [page async for page in client.pages()]
    assert len(asked) == 2


@pytest.mark.parametrize("body", [None, {}, [1], [{"deviceId": "x"}], [{"deviceId": 5, "status": "enabled"}]])
async def test_page_that_cannot_be_understood_is_no_page(body: Any) -> None:
    client, _ = answering(httpx.Response(200, json=body))
    with pytest.raises(UnexpectedReply):
        _ = [page async for page in client.pages()]


# --- rates and rights


async def test_each_call_takes_from_the_share_of_its_own_throttle_class(hub: Hub) -> None:
    hub.make("dev-1")
    await hub.client.device("dev-1")
    await hub.client.statistics()
    await hub.client.delete("dev-9", "e")
    await hub.client.twin("dev-1")
    await hub.client.devices_in(["dev-1"])
    shares = (hub.shares.identities, hub.shares.queries, hub.shares.twins)
    assert [getattr(share, "calls", None) for share in shares] == [3, 1, 1]


async def test_stopped_share_stops_between_two_calls(hub: Hub) -> None:
    hub.make("dev-1")
    stopped = CountingShare(1)
    hub.client._identities._share = stopped
    assert await hub.client.device("dev-1")
    with pytest.raises(StoppedError):
        await hub.client.device("dev-1")


async def test_hub_that_throttles_is_asked_again_after_the_time_it_names(
    certificate: ServerCertificate,
) -> None:
    async with hub_of(certificate, HubBehaviour(retry_after=True)) as hub:
        with hub.faults.during(Rule(Fault(kind="status", status=429, retry_after=7), count=2)):
            await hub.client.statistics()
        assert hub.clock.pauses == [7.0, 7.0]


async def test_entra_token_opens_the_hub_and_one_for_another_service_does_not(
    certificate: ServerCertificate,
) -> None:
    world = World(seed=7)
    issuer = Issuer(world.clock)
    async with hub_of(certificate, tokens=issuer) as hub:

        def client(audience: str) -> HubClient:
            return HubClient(
                HOST,
                auth=Handed(f"Bearer {issuer.token(audience)}"),
                connections=hub.client._identities._connections,
                shares=hub.shares,
                clock=hub.clock,
                jitter=no_jitter,
                url=hub.url,
            )

        assert (await client(HUBS[0]).statistics()).total == 0
        with pytest.raises(Unauthenticated) as refused:
            await client(ARM[0]).statistics()
        assert refused.value.code == "IotHubUnauthorizedAccess"


# --- faults


@every_fault
async def test_reads_outlive_one_fault_and_a_lasting_one_is_an_error_never_an_absence(
    hub: Hub, fault: Fault, everything_logged: pytest.LogCaptureFixture
) -> None:
    hub.make("dev-1")
    key = ConnectionString.parse(hub.connection_string).key.reveal()
    reads: list[Callable[[], Any]] = [
        hub.client.statistics,
        lambda: hub.client.device("dev-1"),
        lambda: hub.client.twin("dev-1"),
        lambda: hub.client.devices_in(["dev-1"]),
    ]
    for read in reads:
        expected = await read()
        with hub.faults.during(Rule(fault)):
            assert await read() == expected
        with hub.faults.during(Rule(fault, count=None)), pytest.raises((Throttled, Unavailable)) as failed:
            await read()
        assert (
            leaks([PRIMARY, SECONDARY, key, "SharedAccessSignature"], everything_logged, failed.value) == []
        )


@every_fault
async def test_delete_is_sent_again_only_after_an_answer_that_says_it_did_not_happen(
    hub: Hub, fault: Fault, everything_logged: pytest.LogCaptureFixture
) -> None:
    hub.make("dev-1")
    etag = await etag_of(hub)
    outcome: Any
    with hub.faults.during(Rule(fault, method="DELETE")):
        try:
            outcome = await hub.client.delete("dev-1", etag)
        except OutcomeUnknown as error:
            outcome = error
    there = await hub.client.device("dev-1") is not None
    if outcome == Deleted():
        assert not there
    else:
        assert isinstance(outcome, OutcomeUnknown)
        assert there is not fault.late
    assert (outcome == Deleted()) >= (fault.status == 429 and fault.kind == "status")
    assert hub.sent("DELETE") == (0 if isinstance(outcome, OutcomeUnknown) and not fault.late else 1)
    assert leaks([PRIMARY, SECONDARY, "SharedAccessSignature"], everything_logged, outcome) == []


@every_fault
async def test_status_change_under_a_fault_is_made_or_told_as_open_and_never_shows_a_key(
    hub: Hub, fault: Fault, everything_logged: pytest.LogCaptureFixture
) -> None:
    hub.make("dev-1")
    etag = await etag_of(hub)
    outcome: Any
    with hub.faults.during(Rule(fault, method="PUT")):
        try:
            outcome = await hub.client.set_status("dev-1", "disabled", etag, "why")
        except ClientError as error:
            outcome = error
    now = await hub.client.device("dev-1")
    assert now is not None
    if isinstance(outcome, HubDevice):
        assert outcome == now
        assert now.status == "disabled"
    else:
        assert isinstance(outcome, OutcomeUnknown)
        assert (now.status == "disabled") is fault.late
    keys = hub.hub.devices.get("dev-1")
    assert keys is not None
    assert keys.identity.keys == DeviceKeys(PRIMARY, SECONDARY)
    assert leaks([PRIMARY, SECONDARY, "SharedAccessSignature"], everything_logged, outcome, now) == []


async def test_hub_that_echoes_what_it_was_sent_does_not_put_keys_into_an_error() -> None:
    echo = {
        "Message": f"ErrorCode:ArgumentInvalid;cannot take {PRIMARY}",
        "ExceptionMessage": "Tracking ID:7",
    }
    client, _ = answering(httpx.Response(200, json=IDENTITY), httpx.Response(400, json=echo))
    with pytest.raises(BadRequest) as refused:
        await client.set_status("dev-1", "disabled", "e")
    assert PRIMARY not in str(refused.value)
    assert (refused.value.code, refused.value.tracking_id) == ("ArgumentInvalid", "7")
