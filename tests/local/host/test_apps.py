"""What this host refuses, and what it says about it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from local.host.app_loader import load_functions
from local.host.errors import AppError
from local.host.runtime import FunctionsHost

Load = Callable[..., FunctionsHost]

ROUTE = "@app.route(route='{}', auth_level=func.AuthLevel.ANONYMOUS{})\ndef {}(req):\n    return ''\n"
TIMER = (
    "@app.timer_trigger(arg_name='timer', schedule={!r})\ndef tick(timer: func.TimerRequest) -> None: ...\n"
)
GOOD = TIMER.format("0 0 * * * *")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1/0", r"cannot be imported: ZeroDivisionError: .* \(function_app.py, line 3\)"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit"),
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("", "defines no functions"),
        ("app = None", "no top level FunctionApp"),
        (GOOD + "second = func.FunctionApp()", r"more than one top level function app \(app, second\)"),
        (GOOD + "alias = app", "more than one top level function app"),
        (ROUTE.format("a", "", "f") + ROUTE.format("b", "", "f"), "f does not have a unique function name"),
        ("@app.function_name('x')\ndef f(req): ...\n", "x does not have a trigger"),
        ("@app.function_name('1x')\n" + GOOD, "'1x': not a valid name"),
        (TIMER.format("every day"), "function 'tick': bad schedule: .* has 2 fields"),
        (TIMER.format("00:05:00"), "time span works on dedicated plans only"),
        (TIMER.format("%NO_SUCH%"), "uses %NO_SUCH% and there is no such setting; give --setting NO_SUCH="),
        (ROUTE.format("{a", "", "f"), "function 'f': bad route"),
        (ROUTE.format("admin/x", "", "f"), "must not begin with 'admin' or 'runtime'"),
        (
            ROUTE.format("a", "", "f") + ROUTE.format("A/", "", "g"),
            "'g': has its route and a method in common",
        ),
        (
            "@app.queue_trigger(arg_name='m', queue_name='q', connection='C')\ndef q(m): ...\n",
            "function 'q': this host does not run queueTrigger",
        ),
        (
            "@app.queue_output(arg_name='out', queue_name='q', connection='C')\n"
            + ROUTE.format("a", "", "f"),
            "function 'f': this host does not run the binding 'out' of type 'queue'",
        ),
        ("@app.route(route='a')\ndef f(request): ...\n", "the trigger's 'req' is not one of its parameters"),
        ("@app.route(route='a')\ndef f(req, more): ...\n", "the parameters more have no binding"),
        (
            "@app.route(route='a')\ndef f(req, context: int): ...\n",
            "'context' must be annotated func.Context",
        ),
        ("@app.route(route='a')\ndef f(req: 'Nobody'): ...\n", "annotations cannot be resolved"),
        ("@app.route(route='a')\ndef f(req) -> int: ...\n", "return value is annotated int"),
        ("@app.event_grid_trigger(arg_name='e')\ndef f(e: dict): ...\n", "parameter 'e' is annotated dict"),
        (
            "@app.event_grid_trigger(arg_name='e')\ndef f(e: func.EventGridEvent | func.CloudEvent): ...\n",
            "which the worker refuses",
        ),
    ],
)
def test_app_is_refused(load_made: Load, source: str, message: str) -> None:
    with pytest.raises(AppError, match=message):
        load_made(source)


@pytest.mark.parametrize(
    ("host_json", "message"),
    [
        ("{}", '"version": "2.0"'),
        ('{"version": "2.0", "extensions": {"http": {"routePrefix": 1}}}', "must be text"),
        ('{"version": "2.0", "extensions": {"http": {"routePrefix": "admin"}}}', "belongs to the host"),
    ],
)
def test_host_json_is_refused(load_made: Load, host_json: str, message: str) -> None:
    with pytest.raises(AppError, match=message):
        load_made(GOOD, host_json=host_json)


def test_directory_without_an_app_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="does not exist: --app must name"):
        load_functions(tmp_path, "made_app_none")


def test_setting_in_a_schedule_is_found_without_regard_to_case(load_made: Load) -> None:
    host = load_made(TIMER.format("%schedule%"), environment={"SCHEDULE": "0 0 * * * *"})
    assert host.functions[0].trigger["schedule"] == "0 0 * * * *"


def test_methods_in_turn_may_share_a_route(load_made: Load) -> None:
    source = ROUTE.format("a", ", methods=['GET']", "f") + ROUTE.format("a", ", methods=['POST']", "g")
    assert len(load_made(source).functions) == 2


@pytest.mark.parametrize(
    ("decorated", "message"),
    [
        (ROUTE.format("a", "", "f"), "function f has a @retry policy, which the real host ignores"),
        (GOOD, "function tick has a @retry policy, which this host does not run"),
    ],
)
def test_retry_policy_is_warned_of(
    load_made: Load, decorated: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    load_made(
        "@app.retry(strategy='fixed_delay', max_retry_count='3', delay_interval='00:00:01')\n" + decorated
    )
    assert message in caplog.text


def test_blueprints_are_served(load_made: Load) -> None:
    source = "bp = func.Blueprint()\n" + GOOD.replace("@app.", "@bp.") + "app.register_functions(bp)\n"
    assert [function.name for function in load_made(source).functions] == ["tick"]
