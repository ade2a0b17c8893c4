"""One HTTP function for each auth level, and an Event Grid function beside them."""

import azure.functions as func

app = func.FunctionApp()


@app.route(route="open", auth_level=func.AuthLevel.ANONYMOUS)
async def open_door(req: func.HttpRequest) -> str:
    return "open"


@app.route(route="keyed")
async def keyed(req: func.HttpRequest) -> str:
    return "keyed"


@app.route(route="other", auth_level=func.AuthLevel.FUNCTION)
async def other(req: func.HttpRequest) -> str:
    return "other"


@app.route(route="closed", auth_level=func.AuthLevel.ADMIN)
async def closed(req: func.HttpRequest) -> str:
    return "closed"


@app.event_grid_trigger(arg_name="event")
async def on_event(event: func.EventGridEvent) -> None:
    return None
