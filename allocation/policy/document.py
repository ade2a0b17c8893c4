"""The policy document as operators write it, as JSON."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from allocation.errors import PolicyError
from provisioning.hubs import HubKey, hub_key

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hub(_Strict):
    """A hub that the policy knows by name."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    weight: Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False)] = 1.0
    """Its share, against the other hubs' weights. 0: takes no device by rank."""


class When(_Strict):
    """What a device must match; everything that is given."""

    registration_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """A glob (`*`, `?`, `[abc]`) over the registration id, without case."""


class Reject(_Strict):
    """Fail the registration."""

    reason: Annotated[str, Field(min_length=1, max_length=512)]
    """For the log; the device sees only that it failed."""


class Twin(_Strict):
    """The initial twin that DPS writes on a first assignment, or on a move that resets the device."""

    tags: dict[str, Any] = {}
    desired: dict[str, Any] = {}


class RuleDocument(_Strict):
    """One rule. The first whose `when` matches decides."""

    name: Name
    when: When = When()
    reject: Reject | None = None
    twin: Twin | None = None
    payload: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _reject_alone(self) -> "RuleDocument":
        if self.reject is not None and (self.twin is not None or self.payload is not None):
            raise ValueError("a rule that rejects has no twin and no payload; take them out")
        return self


class PolicyDocument(_Strict):
    """A whole policy. A device that no rule matches is placed by rank over the hubs below."""

    hubs: list[Hub] = []
    unlisted_hubs: Literal["allow", "refuse"] = "allow"
    """Whether a linked hub that `hubs` does not name takes devices (with weight 1) or none."""
    rules: list[RuleDocument] = []

    @model_validator(mode="after")
    def _names_are_unique(self) -> "PolicyDocument":
        hubs: set[HubKey] = set()
        for hub in self.hubs:
            if hub_key(hub.name) in hubs:
                raise ValueError(f"hub {hub.name!r} stands twice in hubs (names have no case); keep one")
            hubs.add(hub_key(hub.name))
        rules: set[str] = set()
        for rule in self.rules:
            if rule.name in rules or rule.name == "default":
                raise ValueError(f"rule name {rule.name!r} is taken; give each rule a name of its own")
            rules.add(rule.name)
        return self


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise PolicyError(f"policy: member {twice[0]!r} stands twice in one object; keep one")
    return members


def read_document(text: str) -> PolicyDocument:
    """Read and check a policy document.

    Raises:
        PolicyError: not JSON, or not a policy; names the path, the value and the fix.
    """
    try:
        raw = json.loads(text, object_pairs_hook=_unique_members)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"policy: not JSON: {error}") from None
    try:
        # Twins and payloads go out as they are: what cannot be sent must not load, or each device that the
        # rule places would meet a fault of ours instead of an answer.
        json.dumps(raw, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise PolicyError(
            "policy: holds NaN, a number beyond a double, half a surrogate pair, or nests too deep"
        ) from None
    try:
        return PolicyDocument.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'policy'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise PolicyError(f"policy: {problems}") from None
