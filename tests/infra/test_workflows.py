"""The GitHub workflows: fixed versions, least permissions, no stored secret, the templates' parameters.

They cannot run here. What is held is what can be read in them.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.infra.reading import INFRA, MAIN

ROOT = INFRA.parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(file: Path) -> dict[str, Any]:
    held = YAML(typ="safe").load(file.read_text())
    assert isinstance(held, dict)
    return held


CHECKS, DEPLOY = (read(ROOT / ".github" / "workflows" / name) for name in ("checks.yml", "deploy.yml"))
JOBS = {f"{file.stem}: {name}": job for file in FILES for name, job in read(file)["jobs"].items()}
STEPS = [step for job in JOBS.values() for step in job.get("steps", ())]

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@each_file
def test_actions_are_fixed_to_a_commit_that_names_its_version(file: Path) -> None:
    for uses in re.findall(r"uses: (.+)", file.read_text()):
        assert uses.startswith("./") or re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", uses), uses


@each_file
def test_a_job_may_read_the_code_and_what_it_asks_for(file: Path) -> None:
    held = read(file)
    assert held["permissions"] == {"contents": "read"}
    for name, job in held["jobs"].items():
        more = {"contents": "read", "id-token": "write"}
        assert job.get("permissions") in (None, more), name
        # Only a job that logs in gets a token, and it does so within an environment that can want reviewers.
        logs_in = any("azure/login" in step.get("uses", "") for step in job.get("steps", ()))
        assert logs_in == (job.get("permissions") == more) == ("environment" in job), name
        assert "uses" in job or job["timeout-minutes"] <= 60, name


@each_file
def test_nothing_is_stored_as_a_secret(file: Path) -> None:
    assert "secrets." not in file.read_text()


def test_the_code_is_not_left_with_a_token_to_push() -> None:
    checkouts = [step for step in STEPS if "actions/checkout" in step.get("uses", "")]
    assert len(checkouts) == 6
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_the_workflow_runs_what_is_run_here() -> None:
    commands = [step.get("run", "") for step in CHECKS["jobs"]["code"]["steps"]]
    assert ".ci/run" in commands
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_each_template_that_is_deployed_is_compiled() -> None:
    [script] = [s["run"] for s in CHECKS["jobs"]["templates"]["steps"] if s.get("name") == "compile and lint"]
    built = re.search(r"for file in (.*);", script)
    assert built is not None
    deployed = {f"infra/{file.name}" for file in INFRA.glob("*.bicep")}
    assert set(built[1].split()) == deployed
    assert "az bicep build" in script
    assert "az bicep lint" in script


def test_checkov_fails_on_what_it_cannot_parse() -> None:
    [script] = [s["run"] for s in CHECKS["jobs"]["templates"]["steps"] if s.get("name") == "checkov"]
    assert ".summary.parsing_errors == 0" in script
    assert "--config-file infra/checkov.yaml" in script
    held = read(INFRA / "checkov.yaml")
    assert held["skip-download"] is True
    assert len(held["check"]) == len(set(held["check"])) > 10


def test_nothing_is_deployed_before_the_checks_and_a_preview() -> None:
    jobs = DEPLOY["jobs"]
    assert jobs["checks"]["uses"] == "./.github/workflows/checks.yml"
    assert jobs["what-if"]["needs"] == "checks"
    assert jobs["deploy"]["needs"] == "what-if"
    assert "what-if" in jobs["what-if"]["steps"][-1]["run"]


@pytest.mark.parametrize("job", ["what-if", "deploy"])
def test_each_parameter_comes_from_a_variable_of_the_environment(job: str) -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    expected = {}
    for each in given.values():
        name, _, default = each["value"].removeprefix("${").removesuffix("}").partition("=")
        other = f" || '{default}'" if default else ""
        expected[name] = f"${{{{ vars.{name}{other} }}}}"
    expected["AZURE_ENV_NAME"] = "${{ inputs.environment }}"
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"):
        expected[name] = f"${{{{ vars.{name} }}}}"
    assert DEPLOY["jobs"][job]["env"] == expected


def test_the_preview_fills_in_the_parameters(tmp_path: Path) -> None:
    """The script's own lines, with az and envsubst (which not every machine has) standing in."""
    script = DEPLOY["jobs"]["what-if"]["steps"][-1]["run"]
    (tmp_path / "az").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "envsubst").write_text(
        "#!/usr/bin/env python3\nimport os, re, sys\n"
        "fill = lambda m: os.environ.get(m[1] or m[2], '')\n"
        "print(re.sub(r'[$](?:{(\\w+)}|(\\w+))', fill, sys.stdin.read()))\n"
    )
    for name in ("az", "envsubst"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "infra").symlink_to(INFRA)
    subprocess.run(
        ["/bin/sh", "-euc", script],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "AZURE_ENV_NAME": "factory",
            "AZURE_LOCATION": "westeurope",
            "DPS_FLEET_PYTHON": "3.12",
        },
        check=True,
    )
    filled = json.loads((tmp_path / "parameters.json").read_text())
    assert filled["$schema"].endswith("deploymentParameters.json#")
    values = {name: each["value"] for name, each in filled["parameters"].items()}
    assert (values["environmentName"], values["pythonVersion"], values["alertEmail"]) == (
        "factory",
        "3.12",
        "",
    )
    assert set(values) <= set(MAIN.parameters)
