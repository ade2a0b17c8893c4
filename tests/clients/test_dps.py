"""The DPS client: every operation, ETags, listings that are resumed, documents that lose nothing."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.auth import SasAuth
from clients.connections import Connections
from clients.dps import ANY_VERSION, API_VERSION, BULK_ITEMS, DpsClient
from clients.errors import (
    BadRequest,
    Conflict,
    ContinuationExpired,
    Forbidden,
    NotFound,
    NotSendable,
    OutcomeUnknown,
    Overwritten,
    PreconditionFailed,
    Unauthenticated,
    UnexpectedReply,
)
from clients.outcomes import Deleted, Gone, Moved
from clients.pacing import PacedShare, UnpacedShare
from local.dps.behaviour import Behaviour
from local.dps.policies import AccessPolicy
from local.dps.seed import seed
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment
from provisioning.keys import SymmetricKey, SymmetricKeys
from tests.clients.dps_stage import Follower, Place, in_process
from tests.clients.stage import no_jitter
from tests.local.dps.rig import HUBS, PRIMARY, SECONDARY, WEBHOOK, Rig, custom, group, individual, symmetric

FUTURE = {
    "namespaceName": "factory-7",
    "certificateAuthorityName": "ca",
    "certificatePolicyName": "policy",
    "neverHeardOf": {"deep": [1, 2.5, None, "é"]},
}
"""Members of 2026-11-01, and one of no version."""


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig() as made:
        yield made


@pytest_asyncio.fixture
async def place(rig: Rig) -> AsyncIterator[Place]:
    async with in_process(rig) as made:
        yield made


def kinds(place: Place) -> tuple[tuple[Any, Any, Any], ...]:
    return (
        (place.client.individuals, IndividualEnrollment, individual),
        (place.client.groups, EnrollmentGroup, group),
    )


each_kind = pytest.mark.parametrize("kind", [0, 1], ids=["individual", "group"])


# One enrollment


@each_kind
async def test_an_enrollment_lives_and_dies(place: Place, kind: int) -> None:
    calls, read, body = kinds(place)[kind]
    assert await calls.get("One") is None
    made = await calls.create(read.read(body("One", iotHubs=[HUBS[0]])))
    assert (made.id, made.iot_hubs, made.enabled) == ("One", (HUBS[0],), True)
    assert made.keys is not None
    found = await calls.with_keys("oNE")
    assert found.keys.same_as(made.keys)
    assert found.created == place.clock.now()
    changed = found.document() | {"provisioningStatus": "disabled"}
    after = await calls.replace(read.read(changed).with_keys(found.keys))
    assert (after.enabled, after.etag != found.etag) == (False, True)
    assert (await calls.attestation("one")).keys.same_as(made.keys)
    with pytest.raises(PreconditionFailed):
        await calls.replace(found)
    assert await calls.delete("one", found.etag) == Moved()
    assert await calls.delete("one", after.etag) == Deleted()
    assert await calls.delete("one", after.etag) == Gone()
    assert await calls.attestation("one") is None
    assert await calls.with_keys("one") is None
    with pytest.raises(NotFound):
        await calls.replace(after.with_keys(made.keys))


@each_kind
async def test_members_of_newer_versions_survive_a_read_modify_write(place: Place, kind: int) -> None:
    calls, read, body = kinds(place)[kind]
    twin = {
        "tags": {"site": "a", "nested": {"x": [1]}},
        "properties": {"desired": {"interval": 60}},
        "new": 1,
    }
    attestation = {**symmetric(), "notYetKnown": {"a": 1}}
    sent = body("one", **FUTURE, initialTwin=twin, **custom(), attestation=attestation)
    await calls.create(read.read(sent))
    found = await calls.with_keys("one")
    await calls.replace(read.read(found.wire() | {"provisioningStatus": "disabled"}))
    kept = (await calls.get("one")).document()
    assert {name: kept[name] for name in FUTURE} == FUTURE
    assert (kept["initialTwin"], kept["provisioningStatus"]) == (twin, "disabled")
    assert kept["attestation"] == {"type": "symmetricKey", "notYetKnown": {"a": 1}}
    assert (await calls.attestation("one")).keys.same_as(found.keys)


async def test_keys_made_by_the_service_come_with_the_creation(place: Place) -> None:
    made = await place.client.groups.create(
        EnrollmentGroup.read(group("g", attestation={"type": "symmetricKey"}))
    )
    assert made.keys is not None
    assert made.keys.secondary is not None
    held = place.dps.group("g")
    assert held is not None
    assert held.keys is not None
    assert made.keys.primary.reveal() == held.keys.primary


@each_kind
async def test_what_exists_is_not_created_again(place: Place, kind: int) -> None:
    calls, read, body = kinds(place)[kind]
    first = await calls.create(read.read(body("one")))
    with pytest.raises(Conflict, match="exists already"):
        await calls.create(read.read(body("ONE", provisioningStatus="disabled")))
    assert (await calls.get("one")).etag == first.etag


async def test_a_conflict_of_the_service_itself_is_one_too(rig: Rig) -> None:
    """Somebody creates it between our look and our PUT."""

    def around(app: Any) -> Any:
        async def meddle(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "PUT":
                await rig.put_group("g")
            await app(scope, receive, send)

        return meddle

    async with in_process(rig, around) as place:
        with pytest.raises(Conflict, match="exists already; send its etag"):
            await place.client.groups.create(EnrollmentGroup.read(group("g")))


@pytest.mark.parametrize("seconds", [2, 9])
async def test_a_service_that_replaces_silently_is_noticed_by_its_own_dates(rig: Rig, seconds: int) -> None:
    """It would do so to an enrollment that another caller made between our look and our PUT."""

    def around(app: Any) -> Any:
        async def meddle(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "PUT":
                made = await rig.put_group("g")
                await rig.clock.advance(seconds)
                etag = made.json()["etag"].encode()
                scope = {**scope, "headers": [*scope["headers"], (b"if-match", etag)]}
            await app(scope, receive, send)

        return meddle

    async with in_process(rig, around) as place:
        with pytest.raises(Overwritten, match="one replaced the other"):
            await place.client.groups.create(EnrollmentGroup.read(group("g")))


async def test_who_was_replaced_right_after_creating_learns_it(rig: Rig) -> None:
    def around(app: Any) -> Any:
        async def meddle(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            if scope["method"] == "PUT":
                held = rig.dps.group("g")
                assert held is not None
                await rig.call("PUT", "/enrollmentGroups/g", group("g"), if_match=held.etag)

        return meddle

    async with in_process(rig, around) as place:
        with pytest.raises(Overwritten):
            await place.client.groups.create(EnrollmentGroup.read(group("g")))


async def test_no_change_is_sent_without_an_etag_unless_a_person_said_so(place: Place) -> None:
    groups = place.client.groups
    made = await groups.create(EnrollmentGroup.read(group("g")))
    for etag in ("", "*", '"*"'):
        document = made.wire() | {"etag": etag}
        with pytest.raises(NotSendable, match="ETag"):
            await groups.replace(EnrollmentGroup.read(document))
    with pytest.raises(NotSendable, match="ETag"):
        await groups.delete("g", "")
    await groups.replace(made, etag=ANY_VERSION)
    assert await groups.delete("g", ANY_VERSION) == Deleted()


async def test_no_request_ever_says_if_match_any_by_itself(rig: Rig) -> None:
    seen: list[tuple[str, str | None]] = []

    def around(app: Any) -> Any:
        async def watch(scope: Any, receive: Any, send: Any) -> None:
            headers = dict(scope["headers"])
            seen.append((scope["method"], headers.get(b"if-match", b"").decode() or None))
            await app(scope, receive, send)

        return watch

    async with in_process(rig, around) as place:
        made = await place.client.groups.create(EnrollmentGroup.read(group("g", etag='"stale"')))
        await place.client.groups.replace(made)
        await place.client.groups.delete("g", made.etag)
    assert [given for given in seen if given[0] != "GET"] == [
        ("PUT", None),
        ("PUT", made.etag),
        ("DELETE", made.etag),
    ]


async def test_symmetric_enrollments_are_never_written_without_keys(place: Place) -> None:
    groups = place.client.groups
    await groups.create(EnrollmentGroup.read(group("g")))
    found = await groups.get("g")
    assert found is not None
    calls = place.share.calls
    with pytest.raises(NotSendable, match="with_keys"):
        await groups.replace(found)
    with pytest.raises(NotSendable, match="with_keys"):
        await groups.bulk("update", [found])
    assert place.share.calls == calls


async def test_a_masked_webhook_is_never_written() -> None:
    async with Rig(Behaviour(mask_webhook_url_on_get=True)) as rig, in_process(rig) as place:
        groups = place.client.groups
        await groups.create(EnrollmentGroup.read(group("g", **custom())))
        found = await groups.with_keys("g")
        assert found is not None
        assert found.webhook is not None
        assert found.webhook.masked
        for change in (
            groups.replace(found),
            groups.create(found),
            groups.bulk("updateIfMatchETag", [found]),
        ):
            with pytest.raises(NotSendable, match="masked"):
                await change
        definition = {"webhookUrl": WEBHOOK, "apiVersion": API_VERSION}
        await groups.replace(EnrollmentGroup.read(found.wire() | {"customAllocationDefinition": definition}))
        held = place.dps.group("g")
        assert held is not None
        assert held.webhook_url == WEBHOOK


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a b", "é", "a" * 129, "a\n", "a%2fb"])
async def test_an_id_that_cannot_be_is_refused_before_any_call(place: Place, bad: str) -> None:
    for call in (
        place.client.groups.get(bad),
        place.client.groups.attestation(bad),
        place.client.groups.delete(bad, '"1"'),
        place.client.registrations.get(bad),
        place.client.registrations.delete(bad, "x"),
        anext(aiter(place.client.registrations.of_group("."))),
    ):
        with pytest.raises(NotSendable, match="128 ASCII letters"):
            await call
    assert place.share.calls == 0


# Many


@pytest.mark.parametrize("size", [None, 1, 3, 7, 1000])
async def test_a_listing_gives_each_enrollment_once(place: Place, size: int | None) -> None:
    seed(place.dps, enrollments=20, groups=5, devices=False)
    listed = [one.id async for one in place.client.individuals.all(size=size)]
    assert len(listed) == len(set(listed)) == 20
    assert len([one async for one in place.client.groups.all(size=size)]) == 5


async def test_registrations_are_listed_by_group_read_and_deleted(place: Place) -> None:
    seeded = seed(place.dps, registrations=50, groups=2, devices=False)
    registrations = place.client.registrations
    listed = [one for each in seeded.groups async for one in registrations.of_group(each, size=7)]
    assert len({one.key for one in listed}) == 50
    one = await registrations.get(listed[0].id.upper())
    assert one == listed[0]
    assert await registrations.delete(one.id, "another") == Moved()
    assert await registrations.delete(one.id, one.etag) == Deleted()
    assert await registrations.delete(one.id, one.etag) == Gone()
    assert await registrations.get(one.id) is None
    with pytest.raises(NotFound):
        await anext(aiter(registrations.of_group("nobody")))


@given(st.integers(0, 12), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 6))
@settings(deadline=None, max_examples=25)
async def test_a_listing_goes_on_in_another_process_from_any_page(
    records: int, sizes: list[int], stop: int
) -> None:
    async with Rig() as rig, in_process(rig) as place:
        seed(place.dps, enrollments=records, groups=1, devices=False)
        listed: list[str] = []
        token: str | None = None
        size = 0
        while True:  # each page by a client of its own
            page = await anext(place.again().individuals.pages(start=token, size=sizes[size % len(sizes)]))
            size += 1
            listed += [one.id for one in page.items]
            token = page.continuation
            if token is None:
                break
        assert listed == [one.id async for one in place.client.individuals.all()]
        assert len(listed) == records


async def test_an_expired_continuation_is_told() -> None:
    async with Rig(Behaviour(continuation_lifetime=60)) as rig, in_process(rig) as place:
        seed(place.dps, enrollments=20, groups=1, devices=False)
        pages = place.client.individuals.pages(size=5)
        first = await anext(pages)
        await rig.clock.advance(61)
        with pytest.raises(ContinuationExpired, match="list again from the start") as caught:
            await anext(pages)
        assert caught.value.code == "400000"
        with pytest.raises(ContinuationExpired):
            await anext(place.client.individuals.pages(start=first.continuation))


def scripted(*answers: httpx.Response) -> DpsClient:
    """A client of a service that answers so, in turn."""
    left = iter(answers)
    clock = Follower(Rig().clock)
    return DpsClient(
        "localhost",
        auth=SasAuth("localhost", "owner", SymmetricKey.parse(PRIMARY), clock),
        connections=Connections(transport=httpx.MockTransport(lambda _: next(left))),
        share=UnpacedShare(),
        clock=clock,
        jitter=no_jitter,
    )


def page(*names: str, then: str | None = None, wrap: Any = None) -> httpx.Response:
    items = [individual(name) for name in names]
    return httpx.Response(
        200, json=items if wrap is None else wrap, headers={"x-ms-continuation": then} if then else {}
    )


async def test_empty_short_and_long_pages_are_all_the_same() -> None:
    answers = [page(then="1"), page("a", then="2"), page(then="3"), page("b", "c", "d", then="4"), page()]
    pages = [each async for each in scripted(*answers).individuals.pages(size=2)]
    assert [[one.id for one in each.items] for each in pages] == [[], ["a"], [], ["b", "c", "d"], []]
    assert [each.continuation for each in pages] == ["1", "2", "3", "4", None]


@given(st.integers(1, 20), st.integers(0, 20))
@settings(deadline=None, max_examples=30)
async def test_a_service_that_hands_out_a_continuation_again_is_not_listed_for_ever(
    cycle: int, before: int
) -> None:
    tokens = [f"b{number}" for number in range(before)] + [f"c{number % cycle}" for number in range(200)]
    with pytest.raises(UnexpectedReply, match="second time"):
        async for _ in scripted(*(page("a", then=token) for token in tokens)).individuals.pages():
            pass


@pytest.mark.parametrize("wrap", [{}, "[]", 1, [1], [None], [{}], [{"registrationId": 1}], [[{}]]])
async def test_a_page_of_anything_else_is_no_page(wrap: Any) -> None:
    with pytest.raises(UnexpectedReply):
        [each async for each in scripted(page(wrap=wrap)).individuals.pages()]
    with pytest.raises(UnexpectedReply):
        [each async for each in scripted(page(wrap=wrap)).registrations.pages("g")]


@pytest.mark.parametrize("size", [0, -1])
async def test_a_page_of_nothing_is_refused(place: Place, size: int) -> None:
    with pytest.raises(NotSendable, match="at least 1"):
        await anext(place.client.groups.pages(size=size))


@each_kind
async def test_bulk_calls_fill_change_and_empty(place: Place, kind: int) -> None:
    calls, read, body = kinds(place)[kind]
    some = [read.read(body(f"one-{number}")) for number in range(BULK_ITEMS)]
    made = await calls.bulk("create", some)
    assert (made.succeeded, made.errors) == (True, ())
    again = await calls.bulk("create", some[:2])
    assert not again.succeeded
    assert [(error.id, error.code // 1000) for error in again.errors] == [("one-0", 409), ("one-1", 409)]
    assert all(error.advice for error in again.errors)
    found = [one async for one in calls.all()]
    whole = [one.with_keys(some[0].keys) for one in found]
    stale = read.read(whole[0].wire() | {"etag": '"stale"'})
    told = await calls.bulk("updateIfMatchETag", [stale, *whole[1:]])
    assert [(error.id, error.code) for error in told.errors] == [("one-0", 412000)]
    assert (await calls.bulk("update", whole)).succeeded
    assert (await calls.bulk("delete", found)).succeeded
    assert [one async for one in calls.all()] == []


async def test_bulk_calls_that_cannot_be_are_refused_before_any_call(place: Place) -> None:
    groups = place.client.groups
    some = [EnrollmentGroup.read(group(f"g-{number}")) for number in range(BULK_ITEMS + 1)]
    for bad in ([], some, [some[0], some[0]]):
        with pytest.raises(NotSendable, match="1 to 10"):
            await groups.bulk("create", bad)
    with pytest.raises(NotSendable, match="mode"):
        await groups.bulk("upsert", some[:1])  # type: ignore[arg-type]  # that is the point
    with pytest.raises(NotSendable, match="ETag"):
        await groups.bulk("updateIfMatchETag", some[:1])
    assert place.share.calls == 0


# What answers say, and what may not be concluded from them


@pytest.mark.parametrize("body", [b"", b"<html>not here</html>", b"{}", b'{"errorCode":500001}', b"[]"])
async def test_a_404_that_is_not_dpss_own_says_nothing(body: bytes) -> None:
    stray = [httpx.Response(404, content=body)]
    with pytest.raises(UnexpectedReply, match="nothing is concluded"):
        await scripted(*stray).individuals.get("one")
    with pytest.raises(UnexpectedReply, match="nothing is concluded"):
        await scripted(*stray).registrations.get("one")
    with pytest.raises(UnexpectedReply, match="nothing is concluded"):
        await scripted(*stray).registrations.delete("one", "etag")
    with pytest.raises(UnexpectedReply, match="nothing is concluded"):
        await scripted(*stray).groups.attestation("one")


async def test_an_answer_about_another_is_not_taken() -> None:
    with pytest.raises(UnexpectedReply, match="not the one asked for"):
        await scripted(httpx.Response(200, json=individual("two"))).individuals.get("one")
    with pytest.raises(UnexpectedReply, match="another"):
        await scripted(httpx.Response(200, json={"registrationId": "two"})).registrations.get("one")
    one = IndividualEnrollment.read(individual("one", etag='"1"'))
    with pytest.raises(OutcomeUnknown):
        await scripted(httpx.Response(200, json=individual("two"))).individuals.replace(one)
    with pytest.raises(OutcomeUnknown):
        await scripted(httpx.Response(200, json={"isSuccessful": "yes"})).individuals.bulk("delete", [one])


async def test_masked_keys_are_never_taken_for_keys() -> None:
    masked = {"type": "symmetricKey", "symmetricKey": {"primaryKey": "****", "secondaryKey": "****"}}
    with pytest.raises(UnexpectedReply, match="primaryKey"):
        await scripted(httpx.Response(200, json=masked)).groups.attestation("g")
    shown = httpx.Response(200, json=group("g", attestation={"type": "symmetricKey"}))
    for none in ({"type": "symmetricKey"}, {"type": "symmetricKey", "symmetricKey": {"primaryKey": None}}):
        with pytest.raises(UnexpectedReply, match="told none"):
            await scripted(shown, httpx.Response(200, json=none)).groups.with_keys("g")


async def test_errors_carry_code_tracking_id_and_what_to_do(place: Place) -> None:
    broken = EnrollmentGroup.read(group("g", allocationPolicy="custom"))
    with pytest.raises(BadRequest, match=r"\(400004\).*give both the webhook's URL.*trackingId") as caught:
        await place.client.groups.create(broken)
    assert (caught.value.code, caught.value.status, caught.value.service) == ("400004", 400, "DPS")
    assert len(caught.value.tracking_id) == 32


async def test_a_right_that_is_missing_is_named() -> None:
    async with Rig() as rig:
        poor = AccessPolicy("reader", PRIMARY, SECONDARY, frozenset({"EnrollmentRead"}))
        rig.dps.asgi._access._policies["reader"] = poor
        async with in_process(rig) as place:
            client = DpsClient(
                "localhost",
                auth=SasAuth("localhost", "reader", SymmetricKey.parse(PRIMARY), place.clock),
                connections=Connections(transport=httpx.ASGITransport(rig.judge)),
                share=UnpacedShare(),
                clock=place.clock,
                jitter=no_jitter,
            )
            assert await client.groups.get("g") is None
            with pytest.raises(Forbidden, match="Data Contributor"):
                await client.groups.create(EnrollmentGroup.read(group("g")))


async def test_a_wrong_key_is_told_without_it(place: Place) -> None:
    client = DpsClient(
        "localhost",
        auth=SasAuth("localhost", "provisioningserviceowner", SymmetricKey.parse(PRIMARY), place.clock),
        connections=place.client.groups._service._connections,
        share=UnpacedShare(),
        clock=place.clock,
        jitter=no_jitter,
    )
    with pytest.raises(Unauthenticated, match="check the policy's key"):
        await client.groups.get("g")


async def test_a_job_keeps_to_its_share_of_the_rate(rig: Rig) -> None:
    seed(rig.dps, enrollments=100, groups=1, devices=False)
    async with in_process(rig) as place:
        clock = place.clock
        client = DpsClient(
            "localhost",
            auth=place.client.groups._service._auth,
            connections=place.client.groups._service._connections,
            share=PacedShare(60, clock),
            clock=clock,
            jitter=no_jitter,
        )
        assert len([one async for one in client.individuals.pages(size=1)]) == 100
        assert 95 <= clock.monotonic() <= 105


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
@settings(deadline=None, max_examples=40)
async def test_any_unknown_member_survives(value: Any) -> None:
    async with Rig() as rig, in_process(rig) as place:
        document = group("g", unknownToday=value)
        await place.client.groups.create(EnrollmentGroup.read(document))
        found = await place.client.groups.with_keys("g")
        assert found is not None
        await place.client.groups.replace(found)
        last = await place.client.groups.get("g")
        assert last is not None
        assert json.dumps(last.document()["unknownToday"]) == json.dumps(value)


async def test_swapping_keys_is_a_change_like_any_other(place: Place) -> None:
    groups = place.client.groups
    await groups.create(EnrollmentGroup.read(group("g")))
    found = await groups.with_keys("g")
    assert found is not None
    assert found.keys is not None
    assert found.keys.secondary is not None
    swapped = SymmetricKeys(found.keys.secondary, found.keys.primary)
    await groups.replace(replace(found, keys=swapped))
    now = await groups.attestation("g")
    assert now is not None
    assert now.keys is not None
    assert now.keys.same_as(swapped)
    assert not now.keys.same_as(found.keys)
