"""What the demo holds the webhook to, judged from DPS's and the hubs' records alone.

Nothing here knows how the webhook chooses: only what the design promises of the outcome.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local.hub import IotHub


@dataclass(frozen=True, slots=True)
class Survey:
    """Who is where, at one moment.

    Attributes:
        records: registration id -> DPS's registration record.
        holders: device id -> host names of the hubs that have the device.
    """

    records: Mapping[str, Mapping[str, Any]]
    holders: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]], hubs: Iterable[IotHub]) -> "Survey":
        """Put records and hubs side by side."""
        holders: dict[str, list[str]] = {}
        for hub in hubs:
            for device in hub.devices:
                holders.setdefault(device, []).append(hub.host_name)
        return cls(
            {record["registrationId"]: record for record in records},
            {device: tuple(names) for device, names in holders.items()},
        )

    def hub_of(self, device: str) -> str | None:
        """The hub DPS says the device is assigned to."""
        record = self.records.get(device, {})
        return record.get("assignedHub") if record.get("status") == "assigned" else None

    def load(self, devices: Collection[str]) -> Counter[str]:
        """How many of these devices each hub has, by DPS's records."""
        return Counter(hub for hub in map(self.hub_of, devices) if hub)


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and what was seen of it."""

    promise: str
    kept: bool
    seen: str


def _all_of(promise: str, devices: Collection[str], bad: list[str]) -> Check:
    seen = f"{len(devices) - len(bad)} of {len(devices)}"
    return Check(promise, bool(devices) and not bad, seen + (f"; not {', '.join(bad[:3])}" if bad else ""))


def placed_legally(survey: Survey, devices: Collection[str], legal: Collection[str]) -> Check:
    """Each device is assigned to a hub it may have, and that hub, no other, holds it."""
    bad = [
        device
        for device in devices
        if (hub := survey.hub_of(device)) not in legal or survey.holders.get(device) != (hub,)
    ]
    return _all_of("each device is on one hub, a legal one, and DPS and the hub agree", devices, bad)


def shares(survey: Survey, devices: Collection[str], weights: Mapping[str, float]) -> Check:
    """Each hub's load is within the Chernoff bound of its share by weight, at 99 % for all of them together.

    P(|load - mean| >= d mean) <= 2 exp(-d^2 mean / 3) for each of m hubs;
    so d = sqrt(3 ln(2 m / 0.01) / mean).
    """
    load, total = survey.load(devices), sum(weights.values())
    kept, seen = True, []
    for hub, weight in weights.items():
        mean = len(devices) * weight / total
        slack = math.sqrt(3 * mean * math.log(2 * len(weights) / 0.01))
        kept = kept and abs(load[hub] - mean) <= slack
        seen.append(f"{hub.split('.')[0]} {load[hub]} (share {mean:.0f} ± {slack:.0f})")
    return Check("hubs fill in proportion to their weights", kept, ", ".join(seen))


def stayed(before: Survey, after: Survey, devices: Collection[str]) -> Check:
    """No device changed its hub, though each registered again."""
    bad = [
        device
        for device in devices
        if before.hub_of(device) is None
        or before.hub_of(device) != after.hub_of(device)
        or after.records[device]["lastUpdatedDateTimeUtc"] <= before.records[device]["lastUpdatedDateTimeUtc"]
    ]
    return _all_of("devices that register again stay where they are", devices, bad)


def only_those_of(hub: str, before: Survey, after: Survey, devices: Collection[str]) -> list[Check]:
    """Exactly the devices of the hub that was taken out moved; it has none left."""
    its_own = [device for device in devices if before.hub_of(device) == hub]
    others = [device for device in devices if before.hub_of(device) != hub]
    name = hub.split(".", maxsplit=1)[0]
    return [
        _all_of(
            f"every device of {name} moves when it registers again",
            its_own,
            [
                device
                for device in its_own
                if after.hub_of(device) in (hub, None) or hub in after.holders[device]
            ],
        ),
        _all_of(
            "no other device moves",
            others,
            [device for device in others if after.hub_of(device) != before.hub_of(device)],
        ),
        Check(f"{name} ends empty", not after.load(devices)[hub], f"{after.load(devices)[hub]} devices left"),
    ]


def moved_as(survey: Survey, devices: Collection[str], substatus: str, promise: str) -> Check:
    """Each device that moved did so as the enrollment's reprovision policy says."""
    return _all_of(
        promise,
        devices,
        [device for device in devices if survey.records[device].get("substatus") != substatus],
    )


def rejected(state: Mapping[str, Any], survey: Survey) -> Check:
    """The registration failed with the code of a webhook's refusal, and no hub knows the device."""
    device, code = state["registrationId"], state.get("errorCode")
    kept = state["status"] == "failed" and code == 400207 and device not in survey.holders
    return Check(
        "a rejected device fails at once and is on no hub", kept, f"{state['status']}, errorCode {code}"
    )


def twins(hubs: Iterable[IotHub], devices: Collection[str], tags: Mapping[str, Any], source: str) -> Check:
    """The hub's twin of each device carries the tags it was to start with."""
    found = {
        device: hub.devices[device].twin.tags for hub in hubs for device in devices if device in hub.devices
    }
    bad = [device for device in devices if found.get(device) != tags]
    return _all_of(f"each twin starts as {source} says", devices, bad)


def share_of(survey: Survey, devices: Collection[str], hub: str, share: float) -> Check:
    """A hub has its share of the devices within the Chernoff bound at 99 %."""
    mean = len(devices) * share
    slack = math.sqrt(3 * mean * math.log(2 / 0.01))
    seen = survey.load(devices)[hub]
    name = hub.split(".", maxsplit=1)[0]
    return Check(
        f"{share:.0%} of the devices are on {name}",
        abs(seen - mean) <= slack,
        f"{seen} ({mean:.0f} ± {slack:.0f})",
    )


def at_most(survey: Survey, devices: Collection[str], hub: str, most: int) -> Check:
    """A hub is filled up to its capacity and not beyond; the others went elsewhere."""
    seen = len([device for device in survey.holders if hub in survey.holders[device]])
    kept = 0 < seen <= most and survey.load(devices)[hub] < len(devices)
    return Check(
        f"{hub.split('.', maxsplit=1)[0]} is never over its capacity", kept, f"{seen} of at most {most}"
    )


def told_empty(told: object, hubs: Iterable[IotHub], name: str) -> Check:
    """A hub is said to be drained, and its records say so too."""
    left = sum(len(hub.devices) for hub in hubs if hub.host_name == name)
    short = name.split(".", maxsplit=1)[0]
    return Check(
        f"{short} is said to be drained, and it is", told is True and not left, f"{left} devices left"
    )


def moved_as_foretold(
    foretold: Mapping[str, str], before: Survey, after: Survey, devices: Collection[str]
) -> Check:
    """Exactly the devices that a simulation named moved, and each to the hub that it named."""
    moved = {
        device: after.hub_of(device) for device in devices if after.hub_of(device) != before.hub_of(device)
    }
    wrong = [device for device in {*moved, *foretold} if moved.get(device) != foretold.get(device)]
    seen = f"{len(moved)} moved, {len(foretold)} foretold"
    return Check(
        "who moves is who the simulation said, and to where", bool(foretold) and not wrong,
        seen + (f"; not {', '.join(sorted(wrong)[:3])}" if wrong else ""),
    )  # fmt: skip


def exactly(promise: str, expected: Collection[object], seen: Collection[object]) -> Check:
    """What was seen is what was expected, each once: none is missing, and none is there beside."""
    missing = Counter(expected) - Counter(seen)
    beside = Counter(seen) - Counter(expected)
    told = f"{len(seen)} of {len(expected)}" if expected else f"{len(seen)}"
    for word, those in (("missing", missing), ("beside them", beside)):
        if those:
            told += f"; {word}: {', '.join(map(str, list(those)[:5]))}"
    return Check(promise, not missing and not beside, told)


def command_done(words: Collection[str], status: int | None) -> list[Check]:
    """A command that was to succeed; nothing where it did."""
    return (
        []
        if status == 0
        else [Check(f"./run dps {' '.join(words)} succeeds", kept=False, seen=f"exit code {status}")]
    )
