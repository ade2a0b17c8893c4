"""Faults on demand between a client and any emulator; nothing is faulted until a rule says so.

A rule names calls and what happens to them. `Faults.around` puts the rules in front of an emulator's ASGI
app, `Faults.transport` in front of an outgoing call, `local.proxy` in front of a service that is a process
of its own.
"""

from local.faults.in_process import InProcess
from local.faults.register import Faults
from local.faults.rules import (
    Fault,
    Rule,
    answered,
    dropped,
    halved,
    skewed,
    slowed,
    stalled,
    throttled,
)
from local.faults.shapes import Answer, Shape

__all__ = [
    "Answer",
    "Fault",
    "Faults",
    "InProcess",
    "Rule",
    "Shape",
    "answered",
    "dropped",
    "halved",
    "skewed",
    "slowed",
    "stalled",
    "throttled",
]
