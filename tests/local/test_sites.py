"""A function's keys at the management plane, and how long a host takes to notice."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.arm import SUBSCRIPTION, ArmPage, FunctionSite
from local.host.keys import stored_keys
from local.host.named_keys import FILE, NamedKeys
from local.issuer import ARM, Issuer
from local.issuer.roles import EVERYTHING, READER, WEBSITE_CONTRIBUTOR
from local.sites import FunctionKeys, SiteBehaviour
from local.world import ManualClock, World

KEY = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-local/providers/Microsoft.Web/sites/func-a"
    "/functions/allocate/keys/next"
)
LIST = KEY.replace("/keys/next", "/listkeys")
FIRST = {"allocate": "first"}


class Rig:
    def __init__(self, behaviour: SiteBehaviour | None = None, kept: Path | None = None) -> None:
        self.clock = ManualClock()
        self.world = World(self.clock)
        self.issuer = Issuer(self.clock)
        self.keys = FunctionKeys(self.clock, lambda: FIRST, behaviour=behaviour, kept=kept)
        self.page = ArmPage([], self.issuer, self.world, sites=[FunctionSite("func-a", self.keys)])

    async def call(
        self, method: str, path: str, body: Any = None, *, roles: Any = (WEBSITE_CONTRIBUTOR,)
    ) -> httpx.Response:
        token = self.issuer.token(ARM[0], roles=roles)
        transport = httpx.ASGITransport(self.page)
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as http:
            headers, query = {"authorization": f"Bearer {token}"}, {"api-version": "2024-11-01"}
            return await http.request(method, path, json=body, headers=headers, params=query)


async def test_keys_are_made_listed_and_deleted() -> None:
    rig = Rig()
    body = {"properties": {"name": "next", "value": "second"}}
    assert (await rig.call("PUT", KEY, body)).status_code == 201
    assert (await rig.call("PUT", KEY, body)).status_code == 200
    assert (await rig.call("POST", LIST)).json() == {"default": "first", "next": "second"}
    assert (await rig.call("DELETE", KEY)).status_code == 204
    assert (await rig.call("DELETE", KEY)).status_code == 404
    assert (await rig.call("POST", LIST)).json() == {"default": "first"}
    made = (await rig.call("PUT", KEY, {"properties": {}})).json()["properties"]["value"]
    assert len(made) >= 40


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", LIST.replace("func-a", "func-b"), 404),
        ("POST", LIST.replace("allocate", "other"), 404),
        ("POST", LIST.replace("rg-local", "rg-other"), 404),
        ("GET", KEY, 404),
        ("PUT", KEY.replace("/keys/", "/secrets/"), 404),
    ],
)
async def test_what_is_not_there_is_not_found(method: str, path: str, status: int) -> None:
    assert (await Rig().call(method, path, {})).status_code == status


async def test_the_apps_own_roles_reach_no_key() -> None:
    rig = Rig()
    for roles in (EVERYTHING, (READER,)):
        for method, path in (("POST", LIST), ("PUT", KEY), ("DELETE", KEY)):
            assert (await rig.call(method, path, {}, roles=roles)).status_code == 403
    assert rig.keys.all("allocate") == {"default": "first"}


async def test_no_key_is_in_the_journal_or_a_repr() -> None:
    rig = Rig()
    await rig.call("PUT", KEY, {"properties": {"value": "not-to-be-seen"}})
    await rig.call("POST", LIST)
    calls = rig.world.journal.of("arm")
    assert len(calls) == 2
    assert "not-to-be-seen" not in repr(calls) + repr(rig.keys) + repr(vars(rig.keys))


async def test_instances_notice_one_after_the_other() -> None:
    rig = Rig(SiteBehaviour(key_lag=60.0, instances=2))
    rig.keys.put("allocate", "next", "second")
    seen = {}
    for at in (0, 60, 120):
        seen[at] = [rig.keys.accepts("allocate", "second") for _ in range(4)]
        await rig.clock.advance(60)
    assert seen == {0: [False] * 4, 60: [True, False, True, False], 120: [True] * 4}
    rig.keys.delete("allocate", "default")
    assert rig.keys.accepts("allocate", "first")
    await rig.clock.advance(121)
    assert not rig.keys.accepts("allocate", "first")


def test_a_host_takes_what_the_file_says_from_its_time_on(tmp_path: Path) -> None:
    keys = stored_keys(tmp_path, ["allocate"])
    first = keys.functions["allocate"]
    lock = keys.for_function("allocate")
    assert lock.opens(first)
    rig = Rig(SiteBehaviour(key_lag=60.0), kept=tmp_path / FILE)
    rig.keys.put("allocate", "next", "second")
    rig.keys.delete("allocate", "default")
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    now = [rig.clock.now().timestamp()]
    named = NamedKeys(tmp_path / FILE, lambda: now[0])
    assert named.of("allocate", b"unused") == (b"first",)
    now[0] += 61
    assert named.of("allocate", b"unused") == (b"second",)
    assert named.of("other", b"its own") == (b"its own",)
    assert not lock.opens(first), "the file counts, and by the machine's date its times have come"
    assert lock.opens("second")
    assert lock.opens(keys.host)


def test_what_was_changed_is_there_after_a_restart(tmp_path: Path) -> None:
    Rig(kept=tmp_path / FILE).keys.put("allocate", "next", "second")
    assert Rig(kept=tmp_path / FILE).keys.all("allocate") == {"default": "first", "next": "second"}
    assert json.loads((tmp_path / FILE).read_text())["functions"]["allocate"]["default"][0][0] == "first"
