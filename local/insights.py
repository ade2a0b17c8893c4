"""Application Insights' ingestion, as the exporter of Azure Monitor speaks to it: what leaves the process.

`POST /v2.1/track` takes envelopes of JSON, gzipped or not, and answers how many were received and accepted
(seen in azure-monitor-opentelemetry-exporter 1.0.0b58). Entra tokens are neither asked for nor looked at.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.asgi import JsonService, NotJson, Request, Response, parse_value

KEY = "00000000-0000-0000-0000-00000000da7a"
"""The instrumentation key of the one resource."""

_TABLES = {
    "MessageData": "AppTraces",
    "RemoteDependencyData": "AppDependencies",
    "RequestData": "AppRequests",
    "MetricData": "AppMetrics",
    "ExceptionData": "AppExceptions",
    "EventData": "AppEvents",
}
"""In which table of the Log Analytics workspace each kind of telemetry appears (documented)."""


@dataclass(frozen=True, slots=True)
class Telemetered:
    """One row as Log Analytics would have it.

    Attributes:
        table: such as AppTraces.
        name: of the span or metric; a line's text.
        operation: the trace's id, 32 hexadecimal digits; "" of a metric.
        parent: the id of the span above, "" without one.
        properties: the column Properties.
        figures: of a metric: value (its sum), count, and where known min and max.
        success: of a span; True of all else.
    """

    table: str
    name: str
    operation: str
    parent: str
    properties: Mapping[str, str]
    figures: Mapping[str, float]
    success: bool = True


class Insights(JsonService):
    """Takes telemetry and keeps it in memory. `raw` is every body as it came, unzipped."""

    body_limit = 64 * 1024 * 1024

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self._envelopes: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Response:
        """Take a batch."""
        if (request.method, request.path) != ("POST", "/v2.1/track"):
            return self.failed(404, "only POST /v2.1/track is here")
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError, zlib.error):
                return self.failed(400, "the body is not gzip")
        try:
            envelopes = parse_value(body)
        except NotJson as error:
            return self.failed(400, str(error))
        if not isinstance(envelopes, list):
            return self.failed(400, "the body is no list of envelopes")
        self.raw.append(body)
        self._envelopes.extend(envelopes)
        return Response(200, {"itemsReceived": len(envelopes), "itemsAccepted": len(envelopes), "errors": []})

    def failed(self, status: int, message: str) -> Response:
        """Words for people; the exporter reads the status."""
        return Response(status, {"message": message})

    def record(self, request: Request, response: Response) -> None:
        """Nothing: the journal is of calls that do something."""

    def rows(self, table: str = "", name: str = "") -> Iterator[Telemetered]:
        """What has come, oldest first; of one table, and with one name, where given."""
        for envelope in self._envelopes:
            row = _row(envelope)
            if table in ("", row.table) and name in ("", row.name):
                yield row

    def events(self, name: str) -> Iterator[dict[str, Any]]:
        """The app's structured events of a name, as the alerts' queries find them."""
        for row in self.rows("AppTraces"):
            if row.name.startswith(f'{{"event":"{name}"'):
                told: dict[str, Any] = json.loads(row.name)
                yield told

    def counted(self) -> Counter[str]:
        """How many rows each table has."""
        return Counter(row.table for row in self.rows())


def connection_string(url: str) -> str:
    """What APPLICATIONINSIGHTS_CONNECTION_STRING is for ingestion served at a base URL."""
    return f"InstrumentationKey={KEY};IngestionEndpoint={url}/"


def _row(envelope: Mapping[str, Any]) -> Telemetered:
    data, tags = envelope["data"], envelope.get("tags", {})
    base = data["baseData"]
    table = _TABLES[data["baseType"]]
    metric = (base.get("metrics") or [{}])[0]
    return Telemetered(
        table=table,
        name=str(metric.get("name") or base.get("name") or base.get("message") or ""),
        operation=_id(tags.get("ai.operation.id")),
        parent=_id(tags.get("ai.operation.parentId")),
        properties=base.get("properties") or {},
        figures={name: metric[name] for name in ("value", "count", "min", "max") if name in metric},
        success=bool(base.get("success", True)),
    )


def _id(text: str | None) -> str:
    return "" if not text or not text.strip("0") else text
