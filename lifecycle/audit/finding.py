"""What a check is, and what it comes to: findings, or that it could not be evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

JSON = str | int | float | bool | None | tuple["JSON", ...] | Mapping[str, "JSON"]


class Severity(StrEnum):
    """How much a finding matters, worst first."""

    CRITICAL = "critical"
    """Devices fail to register now, or a secret is known."""
    HIGH = "high"
    """They will, by a date or by the next ordinary change."""
    MEDIUM = "medium"
    """Something is not as it was meant, and will hurt sooner or later."""
    LOW = "low"
    """Untidy, or costs quota."""
    INFO = "info"
    """Worth knowing."""


class Source(StrEnum):
    """What a check reads. Where one of them was not complete, checks that need it are not evaluated."""

    ENROLLMENTS = "enrollments"
    KEYS = "keys"
    """Keys of groups, and of a sample of individual enrollments: one call each."""
    REGISTRATIONS = "registrations"
    HUBS = "hubs"
    """Listings of every linked hub's devices."""
    ARM = "arm"
    CERTIFICATES = "certificates"
    """CA certificates at the management plane."""
    VAULT = "vault"
    LEDGER = "ledger"
    POLICY = "policy"
    FLEET = "fleet"
    JOBS = "jobs"
    ROTATIONS = "rotations"
    """The rows of groups' rotations."""
    WEBHOOK = "webhook"
    """Calls of the webhook, as DPS would make them; only on request."""
    HISTORY = "history"
    """Figures of earlier runs."""
    CONFIGURATION = "configuration"
    """This app's own webhook URL, by which its enrollments are told from others'."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check, as the table of checks has it.

    Attributes:
        id: stable for ever: "DPS-ALLOC-003".
        title: what is wrong when it finds something, in one line.
        severity: of its findings, unless one says otherwise.
        needs: what must be known, or have been read completely, before it concludes anything.
        reads: what else it looks at, piece by piece. Where that is incomplete, what was read counts, and the
            check says that it did not see the rest.
        why: what happens to devices if it is left so.
        fix: the command that mends it, with {id} and the like in place of names.
        source: where the fact behind it is documented or was seen.
    """

    id: str
    title: str
    severity: Severity
    needs: frozenset[Source]
    reads: frozenset[Source]
    why: str
    fix: str
    source: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    A run has at most one finding of a check about a resource. Texts in `resource` and `evidence` may be a
    device's or a certificate's: hostile wherever they are shown. Nothing secret is in either.

    Attributes:
        check: id of the check.
        resource: "group:line-a", "individual:dev-1", "registration:dev-1", "device:hub-a…/dev-1",
            "hub:hub-a…", "ca:root", "secret:name", "job:id", "service". With the check's id, this tells
            findings of different runs apart or together.
        severity: how much it matters.
        evidence: what was seen, small and plain.
        fix: the exact command, or in words where there is none.
    """

    check: str
    resource: str
    severity: Severity
    evidence: Mapping[str, JSON] = field(default_factory=dict)
    fix: str = ""


@dataclass(frozen=True, slots=True)
class NotEvaluated:
    """A check that concluded nothing, of everything or of one resource, and why."""

    check: str
    reason: str
    resource: str = ""


Outcome = Finding | NotEvaluated
