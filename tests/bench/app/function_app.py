"""The benchmark's peers: functions that do as little as a function can."""

import json
import logging
import os
import time

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
        self.table: Table | None = None

    async def one(self, device: str) -> None:
        if self.table is None:
            self.table = TableAccount.from_connection_string(os.environ["STATE_TABLES"]).table("peer")
        await self.table.put(Row("group", f"{device}|{time.time_ns()}", {"text": "x" * 1_000}))


upserts = Upserts()


@app.route("upsert", methods=["POST"])
async def upsert(req: func.HttpRequest) -> func.HttpResponse:
    """A no-op that writes one row: the least that a webhook with a ledger can do."""
    await upserts.one("device")
    return func.HttpResponse(b"{}", mimetype="application/json")
