"""What a run is asked for: the params of its job, so that it is the same whichever worker has it."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from lifecycle.audit.evidence import Thresholds


def params(thresholds: Thresholds, *, webhook: bool = False) -> dict[str, Any]:
    """Of the job of a run.

    Args:
        thresholds: from when on something counts.
        webhook: whether the webhooks are called as DPS would.
    """
    return {"thresholds": asdict(thresholds)} | ({"webhook": True} if webhook else {})


def thresholds(told: Mapping[str, Any], otherwise: Thresholds) -> Thresholds:
    """The thresholds of a job's params.

    Args:
        told: the params; what is not in them, or is no number, is as `otherwise` has it.
        otherwise: those of the worker's own settings.
    """
    values = told.get("thresholds")
    if not isinstance(values, Mapping):
        return otherwise
    changes = {}
    for each in fields(Thresholds):
        kind, value = type(getattr(otherwise, each.name)), values.get(each.name)
        if isinstance(value, kind | int) and not isinstance(value, bool):
            changes[each.name] = kind(value)
    return replace(otherwise, **changes)
