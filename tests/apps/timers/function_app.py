"""Timer functions that keep what they were given."""

import asyncio

import azure.functions as func

app = func.FunctionApp()
seen = []
gate = asyncio.Event()


@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%")
async def scheduled(timer: func.TimerRequest) -> None:
    seen.append(("scheduled", timer))


@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *", use_monitor=False)
async def unmonitored(timer: func.TimerRequest) -> None:
    seen.append(("unmonitored", timer))


@app.timer_trigger(arg_name="timer", schedule="*/10 * * * * *")
async def often(timer: func.TimerRequest) -> None:
    seen.append(("often", timer))


@app.timer_trigger(arg_name="timer", schedule="0 0 0 30 2 *", run_on_startup=True)
async def at_startup(timer: func.TimerRequest) -> None:
    seen.append(("at_startup", timer))


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
async def slow(timer: func.TimerRequest) -> None:
    seen.append(("slow", timer))
    await gate.wait()


@app.timer_trigger(arg_name="timer", schedule="0 0 12 * * *")
async def failing(timer: func.TimerRequest) -> None:
    seen.append(("failing", timer))
    raise RuntimeError("no")
