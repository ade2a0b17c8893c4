"""The trace of an invocation: what Microsoft's runtime library makes of the host's, and this host like it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.host.runtime import FunctionsHost
from tests.local.host.both_runtimes import ROOT, answers_of, http, job, posted

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
ON = {"PYTHON_ENABLE_OPENTELEMETRY": "true"}
SOURCE = """
@app.route("trace", auth_level=func.AuthLevel.ANONYMOUS)
async def trace(req: func.HttpRequest) -> str:
    from opentelemetry.trace import get_current_span
    now = get_current_span().get_span_context()
    return f"{now.trace_id:032x} {now.span_id:016x}"
"""
EXPORTING = ON | {
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "IngestionEndpoint=http://127.0.0.1:9/;"
    "InstrumentationKey=00000000-0000-0000-0000-000000000001"
}
LIFECYCLE = {
    "APP_ROLE": "lifecycle",
    "STATE_TABLES": "UseDevelopmentStorage=true",
    "DPS_HOST": "a.azure-devices-provisioning.net",
    "VAULT_URL": "https://kv.vault.azure.net",
}


def test_the_library_makes_the_hosts_span_the_current_one_only_when_told(
    make_app: Callable[..., Path], tmp_path: Path
) -> None:
    app = make_app(SOURCE)
    calls = [("traced", "trace", http() | {"trace": (PARENT, "")})]
    told, untold = answers_of("worker", [job(app, calls, **ON), job(app, calls)], tmp_path / "out")
    assert told["results"] == [{"value": {"string": f"{TRACE} {SPAN}"}}]
    assert told["capabilities"]["WorkerOpenTelemetryEnabled"]  # so the host leaves the log to the app
    assert untold["results"] == [{"value": {"string": f"{0:032x} {0:016x}"}}]
    assert "WorkerOpenTelemetryEnabled" not in untold["capabilities"]


def test_our_own_app_runs_in_the_library_with_telemetry_on_in_each_role(tmp_path: Path) -> None:
    body = (ROOT / "tests" / "events" / "allocation_group.json").read_bytes().decode("latin-1")
    calls = [("traced", "allocate", posted(body) | {"trace": (PARENT, "")})]
    jobs = [
        job(ROOT, calls, **EXPORTING, APP_ROLE="allocation"),
        job(ROOT, [], **EXPORTING, **LIFECYCLE),
    ]
    allocation, lifecycle = answers_of("worker", jobs, tmp_path / "out")
    assert allocation["results"][0]["value"]["http"]["status_code"] == "200"
    assert {"jobs", "audit_due", "rotate_daily"} <= {each["name"] for each in lifecycle["functions"]}
    for outcome in (allocation, lifecycle):
        assert outcome["capabilities"]["WorkerOpenTelemetryEnabled"]


async def ask(host: FunctionsHost, headers: dict[str, str]) -> list[str]:
    transport = httpx.ASGITransport(host.http)
    async with httpx.AsyncClient(transport=transport, base_url="http://host.example") as client:
        return (await client.get("/api/trace", headers=headers)).text.split()


@pytest.fixture
def load_traced(load_made: Callable[..., Any]) -> Callable[[dict[str, str]], FunctionsHost]:
    return lambda environment: load_made(SOURCE, environment=environment)


async def test_here_a_run_is_in_the_callers_trace_under_a_span_of_the_hosts(
    load_traced: Callable[[dict[str, str]], FunctionsHost],
) -> None:
    host = load_traced(ON)
    trace, span = await ask(host, {"traceparent": PARENT})
    assert trace == TRACE
    assert span not in (SPAN, f"{0:016x}")
    first, second = await ask(host, {}), await ask(host, {"traceparent": "nonsense"})
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in (first[0], second[0]))
    assert len({trace, first[0], second[0], f"{0:032x}"}) == 4
    host.threads.shutdown()


async def test_here_too_there_is_no_trace_unless_told(
    load_traced: Callable[[dict[str, str]], FunctionsHost],
) -> None:
    host = load_traced({})
    assert await ask(host, {"traceparent": PARENT}) == [f"{0:032x}", f"{0:016x}"]
    host.threads.shutdown()
