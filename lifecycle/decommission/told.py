"""What the operator asked for: the parameters of a job, checked. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lifecycle.enrollments.validation import known_id
from lifecycle.errors import InvalidOption
from lifecycle.purge.policy import PurgePolicy


@dataclass(frozen=True, slots=True)
class Told:
    """What to do.

    Attributes:
        group: its id.
        made: when the group was made that the operator saw, as DPS wrote it; "": whichever is there.
        dry_run: survey and plan only.
        escrow: whether its symmetric keys go to the vault.
        even_active: whether it goes although its devices are in use: no hub is asked then.
        policy: exclusions, tags, quiet days, the most records that may go, and the price.
    """

    group: str
    made: str = ""
    dry_run: bool = True
    escrow: bool = True
    even_active: bool = False
    policy: PurgePolicy = field(default_factory=PurgePolicy)

    def params(self) -> dict[str, Any]:
        """Of the job: JSON."""
        return {
            "group": self.group,
            "made": self.made,
            "dry_run": self.dry_run,
            "escrow": self.escrow,
            "even_active": self.even_active,
            "policy": self.policy.document(),
        }

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """Of a job's parameters: what does not say otherwise outright is the careful choice.

        Raises:
            InvalidOption: names the parameter, what is wrong and the fix.
        """
        group = params.get("group")
        if not isinstance(group, str):
            raise InvalidOption("group", "is not said", "name the enrollment group")
        made = params.get("made")
        return cls(
            known_id(group, "group"),
            made if isinstance(made, str) else "",
            dry_run=params.get("dry_run") is not False,
            escrow=params.get("escrow") is not False,
            even_active=params.get("even_active") is True,
            policy=PurgePolicy.read(params.get("policy")),
        )
