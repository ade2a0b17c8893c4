"""The DPS client under faults: reads come through, writes are never sent twice, no secret is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from clients.dps import DpsClient
from clients.errors import (
    ClientError,
    Conflict,
    ContinuationExpired,
    OutcomeUnknown,
    PreconditionFailed,
    Throttled,
    Unauthenticated,
    Unavailable,
)
from clients.outcomes import Deleted, Gone
from local.dps.behaviour import Behaviour
from local.dps.seed import seed
from local.explore import Life, Run, explore
from local.faults import InProcess, Rule
from local.faults.rules import Fault, answered, halved, skewed, stalled, throttled
from local.switches import Switches
from local.tls import ServerCertificate
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment
from tests.clients.dps_stage import Place, in_process, over_tls
from tests.clients.stage import FAULTS, every_fault, everything_logged, leaks
from tests.local.dps.rig import PRIMARY, SECONDARY, Rig, custom, group, individual

__all__ = ["everything_logged"]

CODE = "bm90LXRvLWJlLXNlZW4tbm90LXRvLWJlLXNlZW4="
SECRETS = (PRIMARY, SECONDARY, CODE)
HAPPENED = ("503 after all", "dropped after", "half a body")
REPEATED = ("429", "429 with a time")


def secretive(name: str) -> EnrollmentGroup:
    definition = {"webhookUrl": f"https://app.example/api?code={CODE}", "apiVersion": "2021-10-01"}
    return EnrollmentGroup.read(group(name, **custom()) | {"customAllocationDefinition": definition})


@pytest_asyncio.fixture
async def place(certificate: ServerCertificate) -> AsyncIterator[Place]:
    async with over_tls(certificate) as made:
        made.secrets = (*made.secrets, *SECRETS)
        seed(made.dps, registrations=12, enrollments=12, groups=2, devices=False)
        await made.client.groups.create(secretive("kept"))
        yield made


def a_group_of(place: Place) -> str:
    return next(each.group for each in place.dps.registrations() if each.group)


async def listed(pages: AsyncIterator[Any]) -> int:
    return sum([len(page.items) async for page in pages])


READS: dict[str, Callable[[Place], Awaitable[Any]]] = {
    "get": lambda place: place.client.groups.get("kept"),
    "attestation": lambda place: place.client.groups.attestation("kept"),
    "with keys": lambda place: place.client.groups.with_keys("kept"),
    "list": lambda place: listed(place.client.individuals.pages(size=5)),
    "registrations": lambda place: listed(place.client.registrations.pages(a_group_of(place), size=2)),
}


@every_fault
@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
async def test_every_read_comes_through_every_fault(
    place: Place, fault: Fault, read: Callable[[Place], Awaitable[Any]], everything_logged: Any
) -> None:
    plain = await read(place)
    with place.faults.during(Rule(fault, "dps", count=2)) as armed:
        faulted = await read(place)
    assert armed.met == 2
    assert repr(faulted) == repr(plain)
    assert leaks(place.secrets, everything_logged, faulted, place.client) == []


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (throttled(), Throttled),
        (throttled(30), Throttled),
        (answered(503), Unavailable),
        (halved(), Unavailable),
    ],
    ids=["429", "429 with a time", "503", "half"],
)
async def test_a_read_that_cannot_come_through_says_so_in_time_and_tells_no_secret(
    place: Place,
    fault: Fault,
    expected: type[ClientError],
    read: Callable[[Place], Awaitable[Any]],
    everything_logged: Any,
) -> None:
    group_id = a_group_of(place)
    assert group_id
    with place.faults.during(Rule(fault, "dps", count=None)), pytest.raises(expected) as caught:
        await read(place)
    assert sum(place.clock.pauses) <= 90
    assert leaks(place.secrets, everything_logged, caught.value) == []


async def write_create(place: Place) -> Any:
    return await place.client.groups.create(secretive("new"))


async def write_replace(place: Place) -> Any:
    found = await place.client.groups.with_keys("kept")
    assert found is not None
    return await place.client.groups.replace(
        EnrollmentGroup.read(found.wire() | {"provisioningStatus": "disabled"})
    )


async def write_delete(place: Place) -> Any:
    found = await place.client.groups.get("kept")
    assert found is not None
    return await place.client.groups.delete("kept", found.etag)


async def write_bulk(place: Place) -> Any:
    return await place.client.groups.bulk("create", [secretive("new"), secretive("newer")])


def _disabled(place: Place) -> bool:
    held = place.dps.group("kept")
    return held is not None and held.disabled


WRITES: dict[str, tuple[str, Callable[[Place], Awaitable[Any]], Callable[[Place], bool]]] = {
    "create": ("PUT", write_create, lambda place: place.dps.group("new") is not None),
    "replace": ("PUT", write_replace, _disabled),
    "delete": ("DELETE", write_delete, lambda place: place.dps.group("kept") is None),
    "bulk": ("POST", write_bulk, lambda place: place.dps.group("newer") is not None),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("write", WRITES)
async def test_a_write_happens_once_or_is_unknown(
    place: Place, name: str, write: str, everything_logged: Any
) -> None:
    method, act, happened = WRITES[write]
    path = "/enrollmentGroups" if write == "bulk" else "/enrollmentGroups/*"
    with place.faults.during(Rule(FAULTS[name], "dps", method, path)) as armed:
        if name in REPEATED:
            assert await act(place)
            assert happened(place)
        elif name == "half a body" and write == "delete":
            assert await act(place) == Deleted()  # a 204 has no body to lose half of
        else:
            with pytest.raises(OutcomeUnknown) as caught:
                await act(place)
            assert happened(place) is (name in HAPPENED)
            assert leaks(place.secrets, everything_logged, caught.value) == []
    assert armed.met == 1
    assert armed.matched == (2 if name in REPEATED else 1), "nothing is sent again blindly"


async def test_a_stalled_write_is_given_up(certificate: ServerCertificate) -> None:
    async with over_tls(certificate) as place:
        made = await place.client.groups.create(secretive("kept"))
        for calls in (place.client.groups, place.client.individuals):
            calls._service._attempt_seconds = 0.2
        with (
            place.faults.during(Rule(stalled(after=True), "dps", "DELETE")) as armed,
            pytest.raises(OutcomeUnknown, match=r"no answer within 0\.2 s"),
        ):
            await place.client.groups.delete("kept", made.etag)
        assert armed.met == 1
        assert await place.client.groups.delete("kept", made.etag) == Gone()


async def test_a_read_back_that_fails_leaves_a_creation_open(place: Place) -> None:
    with (
        place.faults.during(Rule(answered(503), "dps", "GET", "*/new", nth=2, count=None)),
        pytest.raises(OutcomeUnknown, match="could not be read back"),
    ):
        await place.client.groups.create(secretive("new"))
    assert place.dps.group("new") is not None


@pytest.mark.parametrize(("skew", "taken"), [(1700, True), (-1700, True), (3700, False)])
async def test_signatures_are_good_at_a_service_whose_clock_differs(
    place: Place, skew: float, taken: bool
) -> None:
    with place.faults.during(Rule(skewed(skew), "dps", count=None)):
        if taken:
            assert await place.client.groups.get("nobody") is None
        else:
            with pytest.raises(Unauthenticated, match="clock"):
                await place.client.groups.get("nobody")


# Two writers, and a death at every call


async def test_of_two_writers_with_one_etag_one_is_told(place: Place) -> None:
    found = await place.client.groups.with_keys("kept")
    assert found is not None
    changes = [
        EnrollmentGroup.read(found.wire() | {"initialTwin": {"tags": {"by": number}}}) for number in range(8)
    ]
    ended = await asyncio.gather(
        *(place.client.groups.replace(change) for change in changes), return_exceptions=True
    )
    assert sum(isinstance(one, EnrollmentGroup) for one in ended) == 1
    assert sum(isinstance(one, PreconditionFailed) for one in ended) == 7


async def test_of_many_creators_one_succeeds_and_nobody_is_replaced(place: Place) -> None:
    made = [
        IndividualEnrollment.read(individual("one", initialTwin={"tags": {"by": number}}))
        for number in range(8)
    ]
    ended = await asyncio.gather(
        *(place.client.individuals.create(each) for each in made), return_exceptions=True
    )
    [won] = [one for one in ended if isinstance(one, IndividualEnrollment)]
    assert all(isinstance(one, Conflict | IndividualEnrollment) for one in ended)
    held = await place.client.individuals.get("one")
    assert held is not None
    assert held.initial_twin == won.initial_twin


@dataclass
class Kept:
    """What a job has stored: it survives its process."""

    seen: set[str] = field(default_factory=set)
    token: str | None = None


async def test_a_listing_that_dies_at_any_call_misses_nothing_under_every_switch() -> None:
    """It keeps each page with its continuation, and starts over when that is no longer taken."""

    async def scenario(run: Run) -> None:
        async with Rig(Switches(run).behaviour(Behaviour(), "dps")) as rig:
            [group_id] = seed(rig.dps, registrations=9, groups=1, devices=False).groups
            kept = Kept()
            waits = [True]

            async def job(life: Life) -> None:
                wire = life.transport(InProcess({"localhost": rig.judge}, rig.clock))
                async with in_process(rig, transport=wire) as place:
                    while not await listed_whole(place.client):
                        kept.token = None

            async def listed_whole(client: DpsClient) -> bool:
                try:
                    async for page in client.registrations.pages(group_id, start=kept.token, size=4):
                        kept.seen.update(one.key for one in page.items)
                        kept.token = page.continuation
                        if page.continuation and waits and run.choose("a job waits here", (False, True)):
                            waits.clear()
                            await rig.clock.advance(61)
                except ContinuationExpired:
                    return False
                return True

            await run.live(job)
            assert kept.seen == {one.registration_id.lower() for one in rig.dps.registrations()}

    report = await explore(scenario, crashes=1)
    report.check()
    assert {"dps.continuation_lifetime", "dps.max_page_size"} <= set(report.consulted)


async def test_a_change_that_dies_at_any_call_leaves_a_whole_enrollment_under_every_switch() -> None:
    """Created if it is not there, then disabled: its keys and its webhook's key are as they were given."""

    async def scenario(run: Run) -> None:
        async with Rig(Switches(run).behaviour(Behaviour(), "dps")) as rig:

            async def job(life: Life) -> None:
                wire = life.transport(InProcess({"localhost": rig.judge}, rig.clock))
                async with in_process(rig, transport=wire) as place:
                    groups, given = place.client.groups, secretive("g")
                    if await groups.get("g") is None:
                        await groups.create(given)
                    found = await groups.with_keys("g")
                    assert found is not None
                    if found.enabled:
                        definition = given.wire()["customAllocationDefinition"]
                        changed = {"provisioningStatus": "disabled", "customAllocationDefinition": definition}
                        await groups.replace(EnrollmentGroup.read(found.wire() | changed))

            await run.live(job)
            held = rig.dps.group("g")
            assert held is not None
            assert held.disabled
            assert held.keys is not None
            assert (held.keys.primary, held.keys.secondary) == (PRIMARY, SECONDARY)
            assert CODE in held.webhook_url

    report = await explore(scenario, crashes=1)
    report.check()
    assert report.runs > 15
