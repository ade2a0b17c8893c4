"""A setting disables a function: nothing triggers it any more, and the master key still starts it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Loaded

Run = Callable[..., Loaded]


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("AzureWebJobs.keyed.Disabled", "true", 404),
        ("AzureWebJobs.keyed.Disabled", "True", 404),
        ("AzureWebJobs.keyed.Disabled", "1", 404),
        ("AzureWebJobs_keyed_Disabled", "1", 404),
        ("azurewebjobs.KEYED.disabled", "1", 404),
        ("AzureWebJobs.keyed.Disabled", "false", 200),
        ("AzureWebJobs.keyed.Disabled", "", 200),
        ("AzureWebJobs.other.Disabled", "true", 200),
    ],
)
async def test_setting_disables_an_http_function(run_app: Run, name: str, value: str, status: int) -> None:
    app = run_app("secured", environment={name: value})
    response = await app.client.get("/api/keyed", headers={"x-functions-key": app.host.keys.host})
    assert response.status_code == status


async def test_disabled_http_function_asks_for_the_key_first_and_opens_to_the_master_key(
    run_app: Run,
) -> None:
    app = run_app("secured", environment={"AzureWebJobs.keyed.Disabled": "1"})
    assert (await app.client.get("/api/keyed")).status_code == 401
    master = {"x-functions-key": app.host.keys.master}
    assert (await app.client.get("/api/keyed", headers=master)).text == "keyed"


async def test_disabled_anonymous_function_is_not_found(run_app: Run) -> None:
    app = run_app("secured", environment={"AzureWebJobs.open_door.Disabled": "1"})
    assert (await app.client.get("/api/open")).status_code == 404


async def test_disabled_event_grid_function_is_not_found(run_app: Run) -> None:
    app = run_app("events", environment={"AzureWebJobs.keep.Disabled": "1"})
    params = {"functionName": "keep", "code": app.host.keys.master}
    headers = {"aeg-event-type": "Notification"}
    response = await app.client.post("/runtime/webhooks/eventgrid", params=params, headers=headers, json=[{}])
    assert response.status_code == 404
    assert app.module.seen == []


async def test_disabled_timer_does_not_tick_and_can_be_run_by_hand(run_app: Run) -> None:
    environment = {"SCHEDULE": "0 0 0 1 1 *", "AzureWebJobs.at_startup.Disabled": "1"}
    app = run_app("timers", environment=environment)
    async with app.host.ticking():
        await asyncio.sleep(0)
        assert "at_startup" not in [name for name, _ in app.module.seen]
    master = {"x-functions-key": app.host.keys.master}
    response = await app.client.post("/admin/functions/at_startup", headers=master, json={"input": ""})
    assert response.status_code == 202
    app.module.gate.set()
    await app.host.background.finish(10)
    assert "at_startup" in [name for name, _ in app.module.seen]


async def test_admin_tells_what_is_disabled(run_app: Run, caplog: pytest.LogCaptureFixture) -> None:
    app = run_app("secured", environment={"AzureWebJobs.keyed.Disabled": "1"})
    master = {"x-functions-key": app.host.keys.master}
    listed: list[Any] = (await app.client.get("/admin/functions", headers=master)).json()
    assert [function["name"] for function in listed if function["isDisabled"]] == ["keyed"]
    assert "function keyed is disabled by a setting" in caplog.text
