"""Turns the library's Function objects into what this host serves, and refuses what it cannot.

The checks on parameters, annotations and retry policies are the worker's: the library accepts such functions
silently, the worker then refuses the whole app. A test holds them against Microsoft's own runtime library.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import time
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.functions import get_binding_registry

from local.host.environment import UnknownSettingError, is_enabled, resolve_settings
from local.host.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from azure.functions import Function

HTTP = "httpTrigger"
TIMER = "timerTrigger"
EVENT_GRID = "eventGridTrigger"
_RUN_HERE = (HTTP, TIMER, EVENT_GRID)
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_\-]{0,127}")
_RETURN = "$return"
_RAW = (str, bytes)


@dataclass(frozen=True, slots=True)
class IndexedFunction:
    """A function of the app, checked."""

    name: str
    kind: str
    """The type of its trigger: ``httpTrigger``, ``timerTrigger`` or ``eventGridTrigger``."""
    trigger: Mapping[str, Any]
    """The trigger's binding as in a function.json, with its ``%SETTINGS%`` resolved."""
    bindings: tuple[Mapping[str, Any], ...]
    parameter: str
    """The Python parameter that takes the trigger's value."""
    call: Callable[..., Any]
    is_async: bool
    wants_context: bool
    directory: str
    """Of the file that holds the function, which need not be the app's."""
    takes_raw: bool = False
    """The parameter is annotated ``str`` or ``bytes``: the worker then converts nothing."""
    disabled: bool = False
    """Nothing triggers it; the master key still does."""
    warnings: tuple[str, ...] = ()
    """What the real host accepts without a word though it cannot have been meant."""


def index(
    functions: Iterable[Function], environment: Mapping[str, str] = os.environ
) -> list[IndexedFunction]:
    """Check and describe each function.

    Raises:
        AppError: a function that this host, or the real worker, cannot run. The message names it.
    """
    return [_index_one(function, environment) for function in functions]


def _index_one(function: Function, environment: Mapping[str, str]) -> IndexedFunction:
    name = str(function.get_function_name())
    if not _NAME.fullmatch(name):
        raise AppError(
            f"function {name!r}: not a valid name; use a letter, then up to 127 letters, digits, '_' and '-'"
        )
    bindings = tuple(_resolved(binding, name, environment) for binding in _raw_bindings(function))
    triggers = [binding for binding in bindings if str(binding["type"]).endswith("Trigger")]
    if len(triggers) != 1:
        raise AppError(f"function {name!r}: must have exactly one trigger, has {len(triggers)}")
    trigger = triggers[0]
    kind = str(trigger["type"])
    if kind not in _RUN_HERE:
        raise AppError(
            f"function {name!r}: this host does not run {kind}; it runs {', '.join(_RUN_HERE)}. "
            "Leave the function out here (a setting can decide), or run the app on the real host"
        )
    for binding in bindings:
        returns_http = kind == HTTP and binding["type"] == "http" and binding["name"] == _RETURN
        if binding is not trigger and not returns_http:
            raise AppError(
                f"function {name!r}: this host does not run the binding {binding['name']!r} of type "
                f"{binding['type']!r}; it runs triggers and HTTP replies only"
            )
    if kind == HTTP and len(bindings) == 1:
        raise AppError(f"function {name!r}: an HTTP trigger without an HTTP output binding cannot answer")
    call = function.get_user_function()
    _check_retry_policy(name, function)
    hints = _hints(name, call)
    wants_context = _check_parameters(name, call, hints, trigger, has_return=len(bindings) > 1)
    return IndexedFunction(
        name=name,
        kind=kind,
        trigger=trigger,
        bindings=bindings,
        parameter=str(trigger["name"]),
        call=call,
        is_async=inspect.iscoroutinefunction(call),
        wants_context=wants_context,
        directory=_directory(name, call),
        takes_raw=hints.get(str(trigger["name"])) in _RAW,
        disabled=_is_disabled(name, environment),
        warnings=tuple(_warnings(function, kind)),
    )


def _raw_bindings(function: Function) -> list[dict[str, Any]]:
    document = json.loads(function.get_function_json())  # type: ignore[no-untyped-call, unused-ignore]
    return list(document["bindings"])


def _resolved(binding: Mapping[str, Any], name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        return {
            key: resolve_settings(value, environment) if isinstance(value, str) else value
            for key, value in binding.items()
        }
    except UnknownSettingError as error:
        raise AppError(
            f"function {name!r}: its {binding['type']} uses %{error.args[0]}% and there is no such setting; "
            f"give --setting {error.args[0]}=VALUE"
        ) from None


def _is_disabled(name: str, environment: Mapping[str, str]) -> bool:
    """Whether a setting says so; the second spelling is for systems whose variables take no dots."""
    return is_enabled(f"AzureWebJobs.{name}.Disabled", environment) or is_enabled(
        f"AzureWebJobs_{name}_Disabled", environment
    )


def _directory(name: str, call: Callable[..., Any]) -> str:
    try:
        return str(Path(inspect.getfile(call)).parent)
    except TypeError as error:
        raise AppError(
            f"function {name!r}: the worker takes a plain Python function only: {error}"
        ) from error


def _hints(name: str, call: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(call)
    except Exception as error:
        raise AppError(f"function {name!r}: its annotations cannot be resolved: {error}") from error


def _check_retry_policy(name: str, function: Function) -> None:
    policy = function.get_settings_dict("retry_policy")  # type: ignore[no-untyped-call, unused-ignore]
    if not policy:
        return
    strategy = policy.get("strategy")
    if strategy not in {"fixed_delay", "exponential_backoff"}:
        raise AppError(
            f"function {name!r}: unknown retry strategy {strategy!r}; use fixed_delay or exponential_backoff"
        )
    given = [policy.get("minimum_interval"), policy.get("maximum_interval")]
    intervals = [policy.get("delay_interval")] if strategy == "fixed_delay" else filter(None, given)
    try:
        int(policy["max_retry_count"])
        for interval in intervals:
            time.strptime(str(interval), "%H:%M:%S")
    except (KeyError, TypeError, ValueError) as error:
        raise AppError(
            f"function {name!r}: bad retry policy: {error}; counts are whole numbers, intervals HH:MM:SS"
        ) from error


def _check_parameters(
    name: str,
    call: Callable[..., Any],
    hints: Mapping[str, Any],
    trigger: Mapping[str, Any],
    *,
    has_return: bool,
) -> bool:
    """Check the signature as the worker does; answer whether the function takes a ``context``."""
    parameters = dict(inspect.signature(call).parameters)
    bound = str(trigger["name"])
    wants_context = "context" in parameters and bound != "context"
    if wants_context:
        del parameters["context"]
        hint = hints.get("context")
        if hint is not None and not (isinstance(hint, type) and hint.__name__ == "Context"):
            raise AppError(f"function {name!r}: 'context' must be annotated func.Context, not {hint!r}")
    if bound not in parameters:
        raise AppError(f"function {name!r}: the trigger's {bound!r} is not one of its parameters")
    if extra := sorted(set(parameters) - {bound}):
        raise AppError(f"function {name!r}: the parameters {', '.join(extra)} have no binding; remove them")
    converter = get_binding_registry().get(trigger["type"])  # type: ignore[no-untyped-call]
    if hints.get(bound) not in _RAW:
        _check_hint(name, bound, hints, converter.check_input_type_annotation)
    if has_return:
        output = get_binding_registry().get("http")  # type: ignore[no-untyped-call]
        _check_hint(name, "return", hints, output.check_output_type_annotation)
    return wants_context


def _check_hint(name: str, parameter: str, hints: Mapping[str, Any], fits: Callable[[type], bool]) -> None:
    if parameter not in hints:
        return
    hint = hints[parameter]
    if not isinstance(hint, type) or not fits(hint):
        what = "return value" if parameter == "return" else f"parameter {parameter!r}"
        raise AppError(
            f"function {name!r}: its {what} is annotated {getattr(hint, '__name__', hint)!s}, which the "
            "worker refuses for this binding; use the binding's own class or no annotation"
        )


def _warnings(function: Function, kind: str) -> Iterable[str]:
    if function.get_setting("retry_policy") is not None:
        if kind == TIMER:
            yield "has a @retry policy, which this host does not run: a failed tick waits for the next one"
        else:
            yield f"has a @retry policy, which the real host ignores for {kind}: remove it"
