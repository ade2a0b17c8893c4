"""Apps in Microsoft's runtime library, spoken to as the Functions host's worker process does: see forks.py.

``python -m tests.runtime.worker OUT``. Its outcomes also hold ``capabilities``: what the worker asks of the
host. A ``value`` is what the worker hands the host.
"""

import asyncio
import importlib
import importlib.metadata
import json
import os
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from tests.runtime import protos
from tests.runtime.forks import heard, main, text

PIN = Path(__file__).with_name("requirements.txt").read_text().split()[0]


def _library() -> Any:
    """The runtime library; it has no types."""
    name, _, version = PIN.partition("==")
    try:
        found = importlib.metadata.version(name)
        library = importlib.import_module(name.replace("-", "_"))
        importlib.import_module("azure.functions")  # it would do so itself, but late: in each fork anew
    except ImportError as error:
        sys.exit(f"{PIN} cannot be imported ({error}): `./run test` installs it")
    if found != version:
        sys.exit(f"{PIN} is needed and {found} is here: `./run test` installs it")
    return library


runtime = _library()


async def serve(job: dict[str, Any]) -> dict[str, Any]:
    runtime.start_threadpool_executor()
    started = await (_specialised if job.get("specialised") else _started)(job["directory"])
    if started.result.status != protos.StatusResult.Success:
        return {"refused": started.result.exception.message}
    answer = await runtime.functions_metadata_request(_request("functions_metadata_request"))
    functions = answer.function_metadata_results or []
    for function in functions:
        load = _request("function_load_request", function_id=function.function_id, metadata=function)
        loaded = await runtime.function_load_request(load)
        assert loaded.result.status == protos.StatusResult.Success
    by_name = {function.name: function for function in functions}
    return {
        "capabilities": started.capabilities,
        "functions": [_described(function) for function in functions],
        "results": [await heard(_invoke(by_name[call["function"]], call)) for call in job["calls"]],
    }


async def _started(directory: str) -> Any:
    return await runtime.worker_init_request(
        _request("worker_init_request", function_app_directory=directory, capabilities={})
    )


async def _specialised(directory: str) -> Any:
    """As on an instance that waited without an app, and then gets one with its settings."""
    settings = dict(os.environ)
    with tempfile.TemporaryDirectory() as waiting:
        os.environ.clear()
        assert (await _started(waiting)).result.status == protos.StatusResult.Success
    return await runtime.function_environment_reload_request(
        _request(
            "function_environment_reload_request",
            function_app_directory=directory,
            environment_variables=settings,
        )
    )


def _described(function: Any) -> dict[str, Any]:
    return {
        "name": function.name,
        "bindings": [json.loads(binding) for binding in function.raw_bindings],
        "retries": function.retry_options is not None,
    }


async def _invoke(function: Any, call: dict[str, Any]) -> dict[str, Any]:
    (trigger,) = [
        binding
        for binding in map(json.loads, function.raw_bindings)
        if str(binding["type"]).lower().endswith("trigger")
    ]
    parent, state = call.get("trace", ("", ""))
    request = _request(
        "invocation_request",
        invocation_id=str(uuid.uuid4()),
        function_id=function.function_id,
        input_data=[protos.ParameterBinding(name=trigger["name"], data=_typed(call))],
        trigger_metadata={},
        trace_context=protos.Message(trace_parent=parent, trace_state=state, attributes={}),
        retry_context=protos.Message(retry_count=0, max_retry_count=0, exception=protos.RpcException()),
    )
    try:
        # A task, as in the worker: what a function does to its context stays with it.
        response = await asyncio.ensure_future(runtime.invocation_request(request))
    except asyncio.CancelledError as error:
        return {"escaped": text(error)}
    if response.result.status != protos.StatusResult.Success:
        return {"failed": response.result.exception.message}
    return {"value": _plain(response.return_value)}


def _request(kind: str, **fields: Any) -> Any:
    message = protos.Message(**{kind: protos.Message(**fields)})
    return protos.Message(request=message, properties={"host": "127.0.0.1", "protos": protos})


def _typed(call: dict[str, Any]) -> Any:
    if "http" not in call:
        (kind,) = {"json", "string", "bytes"} & set(call)
        return protos.TypedData(**{kind: call[kind].encode("latin-1") if kind == "bytes" else call[kind]})
    http = dict(call["http"])
    body = http.pop("body").encode("latin-1")
    # The host leaves the body unset when there is none.
    return protos.TypedData(
        http=protos.RpcHttp(**http, body=protos.TypedData(bytes=body) if body else protos.TypedData())
    )


def _plain(value: Any) -> Any:
    """A message as JSON."""
    if isinstance(value, protos.Message):
        return {name: _plain(field) for name, field in vars(value).items()}
    if isinstance(value, dict):
        return {name: _plain(field) for name, field in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("latin-1") if isinstance(value, bytes) else value


if __name__ == "__main__":
    main(serve)
