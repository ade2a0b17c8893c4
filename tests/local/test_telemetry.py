"""What really leaves the app, by the unmodified exporter: in both roles, and with no key in it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from clients.telemetry import METRICS, SPANS
from local.clients import Device, ServiceClient, connect
from local.dps.keys import derive_key
from local.hub import Entry
from local.insights import Insights, Telemetered
from local.stack import Options, Stack, run_stack

TRACE = "0af7651916cd43dd8448eb211c80319c"
GUESS = "CANARY-guessed-key_1234567890abcdef"
DEVICE = "canary-serial"


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not found():  # noqa: ASYNC110  another process fills it
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(
    role: str, ids: str = "none"
) -> AsyncIterator[tuple[Stack, ServiceClient, httpx.AsyncClient]]:
    settings = {"APP_ROLE": role, "TELEMETRY_IDS": ids, "DPS_NAME": "factory"}
    async with (
        run_stack(Options(telemetry=True, settings=settings), lambda _: None) as stack,
        connect(stack.address.url, stack.trust) as dps,
    ):
        yield stack, ServiceClient(dps, stack.dps_connection_string), dps


async def enroll(operator: ServiceClient, webhook: str) -> str:
    await operator.put_group(
        {
            "enrollmentGroupId": "line-a",
            "attestation": {"type": "symmetricKey"},
            "allocationPolicy": "custom",
            "customAllocationDefinition": {"webhookUrl": webhook, "apiVersion": "2021-10-01"},
        }
    )
    return (await operator.keys("enrollmentGroups/line-a"))["primaryKey"]


def left(stack: Stack) -> str:
    """All that left the process: what was exported, its log, and what it printed."""
    return "\n".join([*(body.decode() for body in stack.insights.raw), stack.functions.log_text()])


def secrets(stack: Stack, *more: str) -> list[str]:
    tables = dict(part.split("=", 1) for part in stack.tables.connection_string.split(";") if part)
    return [stack.functions.master_key, *stack.functions.system_keys.values(), tables["AccountKey"], *more]


def spans(insights: Insights, name: str) -> list[Telemetered]:
    return list(insights.rows("AppDependencies", name))


async def test_the_webhook_exports_a_span_a_line_and_metrics_of_each_answer_and_no_key_and_no_id() -> None:
    async with running("allocation") as (stack, operator, dps):
        own_key = stack.allocate_url.partition("code=")[2]
        assert own_key
        group_key = await enroll(operator, stack.allocate_url)
        names = [f"{DEVICE}-{number}" for number in range(3)]
        devices = [Device(name, derive_key(group_key, name)) for name in names]
        states = await asyncio.gather(*(each.register(dps, stack.dps.id_scope) for each in devices))
        assert {state["status"] for state in states} == {"assigned"}
        body = {
            "deviceRuntimeContext": {"registrationId": f"{DEVICE}-9"},
            "linkedHubs": ["hub-a.azure-devices.net"],
        }
        async with httpx.AsyncClient() as caller:
            traced = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"}
            answered = await caller.post(stack.allocate_url, json=body, headers=traced)
            assert answered.status_code == 200
            guessed = await caller.post(f"{stack.functions.url}/api/allocate?code={GUESS}", json=body)
            assert guessed.status_code == 401
            assert (await caller.post(stack.allocate_url, content=b"no JSON")).status_code == 400
            header = {"x-functions-key": own_key}
            assert (
                await caller.post(f"{stack.functions.url}/api/allocate", json=body, headers=header)
            ).is_success
        answers = len([call for call in stack.webhook_calls() if call.status]) + 3
        await until(lambda: len(spans(stack.insights, "allocation")) >= answers)
        await until(lambda: any(stack.insights.rows("AppMetrics", "allocations")))
        await stack.functions.stop()  # what waits is sent before the end

        told = spans(stack.insights, "allocation")
        assert len(told) == answers
        placed = [span for span in told if span.properties["outcome"] == "placed"]
        assert len(placed) == answers - 1
        for span in placed:
            assert span.properties["hub"].endswith(".azure-devices.net")
            assert {"rule", "policy", "degraded", "status", "dps", "why", "enrollment"} <= set(
                span.properties
            )
        # The host's own span is between the caller's and ours; a caller's "not sampled" hides nothing.
        [of_trace] = [span for span in told if span.operation == TRACE]
        assert of_trace.parent not in ("", "b7ad6b7169203331")
        lines = [
            row for row in stack.insights.rows("AppTraces") if row.name.startswith('{"event":"allocation",')
        ]
        assert {row.operation for row in lines} == {span.operation for span in placed}
        metrics = list(stack.insights.rows("AppMetrics", "allocations"))
        assert sum(row.figures["value"] for row in metrics) == answers
        assert {row.properties["hub"] for row in metrics} <= {
            *(span.properties["hub"] for span in placed),
            "",
        }
        assert any(stack.insights.rows("AppMetrics", "allocation_ms"))
        assert {row.name for row in stack.insights.rows("AppMetrics")} <= set(METRICS)
        assert {row.name for row in stack.insights.rows("AppDependencies")} <= set(SPANS)

        out = left(stack)
        for secret in secrets(stack, own_key, GUESS, group_key):
            assert secret not in out
        assert "code=" not in out
        assert DEVICE not in out.lower()


async def test_the_jobs_export_a_span_of_each_slice_and_no_key() -> None:
    async with running("lifecycle") as (stack, operator, _):
        key = "CANARY-webhook-key_0123456789abcdefghijkl=="
        group_key = await enroll(operator, f"{stack.functions.url}/api/allocate?code={key}")
        await operator.put_enrollment(
            {
                "registrationId": f"{DEVICE}-1",
                "attestation": {"type": "symmetricKey"},
                "allocationPolicy": "custom",
                "customAllocationDefinition": {
                    "webhookUrl": f"https://nobody.invalid/api/allocate?code={key}",
                    "apiVersion": "2021-10-01",
                },
            }
        )
        hub = stack.hubs[0]
        hub.add(Entry(f"{DEVICE}-2"), hub.clock.now())
        hub.remove(f"{DEVICE}-2")
        async with httpx.AsyncClient(headers={"x-functions-key": stack.functions.master_key}) as admin:
            async with asyncio.timeout(120):
                begin = ["audit_due", "jobs"]
                while not any(each["kind"] == "audit" for each in stack.insights.events("job_ended")):
                    started = await admin.post(f"{stack.functions.url}/admin/functions/{begin[0]}", json={})
                    assert started.is_success
                    begin = begin[1:] or begin  # a tick that comes too early finds nothing: again
                    await asyncio.sleep(1)
            await until(lambda: bool(spans(stack.insights, "job_slice")))
            await until(lambda: any(stack.insights.events("device_deleted")))
        await stack.functions.stop()

        # Beside the audit, a job looks at what the hub said of the device that it lost.
        slices = [each for each in spans(stack.insights, "job_slice") if each.properties["kind"] == "audit"]
        slice_ = slices[-1]
        [ended] = [each for each in stack.insights.events("job_ended") if each["kind"] == "audit"]
        assert {each.properties["job"] for each in slices} == {ended["job"]}
        assert slice_.success
        assert sum(int(each.properties["calls"]) for each in slices) > 0
        assert all(each.properties["throttled"].isdigit() for each in slices)
        # The lines of a slice, such as its findings, are found by its trace.
        findings = [row for row in stack.insights.rows("AppTraces") if '"event":"audit_finding"' in row.name]
        assert findings
        assert {row.operation for row in findings} == {slice_.operation}

        out = left(stack)
        for secret in secrets(stack, key, group_key):
            assert secret not in out
        assert "CANARY" not in out
        assert DEVICE not in out.lower()


async def test_what_waits_at_the_end_is_sent_and_ids_are_told_where_the_setting_says_so() -> None:
    async with running("allocation", ids="clear") as (stack, _, _dps):
        body = {
            "deviceRuntimeContext": {"registrationId": f"{DEVICE}-9"},
            "linkedHubs": ["hub-a.azure-devices.net"],
        }
        async with httpx.AsyncClient() as caller:
            assert (await caller.post(stack.allocate_url, json=body)).is_success
            await until(lambda: bool(spans(stack.insights, "allocation")))
            assert (await caller.post(stack.allocate_url, json=body)).is_success
        await stack.functions.stop()
        told = spans(stack.insights, "allocation")
        assert [span.properties["registration_id"] for span in told] == [f"{DEVICE}-9"] * 2
        lines = list(stack.insights.events("allocation"))
        assert [line["registration_id"] for line in lines] == [f"{DEVICE}-9"] * 2
        counted = [row.figures["value"] for row in stack.insights.rows("AppMetrics", "allocations")]
        assert sum(counted) == 2
