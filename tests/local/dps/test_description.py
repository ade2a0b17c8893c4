"""The emulator driven from the published description: schemathesis asks, the judge reads the answers.

Requests come in sequences on a handful of ids, so that writes, reads, queries and deletes meet each
other. Most are sound in what a description cannot say (linked hubs, keys, the id in the path), some break
the description on purpose; whatever the emulator answers must be as published.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from local.dps.keys import derive_key
from tests.local.dps.rig import HUBS, PRIMARY, SCOPE, VERSION, Rig, custom, group, individual, symmetric
from tests.openapi import judge, published

IDS = ("one", "Two", "g:1", "query")
IF_MATCH = (None, None, "*", "current", '"stale"')
_SOME_HUBS = st.lists(st.sampled_from(HUBS), unique=True)


@dataclass(frozen=True, slots=True)
class Step:
    """One request."""

    method: str
    path: str
    query: dict[str, Any]
    headers: dict[str, str]
    body: Any
    device: str | None
    """Whose device token it carries; None: a token of the service API."""


def _steps(name: str) -> st.SearchStrategy[Step]:
    schema = schemathesis.openapi.from_dict(published.raw(name))
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == sum(len(methods) for methods in published.raw(name)["paths"].values())
    steps: list[st.SearchStrategy[Step]] = [
        st.builds(_step, operation.as_strategy(generation_mode=mode), _choices)
        for operation in operations
        for mode in GenerationMode
    ]
    return st.one_of(steps)


_choices = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS),
        "other": st.sampled_from(IDS),
        "sound": st.sampled_from([True, True, True, False]),
        "hubs": _SOME_HUBS,
        "if_match": st.sampled_from(IF_MATCH),
        "page": st.sampled_from([None, "1", "2", "1000"]),
        "continue": st.booleans(),
        "custom": st.booleans(),
    }
)


def _step(case: Any, choice: dict[str, Any]) -> Step:
    parameters = {**(case.path_parameters or {}), "idScope": SCOPE, "operationId": "latest"}
    parameters |= dict.fromkeys(("id", "registrationId"), choice["id"])
    body = case.body if isinstance(case.body, dict | list | str) else None
    if choice["sound"] and isinstance(body, dict):
        body = _sound(body, choice)
    headers = {
        name: str(value)
        for name, value in (case.headers or {}).items()
        if name.lower() not in ("if-match", "x-ms-continuation") and str(value).isascii()
    }
    if choice["if_match"]:
        headers["if-match"] = choice["if_match"]
    if choice["page"]:
        headers["x-ms-max-item-count"] = choice["page"]
    if choice["continue"]:
        headers["x-ms-continuation"] = "latest"
    path = case.path.format(**parameters)
    device = choice["id"] if case.path.startswith("/{idScope}") else None
    return Step(case.method, path, {"api-version": VERSION}, headers, body, device)


def _sound(body: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    """The body with everything in it that only this service can know, and small twins."""
    body = dict(body)
    for member, make in (("enrollments", individual), ("enrollmentGroups", group)):
        if isinstance(body.get(member), list):
            names = [choice["id"], choice["other"]]
            body[member] = [{**_sound(make(name), choice), "registrationState": None} for name in names]
    if "attestation" in body:
        body["attestation"] = symmetric()
        body["iotHubs"] = choice["hubs"] or None
        body["deviceId"] = body["iotHubHostName"] = None
        body["customAllocationDefinition"] = None
        if body.get("allocationPolicy") == "static":
            body["iotHubs"] = [HUBS[0]]
        if choice["custom"]:
            body |= custom()
        elif body.get("allocationPolicy") == "custom":
            del body["allocationPolicy"]
    for member in ("registrationId", "enrollmentGroupId"):
        if member in body:
            body[member] = choice["id"]
    return body


class Driver:
    """Sends steps, and remembers what a later one may need: operation ids, continuations, etags."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._operations: dict[str, str] = {}
        self._continuations: dict[str, str] = {}

    async def send(self, step: Step) -> None:
        rig, headers = self._rig, dict(step.headers)
        path = step.path
        if step.device is not None:
            individual_one = rig.dps.enrollment(step.device)
            key = PRIMARY if individual_one is not None else derive_key(PRIMARY, step.device)
            headers["authorization"] = rig.token(step.device, key)
            path = path.replace("latest", self._operations.get(step.device, "latest"))
        else:
            headers["authorization"] = rig.owner()
        if headers.get("if-match") == "current":
            name = path.rpartition("/")[2]
            found = rig.dps.enrollment(name) if "/enrollments/" in path else rig.dps.group(name)
            headers["if-match"] = found.etag if found is not None else "*"
        if headers.get("x-ms-continuation") == "latest":
            token = self._continuations.pop(path, None)
            headers.pop("x-ms-continuation")
            headers |= {"x-ms-continuation": token} if token else {}
        content = b"" if step.body is None else json.dumps(step.body).encode()
        answer = await rig.http.request(
            step.method, path, params=step.query, content=content, headers=headers
        )
        if token := answer.headers.get("x-ms-continuation"):
            self._continuations[path] = token
        if step.device is not None and answer.status_code == 202:
            self._operations[step.device] = answer.json()["operationId"]
            await rig.clock.advance(0)


def _register(device: str) -> Step:
    path = f"/{SCOPE}/registrations/{device}/register"
    return Step("PUT", path, {"api-version": VERSION}, {}, {"registrationId": device}, device)


async def _run(steps: list[Step]) -> Counter[tuple[str, int]]:
    async with Rig() as rig:
        # As fertile ground: most operations need something to be there.
        await rig.put_group("one")
        await rig.put_enrollment("Two")
        driver = Driver(rig)
        for step in (_register("one"), _register("Two"), *steps):
            await driver.send(step)
        rig.judge.check()
        return rig.judge.judged


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


STEPS = {name: _steps(name) for name in published.NAMES}
SEQUENCES = st.lists(st.one_of(STEPS["service"], STEPS["device"]), min_size=4, max_size=25)
RELAXED = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


def test_every_answer_to_the_described_requests_is_as_described(loop: asyncio.AbstractEventLoop) -> None:
    seen: Counter[tuple[str, int]] = Counter()

    @settings(RELAXED, max_examples=150, derandomize=True, phases=[Phase.generate, Phase.shrink])
    @given(SEQUENCES)
    def drive(steps: list[Step]) -> None:
        seen.update(loop.run_until_complete(_run(steps)))

    drive()
    reached = {name for name, status in seen if status < 300}
    print(f"{seen.total()} answers: {sorted(seen.items())}")
    assert reached >= {operation.id for operation in judge.OPERATIONS}


@pytest.mark.soak
def test_every_answer_to_very_many_described_requests_is_as_described(
    loop: asyncio.AbstractEventLoop,
) -> None:
    @settings(RELAXED, max_examples=5_000)
    @given(SEQUENCES)
    def drive(steps: list[Step]) -> None:
        loop.run_until_complete(_run(steps))

    drive()
