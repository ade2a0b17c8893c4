"""Fault rules as requests have them."""

from collections.abc import Mapping
from typing import Any

from local.admin.reading import Wrong, number, only, text, whole, whole_or_null
from local.faults import Fault, Rule

_RULE = ("service", "method", "path", "nth", "count", "probability", "fault")
_FAULT = ("kind", "after", "status", "retry_after", "seconds", "octets")


def rule_of(body: Mapping[str, Any]) -> Rule:
    """The rule of a body.

    Raises:
        Wrong: it is none.
    """
    only(body, _RULE)
    given = body.get("fault")
    if not isinstance(given, dict):
        raise Wrong('fault must be an object like {"kind": "drop", "after": true}')
    only(given, _FAULT)
    after = given.get("after", False)
    if not isinstance(after, bool):
        raise Wrong("after must be true or false")
    try:
        fault = Fault(
            kind=text(given, "kind", ""),  # type: ignore[arg-type]  # it says so itself
            after=after,
            status=whole(given, "status", 503),
            retry_after=whole_or_null(given, "retry_after", None),
            seconds=number(given, "seconds", 0.0),
            octets=whole_or_null(given, "octets", None),
        )
        return Rule(
            fault,
            service=text(body, "service", "*"),
            method=text(body, "method", "*"),
            path=text(body, "path", "*"),
            nth=whole(body, "nth", 1),
            count=whole_or_null(body, "count", 1),
            probability=number(body, "probability", 1.0),
        )
    except ValueError as error:
        raise Wrong(str(error)) from error
