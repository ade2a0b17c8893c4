"""The benchmark's peers: functions that do as little as a function can."""

import json
import logging

import azure.functions as func

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
