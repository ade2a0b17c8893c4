"""HTTP functions that show what they were given."""

import asyncio
import json
import logging
import threading

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
released = threading.Event()


@app.route(route="noop", methods=["GET", "POST"])
async def noop(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(b'{"ok":true}', mimetype="application/json")


@app.route(route="echo/{kind?}", methods=["GET", "POST", "PUT"])
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    seen = {
        "class": f"{type(req).__module__}.{type(req).__name__}",
        "method": req.method,
        "url": req.url,
        "headers": dict(req.headers.items()),
        "params": dict(req.params),
        "route": dict(req.route_params),
        "body": req.get_body().decode("latin-1"),
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json", charset="utf-8")


@app.route(methods=["GET"])
def unrouted(req: func.HttpRequest, context: func.Context) -> str:
    logging.getLogger("app").info("in a thread")
    return json.dumps(
        {
            "invocation_id": context.invocation_id,
            "function_name": context.function_name,
            "function_directory": context.function_directory,
            "traceparent": context.trace_context.trace_parent,
            "retries": context.retry_context.retry_count,
            "thread": threading.current_thread().name,
            "local": context.thread_local_storage.invocation_id,
        }
    )


@app.route(route="devices/{id:int}", methods=["GET"])
def by_number(req: func.HttpRequest) -> str:
    return f"number {req.route_params['id']}"


@app.route(route="devices/{id}", methods=["GET"])
def by_name(req: func.HttpRequest) -> str:
    return f"name {req.route_params['id']}"


@app.route(route="devices/all", methods=["GET"])
def all_devices(req: func.HttpRequest) -> str:
    return "all"


@app.route(route="devices/all", methods=["DELETE"])
def drop_devices(req: func.HttpRequest) -> str:
    return "dropped"


@app.route(route="files/{*path}")
def files(req: func.HttpRequest) -> str:
    return req.route_params.get("path", "nothing")


@app.route(route="raises")
async def raises(req: func.HttpRequest) -> str:
    logging.getLogger("app").warning("about to fail")
    raise ValueError("a bug in the function")


@app.route(route="cancelled")
async def cancelled(req: func.HttpRequest) -> str:
    raise asyncio.CancelledError


@app.route(route="number")
async def number(req: func.HttpRequest):
    return 42


@app.route(route="wrapped")
def wrapped(req: func.HttpRequest):
    return noop_later()


async def noop_later():
    await asyncio.sleep(0)
    return "never seen"


@app.route(route="cookies")
async def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("é", status_code=201, mimetype="text/html", charset="latin-1")
    response.headers.add("Set-Cookie", "a=1; Path=/")
    response.headers.add("Set-Cookie", "b=2")
    response.headers.add("X-Own", "kept")
    response.headers.add("Content-Length", "999")
    return response


@app.route(route="empty")
async def empty(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(status_code=204)


@app.route(route="odd-header")
async def odd_header(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("x", headers={"x-odd": "snowman ☃"})


@app.route(route="rendezvous")
def rendezvous(req: func.HttpRequest) -> str:
    """Answers once a second call has arrived, which needs a second thread."""
    if req.params.get("second"):
        released.set()
        return "second"
    return "first" if released.wait(10) else "alone"
