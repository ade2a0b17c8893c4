"""Imports the app's ``function_app.py`` and asks its FunctionApp for the functions, once."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from azure.functions import Function, FunctionRegister

from local.host.errors import AppError

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = "function_app.py"


def load_functions(directory: Path, module_name: str = "function_app") -> list[Function]:
    """Import the app in ``directory`` and index it.

    ``get_functions()`` is called exactly once: the library refuses a second call.

    Args:
        directory: where ``function_app.py`` is.
        module_name: the name it is imported under. The real worker's is ``function_app``; tests that load
            several apps into one process give each its own.

    Raises:
        AppError: no such file, an exception during the import, no app or more than one, no functions, or a
            function the library itself refuses (two triggers, a name used twice).
    """
    module = _import(directory / SCRIPT, module_name)
    app = _find_app(module)
    try:
        functions: list[Function] = app.get_functions()
    except Exception as error:
        raise AppError(f"{SCRIPT}: {error}") from error
    if not functions:
        raise AppError(f"{SCRIPT} defines no functions: decorate one with @app.route or @app.timer_trigger")
    return functions


def _import(script: Path, module_name: str) -> ModuleType:
    if not script.is_file():
        raise AppError(f"{script} does not exist: --app must name the directory that holds {SCRIPT}")
    specification = importlib.util.spec_from_file_location(module_name, script)
    if specification is None or specification.loader is None:
        raise AppError(f"{script} cannot be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[module_name] = module
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        where = _last_line_of_the_app(error, script.parent)
        raise AppError(f"{SCRIPT} cannot be imported: {type(error).__name__}: {error}{where}") from error
    return module


def _last_line_of_the_app(error: BaseException, directory: Path) -> str:
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        with contextlib.suppress(ValueError):
            place = Path(frame.filename).relative_to(directory)
            if "site-packages" not in place.parts:
                return f" ({place}, line {frame.lineno})"
    return ""


def _find_app(module: ModuleType) -> FunctionRegister:
    """The one FunctionApp at the top level.

    Like the worker, this counts names, not objects: an app under a second name is a second app.
    """
    found = [
        (name, value)
        for name in dir(module)
        if isinstance(value := getattr(module, name, None), FunctionRegister)
    ]
    if not found:
        raise AppError(f"{SCRIPT} has no top level FunctionApp: write app = func.FunctionApp()")
    if len(found) > 1:
        names = ", ".join(name for name, _ in found)
        raise AppError(
            f"{SCRIPT} has more than one top level function app ({names}): keep one, use blueprints"
        )
    return found[0][1]
