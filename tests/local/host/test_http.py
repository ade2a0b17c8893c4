"""HTTP functions see requests, and answer them, as on the real host."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from local.host.logs import make_handler

from .conftest import Loaded

Run = Callable[..., Loaded]


async def echo(app: Loaded, method: str = "GET", path: str = "/api/echo", **request: Any) -> dict[str, Any]:
    response = await app.client.request(method, path, **request)
    assert response.status_code == 200
    seen: dict[str, Any] = response.json()
    return seen


async def test_request_is_the_librarys_own_class(run_app: Run) -> None:
    seen = await echo(run_app("http"), "POST", "/api/echo/a", content=b"\x00\xff")
    assert seen["class"] == "azure.functions.http.HttpRequest"
    assert (seen["method"], seen["route"], seen["body"]) == ("POST", {"kind": "a"}, "\x00\xff")


async def test_repeated_query_values_are_joined_and_empty_ones_dropped(run_app: Run) -> None:
    seen = await echo(run_app("http"), path="/api/echo?a=1&b=&A=2&c=x%20y+z&a=&d")
    assert seen["params"] == {"a": "1,2", "c": "x y z"}


async def test_url_holds_the_query(run_app: Run) -> None:
    seen = await echo(run_app("http"), path="/api/echo?a=1")
    assert seen["url"] == "http://host.example:7071/api/echo?a=1"


async def test_header_names_are_lower_case_and_repeated_ones_joined(run_app: Run) -> None:
    seen = await echo(run_app("http"), headers=[("X-Mixed", "A"), ("x-mixed", "B")])
    assert seen["headers"]["x-mixed"] == "A,B"


async def test_chunked_body_arrives_empty(run_app: Run) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"never"
        yield b"seen"

    assert (await echo(run_app("http"), "POST", content=chunks()))["body"] == ""


async def test_body_over_the_limit_is_refused_before_the_function(run_app: Run) -> None:
    app = run_app("http", environment={"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "10"})
    assert (await app.client.post("/api/echo", content=b"x" * 11)).status_code == 413
    assert (await app.client.post("/api/echo", content=b"x" * 10)).status_code == 200


async def test_absent_optional_route_parameter_is_not_there(run_app: Run) -> None:
    assert (await echo(run_app("http")))["route"] == {}


async def test_route_parameters_are_decoded_text_and_an_encoded_slash_stays(run_app: Run) -> None:
    app = run_app("http")
    assert (await app.client.get("/api/devices/12")).text == "number 12"
    assert (await app.client.get("/api/devices/a%20b%2Fc")).text == "name a b%2Fc"


async def test_wrong_method_and_unknown_path_are_404(run_app: Run) -> None:
    app = run_app("http")
    for method, path in [
        ("DELETE", "/api/noop"),
        ("GET", "/api/none"),
        ("GET", "/noop"),
        ("HEAD", "/api/noop"),
    ]:
        response = await app.client.request(method, path)
        assert (response.status_code, response.content) == (404, b"")


async def test_two_functions_share_a_route_by_method(run_app: Run) -> None:
    app = run_app("http")
    assert (await app.client.get("/api/devices/all")).text == "all"
    assert (await app.client.delete("/api/devices/all")).text == "dropped"


async def test_route_prefix_may_be_empty(load_made: Callable[..., Any]) -> None:
    import httpx

    host = load_made(
        '@app.route(route="{*rest}", auth_level=func.AuthLevel.ANONYMOUS)\n'
        'def every(req: func.HttpRequest) -> str:\n    return req.route_params.get("rest", "root")\n',
        host_json='{"version": "2.0", "extensions": {"http": {"routePrefix": ""}}}',
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host.http), base_url="http://h") as client:
        assert (await client.get("/a/b")).text == "a/b"
        assert (await client.get("/admin/host/status")).status_code == 401
    host.threads.shutdown()


async def test_catch_all_takes_the_rest(run_app: Run) -> None:
    app = run_app("http")
    assert (await app.client.get("/api/files/a/b")).text == "a/b"
    assert (await app.client.put("/api/files")).text == "nothing"


async def test_plain_function_runs_in_a_thread_with_its_context(run_app: Run) -> None:
    app = run_app("http")
    response = await app.client.get("/api/unrouted", headers={"traceparent": "00-a-b-01"})
    seen = response.json()
    assert seen["function_name"] == "unrouted"
    assert seen["function_directory"].endswith("tests/apps/http")
    assert seen["traceparent"] == "00-a-b-01"
    assert seen["retries"] == 0
    assert seen["thread"].startswith("function-thread")
    assert seen["local"] == seen["invocation_id"]
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


async def test_plain_functions_run_beside_each_other_in_as_many_threads_as_set(run_app: Run) -> None:
    app = run_app("http", environment={"PYTHON_THREADPOOL_THREAD_COUNT": "2"})
    first = asyncio.create_task(app.client.get("/api/rendezvous"))
    second = await app.client.get("/api/rendezvous?second=1")
    assert ((await first).text, second.text) == ("first", "second")
    assert app.host.threads._max_workers == 2


@pytest.mark.parametrize("path", ["raises", "number", "wrapped", "odd-header", "cancelled"])
async def test_failure_is_500_with_an_empty_body(
    run_app: Run, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await run_app("http").client.get(f"/api/{path}")
    assert (response.status_code, response.content) == (500, b"")
    assert any(record.exc_info for record in caplog.records)


async def test_set_cookie_may_repeat_and_the_length_is_the_bodys_own(run_app: Run) -> None:
    response = await run_app("http").client.get("/api/cookies")
    assert response.status_code == 201
    assert response.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    assert response.headers["x-own"] == "kept"
    assert response.headers["content-type"] == "text/html; charset=latin-1"
    assert (response.headers["content-length"], response.content) == ("1", "é".encode("latin-1"))


async def test_no_content_has_no_length(run_app: Run) -> None:
    response = await run_app("http").client.get("/api/empty")
    assert response.status_code == 204
    assert "content-length" not in response.headers


async def test_home_page_is_there(run_app: Run) -> None:
    response = await run_app("http").client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")


async def test_log_lines_of_the_app_carry_function_and_invocation(run_app: Run) -> None:
    import io

    stream = io.StringIO()
    handler = make_handler("json", stream)
    logging.getLogger().addHandler(handler)
    try:
        await run_app("http").client.get(
            "/api/raises?code=never-logged", headers={"x-secret": "never-logged"}
        )
    finally:
        logging.getLogger().removeHandler(handler)
    handler.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    warning, error = [line for line in lines if line.get("function") == "raises"]
    assert (warning["logger"], warning["message"]) == ("app", "about to fail")
    assert warning["invocation"] == error["invocation"]
    assert "ValueError: a bug in the function" in error["exception"]
    assert "never-logged" not in stream.getvalue()


def test_hostile_text_cannot_forge_a_log_line() -> None:
    import io

    stream = io.StringIO()
    handler = make_handler("text", stream)
    handler.handle(logging.LogRecord("app", logging.INFO, "", 0, "a\n2026 ERROR \x1b[31m\u202e", (), None))
    handler.flush()
    assert stream.getvalue().splitlines()[1] == "    2026 ERROR \\x1b[31m\\x202e"


async def test_thread_of_the_app_logs_under_the_invocation_it_names(run_app: Run) -> None:
    import io
    import threading

    from local.host.context import THREAD

    def work() -> None:
        THREAD.invocation_id = "an-invocation"
        logging.getLogger("app").warning("from a thread")

    stream = io.StringIO()
    handler = make_handler("json", stream)
    logging.getLogger("app").addHandler(handler)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        await run_app("http").client.get("/api/unrouted")
        logging.getLogger("app").warning("outside")
    finally:
        logging.getLogger("app").removeHandler(handler)
    handler.flush()
    lines = {line["message"]: line for line in map(json.loads, stream.getvalue().splitlines())}
    assert lines["from a thread"]["invocation"] == "an-invocation"
    assert "invocation" not in lines["outside"]
