"""Small apps, loaded in process: each under a module name of its own."""

import itertools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.host.runtime import FunctionsHost, load

APPS = Path(__file__).parents[2] / "apps"
_numbers = itertools.count()


class Loaded:
    """A host, a client on it, and the app's own module."""

    def __init__(self, host: FunctionsHost, client: httpx.AsyncClient, module: Any) -> None:
        self.host = host
        self.client = client
        self.module = module


@pytest.fixture
async def run_app() -> AsyncIterator[Callable[..., Loaded]]:
    async with AsyncExitStack() as stack:

        def run(name: str, **options: Any) -> Loaded:
            module_name = f"tests_app_{name}_{next(_numbers)}"
            host = load(APPS / name, module_name=module_name, **({"environment": {}} | options))
            stack.callback(sys.modules.pop, module_name)
            stack.callback(host.threads.shutdown)
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(host.http), base_url="http://host.example:7071"
            )
            stack.push_async_callback(client.aclose)
            return Loaded(host, client, sys.modules[module_name])

        yield run


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Write an app of the given source into a directory."""

    def make(source: str, host_json: str = '{"version": "2.0"}') -> Path:
        directory = tmp_path / "app"
        directory.mkdir(exist_ok=True)
        (directory / "function_app.py").write_text(
            f"import azure.functions as func\napp = func.FunctionApp()\n{source}\n"
        )
        (directory / "host.json").write_text(host_json)
        return directory

    yield make
    for name in [name for name in sys.modules if name.startswith("made_app_")]:
        del sys.modules[name]


@pytest.fixture
def load_made(make_app: Callable[..., Path]) -> Callable[..., FunctionsHost]:
    """Load an app of the given source."""

    def load_it(source: str, *, environment: dict[str, str] | None = None, **options: str) -> FunctionsHost:
        directory = make_app(source, **options)
        return load(directory, environment=environment or {}, module_name=f"made_app_{next(_numbers)}")

    return load_it
