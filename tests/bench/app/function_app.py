"""The benchmark's peers: functions that do as little as a function can."""

import json
import logging
import os
import time
from typing import Any

import azure.functions as func

from clients.ports import Row, Table
from clients.tables import TableAccount

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route("noop", methods=["POST"])
async def noop(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(b"{}", mimetype="application/json")


@app.route("first", methods=["POST"])
async def first(req: func.HttpRequest) -> func.HttpResponse:
    request = json.loads(req.get_body())
    body = json.dumps({"iotHubHostName": request["linkedHubs"][0]})
    return func.HttpResponse(body, mimetype="application/json")


@app.route("logged", methods=["POST"])
async def logged(req: func.HttpRequest) -> func.HttpResponse:
    """As first, with the log line that a webhook in production must write."""
    request = json.loads(req.get_body())
    hub, device = request["linkedHubs"][0], request["deviceRuntimeContext"]["registrationId"]
    logging.getLogger("bench").info("allocated %s to %s", device, hub)
    return func.HttpResponse(json.dumps({"iotHubHostName": hub}), mimetype="application/json")


class Upserts:
    """One table, made at the first call."""

    def __init__(self) -> None:
        self.account: TableAccount | None = None
        self.table: Table | None = None
        self.client: Any = None

    async def one(self, device: str) -> None:
        """By the app's own client of tables."""
        if self.table is None:
            self.table = self._account().table("peer")
        await self.table.put(Row("group", f"{device}|{time.time_ns()}", {"text": "x" * 1_000}))

    async def one_by_sdk(self, device: str) -> None:
        """By azure-data-tables."""
        if self.client is None:
            await self.one(device)  # which makes the table
            self.client = await self._account().client("peer")
        row = {"PartitionKey": "group", "RowKey": f"{device}|{time.time_ns()}", "text": "x" * 1_000}
        await self.client.upsert_entity(row, mode="replace")

    def _account(self) -> TableAccount:
        if self.account is None:
            self.account = TableAccount.from_connection_string(os.environ["STATE_TABLES"])
        return self.account


upserts = Upserts()


@app.route("upsert", methods=["POST"])
async def upsert(req: func.HttpRequest) -> func.HttpResponse:
    """A no-op that writes one row: the least that a webhook with a ledger can do."""
    await upserts.one("device")
    return func.HttpResponse(b"{}", mimetype="application/json")


@app.route("upsert_by_sdk", methods=["POST"])
async def upsert_by_sdk(req: func.HttpRequest) -> func.HttpResponse:
    """The same as it is usually written."""
    await upserts.one_by_sdk("device")
    return func.HttpResponse(b"{}", mimetype="application/json")
