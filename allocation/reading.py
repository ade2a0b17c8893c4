"""What a policy may read, by name, and the JMESPath that reads a payload: bounded whatever a device sends.

A path into a payload is JMESPath without what could make values grow or repeat: no multi-select (`[a, b]`,
`{x: a}`), no functions but five that give a text, a number or a truth, and literals that are no lists or
objects. Then each part of an expression looks at each value of the payload at most once, and evaluating costs
at most (parts of the expression) x (values of the payload); both are bounded, and so is the number of such
expressions in a policy. What JMESPath calls an error is no value.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from allocation.evidence import Certificate, Reading

LONGEST_PATH = 256
"""Characters of a JMESPath."""

MOST_PARTS = 32
"""Nodes of a JMESPath's syntax tree."""

MOST_SEARCHES = 16
"""Different paths in one policy that search a payload rather than point into it."""

SOURCES = (
    "attestation",
    "edge",
    "certificate.subject.NAME",
    "certificate.issuer.NAME",
    "certificate.thumbprint",
    "certificate.thumbprint_sha256",
    "enrollment.tags.NAME",
    "payload.JMESPATH",
)
"""How the readings are spelt."""

_PLAIN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d{1,4}\])*", re.ASCII)
_STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+)\]", re.ASCII)
_TAG_PATH = re.compile(r"[^.]+(?:\.[^.]+){0,9}")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9]*|\d+(?:\.\d+)+")
_NODES = frozenset(
    {
        "and_expression", "comparator", "current", "field", "filter_projection", "flatten",
        "function_expression",
        "identity", "index", "index_expression", "literal", "not_expression", "or_expression", "pipe",
        "projection", "slice", "subexpression", "value_projection",
    }
)  # fmt: skip
_FUNCTIONS = frozenset({"contains", "ends_with", "length", "starts_with", "type"})


def reading(name: str) -> Reading:
    """The reading of that name.

    Raises:
        ValueError: there is none; says which there are, or what is wrong with the path in it.
    """
    source, _, rest = name.partition(".")
    if name == "attestation":
        return Reading(name, "attestation", _itself)
    if name == "edge":
        return Reading(name, "edge", _itself)
    if source == "payload" and rest:
        return Reading(name, "payload", path(rest))
    if source == "certificate":
        return Reading(*_certificate(rest))
    if name.startswith("enrollment.tags.") and _TAG_PATH.fullmatch(rest.removeprefix("tags.")):
        return Reading(name, "tags", _tag(rest.removeprefix("tags.").split(".")))
    raise ValueError(f"{name!r} is nothing that can be read; give one of {', '.join(SOURCES)}")


def _itself(value: Any) -> Any:
    return value


def _certificate(rest: str) -> tuple[str, Any, Callable[[Certificate | None], Any]]:
    if rest in ("thumbprint", "thumbprint_sha256"):
        return f"certificate.{rest}", "certificate", lambda found: getattr(found, rest) if found else None
    side, _, attribute = rest.partition(".")
    if side not in ("subject", "issuer") or not _ATTRIBUTE.fullmatch(attribute):
        raise ValueError(
            f"'certificate.{rest}' is nothing that can be read; give certificate.subject.CN (or another "
            "attribute, or its OID), certificate.issuer.CN, certificate.thumbprint"
        )
    key = attribute.upper()

    def find(found: Certificate | None) -> Any:
        values = (found.subject if side == "subject" else found.issuer).get(key, ()) if found else ()
        if not values:
            return None
        return values[0] if len(values) == 1 else list(values)

    return f"certificate.{side}.{key}", "certificate", find


def _tag(steps: list[str]) -> Callable[[Any], Any]:
    def find(tags: Any) -> Any:
        for step in steps:
            if not isinstance(tags, dict):
                return None
            tags = tags.get(step)
        return tags

    return find


def searches(expression: str) -> bool:
    """Whether a path searches the payload, rather than pointing to one place in it."""
    return _PLAIN.fullmatch(expression) is None


def path(expression: str) -> Callable[[Any], Any]:
    """Compile a JMESPath. What comes back takes any JSON value, gives None for nothing, and never raises.

    Raises:
        ValueError: not a JMESPath, too long, or one that could blow up; says what and the fix.
    """
    if len(expression) > LONGEST_PATH:
        raise ValueError(f"a path of {len(expression)} characters; at most {LONGEST_PATH} are read")
    return _search(expression) if searches(expression) else _pointer(expression)


def _pointer(expression: str) -> Callable[[Any], Any]:
    """The most frequent path, `a.b[0].c`, without the library: a tenth of the cost, and no import."""
    steps = [(field or None, int(index or 0)) for field, index in _STEP.findall(expression)]
    if len(steps) == 1:
        only = expression
        return lambda value: value.get(only) if isinstance(value, dict) else None

    def find(value: Any) -> Any:
        for field, index in steps:
            if field is not None:
                if not isinstance(value, dict):
                    return None
                value = value.get(field)
            elif isinstance(value, list) and index < len(value):
                value = value[index]
            else:
                return None
        return value

    return find


def _search(expression: str) -> Callable[[Any], Any]:
    import jmespath  # noqa: PLC0415 - only a policy that searches payloads pays for it
    from jmespath import exceptions, visitor  # noqa: PLC0415

    try:
        tree: Any = jmespath.compile(expression).parsed
    except (exceptions.JMESPathError, ValueError, RecursionError) as error:
        raise ValueError(f"not a JMESPath: {str(error).splitlines()[0]}") from None
    _check(tree)
    interpreter = visitor.TreeInterpreter()

    def find(value: Any) -> Any:
        try:
            return interpreter.visit(tree, value)
        except Exception:  # noqa: BLE001 - functions and comparisons raise at values of other types: no value
            return None

    return find


def _check(tree: Mapping[str, Any]) -> None:
    """Refuse what could make evaluation cost more than parts x values, and what is no path into the payload.

    `@` outside a filter would be the payload itself, which is never to be recorded.
    """
    parts = 0
    stack: list[tuple[Any, bool]] = [(tree, False)]
    while stack:
        node, filtering = stack.pop()
        parts += 1
        kind = node["type"]
        if kind not in _NODES:
            raise ValueError(f"{kind.replace('_', ' ')} is not allowed in a path: it can make values grow")
        if kind == "function_expression" and node["value"] not in _FUNCTIONS:
            raise ValueError(
                f"function {node['value']}() is not allowed in a path; only {', '.join(sorted(_FUNCTIONS))}"
            )
        if kind == "literal" and isinstance(node["value"], dict | list):
            raise ValueError("a list or object as a literal is not allowed in a path; compare with one value")
        if kind == "current" and not filtering:
            raise ValueError("@ is the whole payload; name a member of it")
        if kind == "slice":
            continue  # its children are numbers
        stack += [
            (child, filtering or (kind == "filter_projection" and at == 2) or kind == "function_expression")
            for at, child in enumerate(node["children"])
        ]
    if parts > MOST_PARTS:
        raise ValueError(f"a path of {parts} parts; at most {MOST_PARTS} are read: split it or shorten it")
