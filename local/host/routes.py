"""Route templates of HTTP functions, and which function a path belongs to.

Templates are those of ASP.NET: literals (matched without regard to case), ``{name}``, ``{name?}``,
``{name=default}``, ``{name:constraint}`` and ``{*rest}``. A trailing slash of the path is ignored.

Order [source: the HTTP extension's route builder]: segment by segment, literals before parameters, more
constraints before fewer, literals alphabetically, and longer templates before shorter. A catch-all counts
as any other parameter, so between ``{x}`` and ``{*rest}`` the order of declaration decides. A function whose
methods do not include the request's is passed over, so a wrong method ends as 404. The newest sources of
the host also answer HEAD where GET is allowed; which release that came with is not known, so here a method
must have been declared.

Not run here, and refused with a message: segments that mix text and parameters (``{a}.{b}``), and the
``datetime`` constraint, whose many culture rules are .NET's own.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from functools import cmp_to_key
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Target = TypeVar("Target")


class RouteError(ValueError):
    """The template is not one this host can serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a template between slashes: a literal, or a parameter with its rules."""

    literal: str = ""
    name: str = ""
    checks: tuple[Callable[[str], bool], ...] = ()
    optional: bool = False
    default: str | None = None
    catch_all: bool = False

    @property
    def is_parameter(self) -> bool:
        """Whether the segment matches more than one text."""
        return bool(self.name)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed route template."""

    segments: tuple[Segment, ...]
    pattern: re.Pattern[str]

    def match(self, path: str) -> dict[str, str] | None:
        """The route parameters in ``path`` (percent-decoded), or None when the template does not fit."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        parameters: dict[str, str] = {}
        for segment, text in zip((s for s in self.segments if s.is_parameter), found.groups(), strict=True):
            value = text or segment.default
            if not value:
                continue  # an absent optional parameter is not there at all
            if not all(check(value) for check in segment.checks):
                return None
            parameters[segment.name] = value
        return parameters


def parse_template(template: str) -> Template:
    """Read a template, prefix included, without a leading slash.

    Raises:
        RouteError: it is not valid, or it uses what this host does not run.
    """
    segments = tuple(_segment(text, template) for text in _split(template))
    names = [segment.name.lower() for segment in segments if segment.is_parameter]
    if len(set(names)) != len(names):
        raise RouteError(f"{template!r} names a parameter twice")
    pattern, optional_before = "", False
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment.catch_all and not last:
            raise RouteError(f"{template!r} has a {{*…}} parameter that is not the last segment")
        can_be_absent = segment.optional or segment.default is not None or segment.catch_all
        if optional_before and not can_be_absent:
            raise RouteError(f"{template!r} has an optional parameter before one that is not")
        optional_before = can_be_absent
        if segment.catch_all:
            pattern += "(?:/(.*))?"
        elif can_be_absent:
            pattern += "(?:/([^/]+))?"
        else:
            pattern += "/([^/]+)" if segment.is_parameter else "/" + re.escape(segment.literal)
    return Template(segments, re.compile(pattern + "/?", re.IGNORECASE | re.DOTALL))


def _split(template: str) -> list[str]:
    """The segments; a slash inside braces (in a regex constraint) does not separate."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(template):
        depth += (character == "{") - (character == "}")
        if character == "/" and depth == 0:
            parts.append(template[start:position])
            start = position + 1
    if depth != 0:
        raise RouteError(f"{template!r} has braces that do not pair")
    parts.append(template[start:])
    if parts[-1] == "":
        parts.pop()
    if "" in parts:
        raise RouteError(f"{template!r} has an empty segment: write it without a leading or doubled slash")
    return parts


def _segment(text: str, template: str) -> Segment:
    if "{" not in text:
        if "?" in text or "*" in text:
            raise RouteError(f"{template!r}: the literal {text!r} must not hold '?' or '*'")
        return Segment(literal=text)
    if not (text.startswith("{") and text.endswith("}")) or _closes_early(text):
        raise RouteError(
            f"{template!r}: the segment {text!r} mixes text and parameters; this host runs only {{name}}"
        )
    inner = text[1:-1]
    catch_all = inner.startswith("*")
    inner = inner.lstrip("*")
    name, *constraints = _constraint_texts(inner)
    default: str | None = None
    optional = False
    ending = constraints[-1] if constraints else name
    if ending.endswith("?"):
        optional, ending = True, ending[:-1]
    elif "=" in ending and not ending.startswith("regex("):
        ending, _, default = ending.partition("=")
    if constraints:
        constraints[-1] = ending
    else:
        name = ending
    if not re.fullmatch(r"[^/{}?*:=]+", name):
        raise RouteError(f"{template!r}: {text!r} has no usable parameter name")
    if catch_all and optional:
        raise RouteError(f"{template!r}: a {{*…}} parameter cannot be optional, it always is")
    checks = tuple(_check(constraint, template) for constraint in constraints)
    return Segment(name=name, checks=checks, optional=optional, default=default, catch_all=catch_all)


def _closes_early(text: str) -> bool:
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0 and position != len(text) - 1:
            return True
    return False


def _constraint_texts(inner: str) -> list[str]:
    """``name:int:range(1,9)`` cut at the colons that are not inside parentheses."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(inner):
        depth += (character == "(") - (character == ")")
        if character == ":" and depth == 0:
            parts.append(inner[start:position])
            start = position + 1
    return [*parts, inner[start:]]


def _integer_between(low: int, high: int) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        return re.fullmatch(r"[+-]?[0-9]{1,19}", value) is not None and low <= int(value) <= high

    return check


def _is_guid(value: str) -> bool:
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True


_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LONG = 2**63
_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "int": _integer_between(-(2**31), 2**31 - 1),
    "long": _integer_between(-_LONG, _LONG - 1),
    "bool": lambda value: value.lower() in {"true", "false"},
    "guid": _is_guid,
    "alpha": lambda value: re.fullmatch("[a-zA-Z]*", value) is not None,
    "double": lambda value: _NUMBER.fullmatch(value) is not None,
    "float": lambda value: _NUMBER.fullmatch(value) is not None,
    "decimal": lambda value: _NUMBER.fullmatch(value) is not None,
    "required": bool,
}


def _check(constraint: str, template: str) -> Callable[[str], bool]:
    kind, _, rest = constraint.partition("(")
    kind = kind.strip().lower()
    if not rest and kind in _CHECKS:
        return _CHECKS[kind]
    argument = rest.removesuffix(")")
    if kind == "regex" and rest.endswith(")"):
        try:
            expression = re.compile(argument.replace("{{", "{").replace("}}", "}"), re.IGNORECASE)
        except re.error as error:
            raise RouteError(f"{template!r}: the regex of {constraint!r} is not valid: {error}") from error
        return lambda value: expression.search(value) is not None
    numbers = argument.split(",")
    if rest.endswith(")") and all(re.fullmatch(r"\s*-?[0-9]+\s*", number) for number in numbers):
        check = _counted(kind, [int(number) for number in numbers])
        if check is not None:
            return check
    raise RouteError(f"{template!r}: this host does not run the route constraint {constraint!r}")


def _counted(kind: str, numbers: list[int]) -> Callable[[str], bool] | None:
    """The constraint that takes these numbers, or None."""
    low, high = numbers[0], numbers[-1]
    checks: dict[tuple[str, int], Callable[[str], bool]] = {
        ("minlength", 1): lambda value: len(value) >= low,
        ("maxlength", 1): lambda value: len(value) <= low,
        ("length", 1): lambda value: len(value) == low,
        ("length", 2): lambda value: low <= len(value) <= high,
        ("min", 1): _integer_between(low, _LONG - 1),
        ("max", 1): _integer_between(-_LONG, low),
        ("range", 2): _integer_between(low, high),
    }
    return checks.get((kind, len(numbers)))


@dataclass(frozen=True, slots=True)
class Route(Generic[Target]):
    """A template, the methods it answers (None: all), and what it leads to."""

    template: Template
    methods: frozenset[str] | None
    target: Target


@dataclass(frozen=True, slots=True)
class _Candidate(Generic[Target]):
    route: Route[Target]
    parameters: Mapping[str, str]


class RouteTable(Generic[Target]):
    """All routes, in the order in which they are tried."""

    def __init__(self, routes: Iterable[Route[Target]]) -> None:
        self._routes = sorted(routes, key=cmp_to_key(_precedence))
        # Most requests ask for the path of a wholly literal route as it was declared: what a scan would
        # find for exactly that text is worked out once.
        self._exact: dict[str, tuple[_Candidate[Target], ...]] = {}
        for route in self._routes:
            if not any(segment.is_parameter for segment in route.template.segments):
                path = "".join("/" + segment.literal for segment in route.template.segments)
                self._exact[path] = tuple(self._candidates(path))

    def _candidates(self, path: str) -> list[_Candidate[Target]]:
        found = []
        for route in self._routes:
            parameters = route.template.match(path)
            if parameters is not None:
                found.append(_Candidate(route, parameters))
        return found

    def find(self, method: str, path: str) -> tuple[Target, Mapping[str, str]] | None:
        """What answers ``method`` (upper case) on ``path`` (decoded), with the route parameters."""
        candidates = self._exact.get(path)
        for candidate in self._candidates(path) if candidates is None else candidates:
            methods = candidate.route.methods
            if methods is None or method in methods:
                return candidate.route.target, candidate.parameters
        return None


def _precedence(left: Route[Target], right: Route[Target]) -> int:
    for one, other in zip(left.template.segments, right.template.segments, strict=False):
        if one.is_parameter != other.is_parameter:
            return 1 if one.is_parameter else -1
        if one.is_parameter:
            if len(one.checks) != len(other.checks):
                return len(other.checks) - len(one.checks)
        elif one.literal.lower() != other.literal.lower():
            return -1 if one.literal.lower() < other.literal.lower() else 1
    return len(right.template.segments) - len(left.template.segments)
