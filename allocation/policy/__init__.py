"""The allocation policy: its document, and the compiled form that decisions read.

Nothing here imports the document's model (pydantic, a third of a cold start) until a document is read.
"""

from typing import TYPE_CHECKING, Any

from allocation.policy.compile import EVERY_HUB_ALIKE, CompiledPolicy, Rule, compile_policy

if TYPE_CHECKING:
    from allocation.policy.document import PolicyDocument
    from allocation.policy.lint import Problem

__all__ = [
    "EVERY_HUB_ALIKE",
    "CompiledPolicy",
    "Rule",
    "canonical",
    "compile_policy",
    "lint",
    "read_canonical",
    "read_document",
    "schema",
]


def read_document(text: str) -> "PolicyDocument":
    """Read and check a policy document, YAML or JSON, as `document.read_document`."""
    from allocation.policy import document  # noqa: PLC0415 - as above

    return document.read_document(text)


def read_canonical(text: str) -> "PolicyDocument":
    """Read what `canonical` wrote, as `document.read_canonical`."""
    from allocation.policy import document  # noqa: PLC0415

    return document.read_canonical(text)


def canonical(policy: "PolicyDocument") -> str:
    """Give the one spelling of a policy, as `document.canonical`."""
    from allocation.policy import document  # noqa: PLC0415

    return document.canonical(policy)


def schema() -> dict[str, Any]:
    """Give the JSON Schema of a policy document."""
    from allocation.policy import document  # noqa: PLC0415

    return document.schema()


def lint(policy: "PolicyDocument") -> "tuple[Problem, ...]":
    """Find what a valid policy gets wrong, as `lint.lint`."""
    from allocation.policy.lint import lint as problems  # noqa: PLC0415

    return problems(policy)
