"""Reads Bicep: tree-sitter's syntax tree as declarations and plain values.

Only what infra/ uses. An expression that is no literal keeps its text, as an Expression.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

INFRA = Path(__file__).parents[2] / "infra"
FILES = sorted(INFRA.rglob("*.bicep"))


class Expression(str):
    """The text of what is computed when it is deployed."""

    __slots__ = ()


Value = str | int | bool | None | list["Value"] | dict[str, "Value"]


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    default: Value
    required: bool
    decorators: tuple[str, ...]


@dataclass(frozen=True)
class Resource:
    symbol: str
    type: str
    version: str
    existing: bool
    body: Mapping[str, Value]
    file: Path

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(INFRA)}: {self.symbol}"


@dataclass(frozen=True)
class Module:
    symbol: str
    path: Path
    body: Mapping[str, Value]

    @property
    def params(self) -> Mapping[str, Value]:
        params = self.body.get("params", {})
        assert isinstance(params, dict)
        return params


@dataclass(frozen=True)
class Template:
    file: Path
    text: str
    root: Node
    scope: str = "resourceGroup"
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    variables: Mapping[str, Value] = field(default_factory=dict)
    resources: tuple[Resource, ...] = ()
    modules: Mapping[str, Module] = field(default_factory=dict)
    outputs: Mapping[str, Value] = field(default_factory=dict)

    def nodes(self, kind: str = "") -> Iterator[Node]:
        yield from (node for node in walk(self.root) if not kind or node.type == kind)

    def resource(self, symbol: str) -> Resource:
        [found] = [each for each in self.resources if each.symbol == symbol]
        return found


def parse(source: bytes) -> Node:
    return Parser(Language(tree_sitter_bicep.language())).parse(source).root_node


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def broken(root: Node) -> list[str]:
    """Where the parser could not go on, or had to imagine something."""
    return [
        f"line {node.start_point.row + 1}: {text(node)[:60]!r}"
        for node in walk(root)
        if node.is_error or node.is_missing
    ]


def value(node: Node) -> Value:  # noqa: PLR0911 - one kind of literal each
    """A literal as Python has it; anything else as its text."""
    match node.type:
        case "string":
            if any(child.type == "interpolation" for child in node.named_children):
                return Expression(text(node))
            raw = text(node)
            return raw[3:-3] if raw.startswith("'''") else raw[1:-1].replace("\\'", "'")
        case "number":
            return int(text(node))
        case "boolean":
            return text(node) == "true"
        case "null":
            return None
        case "array":
            return [value(child) for child in node.named_children if child.type != "comment"]
        case "object":
            return _properties(node)
        case _:
            return Expression(text(node))


def _properties(node: Node) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for child in node.named_children:
        if child.type == "object_property":
            key, held = (each for each in child.named_children if each.type != "comment")
            name = value(key)
            assert isinstance(name, str)
            found[name] = value(held)
    return found


def _body(node: Node) -> dict[str, Value]:
    """The object of a declaration, within `if` and `for`."""
    while node.type != "object":
        node = next(c for c in reversed(node.named_children) if c.type != "comment")
    return _properties(node)


@cache
def template(file: Path) -> Template:
    source = file.read_bytes()
    root = parse(source)
    scope = "resourceGroup"
    parameters: dict[str, Parameter] = {}
    variables: dict[str, Value] = {}
    resources: list[Resource] = []
    modules: dict[str, Module] = {}
    outputs: dict[str, Value] = {}
    decorators: tuple[str, ...] = ()
    for node in root.named_children:
        parts = [child for child in node.named_children if child.type != "comment"]
        match node.type:
            case "target_scope_assignment":
                scope = str(value(parts[0]))
            case "decorators":
                decorators = tuple(text(part) for part in parts)
                continue
            case "parameter_declaration":
                name, kind, *default = parts
                parameters[text(name)] = Parameter(
                    text(name),
                    text(kind),
                    value(default[0]) if default else None,
                    required=not default,
                    decorators=decorators,
                )
            case "variable_declaration":
                variables[text(parts[0])] = value(parts[1])
            case "resource_declaration":
                kind_and_version = str(value(parts[1]))
                type_, _, version = kind_and_version.partition("@")
                existing = " existing = " in text(node).partition("\n")[0]
                resources.append(Resource(text(parts[0]), type_, version, existing, _body(parts[-1]), file))
            case "module_declaration":
                path = (file.parent / str(value(parts[1]))).resolve()
                modules[text(parts[0])] = Module(text(parts[0]), path, _body(parts[-1]))
            case "output_declaration":
                outputs[text(parts[0])] = value(parts[-1])
        decorators = ()
    return Template(
        file, source.decode(), root, scope, parameters, variables, tuple(resources), modules, outputs
    )


def templates() -> tuple[Template, ...]:
    return tuple(template(file) for file in FILES)


MAIN = template(INFRA / "main.bicep")
