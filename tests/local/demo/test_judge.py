"""The judge finds what it is there to find: each check fails when its promise is broken."""

from collections.abc import Mapping
from datetime import UTC, datetime

from local.demo import judge
from local.demo.judge import Survey
from local.hub import DeviceKeys, InitialTwin, IotHub

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def hubs(**devices: str) -> list[IotHub]:
    """Hubs by name, each with the devices named in one text."""
    made = []
    for name, held in devices.items():
        hub = IotHub(name)
        for device in held.split():
            hub.create_or_get(
                device, keys=DeviceKeys(), iot_edge=False, twin=InitialTwin(tags={"k": 1}), now=NOW
            )
        made.append(hub)
    return made


def survey(
    assigned: Mapping[str, str], held: list[IotHub], updated: str = "1", substatus: str = "x"
) -> Survey:
    return Survey.of(
        [
            {
                "registrationId": device,
                "status": "assigned",
                "assignedHub": hub,
                "lastUpdatedDateTimeUtc": updated,
                "substatus": substatus,
            }
            for device, hub in assigned.items()
        ],
        held,
    )


def test_a_device_on_no_hub_on_a_wrong_one_or_on_two_is_not_placed_legally() -> None:
    good = survey({"d": "a"}, hubs(a="d", b=""))
    assert judge.placed_legally(good, ["d"], ["a"]).kept
    assert not judge.placed_legally(good, ["d"], ["b"]).kept
    assert not judge.placed_legally(good, ["d", "unknown"], ["a"]).kept
    assert not judge.placed_legally(survey({"d": "a"}, hubs(a="", b="d")), ["d"], ["a", "b"]).kept
    assert not judge.placed_legally(survey({"d": "a"}, hubs(a="d", b="d")), ["d"], ["a", "b"]).kept
    assert not judge.placed_legally(good, [], ["a"]).kept, "no device shows nothing"


def test_shares_far_from_the_weights_are_seen() -> None:
    fair = {f"d{n}": "ab"[n % 2] for n in range(300)}
    assert judge.shares(survey(fair, []), list(fair), {"a": 1, "b": 1}).kept
    assert not judge.shares(survey(fair, []), list(fair), {"a": 1, "b": 9}).kept
    assert not judge.shares(survey(dict.fromkeys(fair, "a"), []), list(fair), {"a": 1, "b": 1}).kept


def test_a_move_and_a_registration_that_did_not_happen_are_both_seen() -> None:
    before, again = survey({"d": "a"}, []), survey({"d": "a"}, [], updated="2")
    assert judge.stayed(before, again, ["d"]).kept
    assert not judge.stayed(before, survey({"d": "b"}, [], updated="2"), ["d"]).kept
    assert not judge.stayed(before, before, ["d"]).kept


def test_only_the_devices_of_the_hub_taken_out_may_move() -> None:
    before = survey({"d": "a", "e": "b"}, hubs(a="d", b="e", c=""))
    assert all(
        c.kept
        for c in judge.only_those_of("a", before, survey({"d": "c", "e": "b"}, hubs(c="d", b="e")), "de")
    )
    left = judge.only_those_of("a", before, survey({"d": "a", "e": "b"}, hubs(a="d", b="e")), "de")
    assert [c.kept for c in left] == [False, True, False]
    cascade = judge.only_those_of("a", before, survey({"d": "c", "e": "c"}, hubs(c="d e")), "de")
    assert [c.kept for c in cascade] == [True, False, True]


def test_a_move_against_the_reprovision_policy_is_seen() -> None:
    moved = survey({"d": "a"}, [], substatus="deviceDataReset")
    assert judge.moved_as(moved, ["d"], "deviceDataReset", "resets").kept
    assert not judge.moved_as(moved, ["d"], "deviceDataMigrated", "migrates").kept


def test_a_rejected_device_that_is_on_a_hub_or_failed_otherwise_is_seen() -> None:
    state = {"registrationId": "d", "status": "failed", "errorCode": 400207}
    assert judge.rejected(state, survey({}, hubs(a=""))).kept
    assert not judge.rejected(state, survey({}, hubs(a="d"))).kept
    assert not judge.rejected(state | {"errorCode": 400209}, survey({}, [])).kept
    assert not judge.rejected(state | {"status": "assigned"}, survey({}, [])).kept


def test_a_twin_that_differs_or_is_missing_is_seen() -> None:
    assert judge.twins(hubs(a="d"), ["d"], {"k": 1}, "it").kept
    assert not judge.twins(hubs(a="d"), ["d"], {"k": 2}, "it").kept
    assert not judge.twins(hubs(a="d"), ["d", "e"], {"k": 1}, "it").kept


def test_what_is_missing_is_there_twice_or_stands_beside_is_seen() -> None:
    assert judge.exactly("all", ["a", "b"], ["b", "a"]).kept
    assert judge.exactly("none", (), ()).kept
    for seen in (["a"], ["a", "b", "b"], ["a", "b", "c"], ["a", "c"], []):
        assert not judge.exactly("all", ["a", "b"], seen).kept
    told = judge.exactly("all", ["a", "b"], ["a", "c"]).seen
    assert told == "2 of 2; missing: b; beside them: c"
