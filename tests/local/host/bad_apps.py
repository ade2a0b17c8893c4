"""Apps that a worker may refuse, as sources: what the runtime library makes of each decides its table."""

from collections.abc import Iterator
from typing import NamedTuple

HEAD = "import azure.functions as func\napp = func.FunctionApp()\n"


def http(signature: str, options: str = "") -> str:
    return f"{HEAD}@app.route(route='r'{options})\ndef f({signature}: return ''\n"


def event(signature: str, options: str = "") -> str:
    return f"{HEAD}@app.event_grid_trigger(arg_name='e'{options})\ndef f({signature}: ...\n"


def timer(before: str = "", signature: str = "timer)", schedule: str = "0 * * * * *") -> str:
    return (
        f"{HEAD}{before}@app.timer_trigger(arg_name='timer', schedule='{schedule}')\ndef f({signature}: ...\n"
    )


def retry(options: str) -> str:
    return timer(f"@app.retry({options})\n")


TICK = timer()

# Name: source, and what the reasons of both have in common.
REFUSED: dict[str, tuple[str, str]] = {
    "import fails": (
        "import no_such_module_anywhere\n",
        r"ModuleNotFoundError: No module named 'no_such_mod",
    ),
    "raises on import": (TICK + "1/0\n", "ZeroDivisionError: division by zero"),
    "syntax error": ("def f(:\n", "SyntaxError: invalid syntax"),
    "exits on import": (TICK + "raise SystemExit(3)\n", "SystemExit: 3"),
    "imports what is not there": ("from azure.functions import Nothing\n", "cannot import name 'Nothing'"),
    "no app": ("import azure.functions as func\n", "top level"),
    "app is none": (TICK + "app = None\n", "top level"),
    "app in a function": (
        "import azure.functions as func\ndef make(): return func.FunctionApp()\n",
        "top level",
    ),
    "a blueprint alone": ("import azure.functions as func\nbp = func.Blueprint()\n", "top level"),
    "two apps": (TICK + "second = func.FunctionApp()\n", "(?i)more than one .*top level function app"),
    "two names of one app": (TICK + "alias = app\n", "(?i)more than one .*top level function app"),
    "duplicate names": (TICK + TICK.removeprefix(HEAD), "f does not have a unique function name"),
    "duplicate given names": (
        TICK + "@app.function_name('f')\n@app.route()\ndef g(req): ...\n",
        "f does not have a unique function name",
    ),
    "get_functions called by the app": (
        TICK + "app.get_functions()\n",
        "f does not have a unique function name",
    ),
    "a blueprint of a blueprint": (
        f"{HEAD}inner, outer = func.Blueprint(), func.Blueprint()\nouter.register_functions(inner)\n",
        "'Blueprint' object has no attribute 'register_functions'",
    ),
    "no trigger": (HEAD + "@app.function_name('x')\ndef f(req): ...\n", "x does not have a trigger"),
    "two triggers": (
        HEAD + "@app.route()\n@app.timer_trigger(arg_name='t', schedule='0 * * * * *')\ndef f(req, t): ...\n",
        "trigger was already registered",
    ),
    "unknown method": (http("req)", ", methods=['FETCH']"), "FETCH"),
    "unknown auth level": (http("req)", ", auth_level='open'"), "(?i)open"),
    "auth level of the app a text": (
        "import azure.functions as func\napp = func.FunctionApp(http_auth_level='secret')\n",
        "(?i)secret",
    ),
    "missing parameter": (http("request)"), r"\brequest\b|\breq\b"),
    "no parameter": (http(")"), r"\breq\b"),
    "another parameter": (http("req, more)"), r"\bmore\b"),
    "another parameter with a default": (http("req, more=1)"), r"\bmore\b"),
    "star parameters": (http("req, *more, **most)"), r"\bmore\b|\bmost\b"),
    "annotation int": (http("req: int)"), r"\bint\b"),
    "annotation of another class": (http("req: func.TimerRequest)"), "TimerRequest"),
    "annotation any": (http("req: __import__('typing').Any)"), "Any|req"),
    "annotation optional": (http("req: func.HttpRequest | None)"), r"\breq\b"),
    "annotation none": (http("req: None)"), "NoneType"),
    "annotation out": (http("req: func.Out[str])"), "Out|req"),
    "annotation list of": (event("e: list[func.EventGridEvent])"), r"\be\b"),
    "annotation list": (event("e: list)"), r"\blist\b"),
    "annotation dict": (event("e: dict)"), r"\bdict\b"),
    "annotation typing list of": (event("e: __import__('typing').List[func.EventGridEvent])"), "List|'e'|e "),
    "annotation union of events": (event("e: func.EventGridEvent | func.CloudEvent)"), r"\be\b"),
    "annotation output event": (event("e: func.EventGridOutputEvent)"), "EventGridOutputEvent"),
    "annotation of the timer": (timer(signature="timer: float)"), r"\bfloat\b"),
    "annotation with an unknown name": (http("req: 'Nobody')"), "name 'Nobody' is not defined"),
    "return annotation int": (http("req) -> int"), r"\bint\b"),
    "return annotation none": (http("req) -> None"), "NoneType"),
    "return annotation bytes": (http("req) -> bytes"), r"\bbytes\b"),
    "return annotation optional": (http("req) -> str | None"), r"str \| None"),
    "return annotation union": (http("req) -> str | func.HttpResponse"), r"str \| azure"),
    "return annotation out": (http("req) -> func.Out[str]"), "Out"),
    "return annotation with an unknown name": (event("e) -> 'Nobody'"), "name 'Nobody' is not defined"),
    "context annotated int": (http("req, context: int)"), "'?\"?context.*int"),
    "context annotated text": (http("req, context: 'func.TimerRequest')"), "context.*TimerRequest"),
    "context annotated optional": (http("req, context: func.Context | None)"), "context"),
    "a callable object": (
        HEAD + "class C:\n    __name__ = 'c'\n    def __call__(self, req): return ''\n"
        "app.route(route='r')(C())\n",
        "is not a module, class, method, or function",
    ),
    "a callable object with annotations": (
        HEAD
        + "class C:\n    __name__ = 'c'\n    __annotations__ = {}\n    def __call__(self, req): return ''\n"
        "app.route(route='r')(C())\n",
        "module, class, method, function, traceback, frame, or code object was expected, got C",
    ),
    "a partial": (
        HEAD + "import functools\ndef f(req): return ''\napp.route(route='r')(functools.partial(f))\n",
        "__name__",
    ),
    "retry interval in seconds": (
        retry("strategy='fixed_delay', max_retry_count='3', delay_interval='5'"),
        "time data '5' does not match format",
    ),
    "retry interval of a day": (
        retry("strategy='fixed_delay', max_retry_count='3', delay_interval='24:00:00'"),
        "time data '24:00:00' does not match format",
    ),
    "retry without its interval": (
        retry("strategy='fixed_delay', max_retry_count='3'"),
        r"strptime\(\) argument 0 must be str|time data 'None'",
    ),
    "retry count a word": (
        retry("strategy='fixed_delay', max_retry_count='many', delay_interval='00:00:05'"),
        "invalid literal for int",
    ),
    "retry strategy unknown": (
        retry("strategy='linear', max_retry_count='3', delay_interval='00:00:05'"),
        "unknown .*['\"]linear['\"]",
    ),
    "retry interval of a backoff": (
        retry("strategy='exponential_backoff', max_retry_count='3', minimum_interval='1s'"),
        "time data '1s' does not match format",
    ),
}

SERVED: dict[str, str] = {
    "annotations as texts": "from __future__ import annotations\n" + http("req: func.HttpRequest) -> str"),
    "no annotations": http("req, context)"),
    "context annotated by another's class": (
        f"{HEAD}class Context: ...\n@app.route(route='r')\ndef f(req, context: Context): return ''\n"
    ),
    "keyword-only parameter": http("*, req)"),
    "request annotated bytes": http("req: bytes)"),
    "event annotated str": event("e: str)"),
    "event annotated cloud event": event("e: func.CloudEvent) -> int"),
    "timer that says it returns": timer(signature="timer) -> str"),
    "response of its own class": (
        f"{HEAD}class Own(func.HttpResponse): ...\n@app.route(route='r')\ndef f(req) -> Own: ...\n"
    ),
    "route twice on one function": http("req)", ", binding_arg_name='$return'"),
    "text levels and methods": http("req)", ", auth_level='anonymous', methods=('get', 'POST')"),
    "retry of a timer without end": retry(
        "strategy='fixed_delay', max_retry_count='-1', delay_interval='0:0:5'"
    ),
    "retry backoff without intervals": retry("strategy='exponential_backoff', max_retry_count='3'"),
    "retry of an http function": (
        f"{HEAD}@app.retry(strategy='fixed_delay', max_retry_count='1', delay_interval='00:00:01')\n"
        "@app.route(route='r')\ndef f(req): return ''\n"
    ),
    "app of a class of its own": (
        "import azure.functions as func\nclass Own(func.FunctionApp): ...\napp = Own()\n"
        "@app.route(route='r')\ndef f(req): return ''\n"
    ),
    "app under another name": TICK.replace("app", "fleet"),
    "function that is a class": f"{HEAD}@app.route(route='r')\nclass f:\n    def __init__(self, req): ...\n",
    "function that is a lambda": HEAD + "app.function_name('f')(app.route(route='r')(lambda req: ''))\n",
}


class Different(NamedTuple):
    """An app that the worker serves and this host refuses."""

    source: str | None
    reason: str
    why: str


DIFFERENT: dict[str, Different] = {
    "no function_app.py": Different(
        None, "does not exist", "the real host runs on with no functions; here that is a wrong --app"
    ),
    "no functions": Different(HEAD, "defines no functions", "the real host runs on and answers 404 to all"),
    "name with a space": Different(
        f"{HEAD}@app.function_name('a b')\n{TICK.removeprefix(HEAD)}",
        "not a valid name",
        "the .NET host refuses the name, not the worker",
    ),
    "bad schedule": Different(
        timer(schedule="every day"), "bad schedule", "the timer extension refuses it, not the worker"
    ),
    "schedule from a missing setting": Different(
        timer(schedule="%NO_SUCH%"), "no such setting", "the .NET host resolves settings, not the worker"
    ),
    "bad route": Different(
        HEAD + "@app.route(route='{a')\ndef f(req): ...\n", "bad route", "the .NET host reads routes"
    ),
    "route of the host's own": Different(
        HEAD + "@app.route(route='admin/x')\ndef f(req): ...\n",
        "must not begin with 'admin'",
        "the .NET host refuses the route",
    ),
    "same route twice": Different(
        http("req)") + "@app.route(route='R/')\ndef g(req): ...\n",
        "has its route and a method in common",
        "routing is the .NET host's; an app cannot have meant it",
    ),
    "queue trigger": Different(
        f"{HEAD}@app.queue_trigger(arg_name='m', queue_name='q', connection='C')\ndef f(m): ...\n",
        "does not run queueTrigger",
        "not one of the triggers that this host has",
    ),
    "queue output": Different(
        f"{HEAD}@app.queue_output(arg_name='out', queue_name='q', connection='C')\n@app.route()\n"
        "def f(req, out: func.Out[str]): return ''\n",
        "does not run the binding 'out'",
        "this host has no output bindings but the HTTP reply",
    ),
    "reply by an output": Different(
        HEAD + "@app.route(binding_arg_name='out')\ndef f(req, out: func.Out[str]): ...\n",
        "does not run the binding 'out'",
        "this host takes the returned value only",
    ),
    "http trigger without a reply": Different(
        HEAD + "@app.generic_trigger(arg_name='req', type='httpTrigger')\ndef f(req): ...\n",
        "cannot answer",
        "whatever the function returns would be lost; an app cannot have meant it",
    ),
}


def sources() -> Iterator[tuple[str, str | None]]:
    """Every app: its name and its source, None where there is no file."""
    for name, (source, _) in REFUSED.items():
        yield name, source
    yield from SERVED.items()
    for name, different in DIFFERENT.items():
        yield name, different.source
