"""The Functions app: settings and ports become one App, and every function is a line of wiring."""

import logging
import os
from functools import cached_property
from pathlib import Path

import azure.functions as func

from allocation import Allocator, FilePolicy, KnownFleet, PackagedPolicy, PolicySource
from clients.clock import SystemClock
from clients.telemetry import LogTelemetry
from clients.warm import warm_later
from settings import Role, Settings

HERE = Path(__file__).parent


class App:
    """What the functions work with, made when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.telemetry = LogTelemetry(self.clock, logging.getLogger("dps_fleet"))

    @cached_property
    def allocator(self) -> Allocator:
        """Answers DPS's calls."""
        return Allocator(
            policies=self._policies(), fleet=KnownFleet(), clock=self.clock, telemetry=self.telemetry
        )

    def _policies(self) -> PolicySource:
        if self.settings.policy_file is None:
            return PackagedPolicy()
        policy = FilePolicy(HERE / self.settings.policy_file)
        if policy.error:
            self.telemetry.event("policy_unavailable", problem=str(policy.error))
        return policy


def allocation_functions(app: App) -> func.Blueprint:
    """The webhook that DPS calls."""
    functions = func.Blueprint()  # type: ignore[no-untyped-call]  # the SDK leaves its __init__ untyped

    @functions.function_name("allocate")
    @functions.route("allocate/{dps?}", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
    async def allocate(req: func.HttpRequest) -> func.HttpResponse:
        answer = await app.allocator.answer(req.get_body(), req.route_params.get("dps") or "")
        return func.HttpResponse(answer.body, status_code=answer.status, mimetype="application/json")

    return functions


def function_app(app: App) -> func.FunctionApp:
    """The functions of the app's role."""
    functions = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
    if app.settings.role in (Role.ALLOCATION, Role.ALL):
        functions.register_functions(allocation_functions(app))
    return functions


app = function_app(App(Settings.read(os.environ)))
warm_later()
