"""The Functions app: settings and ports become one App, and every function is a line of wiring."""

import logging
import os
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import azure.functions as func

from allocation import (
    Admission,
    Allocator,
    Budget,
    FilePolicy,
    FixedKnowledge,
    Freshness,
    KeyUse,
    Knowledge,
    Ledger,
    PackagedPolicy,
    PolicySource,
    StoredKnowledge,
    presented,
    record,
)
from clients.clock import SystemClock
from clients.telemetry import LogTelemetry
from clients.telemetry_ids import IdMode, Ids
from clients.warm import DELAY_SECONDS, HEAVY, IDENTITY, warm_later, warm_now
from provisioning.hubs import HubKey
from settings import Role, Settings, SettingsError
from wiring import Wiring

if TYPE_CHECKING:
    from background import Background
    from clients.azure_monitor import AzureMonitor
    from clients.ports import Telemetry
    from lifecycle.rates import Rates
    from lifecycle.statistics import AskedHubs

HERE = Path(__file__).parent
LOGGER = "dps_fleet"


class App:
    """What the functions work with, made when it is first needed.

    Nothing of it is closed: it ends with its process.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.telemetry = self._telemetry()
        for name, problem in settings.ignored.items():
            self.telemetry.event("setting_ignored", setting=name, problem=problem)
        self.wiring = Wiring(settings, self.clock, here=HERE)

    def _telemetry(self) -> "Telemetry":
        """Lines of the log; exported by this process itself where the host leaves that to it."""
        settings, logger = self.settings, logging.getLogger(LOGGER)
        ids = Ids(IdMode(settings.telemetry_ids), settings.telemetry_id_key)
        if not (settings.python_enable_opentelemetry and settings.applicationinsights_connection_string):
            return LogTelemetry(self.clock, logger, ids)
        try:
            # With that setting the worker has imported opentelemetry's interface already.
            from clients.azure_monitor import export_later  # noqa: PLC0415 - only where it is used
            from clients.outbox import ExportedTelemetry, Outbox  # noqa: PLC0415
        except Exception as error:  # noqa: BLE001 - the app answers devices without telemetry, too
            told = LogTelemetry(self.clock, logger, ids)
            told.event("telemetry_unavailable", problem=f"{type(error).__name__} at the import")
            return told
        outbox = Outbox(LOGGER)
        logging.getLogger().addHandler(outbox)
        telemetry = ExportedTelemetry(self.clock, logger, ids, outbox)
        export_later(
            outbox,
            self._azure_monitor,
            DELAY_SECONDS,
            lambda problem: telemetry.event("telemetry_unavailable", problem=problem),
        )
        return telemetry

    def _azure_monitor(self) -> "AzureMonitor":
        from clients.azure_monitor import AzureMonitor  # noqa: PLC0415 - as above

        service = {
            "service.name": os.environ.get("WEBSITE_SITE_NAME", "dps-fleet"),
            "service.instance.id": os.environ.get("WEBSITE_INSTANCE_ID", "") or token_hex(8),
            "dps_fleet.role": str(self.settings.role),
        }
        return AzureMonitor(self.settings.applicationinsights_connection_string, service)

    @cached_property
    def allocator(self) -> Allocator:
        """Answers DPS's calls."""
        settings = self.settings
        stated = bool(settings.state_tables)
        return Allocator(
            knowledge=self._knowledge(),
            clock=self.clock,
            telemetry=self.telemetry,
            ledger=Ledger(self.wiring.table("ledger"), lambda: token_hex(4)) if stated else None,
            record=record,
            budget=Budget(request=settings.request_seconds, ledger=settings.ledger_seconds),
            admission=Admission(
                enrollments=settings.allowed_enrollments,
                enrollments_mode=settings.allowed_enrollments_mode,
                ranges=settings.caller_ranges,
                ranges_mode=settings.caller_ranges_mode,
                proxies=settings.caller_proxies,
            ),
        )

    @cached_property
    def key_use(self) -> KeyUse:
        """Counts which of the webhook's keys are used."""
        table = self.wiring.table("keyuse") if self.settings.state_tables else None
        return KeyUse(table, self.clock, self.telemetry)

    def _knowledge(self) -> Knowledge:
        settings = self.settings
        packaged = self._packaged().current()
        if not settings.state_tables:
            return FixedKnowledge(packaged)
        return StoredKnowledge(
            policies=self.wiring.table("policies"),
            fleet=self.wiring.table("fleet"),
            packaged=packaged,
            cold_packaged=settings.cold_policy == "packaged",
            clock=self.clock,
            telemetry=self.telemetry,
            freshness=Freshness(
                refresh=settings.state_refresh_seconds,
                max_age=settings.state_max_age_seconds,
                avoid_after=60 * settings.avoid_hubs_after_minutes,
            ),
        )

    def _packaged(self) -> PolicySource:
        if self.settings.policy_file is None:
            return PackagedPolicy()
        policy = FilePolicy(HERE / self.settings.policy_file)
        if policy.error:
            self.telemetry.event("policy_unavailable", problem=str(policy.error))
        return policy

    @cached_property
    def rates(self) -> "Rates":
        """Shares of DPS's and the hubs' rates; kept, or every run would begin with a full bucket."""
        from lifecycle.rates import Rates  # noqa: PLC0415 - the webhook needs none of it

        return Rates(self.clock, units=self.settings.hub_units)

    @cached_property
    def background(self) -> "Background":
        """The background jobs; kept, for an audit's memory between two slices is there."""
        from background import Background  # noqa: PLC0415 - as above

        worker = os.environ.get("WEBSITE_INSTANCE_ID", "")
        rules = self.settings.purge_rules_file
        return Background(
            self.wiring,
            self.telemetry,
            self.rates,
            self._packaged().current(),
            worker,
            purge_rules=HERE / rules if rules else None,
        )

    @cached_property
    def _statistics(self) -> "AskedHubs":
        from lifecycle.statistics import AskedHubs  # noqa: PLC0415 - as above

        return AskedHubs(self.rates, self.wiring.hub)

    async def count_devices(self) -> None:
        """Count the devices of every hub into the fleet table."""
        from lifecycle.statistics import count_devices  # noqa: PLC0415 - as above

        began = self.clock.monotonic()
        if hubs := await self._hubs():
            await count_devices(
                self.wiring.table("fleet"),
                self.settings.dps_name,
                hubs,
                self._statistics,
                self.clock,
                self.telemetry,
            )
        # Each minute, whatever was found: that it is missing is what an alert looks for.
        self.telemetry.span(
            "count_devices", self.clock.monotonic() - began, dps=self.settings.dps_name, hubs=len(hubs)
        )

    async def prune(self) -> None:
        """Delete old rows of the ledger, old audits and old jobs, for a minute and a half at most."""
        from lifecycle.retention import prune  # noqa: PLC0415 - as above

        if self.settings.ledger_keep_days:
            await prune(
                self.wiring.table("ledger"),
                self.wiring.table("fleet"),
                self.settings.dps_name,
                keep=timedelta(days=self.settings.ledger_keep_days),
                clock=self.clock,
                telemetry=self.telemetry,
            )
        if self.settings.dps_host:
            from lifecycle.audit.retention import forget_old_runs  # noqa: PLC0415 - as above

            await forget_old_runs(
                self.wiring.table("audit"),
                self.settings.dps_name,
                keep=self.settings.audit_keep_runs,
                clock=self.clock,
                telemetry=self.telemetry,
            )
            await self.background.forget_old_jobs()

    async def _hubs(self) -> Sequence[HubKey]:
        from clients.arm import Unknown  # noqa: PLC0415 - as above
        from clients.pacing import UnpacedShare  # noqa: PLC0415 - as above

        if self.settings.hubs:
            return list(self.settings.hubs)
        arm = self.wiring.arm(UnpacedShare())
        if arm is None:
            self.telemetry.event("hubs_unknown", problem="set HUBS or DPS_RESOURCE_ID")
            return ()
        page = await arm.page()
        linked = page if isinstance(page, Unknown) else page.linked_hubs
        if isinstance(linked, Unknown):
            self.telemetry.event("hubs_unknown", problem=linked.reason)
            return ()
        return [hub.key for hub in linked]


def allocation_functions(app: App) -> func.Blueprint:
    """The webhook that DPS calls."""
    functions = func.Blueprint()  # type: ignore[no-untyped-call]  # the SDK leaves its __init__ untyped

    @functions.function_name("allocate")
    @functions.route("allocate/{dps?}", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
    async def allocate(req: func.HttpRequest) -> func.HttpResponse:
        dps = req.route_params.get("dps") or app.settings.dps_name
        forwarded = req.headers.get("x-forwarded-for") or ""
        answer = await app.allocator.answer(req.get_body(), dps, forwarded)
        key = presented(req.headers.get("x-functions-key"), req.url, req.params)
        app.key_use.count(key, dps, answer.status, check=answer.check)
        return func.HttpResponse(answer.body, status_code=answer.status, mimetype="application/json")

    return functions


def state_functions(app: App) -> func.Blueprint:
    """The care of the state tables: counts of devices, and what is too old to keep."""
    functions = func.Blueprint()  # type: ignore[no-untyped-call]  # as above

    @functions.function_name("count_devices")
    @functions.timer_trigger("timer", app.settings.statistics_schedule)
    async def count_devices(timer: func.TimerRequest) -> None:
        del timer  # it only says that it is time
        await app.count_devices()

    @functions.function_name("prune")
    @functions.timer_trigger("timer", app.settings.retention_schedule)
    async def prune(timer: func.TimerRequest) -> None:
        del timer
        await app.prune()

    return functions


def job_functions(app: App) -> func.Blueprint:
    """The background jobs: a slice a minute, and what sets them going."""
    functions = func.Blueprint()  # type: ignore[no-untyped-call]  # as above

    @functions.function_name("jobs")
    @functions.timer_trigger("timer", "0 * * * * *")
    async def jobs(timer: func.TimerRequest) -> None:
        del timer
        await app.background.work()

    @functions.function_name("audit_due")
    @functions.timer_trigger("timer", app.settings.audit_schedule)
    async def audit_due(timer: func.TimerRequest) -> None:
        del timer
        await app.background.audit()

    @functions.function_name("purge_due")
    @functions.timer_trigger("timer", app.settings.purge_schedule)
    async def purge_due(timer: func.TimerRequest) -> None:
        del timer
        await app.background.purge()

    @functions.function_name("device_deleted")
    @functions.event_grid_trigger("event")
    async def device_deleted(event: func.EventGridEvent) -> None:
        await app.background.hub_event(_raw(event))

    return functions


def rotation_functions(app: App) -> func.Blueprint:
    """The rotation of group keys: the vault's events, and a daily look for those that were lost."""
    functions = func.Blueprint()  # type: ignore[no-untyped-call]  # as above

    @functions.function_name("secret_near_expiry")
    @functions.event_grid_trigger("event")
    async def secret_near_expiry(event: func.EventGridEvent) -> None:
        await app.background.vault_event(_raw(event))

    @functions.function_name("rotate_daily")
    @functions.timer_trigger("timer", app.settings.rotation_schedule)
    async def rotate_daily(timer: func.TimerRequest) -> None:
        del timer
        await app.background.rotate()

    return functions


def _raw(event: Any) -> dict[str, Any]:
    """An event as it came: the SDK hands a CloudEvent to a function whatever its annotation says."""
    if isinstance(event, func.EventGridEvent):
        kind = {"topic": event.topic, "eventType": event.event_type}
    else:
        kind = {"source": event.source, "type": event.type, "specversion": event.specversion}
    return {"id": event.id, "subject": event.subject, "data": event.get_json(), **kind}


def function_app(app: App) -> func.FunctionApp:
    """The functions of the app's role."""
    functions = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
    if app.settings.role in (Role.ALLOCATION, Role.ALL):
        functions.register_functions(allocation_functions(app))
    if app.settings.role in (Role.LIFECYCLE, Role.ALL) and app.settings.state_tables:
        functions.register_functions(state_functions(app))
        if app.settings.dps_host:
            functions.register_functions(job_functions(app))
            if app.settings.vault_url:
                functions.register_functions(rotation_functions(app))
    return functions


def warm_up(wiring: Wiring, settings: Settings) -> None:
    """Import heavy libraries: what the first answer will wait for at once, the others after it."""
    if settings.state_tables:
        identity = IDENTITY if settings.state_tables.startswith("https://") else ()
        warm_now(identity, wiring.connections.open)
    warm_later(DELAY_SECONDS, HEAVY)


def out_of_order(error: Exception) -> func.FunctionApp:
    """The webhook of an app that cannot be made of its settings: DPS is told to come again, the log why.

    With no function there, DPS would get a 404, which fails each device at once (400207). A role without
    the webhook does not start instead: that fails no device.
    """
    if os.environ.get("APP_ROLE", "").strip().lower() == Role.LIFECYCLE:
        raise error
    telemetry = LogTelemetry(SystemClock(), logging.getLogger(LOGGER), Ids(IdMode.NONE))
    functions = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

    @functions.function_name("allocate")
    @functions.route("allocate/{dps?}", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
    async def allocate(req: func.HttpRequest) -> func.HttpResponse:
        del req
        # The text of a foreign exception may quote anything.
        problem = str(error) if isinstance(error, SettingsError) else ""
        telemetry.event("allocation_broken", error=type(error).__name__, place="settings", problem=problem)
        body = b'{"error":"internal error; DPS will try again"}'
        return func.HttpResponse(body, status_code=503, mimetype="application/json")

    return functions


try:
    _settings = Settings.read(os.environ)
    _app = App(_settings)
    warm_up(_app.wiring, _settings)
    app = function_app(_app)
except Exception as error:  # noqa: BLE001 - with no function there, each device would fail at once
    app = out_of_order(error)
