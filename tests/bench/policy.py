"""The allocation policy without a network: one decision from bytes to bytes, and what placement costs.

Placement is measured over distinct ids against two peers of the same round: the plain blake2b hashes that it
is made of (its floor), and a lookup in a ring of `uhashring`, which hashes once whatever the number of hubs.
"""

import gc
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log, sqrt
from typing import Any

from uhashring import HashRing  # type: ignore[import-untyped]  # it has no types

from allocation import request
from allocation.decision import decide
from allocation.facts import Placed
from allocation.fleet import FleetView
from allocation.placement import Lots
from allocation.policy import CompiledPolicy, compile_policy
from allocation.policy.document import PolicyDocument
from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import RegistrationKey
from tests.bench.measure import Amount, Figure, Ratio, Results, percentile

RATIO_AIM = 5.0
DEVICES = 100_000


def policy(rounds: int, scale: float, tell: Callable[[str], None]) -> Results:
    """Decisions at two sizes of policy; placement against its peers; loads and moves against theory."""
    results = Results()
    for hubs, rules in ((10, 20), (50, 100)):
        tell(f"decisions at {hubs} hubs x {rules} rules")
        results += Results(tuple(decisions(hubs, rules, rounds, int(2_000 * scale))))
    for hubs in (10, 50):
        for kind, weights in (
            ("equal weights", [1] * hubs),
            ("weights 1 to 3", [1 + at % 3 for at in range(hubs)]),
        ):
            tell(f"placement over {hubs} hubs, {kind}")
            results += Results(ratios=placement(hubs, weights, kind, rounds, int(10_000 * scale)))
    tell("loads and moves")
    return results + Results(amounts=theory(int(DEVICES * scale)))


def host(number: int) -> str:
    return f"hub-{number:02}.azure-devices.net"


def document(hubs: int, rules: int) -> dict[str, Any]:
    """Rules of every kind, the device's own last, so that each is asked."""
    kinds: list[dict[str, Any]] = [
        {"when": {"registration_id": "line-{n}-*"}, "place": {"tags": ["even"]}},
        {"when": {"enrollment": {"kind": "group", "id": "group-{n}-*"}}, "reject": {"reason": "closed"}},
        {"when": {"payload": [{"path": "model", "eq": "model-{n}"}]}, "twin": {"tags": {"model": "{n}"}}},
        {"when": {"enrollment_tags": {"site": "site-{n}"}, "edge": True}, "place": {"bounded_load": 1.25}},
        {
            "when": {"attestation": "x509", "payload": [{"path": "fw.major", "lt": 3}]},
            "place": {"region": "north"},
        },
    ]
    written = [
        {
            "name": f"r{number}",
            **json.loads(json.dumps(kinds[number % len(kinds)]).replace("{n}", str(number))),
        }
        for number in range(rules - 1)
    ]
    last = {
        "name": "mine",
        "when": {"registration_id": "dev-*", "payload": [{"path": "fw.major", "gt": 3}]},
        "place": {"region": {"from": "payload.region", "default": "north"}, "bounded_load": 1.25},
        "twin": {"tags": {"kind": "press", "model": {"$from": "payload.model"}}, "desired": {"interval": 60}},
    }
    regions = ("north", "south")
    return {
        "hubs": [
            {
                "name": host(n), "weight": 1 + n % 3, "capacity": 1_000_000, "region": regions[n % 2],
                "tags": ["even"][n % 2 :],
            }
            for n in range(hubs)
        ],
        "regions": {"north": ["south"], "south": ["north"]},
        "unlisted_hubs": "refuse",
        "rules": [*written, last],
    }  # fmt: skip


def decisions(hubs: int, rules: int, rounds: int, count: int) -> list[Figure]:
    """One decision from the body to the answer's bytes: a new device, and one that has a hub."""
    compiled = compile_policy(PolicyDocument.model_validate(document(hubs, rules)))
    fleet = FleetView(loads={hub_key(host(number)): 1_000 + number for number in range(hubs)})
    figures = []
    for what, current in (("new device", None), ("device with a hub", host(0))):
        bodies = [body(number, hubs, current) for number in range(count)]
        taken: list[float] = []
        for number in range(rounds + 1):
            seconds = [decided(each, compiled, fleet) for each in bodies]
            taken += seconds if number else []
        figures.append(
            Figure(
                f"parse + decide + serialise, {hubs} hubs x {rules} rules, {what}",
                1,
                round(statistics.median(taken) * 1_000, 4),
                round(percentile(taken, 0.99) * 1_000, 4),
            )
        )
    return figures


def decided(raw: bytes, compiled: CompiledPolicy, fleet: FleetView) -> float:
    started = time.perf_counter()
    decision = decide(request.parse(raw, ""), compiled, fleet)
    request.answer(decision)
    seconds = time.perf_counter() - started
    assert isinstance(decision, Placed)
    assert decision.rule == "mine"
    return seconds


def body(number: int, hubs: int, current: str | None) -> bytes:
    context = {
        "registrationId": f"dev-{number:06}",
        "symmetricKey": {},
        "payload": {"model": "VX-1", "fw": {"major": 4, "minor": 1}, "region": "south"},
        **({"currentIotHubHostName": current, "currentDeviceId": f"dev-{number:06}"} if current else {}),
    }
    enrollment = {
        "enrollmentGroupId": "line-a",
        "attestation": {"type": "symmetricKey"},
        "capabilities": {"iotEdge": False},
        "initialTwin": {"tags": {"site": "x"}, "properties": {"desired": {}}},
        "iotHubs": [host(each) for each in range(hubs)],
    }
    told = {
        "enrollmentGroup": enrollment,
        "deviceRuntimeContext": context,
        "linkedHubs": enrollment["iotHubs"],
    }
    return json.dumps(told).encode()


def placement(hubs: int, weights: Sequence[int], kind: str, rounds: int, count: int) -> tuple[Ratio, ...]:
    """The ratios of a placement to its floor and to a ring's lookup, over ids that no round saw before."""
    by_hub = {hub_key(host(number)): float(weight) for number, weight in enumerate(weights)}
    lots, ring = Lots(), HashRing(nodes={hub: {"weight": int(weight)} for hub, weight in by_hub.items()})
    encoded = [hub.encode() for hub in by_hub]

    def floor(ids: list[str]) -> None:
        for each in ids:
            device = b"\0" + each.encode()
            for hub in encoded:
                blake2b(hub + device, digest_size=8).digest()

    def ours(ids: list[str]) -> None:
        for each in ids:
            lots.first(RegistrationKey(each), by_hub)

    def peer(ids: list[str]) -> None:
        for each in ids:
            ring.get_node(each)

    to_floor, to_peer = [], []
    for number in range(rounds + 1):
        ids = [f"device-{number}-{each:06}" for each in range(count)]
        ours_seconds, floor_seconds, peer_seconds = (seconds(run, ids) for run in (ours, floor, peer))
        if number:
            to_floor.append(ours_seconds / floor_seconds)
            to_peer.append(ours_seconds / peer_seconds)
    what = f"placement, {hubs} hubs, {kind}"
    return (
        Ratio(f"{what} / {hubs} plain blake2b", round(statistics.median(to_floor), 2)),
        Ratio(
            f"{what} / uhashring lookup",
            round(statistics.median(to_peer), 2),
            RATIO_AIM if hubs == 10 else None,
        ),
    )


def seconds(run: Callable[[list[str]], None], ids: list[str]) -> float:
    gc.collect()
    started = time.process_time()  # both are pure computation: other processes' slices do not count
    run(ids)
    return time.process_time() - started


def theory(devices: int) -> tuple[Amount, ...]:
    """Fixed ids over ten hubs: the fullest hub, and who moves when a hub is taken out, against theory."""
    lots, names = Lots(), [hub_key(host(number)) for number in range(10)]
    equal = dict.fromkeys(names, 1.0)
    ids = [RegistrationKey(f"device-{number:06}") for number in range(devices)]
    homes = [lots.first(each, equal) for each in ids]
    load = Counter(homes)
    rest = {hub: weight for hub, weight in equal.items() if hub != names[3]}
    after = [lots.first(each, rest) for each in ids]
    moved = sum(before != now for before, now in zip(homes, after, strict=True))
    wider: dict[HubKey, float] = equal | {hub_key("new.azure-devices.net"): 1.0}
    grown = sum(before != lots.first(each, wider) for before, each in zip(homes, ids, strict=True))
    expected = 1 + sqrt(2 * log(10) * 9 / devices)
    what = f"placement of {devices:,} devices on 10 hubs"
    return (
        Amount(
            f"{what}: fullest hub / mean", round(max(load.values()) * 10 / devices, 4), "", round(expected, 4)
        ),
        Amount(f"{what}: moved when one is taken out (its own: {load[names[3]] / devices:.2%})",
               round(moved * 100 / devices, 2), "% (theory 10)"),
        Amount(f"{what}: moved when one is added", round(grown * 100 / devices, 2), "% (theory 9.09)"),
    )  # fmt: skip
