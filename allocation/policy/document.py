"""The policy document as operators write it: its model, its schema, its canonical form.

The description of each member is also what docs/policy.md says of it.
"""

import difflib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from allocation.errors import PolicyError
from allocation.policy.conditions import (
    NESTING,
    CertificateMatch,
    Enrollment,
    Label,
    PayloadMatch,
    Strict,
    When,
)
from allocation.policy.text import read_canonical_text, read_text
from allocation.reading import MOST_SEARCHES, reading, searches
from allocation.templates import ExtrasTemplate, template
from provisioning.hubs import HubKey, hub_key

DEFAULT_HEADROOM = 5_000
"""Devices. What one DPS can register (1,000 a minute, documented) in the 300 s a fleet view may be old."""

MOST_RULES = 1_000
MOST_HUBS = 500

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
HubName = Annotated[str, Field(min_length=1, max_length=255)]


class Hub(Strict):
    """A hub that the policy knows by name."""

    name: HubName = Field(description="Host name of a hub. Names compare without case.")
    weight: Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False)] = Field(
        default=1.0,
        description="Its share against the others, 0 to 1000; 1 if left out; 0 takes no device by rank.",
    )
    capacity: Annotated[int, Field(ge=0, le=100_000_000)] | None = Field(
        default=None,
        description="The most devices it may have. It gets no new one from `capacity - "
        "headroom` on. Left out: "
        "no limit.",
    )
    headroom: Annotated[int, Field(ge=0, le=100_000_000)] | None = Field(
        default=None,
        description="Devices kept free below the capacity, for those placed since the hub was last counted; "
        f"if left out, {DEFAULT_HEADROOM} for each of `provisioning_services`.",
    )
    region: Label | None = Field(
        default=None, description="The region it stands in: `westeurope`. Compared without case and spaces."
    )
    tags: Annotated[list[Label], Field(max_length=50)] = Field(
        default=[], description="Labels by which rules choose hubs."
    )


class RegionFrom(Strict):
    """A region that the request tells."""

    from_: str = Field(
        alias="from",
        description="What tells it: `payload.region`, `certificate.subject.L`, `enrollment.tags.region`.",
    )
    default: Label | None = Field(
        default=None,
        description="The region where nothing tells a known one; without it, every hub of the rule is alike.",
    )

    @field_validator("from_")
    @classmethod
    def _readable(cls, name: str) -> str:
        reading(name)
        return name


class Choice(Strict):
    """Hubs by name, by tag, or both."""

    hubs: Annotated[list[HubName], Field(min_length=1, max_length=MOST_HUBS)] | None = Field(
        default=None, description="Only these hubs, by name."
    )
    tags: Annotated[list[Label], Field(min_length=1, max_length=50)] | None = Field(
        default=None, description="Only hubs that have each of these tags."
    )


class Canary(Strict):
    """A share of the rule's devices that goes to other hubs."""

    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        description="How many of the rule's devices, 0 to 1: `0.1` is 10 %. The same devices "
        "each time; a larger "
        "share keeps them."
    )
    to: Choice = Field(
        description="`hubs` and `tags` as in `place`: where these devices go, and the rule's others do not. "
        "While none of them takes a device, it goes with the others."
    )

    @model_validator(mode="after")
    def _goes_somewhere(self) -> "Canary":
        if self.to.hubs is None and self.to.tags is None:
            raise ValueError("to names no hubs; give to.hubs or to.tags")
        return self


class Place(Choice):
    """Where a rule's devices may go."""

    region: Label | RegionFrom | None = Field(
        default=None,
        description="The preferred region: a name, or `{from: …, default: …}` to read it from "
        "the request. It "
        "orders the rule's hubs and adds none.",
    )
    pinned: HubName | None = Field(
        default=None, description="The one hub for these devices, and nothing else of `place` beside it."
    )
    canary: Canary | None = Field(default=None, description="A share of these devices that goes elsewhere.")
    bounded_load: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] | None = Field(
        default=None,
        description="c: no hub gets a device that would put it over c times its share of the devices on all "
        "candidates. Left out: no bound.",
    )
    when_full: Literal["next_region", "any", "wait"] = Field(
        default="next_region",
        description="When no hub of the preferred region has room: `next_region` (default) goes through its "
        "listed fallbacks, `any` takes every other hub of the rule, `wait` does neither: DPS is "
        "asked to come again.",
    )

    @model_validator(mode="after")
    def _pinned_alone(self) -> "Place":
        if self.pinned is not None and self.model_fields_set != {"pinned"}:
            raise ValueError("pinned stands alone: one hub needs no choice; take the rest of place out")
        return self


class Reject(Strict):
    """Fail the registration."""

    reason: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        description="Fail the registration. The reason goes to the log; the device sees only that it failed."
    )


class Twin(Strict):
    """The initial twin that DPS writes on a first assignment, or on a move that resets the device."""

    tags: dict[str, Any] = Field(default={}, description="A template of the tags, at most 8 KB.")
    desired: dict[str, Any] = Field(
        default={}, description="A template of the desired properties, at most 32 KB."
    )

    @field_validator("tags", "desired")
    @classmethod
    def _renders(cls, written: dict[str, Any]) -> dict[str, Any]:
        template(written, twin=True)
        return written


class Outcome(Strict):
    """What becomes of a device."""

    place: Place = Field(
        default=Place(), description="Where these devices may go; left out: every hub of the policy."
    )
    reject: Reject | None = Field(default=None, description="Fail the registration.")
    twin: Twin | None = Field(
        default=None,
        description="`tags` and `desired` of the initial twin, as templates. DPS uses it on a "
        "first assignment, "
        "or on a move that resets the device; without it, the enrollment's own.",
    )
    payload: dict[str, Any] | None = Field(
        default=None,
        description="A template of a JSON object that is handed to the device with every registration.",
    )

    @field_validator("payload")
    @classmethod
    def _renders(cls, written: dict[str, Any] | None) -> dict[str, Any] | None:
        if written is not None:
            template(written, twin=False)
        return written

    @model_validator(mode="after")
    def _reject_alone(self) -> "Outcome":
        if self.reject is not None and self.model_fields_set & {"place", "twin", "payload"}:
            raise ValueError("a rule that rejects has no place, no twin and no payload; take them out")
        self.extras()
        return self

    def extras(self) -> ExtrasTemplate:
        """The twin and payload, compiled."""
        return ExtrasTemplate(
            template(self.twin.tags, twin=True) if self.twin else None,
            template(self.twin.desired, twin=True) if self.twin else None,
            template(self.payload, twin=False) if self.payload is not None else None,
        )


class RuleDocument(Outcome):
    """One rule. The first whose `when` matches decides."""

    name: Name = Field(
        description="Names the rule in logs. The first rule that matches decides; `default` "
        "matches what is left."
    )
    when: When = Field(
        default=When(),
        description="What a device must match: everything that is given. Left out: every device.",
    )

    @field_validator("when")
    @classmethod
    def _shallow(cls, when: When) -> When:
        if (deep := when.nesting()) > NESTING:
            raise ValueError(f"all, any and not stand {deep} deep; at most {NESTING}: split the rule")
        return when


class PolicyDocument(Strict):
    """A whole policy: which hub a registering device goes to, with what twin, or why not."""

    hubs: Annotated[list[Hub], Field(max_length=MOST_HUBS)] = Field(
        default=[], description="The hubs that the policy knows by name."
    )
    unlisted_hubs: Literal["allow", "refuse"] = Field(
        default="allow",
        description="`allow` (default): a linked hub that is not named takes devices with "
        "weight 1. `refuse`: it "
        "takes none.",
    )
    provisioning_services: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="How many DPS fill these hubs; the default headroom grows with it."
    )
    regions: Annotated[dict[Label, Annotated[list[Label], Field(max_length=100)]], Field(max_length=200)] = (
        Field({}, description="Region -> the regions to fall back to when it is full, in order.")
    )
    rules: Annotated[list[RuleDocument], Field(max_length=MOST_RULES)] = Field(
        default=[], description="The rules, in order."
    )
    default: Outcome = Field(
        default=Outcome(),
        description="What becomes of a device that no rule matches; `place`, `reject`, `twin` "
        "and `payload` as "
        "in a rule.",
    )

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

    @model_validator(mode="after")
    def _few_searches(self) -> "PolicyDocument":
        paths = {found for found in self._payload_paths() if searches(found)}
        if len(paths) > MOST_SEARCHES:
            raise ValueError(
                f"{len(paths)} different paths search the payload; at most {MOST_SEARCHES}, or a "
                f"device could "
                "make each of its registrations slow: point to places (a.b[0].c) instead"
            )
        return self

    def _payload_paths(self) -> Iterable[str]:
        for outcome in (*self.rules, self.default):
            for each in outcome.extras().readings:
                if each.source == "payload":
                    yield each.name.removeprefix("payload.")
            region = outcome.place.region
            if isinstance(region, RegionFrom) and region.from_.startswith("payload."):
                yield region.from_.removeprefix("payload.")
        pending = [rule.when for rule in self.rules]
        while pending:
            when = pending.pop()
            pending += when.parts()
            yield from (test.path for test in when.payload)


def read_document(text: str) -> PolicyDocument:
    """Read and check a policy document, YAML or JSON.

    Raises:
        PolicyError: not YAML, or not a policy; names each path, the value and the fix.
    """
    return _model(read_text(text))


def read_canonical(text: str) -> PolicyDocument:
    """Read what `canonical` wrote, without the cost of YAML. Raises as `read_document`."""
    return _model(read_canonical_text(text))


def canonical(document: PolicyDocument) -> str:
    """The one spelling of a policy, as JSON: what is stored, and what its version is a hash of.

    Members that say what is so anyway are left out, so that a new member of this schema changes no version.
    """
    plain = document.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def schema() -> dict[str, Any]:
    """The JSON Schema of a policy document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyDocument.model_json_schema()}


def _model(raw: Any) -> PolicyDocument:
    try:
        return PolicyDocument.model_validate(raw)
    except ValidationError as error:
        problems = sorted({_told(dict(problem), raw) for problem in error.errors(include_url=False)})
        raise PolicyError(f"policy: {'; '.join(problems)}") from None


def _place(problem: dict[str, Any], raw: Any) -> str:
    """Where in the document: pydantic's path without the names it gives to the branches of a union."""
    parts, here = [], raw
    for part in problem["loc"]:
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
        elif problem["type"] != "missing" or part != problem["loc"][-1]:
            continue
        parts.append(str(part))
    return ".".join(parts) or "policy"


def _told(problem: dict[str, Any], raw: Any) -> str:
    """One problem: its path, what is wrong, what stands there."""
    said = problem["msg"].removeprefix("Value error, ")
    shown = repr(problem["input"])
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(problem["loc"][-1]), _MEMBERS, 1)
        said += f"; did you mean {close[0]!r}?" if close else "; take it out"
    if problem["type"] == "missing":
        said += "; add it"
    elif len(shown) <= 80 and not isinstance(problem["input"], dict):
        said += f"; it is {shown}"
    return f"{_place(problem, raw)}: {said}"


_MEMBERS = sorted(
    {
        field.alias or name
        for model in (
            PolicyDocument, RuleDocument, When, Hub, Place, Canary, Choice, RegionFrom, PayloadMatch,
            CertificateMatch,
            Enrollment, Twin, Reject,
        )
        for name, field in model.model_fields.items()
    }
)  # fmt: skip
