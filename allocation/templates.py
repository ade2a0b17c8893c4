"""Templates of initial twins and payloads: they substitute, they do not compute.

A template is the JSON that goes out, in which an object with one of two members stands for a value:

    {"$from": SOURCE}            the value itself, with its type: a number stays a number
    {"$text": "line {SOURCE}"}   a text with values put into it; {{ and }} stand for braces

either with `"$on_missing"` beside it: `"omit"` (what is meant without it) leaves the member or list item out,
`"reject"` fails the registration, `{"default": VALUE}` puts VALUE there. No other member may begin with `$`,
which IoT Hub does not allow in a twin's keys: so nothing that is meant literally is ever taken for a
substitution, and plain texts are never looked into.

SOURCE is `registration_id`, `dps`, `enrollment.id`, `enrollment.kind`, `hub.name`, `hub.region`, or one of
what `reading.py` reads: `payload.model`, `certificate.subject.CN`, `enrollment.tags.site`, …

A value is missing where the request has none, and likewise where it could not stand there: in a twin what
IoT Hub would refuse (a text over 4 KB, an integer beyond 2^52, a key it does not allow, depth over 10), in a
text anything but a text, number or truth. A device can only spoil its own value so, and the operator has said
what happens without it. A twin that is too large as a whole is left out: the device is placed all the same
and gets the enrollment's own, rather than an answer that DPS may refuse. A template that is too large by its
own text does not load.

Limits: IoT Hub's documentation of device twins and of DPS (message 96 KB).
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from allocation.evidence import Reading
from allocation.facts import Facts
from allocation.reading import reading

TAGS_LIMIT = 8 * 1024
DESIRED_LIMIT = 32 * 1024
MESSAGE_LIMIT = 96 * 1024
"""Bytes of the whole answer. DPS limits its messages to this (documented), and does not say of what."""

LONGEST_KEY = 1024
LONGEST_TEXT = 4 * 1024
"""Bytes in UTF-8."""

DEEPEST = 10
"""Objects inside each other below `tags` or `desired`."""

LARGEST_INTEGER = 2**52 - 1
SMALLEST_INTEGER = -(2**52)

_BAD_KEY = re.compile("[\x00-\x1f\x7f-\x9f.$ ]")
_SLOT = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_MARKS = frozenset({"$from", "$text", "$on_missing"})
_OMIT = object()


class Missing(Exception):
    """A value with `on_missing: reject` is missing; caught within one decision."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.source = source


@dataclass(frozen=True, slots=True)
class ChosenHub:
    """The hub a device goes to, as templates name it."""

    name: str
    region: str | None


class _Node(Protocol):
    def __call__(self, facts: Facts, hub: ChosenHub) -> Any: ...


@dataclass(frozen=True, slots=True)
class Template:
    """One template, compiled.

    Attributes:
        render: the JSON object; raises Missing.
        static: that object, where nothing is substituted.
        readings: what it reads of the evidence.
    """

    render: Callable[[Facts, ChosenHub], Mapping[str, Any]]
    static: Mapping[str, Any] | None
    readings: tuple[Reading, ...]


def _of_request(find: Callable[[Facts], Any]) -> _Node:
    return lambda facts, hub: find(facts)  # noqa: ARG005 - both kinds are called alike


def _of_hub(find: Callable[[ChosenHub], Any]) -> _Node:
    return lambda facts, hub: find(hub)  # noqa: ARG005


_NAMED: Mapping[str, _Node] = {
    "registration_id": _of_request(lambda facts: facts.registration_id),
    "dps": _of_request(lambda facts: facts.dps or None),
    "enrollment.id": _of_request(lambda facts: facts.enrollment_id or None),
    "enrollment.kind": _of_request(
        lambda facts: None if facts.enrollment_kind == "unknown" else facts.enrollment_kind
    ),
    "hub.name": _of_hub(lambda hub: hub.name),
    "hub.region": _of_hub(lambda hub: hub.region),
}


def template(written: Mapping[str, Any], *, twin: bool) -> Template:
    """Compile a template.

    Args:
        written: as the policy has it, a JSON object.
        twin: whether it is a section of a twin, which IoT Hub limits more tightly than a payload.

    Raises:
        ValueError: it could never be sent; says where and why.
    """
    readings: list[Reading] = []
    if any(mark in written for mark in _MARKS):
        raise ValueError("must be an object of members, each of which may be substituted; not one itself")
    node = _node(written, readings, twin=twin, depth=0, where="")
    if node is None:
        return Template(_of_request(lambda _: written), written, ())
    return Template(node, None, tuple(readings))


def _node(written: Any, readings: list[Reading], *, twin: bool, depth: int, where: str) -> _Node | None:
    """What renders the value; None where it is what is written."""
    if isinstance(written, dict):
        if "$from" in written or "$text" in written:
            return _substitution(written, readings, twin=twin, depth=depth, where=where)
        return _object(written, readings, twin=twin, depth=depth, where=where)
    if isinstance(written, list):
        return _list(written, readings, twin=twin, depth=depth, where=where)
    if problem := _value_problem(written, twin=twin, depth=depth):
        raise ValueError(f"{where}: {problem}")
    return None


def _object(
    written: Mapping[str, Any], readings: list[Reading], *, twin: bool, depth: int, where: str
) -> _Node | None:
    for key in written:
        if problem := _key_problem(key, twin=twin):
            raise ValueError(f"{where or 'its'} key {key[:80]!r}: {problem}")
    if twin and depth > DEEPEST:
        raise ValueError(f"{where}: deeper than {DEEPEST} objects inside each other")
    parts = {
        key: _node(value, readings, twin=twin, depth=depth + 1, where=f"{where}.{key}".lstrip("."))
        for key, value in written.items()
    }
    if not any(parts.values()):
        return None

    def render(facts: Facts, hub: ChosenHub) -> Any:
        rendered = {}
        for key, node in parts.items():
            value = written[key] if node is None else node(facts, hub)
            if value is not _OMIT:
                rendered[key] = value
        return rendered

    return render


def _list(written: list[Any], readings: list[Reading], *, twin: bool, depth: int, where: str) -> _Node | None:
    items = [
        (value, _node(value, readings, twin=twin, depth=depth + 1, where=f"{where}[{at}]"))
        for at, value in enumerate(written)
    ]
    if not any(node for _, node in items):
        return None

    def render(facts: Facts, hub: ChosenHub) -> Any:
        rendered = (value if node is None else node(facts, hub) for value, node in items)
        return [value for value in rendered if value is not _OMIT]

    return render


def _substitution(
    written: Mapping[str, Any], readings: list[Reading], *, twin: bool, depth: int, where: str
) -> _Node:
    if len(written.keys() & {"$from", "$text"}) != 1 or written.keys() - _MARKS:
        raise ValueError(
            f"{where}: a substitution has $from or $text, and $on_missing beside it; nothing else"
        )
    otherwise = written.get("$on_missing", "omit")
    default: Any = _OMIT
    if isinstance(otherwise, dict) and otherwise.keys() == {"default"}:
        default = otherwise["default"]
        if _node(default, [], twin=twin, depth=depth, where=f"{where}.$on_missing.default"):
            raise ValueError(f"{where}: the default of a substitution is a plain value")
    elif otherwise not in ("omit", "reject"):
        raise ValueError(
            f'{where}: $on_missing is "omit", "reject" or {{"default": VALUE}}, not {otherwise!r}'
        )
    told = written.get("$from", written.get("$text"))
    if not isinstance(told, str):
        raise ValueError(  # noqa: TRY004 - a value of the document is wrong, as in every error here
            f"{where}: $from and $text take a text, not {told!r}"
        )
    value = _text(told, readings, where) if "$text" in written else _source(told, readings, where)
    shown = told[:120]

    def render(facts: Facts, hub: ChosenHub) -> Any:
        found = value(facts, hub)
        if found is not None and _value_problem(found, twin=twin, depth=depth) is None:
            return found
        if otherwise == "reject":
            raise Missing(shown)
        return default

    return render


def _source(name: str, readings: list[Reading], where: str) -> _Node:
    if name in _NAMED:
        return _NAMED[name]
    try:
        found = reading(name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; or one of {', '.join(_NAMED)}") from None
    readings.append(found)
    return _of_request(lambda facts: facts.evidence.read(found))


def _text(written: str, readings: list[Reading], where: str) -> _Node:
    parts: list[str | _Node] = []
    last = 0
    for slot in _SLOT.finditer(written):
        parts.append(written[last : slot.start()])
        last = slot.end()
        if slot[1] is not None:
            parts.append(_source(slot[1].strip(), readings, where))
        elif len(slot[0]) == 2:
            parts.append(slot[0][0])
        else:
            raise ValueError(f"{where}: a single {slot[0]} in $text; write {slot[0] * 2} for the character")
    parts.append(written[last:])

    def render(facts: Facts, hub: ChosenHub) -> Any:
        texts = [part if isinstance(part, str) else _scalar(part(facts, hub)) for part in parts]
        return None if None in texts else "".join(text for text in texts if text is not None)

    return render


def _scalar(value: Any) -> str | None:
    """A text, number or truth as text, spelt as in JSON; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(
        value
    ):  # 1e999: JSON has no word for what it is read as
        return None
    return repr(value) if isinstance(value, int | float) else None


def _key_problem(key: str, *, twin: bool) -> str | None:
    if key.startswith("$"):
        return "begins with $, which is for substitutions ($from, $text, $on_missing)"
    if not twin:
        return None
    if _BAD_KEY.search(key):
        return "IoT Hub allows no control character, dot, $ or space in a key of a twin"
    if len(key.encode("utf-8", "surrogatepass")) > LONGEST_KEY:
        return f"over {LONGEST_KEY} bytes"
    return None


def _value_problem(value: Any, *, twin: bool, depth: int) -> str | None:
    """Why a value cannot stand at this depth; None where it can."""
    if isinstance(value, str):
        return _text_problem(value, twin=twin)
    if isinstance(value, dict | list):
        return _inner_problem(value, twin=twin, depth=depth)
    if isinstance(value, float):
        return None if math.isfinite(value) else "no finite number"
    if twin and isinstance(value, int) and not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        return f"an integer beyond {SMALLEST_INTEGER} to {LARGEST_INTEGER}"
    return None


def _text_problem(text: str, *, twin: bool) -> str | None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return f"a text over {LONGEST_TEXT} bytes" if twin and size > LONGEST_TEXT else None


def _inner_problem(value: dict[str, Any] | list[Any], *, twin: bool, depth: int) -> str | None:
    if isinstance(value, dict):
        if twin and depth > DEEPEST:
            return f"deeper than {DEEPEST} objects inside each other"
        for key in value:
            if problem := _text_problem(key, twin=False) or (_key_problem(key, twin=True) if twin else None):
                return problem
    inside = value.values() if isinstance(value, dict) else value
    problems = (_value_problem(each, twin=twin, depth=depth + 1) for each in inside)
    return next((problem for problem in problems if problem), None)


def twin_size(value: Any) -> int:
    """Bytes as IoT Hub counts them: keys and texts in UTF-8, 8 for a number, 4 for a truth.

    IoT Hub leaves control characters out; they are counted here, which errs on the safe side.
    """
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return sum(twin_size(key) + twin_size(each) for key, each in value.items())
    if isinstance(value, list):
        return sum(map(twin_size, value))
    if isinstance(value, bool):
        return 4
    return 0 if value is None else 8


@dataclass(frozen=True, slots=True)
class Extras:
    """What an answer carries beside the hub, rendered.

    Attributes:
        initial_twin: in the wire's form, or None for the enrollment's own.
        payload: for the device, or None.
        encoded: both as JSON members after the hub, each with a comma before it.
        left_out: why something that the rule has is not there; "" where all is.
    """

    initial_twin: Mapping[str, Any] | None
    payload: Mapping[str, Any] | None
    encoded: bytes
    left_out: str = ""


NO_EXTRAS = Extras(None, None, b"")


class ExtrasTemplate:
    """A rule's twin and payload.

    Args:
        tags, desired: sections of the twin; both None where the rule has no twin.
        payload: None where the rule has none.

    Raises:
        ValueError: what is written is over a limit already; names the section.

    Attributes:
        fixed: what it renders to, where nothing is substituted.
        readings: what it reads of the evidence.
    """

    def __init__(self, tags: Template | None, desired: Template | None, payload: Template | None) -> None:
        self._tags, self._desired, self._payload = tags, desired, payload
        parts = [part for part in (tags, desired, payload) if part is not None]
        self.readings = tuple(each for part in parts for each in part.readings)
        self.fixed: Extras | None = None
        if all(part.static is not None for part in parts):
            self.fixed = _extras(
                *(None if part is None else part.static for part in (tags, desired, payload))
            )
            if self.fixed.left_out:
                raise ValueError(self.fixed.left_out)

    def render(self, facts: Facts, hub: ChosenHub) -> Extras:
        """Twin and payload of one device.

        Raises:
            Missing: a value with `on_missing: reject` is missing.
            Unread: a value cannot be told.
        """
        if self.fixed is not None:
            return self.fixed
        parts = (self._tags, self._desired, self._payload)
        return _extras(*(None if part is None else part.render(facts, hub) for part in parts))


def _extras(
    tags: Mapping[str, Any] | None, desired: Mapping[str, Any] | None, payload: Mapping[str, Any] | None
) -> Extras:
    """Put together what goes out, without what is over a limit."""
    twin: Mapping[str, Any] | None = None
    twin_bytes = payload_bytes = b""
    left_out = ""
    for section, value, limit in (("tags", tags, TAGS_LIMIT), ("desired", desired, DESIRED_LIMIT)):
        if value is not None and (size := twin_size(value)) > limit:
            left_out = f"twin: {section} of {size} bytes; IoT Hub takes {limit}"
    if tags is not None and not left_out:
        twin = {"tags": tags, "properties": {"desired": desired or {}}}
        twin_bytes = b',"initialTwin":' + _ENCODER.encode(twin).encode()
    if payload is not None:
        payload_bytes = b',"payload":' + _ENCODER.encode(payload).encode()
    # The hub's name and the braces come on top: a host name has at most 253 characters.
    if len(twin_bytes) + len(payload_bytes) + 512 > MESSAGE_LIMIT:
        size = len(twin_bytes) + len(payload_bytes)
        left_out = f"payload: an answer of {size} bytes with it; DPS takes {MESSAGE_LIMIT}"
        payload, payload_bytes = None, b""
        if len(twin_bytes) + 512 > MESSAGE_LIMIT:
            left_out = f"twin and payload: an answer of {size} bytes with them; DPS takes {MESSAGE_LIMIT}"
            twin, twin_bytes = None, b""
    return Extras(twin, payload, twin_bytes + payload_bytes, left_out)
