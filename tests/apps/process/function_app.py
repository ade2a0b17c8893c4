"""An app for whole-process tests: a slow function, a setting, prints and logs."""

import asyncio
import logging
import os
import time
from pathlib import Path

import azure.functions as func

app = func.FunctionApp()


def mark() -> None:
    """Say that an invocation has begun."""
    Path(os.environ["MARK"]).touch()


logging.getLogger("app").info("imported in %s as %s", Path.cwd().name, __name__)


@app.route(route="setting/{name}", auth_level=func.AuthLevel.ANONYMOUS)
def setting(req: func.HttpRequest) -> str:
    return os.environ.get(req.route_params["name"], "absent")


@app.route(route="slow", auth_level=func.AuthLevel.FUNCTION)
async def slow(req: func.HttpRequest) -> str:
    mark()
    await asyncio.sleep(float(req.params.get("seconds", "0.5")))
    return "finished"


@app.route(route="stuck", auth_level=func.AuthLevel.ANONYMOUS)
def stuck(req: func.HttpRequest) -> str:
    mark()
    time.sleep(60)
    return "never"


@app.route(route="log", auth_level=func.AuthLevel.FUNCTION)
async def log(req: func.HttpRequest) -> str:
    logging.getLogger("app.work").info("worked on %s", req.params.get("what"))
    return "logged"


@app.route(route="fail", auth_level=func.AuthLevel.FUNCTION)
async def fail(req: func.HttpRequest) -> str:
    raise LookupError("nothing here")
