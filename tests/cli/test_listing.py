"""`list`: filters that az lacks, limits, and memory that does not grow with the list."""

import io
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from cli.output import Output, member
from cli.terminal import Terminal
from tests.cli.rig import HUBS, WEBHOOK, Rig
from tests.cli.rig_clients import azure
from tests.local.dps.pki import root
from tests.local.dps.rig import group, individual

LIST = ("enrollment-group", "list")
pytestmark = pytest.mark.asyncio(loop_scope="package")


def _put(noun: str, name: str, body: dict[str, Any], client: Any) -> None:
    getattr(client, noun).create_or_update(name, body)


async def names(rig: Rig, *words: str) -> list[str]:
    return [each["enrollmentGroupId"] for each in (await rig.run(*LIST, *words)).json]


async def fill(rig: Rig) -> None:
    definition = {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}
    groups: dict[str, dict[str, Any]] = {
        "plain": {},
        "at-a": {"allocationPolicy": "hashed", "iotHubs": [HUBS[0].upper(), HUBS[1]]},
        "older-member": {"allocationPolicy": "static", "iotHubHostName": HUBS[0]},
        "hooked": {"allocationPolicy": "custom", "customAllocationDefinition": definition},
        "off": {"provisioningStatus": "disabled"},
    }
    for name, members in groups.items():
        await azure(rig, partial(_put, "enrollment_group", name, group(name, **members)))


async def test_groups_are_filtered_by_hub_status_webhook_and_age(rig: Rig) -> None:
    await fill(rig)
    everything = ["plain", "at-a", "older-member", "hooked", "off"]
    assert await names(rig) == everything
    assert await names(rig, "--hub", HUBS[0]) == ["at-a", "older-member"]
    assert await names(rig, "--hub", "HUB-B") == ["at-a"]
    assert await names(rig, "--status", "disabled") == ["off"]
    assert await names(rig, "--webhook", "APP.example/api") == ["hooked"]
    assert await names(rig, "--webhook", "not-to-be-seen") == []
    assert await names(rig, "--older-than", "1h") == []
    assert await names(rig, "--older-than", "0h") == everything
    assert await names(rig, "--status", "enabled", "--hub", "hub-a", "--top", "1") == ["at-a"]


async def test_groups_with_certificates_that_end_soon_are_found(rig: Rig) -> None:
    await fill(rig)
    now = datetime.now(UTC)
    for name, days in (("soon", 10), ("later", 100), ("past", -1)):
        path = rig.folder / f"{name}.pem"
        path.write_text(root("R").issue(name, ca=True, end=now + timedelta(days=days)).pem)
        words = ("--cp", str(path), "--force", "--yes")
        assert (await rig.run("enrollment-group", "create", "--eid", name, *words)).code == 0
    assert await names(rig, "--expiring-within", "30") == ["soon", "past"]
    assert await names(rig, "--expiring-within", "0d") == ["past"]
    assert await names(rig, "--expiring-within", "20w") == ["soon", "later", "past"]


async def test_top_is_the_most_that_is_listed(rig: Rig) -> None:
    await fill(rig)
    assert await names(rig, "--top", "2") == ["plain", "at-a"]
    assert await names(rig, "--top", "0") == []
    assert len(await names(rig, "--top", "-1")) == 5


async def test_devices_are_filtered_the_same_way(rig: Rig) -> None:
    devices: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"provisioningStatus": "disabled", "iotHubs": [HUBS[2]]},
    }
    for name, members in devices.items():
        await azure(rig, partial(_put, "enrollment", name, individual(name, **members)))
    for words in (("--status", "disabled"), ("--hub", "hub-c")):
        listed = (await rig.run("enrollment", "list", *words)).json
        assert [each["registrationId"] for each in listed] == ["b"]


async def test_every_page_is_read(rig: Rig) -> None:
    """The emulator's pages have 100 items unless asked otherwise."""
    template = individual("template")
    await azure(rig, lambda client: client.enrollment.create_or_update("template", template))
    store = rig.cloud.dps.store.individuals
    for number in range(350):
        store.put(replace(next(iter(store)), id=f"dev-{number}"))
    listed = (await rig.run("enrollment", "list")).json
    assert len(listed) == 351
    assert len([call for call in rig.calls if call == "POST /enrollments/query"]) >= 4


class Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "table"])
async def test_memory_does_not_grow_with_the_list(form: Any) -> None:
    async def records(count: int) -> AsyncIterator[dict[str, Any]]:
        for number in range(count):
            yield individual(f"dev-{number}", etag="x" * 200)

    async def most(count: int) -> int:
        tracemalloc.start()
        try:
            output = Output(Terminal(stdout=Nowhere(), environment={}), form)
            assert await output.many(records(count), (member("registrationId"),)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await most(10)  # what is imported on the way
    small = await most(1100)
    assert await most(3300) < small * 1.5 + 100_000
