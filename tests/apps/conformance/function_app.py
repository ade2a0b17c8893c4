"""One function for each thing that a worker does: put the same questions to two of them and compare.

Timer and Event Grid functions cannot answer; they show what they saw in an exception's text.
"""

import asyncio
import dataclasses
import functools
import json
import threading
import uuid
from http import HTTPStatus

import azure.functions as func
from parts.elsewhere import elsewhere

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(elsewhere)


class Text(str):
    __slots__ = ()


class Own(func.HttpResponse):
    pass


class Unspeakable(Exception):
    def __str__(self):
        raise LookupError


def raised(error):
    raise error


def repeated(*headers, **options):
    response = func.HttpResponse("x", **options)
    for name, value in headers:
        response.headers.add(name, value)
    return response


def cookies(*values):
    return repeated(*(("Set-Cookie", value) for value in values))


async def later():
    await asyncio.sleep(0)
    return "never seen"


RETURNS = {
    "str": lambda: "plain é ☃",
    "empty-str": lambda: "",
    "str-subclass": lambda: Text("own"),
    "response": func.HttpResponse,
    "response-str": lambda: func.HttpResponse("é ☃"),
    "response-bytes": lambda: func.HttpResponse(b"\x00\xff", mimetype="application/octet-stream"),
    "response-subclass": lambda: Own("own", status_code=203),
    "status": lambda: func.HttpResponse("made", status_code=201),
    "status-enum": lambda: func.HttpResponse("taken", status_code=HTTPStatus.ACCEPTED),
    "status-server-error": lambda: func.HttpResponse("mine", status_code=500),
    "no-content": lambda: func.HttpResponse(status_code=204),
    "json": lambda: func.HttpResponse('{"a": 1}', mimetype="application/json"),
    "charset": lambda: func.HttpResponse("é", charset="latin-1"),
    "charset-of-json": lambda: func.HttpResponse("é", charset="utf-16", mimetype="application/json"),
    "headers": lambda: func.HttpResponse("x", headers={"X-Own": "A", "x-other": "b"}),
    "header-content-type": lambda: func.HttpResponse("<p>", headers={"Content-Type": "text/html"}),
    "header-over-mimetype": lambda: func.HttpResponse(
        "<p>", headers={"content-type": "text/html"}, mimetype="application/json"
    ),
    "header-repeated": lambda: repeated(("X-Own", "1"), ("X-Own", "2")),
    "header-in-two-cases": lambda: repeated(("X-Own", "1"), ("x-own", "2")),
    "header-number": lambda: func.HttpResponse("x", headers={"x-own": 1}),
    "header-new-line": lambda: func.HttpResponse("x", headers={"x-own": "a\nb: c"}),
    "header-not-latin": lambda: func.HttpResponse("x", headers={"x-own": "☃"}),
    "cookie": lambda: cookies("a=1"),
    "cookies": lambda: cookies("a=1; Path=/", "b=2"),
    "cookies-in-one": lambda: cookies("a=1; b=2"),
    "cookie-attributes": lambda: cookies(
        "a=1; Domain=h.example; Path=/p; Expires=Sun, 22 Nov 2026 10:00:00 GMT; Max-Age=60; Secure; HttpOnly;"
        " SameSite=Strict"
    ),
    "cookie-same-site-none": lambda: cookies("a=1; SameSite=none"),
    "cookie-same-site-odd": lambda: cookies("a=1; SameSite=odd"),
    "cookie-quoted": lambda: cookies('a="b c"'),
    "cookie-comment": lambda: cookies("a=1; Comment=dropped; Version=1"),
    "cookie-bad-expires": lambda: cookies("a=1; Expires=tomorrow"),
    "cookie-bad-max-age": lambda: cookies("a=1; Max-Age=long"),
    "cookie-unreadable": lambda: cookies("no cookie"),
    "bytes": lambda: b"raw",
    "bytearray": lambda: bytearray(b"raw"),
    "dict": lambda: {"a": 1},
    "list": lambda: ["a"],
    "int": lambda: 42,
    "bool": lambda: True,
    "tuple": lambda: ("x", 200),
    "none": lambda: None,
    "class": lambda: func.HttpResponse,
    "coroutine": later,
    "generator": lambda: iter("ab"),
    "body-dict": lambda: func.HttpResponse({"a": 1}),
    "body-int": lambda: func.HttpResponse(1),
    "raises": lambda: raised(ValueError("a bug of ours: é")),
    "raises-key": lambda: raised(KeyError("missing")),
    "raises-empty": lambda: raised(RuntimeError()),
    "raises-os": lambda: raised(OSError(2, "No such file", "f")),
    "raises-group": lambda: raised(ExceptionGroup("two", [ValueError("a"), TypeError("b")])),
    "raises-timeout": lambda: raised(TimeoutError("late")),
    "raises-unspeakable": lambda: raised(Unspeakable()),
    "raises-stop": lambda: raised(StopAsyncIteration("end")),
    "not-implemented": lambda: raised(NotImplementedError("the function's own")),
    "status-99": lambda: func.HttpResponse(status_code=99),
    "status-600": lambda: func.HttpResponse(status_code=600),
    "status-text": lambda: func.HttpResponse(status_code="many"),
    "cancelled": lambda: raised(asyncio.CancelledError()),
}


@app.route(route="answer/{kind}")
def answer(req: func.HttpRequest):
    return RETURNS[req.route_params["kind"]]()


@app.route(route="answer-async/{kind}")
async def answer_async(req: func.HttpRequest):
    await asyncio.sleep(0)
    return RETURNS[req.route_params["kind"]]()


def wrapped(call):
    @functools.wraps(call)
    def inner(*arguments, **named):
        return call(*arguments, **named)

    return inner


@app.route(route="wrapper")
@wrapped
async def wrapper(req: func.HttpRequest) -> str:
    return "never seen"


def attempt(call):
    try:
        return call()
    except Exception as error:  # noqa: BLE001  the type is what is shown
        return f"{type(error).__name__}: {error}"


def request_seen(req):
    return {
        "class": f"{type(req).__module__}.{type(req).__name__}",
        "method": req.method,
        "url": req.url,
        "headers": sorted(req.headers.items()),
        "header": [req.headers.get(name) for name in ("X-MIXED", "x-mixed", "absent")],
        "params": dict(req.params),
        "route": dict(req.route_params),
        "body": req.get_body().decode("latin-1"),
        "json": attempt(req.get_json),
        "form": attempt(lambda: dict(req.form)),
        "files": attempt(lambda: {name: file.read().decode() for name, file in req.files.items()}),
    }


@app.route(route="show/{device?}", methods=["GET", "POST", "PUT"])
async def show(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(request_seen(req)), mimetype="application/json")


@app.route(route="show-sync/{device:int?}", methods=[func.HttpMethod.POST], auth_level=func.AuthLevel.ADMIN)
def show_sync(req: func.HttpRequest) -> str:
    return json.dumps(request_seen(req))


@app.route(route="raw-str")
async def raw_str(req: str) -> str:
    return "never seen"


@app.generic_trigger(arg_name="req", type="httpTrigger", route="generic")
@app.generic_output_binding(arg_name="$return", type="http")
async def generic(req: func.HttpRequest) -> str:
    return "generic"


def public(thing):
    return [name for name in dir(thing) if not name.startswith("_")]


def context_seen(context):
    trace, retry, local = context.trace_context, context.retry_context, context.thread_local_storage
    in_another_thread = []
    thread = threading.Thread(target=lambda: in_another_thread.append(getattr(local, "invocation_id", "-")))
    thread.start()
    thread.join()
    context.own = "may be set"
    return {
        "uuid": str(uuid.UUID(context.invocation_id)) == context.invocation_id,
        "is_func_context": isinstance(context, func.Context),
        "context": public(context),
        "function": context.function_name,
        "directory": context.function_directory,
        "local": [type(local).__name__, local.invocation_id == context.invocation_id, *in_another_thread],
        "trace": [public(trace), trace.trace_parent, trace.trace_state, trace.attributes],
        "trace_old": [trace.Traceparent, trace.Tracestate, trace.Attributes],
        "retry": [public(retry), retry.retry_count, retry.max_retry_count, dataclasses.is_dataclass(retry)],
        "retry_exception": [
            getattr(retry.rpc_exception, name) for name in ("source", "stack_trace", "message")
        ],
    }


@app.function_name("named-by-hand")
@app.route(route="context")
def in_context(req: func.HttpRequest, context: func.Context) -> str:
    return json.dumps(context_seen(context))


@app.route(route="context-async")
async def in_context_async(req: func.HttpRequest, context) -> str:
    return json.dumps(context_seen(context))


@app.route(route="bound-context", trigger_arg_name="context")
async def bound_context(context: func.HttpRequest) -> str:
    return type(context).__name__


def timer_seen(timer):
    raise LookupError(
        json.dumps([type(timer).__name__, timer.past_due, timer.schedule_status, timer.schedule])
    )


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False, use_monitor=True)
async def tick(timer: func.TimerRequest) -> None:
    timer_seen(timer)


@app.schedule(arg_name="timer", schedule="0 */5 * * * *")
def tick_sync(timer):
    timer_seen(timer)


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
async def tick_quiet(timer: func.TimerRequest) -> None:
    return None


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
async def tick_context(timer: func.TimerRequest, context: func.Context) -> None:
    raise LookupError(json.dumps(context_seen(context)))


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
def tick_returns(timer: func.TimerRequest) -> str:
    return "a value nobody asked for"


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
async def tick_returns_falsy(timer: func.TimerRequest):
    return 0


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
@wrapped
async def tick_wrapped(timer: func.TimerRequest) -> None:
    return None


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
async def tick_raw(timer: str) -> None:
    raise LookupError(f"{type(timer).__name__} {timer}")


@app.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:05")
@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
async def tick_retried(timer: func.TimerRequest) -> None:
    timer_seen(timer)


def event_seen(event):
    names = [name for name in public(event) if not callable(getattr(event, name))]
    seen = {name: repr(getattr(event, name)) for name in names}
    raise LookupError(json.dumps([type(event).__name__, seen, event.get_json()]))


@app.event_grid_trigger(arg_name="event")
async def event(event: func.EventGridEvent) -> None:
    event_seen(event)


@app.event_grid_trigger(arg_name="event")
def event_sync(event: func.CloudEvent):
    event_seen(event)


@app.event_grid_trigger(arg_name="event")
async def event_bare(event):
    event_seen(event)


@app.event_grid_trigger(arg_name="event")
async def event_quiet(event: func.EventGridEvent) -> None:
    return None


@app.event_grid_trigger(arg_name="event")
async def event_returns(event: func.EventGridEvent) -> func.HttpResponse:
    return func.HttpResponse("a value nobody asked for")


@app.event_grid_trigger(arg_name="event")
async def event_str(event: str) -> None:
    raise LookupError(f"{type(event).__name__} {event}")


@app.event_grid_trigger(arg_name="event")
async def event_bytes(event: bytes) -> None:
    raise LookupError(f"{type(event).__name__} {event}")


@app.event_grid_trigger(arg_name="event", data_type=func.DataType.UNDEFINED)
async def event_undefined(event: func.EventGridEvent) -> None:
    event_seen(event)


@app.event_grid_trigger(arg_name="event", data_type=func.DataType.STRING)
async def event_string(event: func.EventGridEvent) -> None:
    event_seen(event)


@app.event_grid_trigger(arg_name="event", data_type=func.DataType.STRING)
async def event_string_str(event: str) -> None:
    raise LookupError(f"{type(event).__name__} {event}")


@app.event_grid_trigger(arg_name="event", data_type="binary")
async def event_binary(event: func.EventGridEvent) -> None:
    event_seen(event)


@app.event_grid_trigger(arg_name="event", data_type=func.DataType.BINARY)
async def event_binary_bytes(event: bytes) -> None:
    raise LookupError(f"{type(event).__name__} {event!r}")
