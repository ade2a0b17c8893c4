"""What is deployed: what .funcignore leaves of this folder, and nothing that it does not bring along."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pathspec
import pytest

from tests.infra.reading import INFRA

ROOT = INFRA.parent
TOP = {
    "allocation",
    "clients",
    "function_app.py",
    "host.json",
    "lifecycle",
    "provisioning",
    "requirements.txt",
    "setting_readers.py",
    "settings.py",
    "background.py",
    "job_ports.py",
    "wiring.py",
}
"""Of the package; a policy file that an operator adds comes on top."""

IGNORED = pathspec.GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text().splitlines())


def packaged(folder: Path = ROOT) -> Iterator[Path]:
    """The files of the package, relative."""
    for path in sorted(folder.iterdir()):
        relative = path.relative_to(ROOT)
        if IGNORED.match_file(f"{relative}/" if path.is_dir() else str(relative)):
            continue
        if path.is_dir():
            yield from packaged(path)
        else:
            yield relative


FILES = list(packaged())


def tracked() -> set[Path]:
    """What git knows: the working tree of somebody who tries things holds more."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return {Path(line) for line in listed.splitlines()}


def test_the_package_holds_the_app_and_nothing_else() -> None:
    assert {file.parts[0] for file in FILES if file in tracked()} == TOP


def test_nothing_of_the_app_is_left_out() -> None:
    folders = ("allocation", "clients", "lifecycle", "provisioning")
    wanted = {
        path.relative_to(ROOT)
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= set(FILES)


@pytest.mark.parametrize(
    "secret", ["local.settings.json", "mine.state.json", "mine.stack/vault.json", ".env", ".azure/x/.env"]
)
def test_what_may_hold_secrets_is_never_packaged(secret: str) -> None:
    assert IGNORED.match_file(secret)


def test_packaged_modules_import_no_folder_that_stays_behind() -> None:
    behind = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()} - TOP
    assert {"cli", "local", "tests"} <= behind
    for file in FILES:
        if file.suffix == ".py":
            for node in ast.walk(ast.parse((ROOT / file).read_text())):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                assert not behind & {name.partition(".")[0] for name in names}, file


LOAD = """
import asyncio, importlib, json, pathlib, sys

for file in sorted(pathlib.Path().rglob("*.py")):
    name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    importlib.import_module(name)

import azure.functions as func
import function_app

functions = {function.get_function_name(): function for function in function_app.app.get_functions()}
request = func.HttpRequest(
    "POST",
    "/api/allocate",
    body=b'{"deviceRuntimeContext": {"registrationId": "dev-1"}, "linkedHubs": ["a.example"]}',
)
status = None
if "allocate" in functions:
    status = asyncio.run(functions["allocate"].get_user_function()(request)).status_code
print(json.dumps([sorted(functions), status]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, and an environment of what requirements.txt alone brings."""
    home = tmp_path_factory.mktemp("deployed")
    for file in FILES:
        target = home / "package" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, target)
    # Without a pip of its own and without byte code: half the time.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "venv"), "--disable-pip-version-check"]
    ran = subprocess.run(
        [
            *pip,
            "install",
            "-qq",
            "--no-compile",
            "--require-hashes",
            "-r",
            str(home / "package" / "requirements.txt"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return home


@pytest.mark.parametrize(
    ("role", "some", "status"),
    [("allocation", {"allocate"}, 200), ("lifecycle", {"count_devices"}, None)],
)
def test_the_package_works_with_what_its_requirements_bring(
    installed: Path, role: str, some: set[str], status: int | None
) -> None:
    environment = {name: held for name, held in os.environ.items() if name in ("LANG", "HOME")}
    environment |= {"APP_ROLE": role, "PYTHONDONTWRITEBYTECODE": "1"}
    if role == "lifecycle":
        environment["STATE_TABLES"] = "https://state.table.core.windows.net"
    ran = subprocess.run(
        [installed / "venv" / "bin" / "python", "-W", "error::ImportWarning", "-c", LOAD],
        cwd=installed / "package",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    names, answered = json.loads(ran.stdout.splitlines()[-1])
    assert some <= set(names)
    assert answered == status
