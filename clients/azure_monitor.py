"""OpenTelemetry to Application Insights, by the exporter of Microsoft's distribution and nothing more of it.

The distribution (`azure-monitor-opentelemetry`, begun by PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY) would
be set up before the first function, 0.4 s of processor time in a cold start (measured), and would trace every
outgoing call with its URL. Here nothing is instrumented: the app's own spans, lines and metrics are all.
"""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from clients.outbox import Item, Line, Measure, Outbox, Span
from clients.telemetry import METRICS, Metric
from clients.wording import masked

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

SCOPE = "dps-fleet"
"""The instrumentation scope of spans, lines and metrics."""

LONGEST_VALUE = 500
"""Characters of one attribute: the name of a DPS comes from a route, and may be of any length."""

LOOK_SECONDS = 0.25
"""Between two looks into the outbox."""

_UNWANTED = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",  # figures about the exporter, sent to Microsoft
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",  # the same, to the operator
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",  # switches that Microsoft throws from afar
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",  # one more metric with every batch
)
"""What the exporter does beside exporting, unless these are set otherwise; there are no arguments for it."""

_SEVERITIES = ((logging.ERROR, 17, "ERROR"), (logging.WARNING, 13, "WARN"), (logging.INFO, 9, "INFO"))
_FAILED = frozenset({"broken", "failed", "blocked", "lost"})
"""Outcomes of an allocation and states of a job that make a span one that failed."""


class AzureMonitor:
    """Exports items. Never raises after it has been made; what cannot be sent is lost after its retries.

    Nothing is kept on disk while ingestion is out of reach: telemetry of devices would lie there.
    """

    def __init__(
        self, connection_string: str, service: Mapping[str, str], credential: "TokenCredential | None" = None
    ) -> None:
        """Open it.

        Args:
            connection_string: of Application Insights.
            service: attributes of this process, such as `service.name`.
            credential: for Entra ingestion. None: what APPLICATIONINSIGHTS_AUTHENTICATION_STRING says, which
                is the same setting as the Functions host's; without one, the instrumentation key alone.

        Raises:
            ValueError: the connection string is none.
        """
        for name in _UNWANTED:
            os.environ.setdefault(name, "true")
        from azure.monitor.opentelemetry.exporter import (  # noqa: PLC0415 - most of a second
            AzureMonitorLogExporter,
            AzureMonitorMetricExporter,
            AzureMonitorTraceExporter,
        )
        from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC0415
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

        given = {"credential": credential} if credential is not None else {}
        options = {"connection_string": connection_string, "disable_offline_storage": True, **given}
        resource = Resource(dict(service))
        # A caller's traceparent may say "not sampled"; whether an answer is seen is not a caller's to say.
        sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else ALWAYS_ON
        self._spans = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(BatchSpanProcessor(AzureMonitorTraceExporter(**options)))
        self._lines = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._lines.add_log_record_processor(BatchLogRecordProcessor(AzureMonitorLogExporter(**options)))
        reader = PeriodicExportingMetricReader(AzureMonitorMetricExporter(**options))
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self._tracer = self._spans.get_tracer(SCOPE)
        self._logger = self._lines.get_logger(SCOPE)
        self._meter = self._metrics.get_meter(SCOPE)
        self._instruments: dict[str, Callable[[float, Mapping[str, str]], None]] = {}

    def export(self, items: Iterable[Item]) -> None:
        """Hand the items to the batches; those are sent every few seconds."""
        for item in items:
            match item:
                case Span():
                    self._span(item)
                case Line():
                    self._line(item)
                case Measure():
                    self._instrument(item.name)(item.value, item.dimensions)

    def flush(self) -> None:
        """Send everything now, and wait for it."""
        self._spans.force_flush()
        self._lines.force_flush()
        self._metrics.force_flush()

    def close(self) -> None:
        """Send everything and end the threads."""
        self._spans.shutdown()
        self._lines.shutdown()
        self._metrics.shutdown()

    def _span(self, span: Span) -> None:
        from opentelemetry.trace import (  # noqa: PLC0415 - imported long since
            NonRecordingSpan,
            Status,
            StatusCode,
            set_span_in_context,
        )

        attributes = {
            name: value if isinstance(value, bool | int | float) else _text(value)
            for name, value in span.attributes.items()
            if value is not None
        }
        told = self._tracer.start_span(
            span.name,
            context=set_span_in_context(NonRecordingSpan(span.parent)),
            attributes=attributes,
            start_time=span.ended - int(span.seconds * 1e9),
        )
        if _FAILED & {attributes.get("outcome"), attributes.get("state")}:
            told.set_status(Status(StatusCode.ERROR))
        told.end(span.ended)

    def _line(self, line: Line) -> None:
        from opentelemetry._logs import SeverityNumber  # noqa: PLC0415 - as above
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context  # noqa: PLC0415

        number, name = next(
            ((number, name) for level, number, name in _SEVERITIES if line.level >= level), (5, "DEBUG")
        )
        self._logger.emit(
            timestamp=line.at,
            observed_timestamp=line.at,
            context=set_span_in_context(NonRecordingSpan(line.parent)),
            severity_number=SeverityNumber(number),
            severity_text=name,
            body=line.text,
        )

    def _instrument(self, name: str) -> Callable[[float, Mapping[str, str]], None]:
        found = self._instruments.get(name)
        if found is None:
            metric = METRICS.get(name, Metric("histogram", "1", ""))
            if metric.kind == "counter":
                found = self._meter.create_counter(name, metric.unit, metric.meaning).add
            else:
                found = self._meter.create_histogram(name, metric.unit, metric.meaning).record
            self._instruments[name] = found
        return found


def _text(value: object) -> str:
    """As an attribute can be sent: no key, and no half of a surrogate pair, which JSON lets callers write."""
    return masked(str(value)[:LONGEST_VALUE]).encode("utf-8", "backslashreplace").decode()


def export_later(
    outbox: Outbox, make: Callable[[], AzureMonitor], delay: float, failed: Callable[[str], None]
) -> threading.Thread:
    """Export what the outbox gets, from a thread that keeps no process alive, and at its end.

    A process that ends before the exporter is there exports nothing: nothing of it can be imported any more.

    Args:
        outbox: is emptied.
        make: imports and opens the exporter; called in the thread.
        delay: seconds before that: a start is caused by a request, which comes first.
        failed: is told why nothing will be exported.
    """
    ended = threading.Event()

    def run() -> None:
        if ended.wait(delay):
            return
        try:
            monitor = make()
        except Exception as error:  # noqa: BLE001 - the app answers devices without telemetry, too
            outbox.give_up()
            # The exporter's own words may quote the connection string.
            failed(f"{type(error).__name__}: check APPLICATIONINSIGHTS_CONNECTION_STRING")
            return
        told = False
        last = False
        while not last:
            last = ended.wait(LOOK_SECONDS)
            try:
                monitor.export(outbox.take())
            except Exception as error:  # noqa: BLE001 - the next items may be better
                if not told:  # it is an item itself: not each time
                    failed(f"{type(error).__name__}: some items are not exported")
                told = True
        monitor.close()

    thread = threading.Thread(target=run, name="telemetry", daemon=True)

    def end() -> None:
        ended.set()
        thread.join(5.0)

    atexit.register(end)
    thread.start()
    return thread
