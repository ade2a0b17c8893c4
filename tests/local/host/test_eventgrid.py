"""The Event Grid webhook."""

import json
from collections.abc import Callable
from typing import Any

import azure.functions as func
import httpx
import pytest

from .conftest import Loaded

Run = Callable[..., Loaded]


def event(subject: str) -> dict[str, Any]:
    return {
        "id": f"id-{subject}",
        "topic": "/subscriptions/s",
        "subject": subject,
        "eventType": "Microsoft.KeyVault.SecretNearExpiry",
        "eventTime": "2026-11-22T03:00:00.1234567Z",
        "data": {"ObjectName": subject},
        "dataVersion": "1",
    }


async def deliver(
    app: Loaded,
    body: Any,
    *,
    to: str = "keep",
    kind: str | None = "Notification",
    key: str | None = None,
    path: str = "/runtime/webhooks/EventGrid",
) -> httpx.Response:
    params = {"functionName": to, "code": app.host.keys.system["eventgrid_extension"] if key is None else key}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"aeg-event-type": kind} if kind else {}
    return await app.client.post(path, params=params, content=content, headers=headers)


async def test_each_event_of_an_array_is_an_invocation(run_app: Run) -> None:
    app = run_app("events")
    response = await deliver(app, [event("a"), event("b")])
    assert (response.status_code, response.content) == (202, b"")
    assert sorted(seen.subject for seen in app.module.seen) == ["a", "b"]
    first = app.module.seen[0]
    assert isinstance(first, func.EventGridEvent)
    assert first.get_json() == {"ObjectName": "a"}
    assert first.event_time is not None
    assert first.event_time.microsecond == 123456


async def test_events_of_a_delivery_run_in_parallel(run_app: Run) -> None:
    app = run_app("events")
    assert (await deliver(app, [event("first"), event("second")], to="meet")).status_code == 202
    assert [seen.subject for seen in app.module.seen] == ["second", "first"]


async def test_one_failure_is_500_with_its_message_and_the_others_still_ran(run_app: Run) -> None:
    app = run_app("events")
    response = await deliver(app, [event("a"), event("poison"), event("c")])
    assert (response.status_code, response.text) == (500, "this event is refused")
    assert sorted(seen.subject for seen in app.module.seen) == ["a", "c", "poison"]


async def test_cloud_event_comes_as_one_object(run_app: Run) -> None:
    app = run_app("events")
    body = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "subject": "x",
        "data": 1,
        "own": "e",
    }
    assert (await deliver(app, body)).status_code == 202
    (seen,) = app.module.seen
    assert isinstance(seen, func.CloudEvent)
    assert (seen.id, seen.subject, seen.extension_attrs) == ("1", "x", {"own": "e"})


async def test_event_time_with_an_offset_fails_before_the_function(run_app: Run) -> None:
    app = run_app("events")
    assert (await deliver(app, event("a") | {"eventTime": "2026-11-22T03:00:00+02:00"})).status_code == 500
    assert app.module.seen == []


async def test_function_that_returns_a_value_fails(run_app: Run) -> None:
    response = await deliver(run_app("events"), event("a"), to="returns")
    assert response.status_code == 500
    assert "without a $return binding" in response.text


@pytest.mark.parametrize("wrapped", [True, False], ids=["array", "object"])
async def test_validation_answers_the_code(run_app: Run, wrapped: bool) -> None:
    body = {"id": "1", "eventType": "validation", "data": {"validationCode": "512d38b6"}}
    response = await deliver(run_app("events"), [body] if wrapped else body, kind="SubscriptionValidation")
    assert (response.status_code, response.json()) == (200, {"validationResponse": "512d38b6"})


@pytest.mark.parametrize(
    ("kind", "status"), [("Unsubscribe", 202), ("unsubscribe", 202), ("Other", 400), (None, 400)]
)
async def test_other_event_types(run_app: Run, kind: str | None, status: int) -> None:
    assert (await deliver(run_app("events"), [], kind=kind)).status_code == status


@pytest.mark.parametrize(("body", "kind"), [(b"no", "Notification"), ({}, "SubscriptionValidation")])
async def test_unreadable_delivery_is_500(run_app: Run, body: Any, kind: str) -> None:
    assert (await deliver(run_app("events"), body, kind=kind)).status_code == 500


async def test_only_the_system_key_and_the_master_key_open_it(run_app: Run) -> None:
    app = run_app("events")
    keys = app.host.keys
    statuses = {
        name: (await deliver(app, [], key=key)).status_code
        for name, key in {
            "master": keys.master,
            "host": keys.host,
            "own": keys.functions["keep"],
            "": "",
        }.items()
    }
    assert statuses == {"master": 202, "host": 401, "own": 401, "": 401}


async def test_key_is_asked_for_before_the_function(run_app: Run) -> None:
    app = run_app("events")
    assert (await deliver(app, [], to="none", key="wrong")).status_code == 401
    assert (await deliver(app, [], to="none")).status_code == 404
    assert (await deliver(app, [], to="Keep")).status_code == 404


async def test_path_has_no_case_but_the_extension_must_be_right(run_app: Run) -> None:
    app = run_app("events")
    assert (await deliver(app, [event("a")], path="/Runtime/Webhooks/eventgrid")).status_code == 202
    assert (await deliver(app, [event("a")], path="/runtime/webhooks/other")).status_code == 404
