"""The published descriptions of both DPS APIs, as facts to hold answers against.

The JSON files beside this module carry what Azure/azure-rest-api-specs says of each operation, without
its texts. Where better-known facts contradict a description, `QUIRKS` says so and what is checked instead.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs

VERSION = "2021-10-01"
FOLDER = Path(__file__).parent / VERSION
NAMES = ("service", "device")


@dataclass(frozen=True, slots=True)
class Quirk:
    """A schema that is not what DPS does, and the change that makes it so."""

    schema: str
    change: Callable[[dict[str, Any]], None]
    reason: str


QUIRKS = (
    Quirk(
        "TwinCollection",
        lambda schema: schema.update(additionalProperties={}),
        "The description writes `type: object` for AutoRest's 'any'; the members of a twin are any JSON, as "
        "every captured twin shows.",
    ),
)

CLOSED = (
    "ProvisioningServiceErrorDetails",
    "BulkEnrollmentGroupOperationError",
    "BulkEnrollmentGroupOperationResult",
    "BulkEnrollmentOperationError",
    "BulkEnrollmentOperationResult",
    "DeviceRegistrationState",
    "DeviceRegistrationResult",
    "RegistrationOperationStatus",
    "SymmetricKeyRegistrationResult",
)
"""What DPS alone writes: members that the description does not know are mistakes there. Enrollments keep
members of later versions."""

_INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the description says of one status of an operation."""

    schema: jsonschema_rs.Validator | None
    headers: Mapping[str, jsonschema_rs.Validator]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a description."""

    id: str
    method: str
    path: tuple[str, ...]
    answers: Mapping[str, Answer]

    def matches(self, method: str, segments: Sequence[str]) -> bool:
        """Whether a request is this operation: fixed words without case, as the real clients need it."""
        return (
            method == self.method
            and len(segments) == len(self.path)
            and all(
                part.startswith("{") or part.lower() == segment.lower()
                for part, segment in zip(self.path, segments, strict=True)
            )
        )

    @property
    def successes(self) -> tuple[int, ...]:
        """Its listed statuses."""
        return tuple(int(status) for status in self.answers if status != "default")


def raw(name: str) -> dict[str, Any]:
    """A description as it lies in its file, but for the quirks."""
    read: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    for quirk in QUIRKS:
        if quirk.schema in read["definitions"]:
            quirk.change(read["definitions"][quirk.schema])
    return read


def operations() -> tuple[Operation, ...]:
    """All operations of both descriptions, those with more fixed words in their path first."""
    found = [each for name in NAMES for each in _operations(raw(name))]
    return tuple(sorted(found, key=lambda each: sum(part.startswith("{") for part in each.path)))


def _operations(description: dict[str, Any]) -> Iterator[Operation]:
    definitions = _strict(description["definitions"])
    for name in CLOSED:
        if name in definitions:
            definitions[name]["additionalProperties"] = False

    def validator(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
        whole = {"definitions": definitions, "allOf": [_strict(schema)]}
        return jsonschema_rs.Draft4Validator(whole, validate_formats=True)

    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            answers = {
                status: Answer(
                    validator(answer["schema"]) if "schema" in answer else None,
                    {each.lower(): validator(of) for each, of in answer.get("headers", {}).items()},
                )
                for status, answer in operation["responses"].items()
            }
            segments = tuple(part for part in path.split("/") if part)
            yield Operation(operation["operationId"], method.upper(), segments, answers)


def _strict(schema: Any) -> Any:
    """A copy in which `format: int32` is a range."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {name: _strict(value) for name, value in schema.items()}
    return {**copied, **_INT32} if copied.get("format") == "int32" else copied
