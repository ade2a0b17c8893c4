"""Apps in our own local host, put the same questions as the runtime library: see forks.py.

``python -m tests.runtime.ours OUT``. A ``value`` is the response that the host would send.
"""

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from local.host.errors import AppError
from local.host.indexing import HTTP
from local.host.invocation import FunctionFailed, Invoker, RawRequest
from local.host.runtime import load
from tests.runtime.forks import heard, main, text


class Failures(logging.Handler):
    """What the host logs of failures: of an HTTP function's it says nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.seen.append(record.exc_info[1])


async def serve(job: dict[str, Any]) -> dict[str, Any]:
    try:
        host = load(Path(job["directory"]), environment=os.environ)
    except AppError as error:
        return {"refused": str(error)}
    failures = Failures()
    logging.getLogger("host.invocation").addHandler(failures)
    invokers = {function.name: Invoker(function, host.threads) for function in host.functions}
    return {
        "functions": [
            {"name": function.name, "bindings": function.bindings, "warnings": function.warnings}
            for function in host.functions
        ],
        "results": [
            await heard(_invoke(invokers[call["function"]], call, failures)) for call in job["calls"]
        ],
    }


async def _invoke(invoker: Invoker, call: dict[str, Any], failures: Failures) -> dict[str, Any]:
    failures.seen.clear()
    value = None
    if invoker.function.kind == HTTP:
        parent, state = call.get("trace", ("", ""))
        headers = {"traceparent": parent, "tracestate": state} if parent else {}
        request = dict(call["http"])
        request["headers"] = request["headers"] | headers
        request["body"] = request["body"].encode("latin-1")
        response = await invoker.http(RawRequest(**request))
        value = {
            "status": response.status,
            "headers": response.headers,
            "body": response.body.decode("latin-1"),
        }
    else:
        content = call.get("json") or call.get("string") or call["bytes"].encode("latin-1")
        try:
            await asyncio.ensure_future(invoker.json(json.loads(content)))
        except FunctionFailed as failure:
            told = str(failure)
            if told not in text(failures.seen[0]):
                return {"died": f"the failure and the log differ: {told}"}
    return {"failed": text(failures.seen[0])} if failures.seen else {"value": value}


if __name__ == "__main__":
    main(serve)
