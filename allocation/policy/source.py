"""Where the policy in force comes from."""

from pathlib import Path
from typing import Protocol

from allocation.errors import PolicyError
from allocation.policy.compile import EVERY_HUB_ALIKE, CompiledPolicy, compile_policy


class PolicySource(Protocol):
    """Tells the policy in force."""

    def current(self) -> CompiledPolicy | None:
        """The policy in force; None while none could be read. Answers from memory."""


def load(path: Path) -> CompiledPolicy:
    """Read, check and compile a policy file.

    Raises:
        PolicyError: not readable, not YAML or JSON, or not a policy; names the file, the path in it and the
        fix.
    """
    from allocation.policy.document import read_document  # noqa: PLC0415 - a third of a cold start

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {path.name}: cannot be read ({type(error).__name__})") from error
    return compile_policy(read_document(text))


class PackagedPolicy:
    """The policy that ships with the app."""

    def current(self) -> CompiledPolicy:
        """Every linked hub alike."""
        return EVERY_HUB_ALIKE


class FilePolicy:
    """A policy from a file of the deployed package, read once.

    A file that does not load is no policy: no other one stands in for it unasked.
    """

    def __init__(self, path: Path) -> None:
        self.error: PolicyError | None = None
        self._policy: CompiledPolicy | None = None
        try:
            self._policy = load(path)
        except PolicyError as error:
            self.error = error

    def current(self) -> CompiledPolicy | None:
        """The policy, or None if the file did not load (`error` says why)."""
        return self._policy
