"""Quotas and rates: documented, each settable, the rates off unless asked for."""

from dataclasses import replace

import pytest

from local.dps.behaviour import Behaviour
from local.dps.limits import UNTHROTTLED, Limits
from tests.local.dps.rig import Rig, individual

FEW = Limits(operations_per_minute=3, registrations_per_minute=2, polls_per_device=2)


def test_the_documented_limits_are_the_defaults() -> None:
    assert Limits() == Limits(
        individual_enrollments=1_000_000,
        groups=100,
        registrations=1_000_000,
        operations_per_minute=1_000,
        registrations_per_minute=1_000,
        polls_per_device=5,
    )


async def test_rates_are_off_and_quotas_on_unless_asked_for(rig: Rig) -> None:
    assert rig.dps.limits is UNTHROTTLED
    rates = {"operations_per_minute": 1_000, "registrations_per_minute": 1_000, "polls_per_device": 5}
    assert replace(UNTHROTTLED, **rates) == Limits()


async def test_service_operations_beyond_the_rate_are_429_for_the_rest_of_the_minute() -> None:
    async with Rig(limits=FEW) as rig:
        statuses = [(await rig.call("GET", "/enrollments/x")).status_code for _ in range(4)]
        assert statuses == [404, 404, 404, 429]
        refused = await rig.call("POST", "/enrollmentGroups/query", {"query": ""})
        assert (refused.json()["errorCode"], refused.headers.get("retry-after")) == (429001, None)
        await rig.clock.advance(60)
        assert (await rig.call("GET", "/enrollments/x")).status_code == 404


async def test_callers_without_a_good_token_use_up_no_rate() -> None:
    async with Rig(limits=FEW) as rig:
        for _ in range(5):
            assert (await rig.call("GET", "/enrollments/x", authorization="no")).status_code == 401
        assert (await rig.call("GET", "/enrollments/x")).status_code == 404


async def test_registrations_beyond_the_rate_are_429_and_leave_no_record() -> None:
    async with Rig(limits=FEW) as rig:
        await rig.put_group()
        statuses = [(await rig.start(f"dev-{number}")).status_code for number in range(3)]
        assert statuses == [202, 202, 429]
        assert rig.dps.registration("dev-2") is None
        await rig.clock.advance(60)
        assert (await rig.start("dev-2")).status_code == 202


async def test_polling_is_a_rate_of_its_own_for_each_device() -> None:
    async with Rig(limits=replace(FEW, registrations_per_minute=None)) as rig:
        await rig.put_group()
        first = (await rig.start("dev-1")).json()["operationId"]
        second = (await rig.start("dev-2")).json()["operationId"]
        statuses = [(await rig.poll("dev-1", first)).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await rig.poll("DEV-1", first)).status_code == 429
        assert (await rig.poll("dev-2", second)).status_code == 200
        assert (await rig.start("dev-1")).status_code == 202
        assert (await rig.look_up("dev-1")).status_code == 200
        await rig.clock.advance(10)
        again = (await rig.start("dev-1")).json()["operationId"]
        assert (await rig.poll("dev-1", again)).status_code == 200


@pytest.mark.parametrize("seconds", [None, 17])
async def test_retry_after_of_a_429_is_as_the_behaviour_says(seconds: int | None) -> None:
    async with Rig(Behaviour(retry_after_on_429=seconds), limits=FEW) as rig:
        for _ in range(3):
            await rig.call("GET", "/enrollments/x")
        answer = await rig.call("GET", "/enrollments/x")
        assert answer.headers.get("retry-after") == (None if seconds is None else str(seconds))


@pytest.mark.parametrize("bulk", [False, True])
async def test_one_individual_enrollment_too_many_is_refused(bulk: bool) -> None:
    async with Rig(limits=replace(UNTHROTTLED, individual_enrollments=1)) as rig:
        await rig.put_enrollment("dev-1")
        changed = await rig.call("PUT", "/enrollments/dev-1", individual("dev-1"), if_match="*")
        assert changed.status_code == 200
        if bulk:
            body = {"mode": "create", "enrollments": [individual("dev-2")]}
            told = (await rig.call("POST", "/enrollments", body)).json()
            assert [each["errorCode"] // 1000 for each in told["errors"]] == [403]
        else:
            assert (await rig.put_enrollment("dev-2")).status_code == 403


async def test_one_registration_record_too_many_is_refused() -> None:
    async with Rig(limits=replace(UNTHROTTLED, registrations=1)) as rig:
        await rig.put_group()
        await rig.register("dev-1")
        assert (await rig.start("dev-2")).status_code == 403
        await rig.register("dev-1")
        await rig.call("DELETE", "/registrations/dev-1")
        await rig.register("dev-2")
