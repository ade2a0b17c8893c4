"""A change is made whole or not at all, whatever the service leaves unknown and whoever dies or writes."""

import asyncio
import copy
from typing import Any

import httpx
import pytest

from clients.errors import OutcomeUnknown
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import EnrollmentChange, change, create, delete, with_keys
from lifecycle.enrollments.webhook import attached
from lifecycle.errors import (
    AlreadyThere,
    EnrollmentMoved,
    InvalidOption,
    MaskedWebhook,
    NoSuchEnrollment,
    NotVerified,
)
from local.explore import Life, Run, explore
from local.switches import Switches
from tests.lifecycle.enrollments.rig import HUBS, KEYS, SECONDARY, WEBHOOK, Rig, group

NEW_KEY = "YS1uZXcta2V5LW9mLXRoZS1ncm91cC4uLi4="


def tagged(document: Document) -> Document:
    document["initialTwin"]["tags"]["site"] = "b"
    return document


def rekeyed(document: Document) -> Document:
    document["attestation"]["symmetricKey"]["secondaryKey"] = NEW_KEY
    return document


def disabled(document: Document) -> Document:
    document["provisioningStatus"] = "disabled"
    return document


def untouched(document: Document) -> Document:
    return document


def check_intact(rig: Rig, *, site: str | None = None, secondary: str = SECONDARY) -> None:
    """What the DPS really holds, whatever its reads show: keys and webhook as they must be."""
    held = rig.service.group("line-a")
    assert held is not None
    assert held.keys is not None
    assert held.keys.primary == KEYS["primaryKey"]
    assert held.keys.secondary == secondary
    assert held.webhook_url == WEBHOOK
    assert held.hubs == HUBS
    if site is not None:
        assert held.initial_twin.tags == {"site": site}
        assert held.initial_twin.desired == {"interval": 5}


async def made(rig: Rig, **members: Any) -> None:
    await create(rig.groups(), group(**members))


@pytest.mark.parametrize("edit", [tagged, rekeyed])
async def test_change_is_whole_under_every_switch_and_every_crash(edit: Any) -> None:
    async def scenario(run: Run) -> None:
        rig = Rig(Switches(run))
        await made(rig)

        async def work(life: Life) -> None:
            transport = life.transport(rig.transport())
            await change(rig.groups(transport), "line-a", edit, webhook_url=WEBHOOK)
            check_intact(rig, secondary=NEW_KEY if edit is rekeyed else SECONDARY)

        await run.live(work)
        if edit is tagged:
            check_intact(rig, site="b")
        else:
            check_intact(rig, secondary=NEW_KEY)
        await rig.aclose()

    report = await explore(scenario)
    report.check()
    assert "dps.mask_webhook_url_on_get" in report.consulted
    assert "dps.put_without_keys" not in report.consulted, "a group was written without its keys"
    assert report.runs > 10


async def test_update_that_changes_nothing_writes_nothing() -> None:
    rig = Rig()
    await made(rig)
    earlier = len(rig.service.world.journal)
    planned = await change(rig.groups(), "line-a", untouched)
    assert planned.diff == ()
    calls = list(rig.service.world.journal)[earlier:]
    assert [call.method for call in calls] == ["GET", "POST"]


async def test_masked_webhook_that_nobody_configured_is_refused_and_nothing_written() -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", True)
    rig = Rig(switches)
    await made(rig)
    with pytest.raises(MaskedWebhook, match="--webhook-url"):
        await change(rig.groups(), "line-a", tagged)
    with pytest.raises(MaskedWebhook):
        await change(rig.groups(), "line-a", tagged, webhook_url="https://other.example/api/allocate?code=x")
    check_intact(rig, site="a")


async def test_a_supplied_key_is_not_written_over_one_that_was_rolled_meanwhile() -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", True)
    rig = Rig(switches)
    await made(rig)
    rolled = WEBHOOK.partition("?")[0] + "?code=rolled"

    async def while_the_operator_thinks(_: Any) -> None:
        if stored(rig) != rolled:
            await change(rig.groups(), "line-a", attached(rolled, "2021-10-01"))

    with pytest.raises(EnrollmentMoved, match="changed by others"):
        await change(rig.groups(), "line-a", tagged, webhook_url=WEBHOOK, consent=while_the_operator_thinks)
    assert stored(rig) == rolled


def stored(rig: Rig) -> str:
    """The URL as DPS has it."""
    held = rig.service.group("line-a")
    assert held is not None
    return str(held.webhook_url)


async def test_masked_webhook_of_another_app_may_be_set_anew_by_the_edit() -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", True)
    rig = Rig(switches)
    await made(rig)

    def moved(document: Document) -> Document:
        document["customAllocationDefinition"]["webhookUrl"] = "https://new.example/api/allocate?code=n"
        return document

    await change(rig.groups(), "line-a", moved)
    held = rig.service.group("line-a")
    assert held is not None
    assert held.webhook_url == "https://new.example/api/allocate?code=n"


async def test_unknown_members_survive_a_change() -> None:
    rig = Rig()
    await made(rig, certificatePolicyName="policy-of-2026", namespaceName="adr")
    await change(rig.groups(), "line-a", tagged)
    read = await rig.groups().read("line-a")
    assert read is not None
    assert (read["certificatePolicyName"], read["namespaceName"]) == ("policy-of-2026", "adr")


class Meanwhile(httpx.AsyncBaseTransport):
    """Lets another writer in just before each of the first `times` PUTs."""

    def __init__(self, rig: Rig, other: Any, times: int = 1) -> None:
        self.inner = rig.transport()
        self.other = other
        self.times = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and self.times:
            self.times -= 1
            await self.other()
        return await self.inner.handle_async_request(request)


async def test_writer_in_between_is_not_overwritten_and_both_changes_stand() -> None:
    rig = Rig()
    await made(rig)
    transport = Meanwhile(rig, lambda: change(rig.groups(), "line-a", disabled))
    asked: list[EnrollmentChange] = []

    async def consent(planned: EnrollmentChange) -> None:
        asked.append(planned)

    await change(rig.groups(transport), "line-a", tagged, consent=consent)
    held = rig.service.group("line-a")
    assert held is not None
    assert held.disabled
    check_intact(rig, site="b")
    assert len(asked) == 1, "the difference stayed the same, so nobody is asked twice"


async def test_person_is_asked_again_when_the_difference_has_changed() -> None:
    rig = Rig()
    await made(rig)

    async def other() -> None:
        def edit(document: Document) -> Document:
            document["initialTwin"]["tags"]["site"] = "c"
            return document

        await change(rig.groups(), "line-a", edit)

    shown: list[Any] = []

    async def consent(planned: EnrollmentChange) -> None:
        shown.append([(each.before, each.after) for each in planned.diff])

    await change(rig.groups(Meanwhile(rig, other)), "line-a", tagged, consent=consent)
    assert shown == [[("a", "b")], [("c", "b")]]


async def test_given_etag_is_tried_once_and_never_overwrites() -> None:
    rig = Rig()
    await made(rig)
    read = await rig.groups().read("line-a")
    assert read is not None
    transport = Meanwhile(rig, lambda: change(rig.groups(), "line-a", disabled))
    with pytest.raises(EnrollmentMoved):
        await change(rig.groups(transport), "line-a", tagged, etag=read["etag"])
    check_intact(rig, site="a")
    with pytest.raises(EnrollmentMoved, match="ETag that was given"):
        await change(rig.groups(), "line-a", tagged, etag=read["etag"])


async def test_two_hundred_edits_by_eight_writers_lose_none() -> None:
    rig = Rig()
    await made(rig)

    async def writer(number: int) -> None:
        for each in range(25):

            def edit(document: Document, name: str = f"w{number}n{each}") -> Document:
                document["initialTwin"]["tags"][name] = True
                return document

            while True:
                try:
                    await change(rig.groups(), "line-a", edit)
                    break
                except EnrollmentMoved:
                    await asyncio.sleep(0)

    await asyncio.gather(*(writer(number) for number in range(8)))
    held = rig.service.group("line-a")
    assert held is not None
    assert len(held.initial_twin.tags) == 1 + 200
    check_intact(rig)


class Lost(httpx.AsyncBaseTransport):
    """Loses the answer (or the request) of the first PUT or DELETE."""

    def __init__(self, rig: Rig, *, after: bool) -> None:
        self.inner = rig.transport()
        self.after = after
        self.left = 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method in ("PUT", "DELETE") and self.left:
            self.left -= 1
            if self.after:
                await self.inner.handle_async_request(request)
            raise httpx.ReadError("gone", request=request)
        return await self.inner.handle_async_request(request)


@pytest.mark.parametrize("after", [False, True])
async def test_lost_answer_is_looked_up_and_the_change_made_once(after: bool) -> None:
    rig = Rig()
    await made(rig)
    before = rig.service.group("line-a")
    await change(rig.groups(Lost(rig, after=after)), "line-a", tagged)
    held = rig.service.group("line-a")
    assert held is not None
    assert before is not None
    check_intact(rig, site="b")
    writes = [call for call in rig.service.world.journal if call.method == "PUT"]
    assert len(writes) == 2, "one that made it and one that changed it; the lost one never arrived"


@pytest.mark.parametrize("after", [False, True])
async def test_creation_whose_answer_is_lost_is_done_or_plainly_unknown(after: bool) -> None:
    rig = Rig()
    enrollments = rig.groups(Lost(rig, after=after))
    if after:
        await create(enrollments, group())
        check_intact(rig, site="a")
    else:
        with pytest.raises(OutcomeUnknown):
            await create(enrollments, group())
        assert rig.service.group("line-a") is None


async def test_what_exists_is_not_created_over() -> None:
    rig = Rig()
    await made(rig)
    other = group(initialTwin={"tags": {}, "properties": {"desired": {}}})
    with pytest.raises(AlreadyThere, match="line-a"):
        await create(rig.groups(), other)
    check_intact(rig, site="a")


async def test_creation_under_every_switch_and_crash_leaves_it_whole_or_absent() -> None:
    async def scenario(run: Run) -> None:
        rig = Rig(Switches(run))

        async def work(life: Life) -> None:
            try:
                await create(rig.groups(life.transport(rig.transport())), group())
            except AlreadyThere:
                check_intact(rig, site="a")

        await run.live(work)
        check_intact(rig, site="a")
        await rig.aclose()

    (await explore(scenario)).check()


async def test_service_that_keeps_something_else_is_found_out() -> None:
    rig = Rig()
    await made(rig)

    class Forgetful(httpx.AsyncBaseTransport):
        inner = rig.transport()

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT":
                changed = request.content.replace(b'"b"', b'"z"')
                headers = {**request.headers, "content-length": str(len(changed))}
                request = httpx.Request(request.method, request.url, headers=headers, content=changed)
            return await self.inner.handle_async_request(request)

    with pytest.raises(NotVerified, match=r"initialTwin\.tags\.site"):
        await change(rig.groups(Forgetful()), "line-a", tagged)


async def test_enrollment_is_never_renamed_nor_its_attestation_changed() -> None:
    rig = Rig()
    await made(rig)

    def renamed(document: Document) -> Document:
        return document | {"enrollmentGroupId": "line-b"}

    def turned(document: Document) -> Document:
        return document | {"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "ca"}}}}

    def keyless(document: Document) -> Document:
        return document | {"attestation": {"type": "symmetricKey", "symmetricKey": {}}}

    for edit in (renamed, turned, keyless):
        with pytest.raises(InvalidOption):
            await change(rig.groups(), "line-a", edit)
    check_intact(rig, site="a")


async def test_missing_enrollment_is_named() -> None:
    with pytest.raises(NoSuchEnrollment, match="nobody"):
        await change(Rig().groups(), "nobody", tagged)


async def test_deletion_waits_for_the_keys_to_be_safe_and_is_guarded() -> None:
    rig = Rig()
    await made(rig)
    kept: list[Document] = []

    async def refuses(_: Document) -> None:
        raise InvalidOption("discard_keys", "the vault is not there", "give --discard-keys")

    with pytest.raises(InvalidOption):
        await delete(rig.groups(), "line-a", before_delete=refuses)
    check_intact(rig, site="a")

    async def keeps(document: Document) -> None:
        kept.append(copy.deepcopy(document))

    await delete(rig.groups(Lost(rig, after=True)), "line-a", before_delete=keeps)
    assert rig.service.group("line-a") is None
    assert kept[0]["attestation"]["symmetricKey"] == KEYS


async def test_no_secret_stands_in_any_repr_or_message() -> None:
    rig = Rig()
    await made(rig)
    planned = await change(rig.groups(), "line-a", rekeyed)
    shown = repr(planned) + str(planned)
    for secret in (NEW_KEY, *KEYS.values(), "function-key-of-the-test"):
        assert secret not in shown
    assert await with_keys(rig.groups(), "line-a") is not None
