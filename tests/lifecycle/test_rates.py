"""The shares of DPS's and the hubs' rates."""

import math

import pytest

from lifecycle.errors import NoShare
from lifecycle.rates import MOST, SHARES, Rate, Rates, adjusted, checked
from provisioning.hubs import HIGH_TIER
from tests.lifecycle.toy import Time, WorkerClock


def rates(**options: object) -> Rates:
    return Rates(WorkerClock(Time()), **options)  # type: ignore[arg-type]  # as given


@pytest.mark.parametrize("rate", Rate)
def test_all_kinds_together_leave_some_of_each_rate_to_others(rate: Rate) -> None:
    total = math.fsum(parts.get(rate, 0.0) for parts in SHARES.values())
    assert 0 < total <= MOST[rate] < 1


def test_all_kinds_together_leave_half_of_a_hubs_registry_to_dps() -> None:
    assert math.fsum(parts.get(Rate.HUB_REGISTRY, 0.0) for parts in SHARES.values()) <= 0.5


def test_each_share_is_a_whole_call_a_minute_of_the_smallest_hub() -> None:
    made = rates()
    for kind, parts in SHARES.items():
        for rate in parts:
            assert made.per_minute(kind, rate, "hub-a") >= 1


def test_a_hubs_share_grows_with_its_units_and_dps_has_none() -> None:
    made = rates(units={"hub-a": 3, "hub-b": 2 * HIGH_TIER})
    assert made.per_minute("audit", Rate.HUB_REGISTRY, "hub-a") == 30
    assert made.per_minute("audit", Rate.HUB_REGISTRY, "HUB-B") == 1000
    assert made.per_minute("audit", Rate.HUB_REGISTRY, "unknown") == 10
    assert made.per_minute("purge", Rate.DPS) == 600


def test_two_slices_of_a_kind_call_under_the_same_share() -> None:
    made = rates()
    assert made.share("audit", Rate.HUB_QUERY, "hub-a") is made.share("audit", Rate.HUB_QUERY, "HUB-A")
    assert made.share("audit", Rate.HUB_QUERY, "hub-a") is not made.share("audit", Rate.HUB_QUERY, "hub-b")
    assert made.share("audit", Rate.HUB_QUERY, "hub-a") is not made.share("purge", Rate.HUB_QUERY, "hub-a")


@pytest.mark.parametrize(("kind", "rate"), [("webhook-key", Rate.HUB_QUERY), ("nobody", Rate.DPS)])
def test_work_without_a_share_cannot_call(kind: str, rate: Rate) -> None:
    with pytest.raises(NoShare, match=f"{kind}.*{rate}"):
        rates().share(kind, rate)


def test_shares_can_be_lowered_and_a_new_kind_is_refused() -> None:
    lowered = adjusted(SHARES, {"purge": {Rate.DPS: 0.3}})
    assert lowered["purge"] == {**SHARES["purge"], Rate.DPS: 0.3}
    assert lowered["audit"] == SHARES["audit"]
    with pytest.raises(ValueError, match="'purg'"):
        adjusted(SHARES, {"purg": {Rate.DPS: 0.3}})


@pytest.mark.parametrize("part", [0, -0.1, 1, 1.5, float("nan")])
def test_a_share_that_is_no_part_is_refused_by_name(part: float) -> None:
    with pytest.raises(ValueError, match="share of audit of dps"):
        checked({"audit": {Rate.DPS: part}})


def test_shares_that_leave_others_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hub-registry: 0\.6 in all, of at most 0\.5"):
        checked({"audit": {Rate.HUB_REGISTRY: 0.3}, "purge": {Rate.HUB_REGISTRY: 0.3}})
