"""Event Grid functions that keep what they were given."""

import asyncio

import azure.functions as func

app = func.FunctionApp()
seen = []
arrived = asyncio.Event()


@app.event_grid_trigger(arg_name="event")
async def keep(event: func.EventGridEvent) -> None:
    seen.append(event)
    if event.subject == "poison":
        raise RuntimeError("this event is refused")


@app.event_grid_trigger(arg_name="event")
async def meet(event) -> None:
    """Two events of one delivery meet only if they run in parallel."""
    if event.subject == "first":
        await asyncio.wait_for(arrived.wait(), 10)
    arrived.set()
    seen.append(event)


@app.event_grid_trigger(arg_name="event")
def returns(event: func.EventGridEvent):
    return "a value nobody asked for"
