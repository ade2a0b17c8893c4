"""Bicep that a compiler would take, as far as syntax, names, types and versions go."""

import json
import re
from pathlib import Path

import pytest

from tests.infra.reading import (
    FILES,
    INFRA,
    MAIN,
    Expression,
    Template,
    broken,
    parse,
    template,
    templates,
    text,
)

VERSIONS = {
    "Microsoft.Authorization/roleAssignments": {"2022-04-01"},
    "Microsoft.Cdn/profiles": {"2024-02-01"},
    "Microsoft.Cdn/profiles/afdEndpoints": {"2024-02-01"},
    "Microsoft.Cdn/profiles/afdEndpoints/routes": {"2024-02-01"},
    "Microsoft.Cdn/profiles/customDomains": {"2024-02-01"},
    "Microsoft.Cdn/profiles/originGroups": {"2024-02-01"},
    "Microsoft.Cdn/profiles/originGroups/origins": {"2024-02-01"},
    "Microsoft.Devices/IotHubs": {"2023-06-30"},
    # The new one links hubs by identity; the old one is offered everywhere, and enough to read.
    "Microsoft.Devices/provisioningServices": {"2022-12-12", "2026-08-31"},
    "Microsoft.EventGrid/systemTopics": {"2025-02-15"},
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": {"2025-02-15"},
    "Microsoft.Insights/actionGroups": {"2023-01-01"},
    "Microsoft.Insights/components": {"2020-02-02"},
    "Microsoft.Insights/diagnosticSettings": {"2021-05-01-preview"},  # there is no other
    "Microsoft.Insights/metricAlerts": {"2018-03-01"},
    "Microsoft.Insights/scheduledQueryRules": {"2023-12-01"},
    "Microsoft.Insights/workbooks": {"2023-06-01"},
    # All versions before this one end on 2027-02-27.
    "Microsoft.KeyVault/vaults": {"2026-02-01"},
    "Microsoft.ManagedIdentity/userAssignedIdentities": {"2024-11-30"},
    "Microsoft.OperationalInsights/workspaces": {"2023-09-01"},
    "Microsoft.Resources/resourceGroups": {"2024-03-01"},
    "Microsoft.Storage/storageAccounts": {"2025-01-01"},
    "Microsoft.Storage/storageAccounts/blobServices": {"2025-01-01"},
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"2025-01-01"},
    "Microsoft.Storage/storageAccounts/tableServices": {"2025-01-01"},
    "Microsoft.Storage/storageAccounts/tableServices/tables": {"2025-01-01"},
    "Microsoft.Web/serverfarms": {"2024-11-01"},
    "Microsoft.Web/sites": {"2024-11-01"},
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"2024-11-01"},
    "Microsoft.Web/sites/config": {"2024-11-01"},
}
"""Types and versions that were looked up: in Microsoft's management SDKs, or in several public templates."""

NAME = re.compile(r"[A-Za-z_]\w*")

each_template = pytest.mark.parametrize(
    "each", templates(), ids=lambda each: str(each.file.relative_to(INFRA))
)


def test_the_parser_sees_what_is_no_bicep() -> None:
    assert broken(parse(b"param a string\nresource r 'x@1' = {\n  name: \n"))
    assert broken(parse(b"param a string = 'b'\n")) == []


@each_template
def test_it_parses_without_an_error(each: Template) -> None:
    assert broken(each.root) == []


@each_template
def test_each_line_that_declares_something_is_read(each: Template) -> None:
    declared = re.findall(r"^(?:param|var|resource|module|output) (\w+)", each.text, re.MULTILINE)
    read = [
        *each.parameters,
        *each.variables,
        *(resource.symbol for resource in each.resources),
        *each.modules,
        *each.outputs,
    ]
    assert sorted(declared) == sorted(read)


@each_template
def test_types_and_versions_are_ones_that_were_looked_up(each: Template) -> None:
    unknown = [
        f"{resource.place} is {resource.type}@{resource.version}"
        for resource in each.resources
        if resource.version not in VERSIONS.get(resource.type, set())
    ]
    assert unknown == []


def test_no_version_is_listed_that_nothing_uses() -> None:
    used = {(each.type, each.version) for one in templates() for each in one.resources}
    assert {(type_, version) for type_, versions in VERSIONS.items() for version in versions} == used


@each_template
def test_modules_are_files_of_this_repository_and_get_the_parameters_they_have(each: Template) -> None:
    for module in each.modules.values():
        assert module.path in FILES, f"{module.symbol}: {module.path} is not here"
        called = template(module.path)
        given, known = set(module.params), set(called.parameters)
        required = {name for name, parameter in called.parameters.items() if parameter.required}
        assert given <= known, f"{module.symbol}: {called.file.name} has no {given - known}"
        assert required <= given, f"{module.symbol}: {called.file.name} wants {required - given}"


@each_template
def test_outputs_of_modules_that_are_used_exist(each: Template) -> None:
    used = re.findall(r"\b(\w+)(?:\[\w+\])?!?\.outputs\.(\w+)", each.text)
    missing = [
        f"{symbol}.outputs.{output}"
        for symbol, output in used
        if symbol not in each.modules or output not in template(each.modules[symbol].path).outputs
    ]
    assert missing == []


def test_every_module_is_called_and_every_output_used() -> None:
    used = {
        (one.modules[symbol].path, output)
        for one in templates()
        for symbol, output in re.findall(r"\b(\w+)(?:\[\w+\])?\.outputs\.(\w+)", one.text)
    }
    modules = {file for file in FILES if file.parent.name == "modules"}
    assert modules == {module.path for one in templates() for module in one.modules.values()}
    assert {(file, output) for file in modules for output in template(file).outputs} == used


FUNCTIONS = {
    "concat", "contains", "description", "empty", "environment", "format", "guid", "join", "loadJsonContent",
    "loadTextContent", "replace", "resourceGroup", "split", "string", "subscription",
    "subscriptionResourceId", "tenant", "toLower", "trim", "union", "uniqueString",
    "allowed", "maxLength", "maxValue", "minLength", "minValue",
}  # fmt: skip
"""Functions and decorators of Bicep that are used here."""


@each_template
def test_each_name_that_is_used_is_declared(each: Template) -> None:
    declared = {
        *each.parameters,
        *each.variables,
        *each.modules,
        *(resource.symbol for resource in each.resources),
        *FUNCTIONS,
    }
    loops = {
        text(part)
        for node in each.nodes("for_statement")
        for part in (
            node.named_children[0].named_children
            if node.named_children[0].type == "for_loop_parameters"
            else node.named_children[:1]
        )
    }
    names = set()
    for node in each.nodes("identifier"):
        parent = node.parent
        key = parent is not None and parent.type == "object_property" and parent.named_children[0] == node
        if not key:
            names.add(text(node))
    assert names - declared - loops - set(each.outputs) == set()


@each_template
def test_each_parameter_and_variable_is_used(each: Template) -> None:
    uses = [text(node) for node in each.nodes("identifier")]
    unused = [name for name in (*each.parameters, *each.variables) if uses.count(name) < 2]
    assert unused == []


def test_files_that_are_loaded_are_there() -> None:
    for one in templates():
        for path in re.findall(r"load(?:Text|Json)Content\('([^']+)'\)", one.text):
            assert (one.file.parent / path).is_file(), f"{one.file.name} loads {path}"
    loaded = {
        (one.file.parent / path).resolve()
        for one in templates()
        for path in re.findall(r"loadTextContent\('([^']+)'\)", one.text)
    }
    assert loaded == {*INFRA.glob("queries/*.kql"), INFRA / "modules" / "workbook.json"}


def test_azd_gives_each_parameter_that_has_no_default_and_none_that_is_not_there() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    required = {name for name, parameter in MAIN.parameters.items() if parameter.required}
    assert required <= set(given) <= set(MAIN.parameters)
    for name, each in given.items():
        # azd puts text in place; what is no text keeps its default, or is set in the template.
        assert MAIN.parameters[name].type == "string", name
        variable, _, default = each["value"].removeprefix("${").removesuffix("}").partition("=")
        assert re.fullmatch(r"[A-Z_]+", variable), each
        if not MAIN.parameters[name].required:
            assert default == MAIN.parameters[name].default, f"{name}: two defaults"


def test_nothing_comes_from_a_registry_of_modules() -> None:
    assert [one.file.name for one in templates() if "'br" in one.text or "'ts" in one.text] == []


def test_names_of_apps_are_within_what_the_host_derives_its_id_from() -> None:
    for name in ("allocationName", "lifecycleName"):
        written = MAIN.variables[name]
        assert isinstance(written, Expression)
        assert len(written.strip("'").replace("${token}", "t" * 13)) <= 32
    # Storage accounts and vaults have 24 characters.
    accounts = [
        module.params["name"] for module in MAIN.modules.values() if module.path.name == "storage.bicep"
    ]
    names = [MAIN.variables.get(str(name), name) for name in (*accounts, "vaultName")]
    assert len(names) == 4
    for held in names:
        assert len(str(held).strip("'").replace("${token}", "t" * 13)) <= 24, held


def test_yaml_of_azd_names_what_the_templates_tag() -> None:
    azure = (INFRA.parent / "azure.yaml").read_text()
    services = re.findall(r"^  (\w+):\n    project: \.$", azure, re.MULTILINE)
    tagged = [m.params["serviceName"] for m in MAIN.modules.values() if m.path.name == "function-app.bicep"]
    assert services == tagged == ["allocation", "lifecycle"]
    [hook] = re.findall(r"run: (\S+)", azure)
    assert Path(INFRA.parent, hook).stat().st_mode & 0o111
