"""Event Grid functions that keep what they were given, and a route that tells it."""

import json

import azure.functions as func

app = func.FunctionApp()
seen = []


def keep(function, event):
    seen.append(
        {
            "function": function,
            "schema": type(event).__name__,
            "id": event.id,
            "subject": event.subject,
            "data": event.get_json(),
            "source": event.source if isinstance(event, func.CloudEvent) else event.topic,
            "type": event.type if isinstance(event, func.CloudEvent) else event.event_type,
        }
    )


@app.event_grid_trigger(arg_name="event")
async def secret_near_expiry(event: func.EventGridEvent) -> None:
    keep("secret_near_expiry", event)


@app.event_grid_trigger(arg_name="event")
async def device_deleted(event: func.EventGridEvent) -> None:
    keep("device_deleted", event)


@app.event_grid_trigger(arg_name="event")
async def everything(event: func.EventGridEvent) -> None:
    keep("everything", event)


@app.route("told", auth_level=func.AuthLevel.ANONYMOUS)
async def told(req: func.HttpRequest) -> func.HttpResponse:
    answer = json.dumps(seen)
    if req.method == "POST":
        seen.clear()
    return func.HttpResponse(answer, mimetype="application/json")
