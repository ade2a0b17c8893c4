"""Placement: shares follow weights, and only the devices of a changed hub move."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.placement import rank
from provisioning.hubs import HubKey
from provisioning.registrations import RegistrationKey

hubs = st.dictionaries(
    st.integers(0, 49).map(lambda n: HubKey(f"hub-{n}.azure-devices.net")),
    st.floats(0.01, 100, allow_nan=False),
    min_size=1,
    max_size=50,
)
devices = st.lists(
    st.text(min_size=1, max_size=20).map(RegistrationKey), min_size=1, max_size=300, unique=True
)


def place(device: RegistrationKey, weights: dict[HubKey, float]) -> HubKey | None:
    return next(iter(rank(device, weights)), None)


def test_golden_placements_never_change() -> None:
    """A change of the hash would move whole fleets in the field."""
    weights = {
        HubKey(f"hub-{letter}.azure-devices.net"): float(n) for n, letter in enumerate("abcde", start=1)
    }
    ranked = {
        device: "".join(hub[4] for hub in rank(RegistrationKey(device), weights))
        for device in ("dev-1", "dev-2", "press-7", "breakroom499-contoso-tstrsd-007", "\u00e9t\u00e9")
    }
    assert ranked == GOLDEN


GOLDEN = {
    "dev-1": "adceb",
    "dev-2": "ceabd",
    "press-7": "bdeca",
    "breakroom499-contoso-tstrsd-007": "ecdab",
    "\xe9t\xe9": "cedab",
}


@given(devices, hubs)
@settings(max_examples=30)
def test_removing_a_hub_moves_exactly_its_own_devices(
    fleet: list[RegistrationKey], weights: dict[HubKey, float]
) -> None:
    gone = min(weights)
    rest = {hub: weight for hub, weight in weights.items() if hub != gone}
    for device in fleet:
        before = place(device, weights)
        if before != gone:
            assert place(device, rest) == before


@given(devices, hubs, st.floats(1.01, 50))
@settings(max_examples=30)
def test_more_weight_moves_devices_only_towards_that_hub(
    fleet: list[RegistrationKey], weights: dict[HubKey, float], factor: float
) -> None:
    grown = max(weights)
    after = weights | {grown: weights[grown] * factor}
    for device in fleet:
        assert place(device, after) in (place(device, weights), grown)


@given(devices, hubs)
@settings(max_examples=30)
def test_a_new_hub_takes_devices_and_gives_none_away(
    fleet: list[RegistrationKey], weights: dict[HubKey, float]
) -> None:
    new = HubKey("new.azure-devices.net")
    for device in fleet:
        assert place(device, weights | {new: 3.0}) in (place(device, weights), new)


@given(st.text(max_size=50).map(RegistrationKey), hubs, st.floats(0.001, 1_000))
def test_only_proportions_of_weights_matter_and_order_does_not(
    device: RegistrationKey, weights: dict[HubKey, float], factor: float
) -> None:
    scaled = {hub: weight * 2.0 ** round(math.log2(factor)) for hub, weight in reversed(weights.items())}
    assert rank(device, scaled) == rank(device, weights)


@given(st.text(max_size=50).map(RegistrationKey), hubs)
def test_the_ranking_holds_every_hub_of_weight_once(
    device: RegistrationKey, weights: dict[HubKey, float]
) -> None:
    weightless = weights | {HubKey("none"): 0.0, HubKey("less"): -1.0}
    assert sorted(rank(device, weightless)) == sorted(weights)


@pytest.mark.parametrize(
    ("weights", "within"),
    [
        (dict.fromkeys(range(10), 1.0), 0.05),
        ({0: 1.0, 1: 3.0}, 0.05),
        ({0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0}, 0.06),
    ],
)
def test_shares_of_a_hundred_thousand_devices_follow_the_weights(
    weights: dict[int, float], within: float
) -> None:
    """The bound of Chernoff with union: P(miss) <= 2 m exp(-d^2 n w_min / 3 W), below 1 % in each case."""
    named = {HubKey(f"hub-{n}"): weight for n, weight in weights.items()}
    n, total = 100_000, sum(weights.values())
    assert 2 * len(weights) * math.exp(-(within**2) * n * min(weights.values()) / (3 * total)) < 0.01
    load = Counter(place(RegistrationKey(f"device-{i:06}"), named) for i in range(n))
    for hub, weight in named.items():
        assert load[hub] == pytest.approx(n * weight / total, rel=within)
