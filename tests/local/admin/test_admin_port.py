"""The admin port: faults, switches, clock and journal from outside."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.admin import TOKEN_HEADER, AdminPort
from local.dps.behaviour import Behaviour
from local.dps.policies import OWNER, AccessPolicy
from local.dps.service import ProvisioningService
from local.faults import Faults
from local.serve import serve
from local.switches import Switches
from local.tls import CertificateAuthority
from local.world import ManualClock, ShiftedClock, SkewableClock, World
from tests.local.dps.rig import POLICY_KEY, SECONDARY


class Port:
    def __init__(self) -> None:
        self.clock = ShiftedClock()
        self.world = World(SkewableClock(self.clock), seed=1)
        self.faults = Faults(self.world)
        self.switches = Switches()
        self.moved: list[float] = []
        self.admin = AdminPort(self.world, self.faults, self.switches, self.clock, moved=self._move)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.admin),
            base_url="https://localhost",
            headers={TOKEN_HEADER: self.admin.token},
        )

    async def _move(self, ahead: float) -> None:
        self.moved.append(ahead)

    async def wrong(self, method: str, path: str, body: Any = None, status: int = 400) -> str:
        answer = await self.http.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return str(answer.json()["error"])


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    made = Port()
    async with made.http:
        yield made


@pytest.mark.parametrize("token", ["", "wrong", "ümlaut"])
@pytest.mark.parametrize("path", ["/journal", "/faults", "/switches", "/clock", "/none"])
async def test_nothing_opens_without_the_token(port: Port, token: str, path: str) -> None:
    answer = await port.http.get(path, headers={TOKEN_HEADER.encode(): token.encode()})
    assert answer.status_code == 401
    assert TOKEN_HEADER in answer.json()["error"]


def test_each_port_has_a_token_of_its_own() -> None:
    assert Port().admin.token != Port().admin.token
    assert len(Port().admin.token) >= 32


async def test_rule_comes_into_force_is_listed_and_goes(port: Port) -> None:
    rule = {
        "service": "dps",
        "method": "PUT",
        "path": "/enrollmentGroups/*",
        "nth": 2,
        "count": None,
        "probability": 0.5,
        "fault": {"kind": "status", "status": 429, "retry_after": 3},
    }
    assert (await port.http.post("/faults", json=rule)).json() == {"id": 1}
    listed = (await port.http.get("/faults")).json()
    shown = rule | {"fault": {"kind": "status", "status": 429, "retry_after": 3, "after": False}}
    assert listed == [{"id": 1, **shown, "matched": 0, "met": 0}]
    await port.http.post("/faults", json={"fault": {"kind": "half", "octets": 9}})
    assert [each["id"] for each in (await port.http.delete("/faults/1")).json()] == [2]
    assert (await port.http.delete("/faults")).json() == []
    assert port.faults.armed() == ()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "must be a JSON object"),
        ({}, "fault must be an object like"),
        ({"fault": {"kind": "odd"}}, "kind is 'odd'; it may be status"),
        ({"fault": {"kind": "status", "status": 404}}, "status is 404; it may be 429"),
        ({"fault": {"kind": "status", "status": "500"}}, "status must be a whole number"),
        ({"fault": {"kind": "slow", "seconds": "5"}}, "seconds must be a number"),
        ({"fault": {"kind": "slow", "seconds": 10**400}}, "seconds is too large"),
        ({"fault": {"kind": "drop", "after": 1}}, "after must be true or false"),
        ({"fault": {"kind": "drop", "moment": "after"}}, "'moment' is not known here; there are kind"),
        ({"fault": {"kind": "drop"}, "service": 1}, "service must be a text"),
        ({"fault": {"kind": "drop"}, "nth": True}, "nth must be a whole number"),
        ({"fault": {"kind": "drop"}, "count": 0}, "count is 0; it must be at least 1, or null"),
        ({"fault": {"kind": "drop"}, "chance": 1}, "'chance' is not known here; there are service"),
    ],
)
async def test_rule_that_cannot_be_is_refused_with_member_and_fix(port: Port, body: Any, told: str) -> None:
    assert told in await port.wrong("POST", "/faults", body)
    assert port.faults.armed() == ()


async def test_unknown_rule_and_path_say_what_there_is(port: Port) -> None:
    assert "GET /faults" in await port.wrong("DELETE", "/faults/7", status=404)
    assert "/switches" in await port.wrong("GET", "/none", status=404)
    assert "/clock" in await port.wrong("DELETE", "/clock", status=405)


async def test_switch_is_put_before_it_is_consulted_and_refused_after(port: Port) -> None:
    read = port.switches.behaviour(Behaviour(), "dps")
    path = "/switches/dps.put_without_keys"
    assert (await port.http.put(path, json={"position": "refuse"})).status_code == 200
    assert read.put_without_keys == "refuse"
    assert "set it before" in await port.wrong("PUT", path, {"position": "keep"}, 409)
    told = {each["name"]: each for each in (await port.http.get("/switches")).json()}
    assert (told["dps.put_without_keys"]["position"], told["dps.put_without_keys"]["consulted"]) == (
        "refuse",
        True,
    )


async def test_switch_that_cannot_be_put_so_says_how(port: Port) -> None:
    path = "/switches/dps.put_without_keys"
    assert "position is missing" in await port.wrong("PUT", path, {})
    assert "it has 'keep'" in await port.wrong("PUT", path, {"position": "drop"})
    assert "there is no switch" in await port.wrong("PUT", "/switches/dps.odd", {"position": 1})
    assert "'value' is not known" in await port.wrong("PUT", path, {"value": "keep"})


async def test_clock_is_moved_on_and_other_processes_are_told(port: Port) -> None:
    answer = await port.http.post("/clock", json={"advance": 7200})
    assert abs(answer.json()["ahead"] - 7200) < 2
    now = datetime.fromisoformat((await port.http.get("/clock")).json()["now"])
    assert abs(now - datetime.now(UTC) - timedelta(hours=2)) < timedelta(seconds=5)
    assert port.moved == [answer.json()["ahead"]]


@pytest.mark.parametrize("body", [{"advance": -1}, {"advance": "1"}, {"advance": 1e300}, {}, {"by": 3}])
async def test_clock_is_moved_forward_only(port: Port, body: Any) -> None:
    assert "advance" in await port.wrong("POST", "/clock", body)
    assert port.moved == []


async def test_world_whose_clock_stands_still_says_so() -> None:
    world = World(ManualClock())
    admin = AdminPort(world, Faults(world), Switches(), token="t")
    transport = httpx.ASGITransport(admin)
    async with httpx.AsyncClient(
        transport=transport, base_url="https://x", headers={TOKEN_HEADER: "t"}
    ) as http:
        assert (await http.post("/clock", json={"advance": 1})).status_code == 409
        skew = {"fault": {"kind": "skew", "seconds": 5}}
        assert "SkewableClock" in (await http.post("/faults", json=skew)).json()["error"]


async def test_journal_is_filtered_and_masked(port: Port) -> None:
    now = port.world.clock.now()
    for number in range(3):
        port.world.journal.record(
            now, "dps", "PUT", f"/enrollments/{number}", 200, request={"primaryKey": "x"}
        )
    port.world.journal.record(now, "vault", "GET", "/secrets/s", 404)

    async def paths(query: str) -> list[str]:
        return [call["path"] for call in (await port.http.get(f"/journal?{query}")).json()]

    assert len(await paths("")) == 4
    assert await paths("service=vault") == ["/secrets/s"]
    assert await paths("method=put&last=1") == ["/enrollments/2"]
    assert await paths("path=*/1") == ["/enrollments/1"]
    assert await paths("status=404") == ["/secrets/s"]
    assert await paths("last=0") == []
    assert (await port.http.get("/journal?service=dps")).json()[0]["request"] == {"primaryKey": "****"}
    assert "last must be a whole number" in await port.wrong("GET", "/journal?last=x")
    assert "odd is no filter" in await port.wrong("GET", "/journal?odd=1")


async def test_body_over_the_limit_is_refused(port: Port) -> None:
    answer = await port.http.post("/faults", content=b" " * 70_000)
    assert answer.status_code == 413


async def test_fault_put_over_the_port_drops_a_real_connection(port: Port, tmp_path: Path) -> None:
    dps = ProvisioningService(world=port.world, policies=[AccessPolicy(OWNER, POLICY_KEY, SECONDARY)])
    certificate = CertificateAuthority(tmp_path).issue()
    trust = certificate.client_context()
    async with (
        serve(port.faults.around("dps", dps.asgi), certificate) as service,
        serve(port.admin, certificate) as admin,
        httpx.AsyncClient(verify=trust) as http,
    ):
        rule = {"service": "dps", "fault": {"kind": "drop"}}
        token = {TOKEN_HEADER: port.admin.token}
        assert (await http.post(f"{admin.url}/faults", json=rule, headers=token)).status_code == 200
        with pytest.raises(httpx.TransportError):
            await http.get(service.url)
        assert (await http.get(service.url)).status_code == 404
        told = (await http.get(f"{admin.url}/journal?service=faults", headers=token)).json()
        assert told[0]["response"] == {"kind": "drop", "after": False}
    await dps.aclose()
