"""The host's own API."""

import json
from collections.abc import Callable

import pytest

from .conftest import Loaded

Run = Callable[..., Loaded]


def master(app: Loaded) -> dict[str, str]:
    return {"x-functions-key": app.host.keys.master}


async def test_status_says_running(run_app: Run) -> None:
    app = run_app("http")
    response = await app.client.get("/admin/host/status", headers=master(app))
    assert response.json()["state"] == "Running"


async def test_ping_needs_no_key(run_app: Run) -> None:
    assert (await run_app("http").client.get("/admin/host/ping")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/admin/functions", "/admin/functions/keep", "/admin/none", "/ADMIN/functions"]
)
async def test_everything_else_needs_the_master_key(run_app: Run, path: str) -> None:
    app = run_app("events")
    for key in ("", app.host.keys.host, app.host.keys.system["eventgrid_extension"]):
        assert (await app.client.get(path, params={"code": key})).status_code == 401


async def test_functions_are_listed_with_their_bindings_and_urls(run_app: Run) -> None:
    app = run_app("http")
    listed = (await app.client.get("/admin/functions", headers=master(app))).json()
    by_name = {function["name"]: function for function in listed}
    assert by_name["echo"]["invoke_url_template"] == "http://host.example:7071/api/echo/{kind?}"
    assert by_name["echo"]["config"]["bindings"][0]["type"] in {"http", "httpTrigger"}
    one = (await app.client.get("/admin/functions/Echo", headers=master(app))).json()
    assert one == by_name["echo"]


async def test_event_function_starts_with_the_json_of_an_event(run_app: Run) -> None:
    app = run_app("events")
    body = {"input": json.dumps({"id": "1", "subject": "by hand", "eventTime": None})}
    response = await app.client.post("/admin/functions/KEEP", json=body, headers=master(app))
    assert (response.status_code, response.content) == (202, b"")
    await app.host.background.finish()
    assert [event.subject for event in app.module.seen] == ["by hand"]


async def test_timer_starts_whatever_the_input(run_app: Run) -> None:
    app = run_app("timers", environment={"SCHEDULE": "0 0 * * * *"})
    response = await app.client.post("/admin/functions/scheduled", json={"input": "x"}, headers=master(app))
    assert response.status_code == 202
    await app.host.background.finish()
    ((name, timer),) = app.module.seen
    assert (name, timer.past_due) == ("scheduled", False)


async def test_failure_of_a_started_function_is_only_logged(
    run_app: Run, caplog: pytest.LogCaptureFixture
) -> None:
    app = run_app("events")
    for text in ('{"subject": "poison"}', "not json"):
        started = await app.client.post("/admin/functions/keep", json={"input": text}, headers=master(app))
        assert started.status_code == 202
        await app.host.background.finish()
    assert "function keep failed" in caplog.text
    assert "not the JSON of an event" in caplog.text


async def test_http_function_is_accepted_and_does_not_run(
    run_app: Run, caplog: pytest.LogCaptureFixture
) -> None:
    app = run_app("http")
    assert (
        await app.client.post("/admin/functions/noop", json={"input": ""}, headers=master(app))
    ).status_code == 202
    assert "cannot be started by hand" in caplog.text


@pytest.mark.parametrize(
    ("name", "body", "status"), [("none", b"{}", 404), ("keep", b"", 400), ("keep", b"[]", 400)]
)
async def test_bad_starts(run_app: Run, name: str, body: bytes, status: int) -> None:
    app = run_app("events")
    response = await app.client.post(f"/admin/functions/{name}", content=body, headers=master(app))
    assert response.status_code == status


async def test_input_must_be_text(run_app: Run) -> None:
    app = run_app("events")
    response = await app.client.post("/admin/functions/keep", json={"input": {}}, headers=master(app))
    assert response.status_code == 400
