"""docs/deploy.md names each parameter, right, alert and file, and no link of it is dead."""

import json
import re
from pathlib import Path

import pytest

from settings import TABLE
from tests.infra.reading import INFRA, MAIN, Template, template, templates

ROOT = INFRA.parent
PAGE = ROOT / "docs" / "deploy.md"
TEXT = PAGE.read_text()
PARAMETERS = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
ALERTS = template(INFRA / "modules" / "alerts.bicep")


@pytest.mark.parametrize("name", MAIN.parameters)
def test_each_parameter_stands_with_the_variable_that_sets_it(name: str) -> None:
    if name in PARAMETERS:
        variable = PARAMETERS[name]["value"].removeprefix("${").partition("=")[0].rstrip("}")
        assert f"| `{variable}` | `{name}` |" in TEXT
    else:
        assert re.search(rf"^\| \| .*`{name}`", TEXT, re.MULTILINE)


def test_each_alert_stands_with_what_to_do() -> None:
    names = re.findall(r"\{ name: '([a-z-]+)', severity", ALERTS.text)
    names += re.findall(r"name: 'alert-([a-z-]+)-\$\{split", ALERTS.text)
    assert sorted(names) == sorted(re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| [^|]+ \|$", TEXT, re.MULTILINE))


def test_each_right_is_told() -> None:
    for name in json.loads((INFRA / "roles.json").read_text()):
        if name not in (
            "IoT Hub Data Contributor",
            "Storage Blob Data Contributor",
        ):  # of DPS and of Event Grid
            assert name in " ".join(TEXT.split()), name


def test_each_check_of_checkov_that_was_counted_is_listed() -> None:
    assert "checkov 3.3.30" in TEXT
    assert "checkov==3.3.30" in (ROOT / ".github" / "workflows" / "checks.yml").read_text()


def test_the_variables_that_are_named_exist() -> None:
    variables = {
        each["value"].removeprefix("${").partition("=")[0].rstrip("}") for each in PARAMETERS.values()
    }
    assert set(re.findall(r"\bDPS_FLEET_[A-Z_]+", TEXT)) <= variables
    outputs = set(re.findall(r'"\$([A-Z_]+)"', TEXT))
    assert outputs <= set(MAIN.outputs)


def test_outputs_that_are_called_as_a_setting_hold_what_the_app_is_given() -> None:
    given = str(MAIN.modules["lifecycleApp"].params["appSettings"])
    shared = {setting.name for setting in TABLE} & set(MAIN.outputs)
    named = {"DPS_HOST", "DPS_ID_SCOPE", "DPS_NAME", "DPS_RESOURCE_ID", "STATE_TABLES", "VAULT_URL"}
    assert named | {"WEBHOOK_URL"} == shared
    for name in shared:
        assert f"{name}: {MAIN.outputs[name]}\n" in given


@pytest.mark.parametrize("page", [PAGE, INFRA / "README.md"], ids=lambda page: page.name)
def test_each_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_each_file_of_the_folder_is_named() -> None:
    page = (INFRA / "README.md").read_text()
    there = {path.name + "/" * path.is_dir() for path in INFRA.iterdir()} - {"README.md"}
    assert {name for name in there if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("one", templates(), ids=lambda one: one.file.name)
def test_each_template_begins_by_saying_what_it_is_for(one: Template) -> None:
    assert one.text.startswith("// ")
