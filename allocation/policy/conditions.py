"""The model of a rule's `when`: nine things a device can match by, and all, any, not."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from allocation.reading import path, reading

NESTING = 4
"""all, any and not inside each other."""

Glob = Annotated[str, Field(min_length=1, max_length=256)]
Globs = Annotated[list[Glob], Field(min_length=1, max_length=1_000)]
Label = Annotated[str, Field(min_length=1, max_length=64)]
Scalar = str | bool | int | float


class Strict(BaseModel):
    """A model of what operators write: every member is known, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_by_alias=True)


class Enrollment(Strict):
    """Which enrollment a device comes through."""

    kind: Literal["individual", "group"] | None = Field(default=None, description="`individual` or `group`.")
    id: Glob | Globs | None = Field(
        default=None,
        description="A glob over the group's id, or the individual enrollment's registration "
        "id, without case; "
        "or a list, one of which matches.",
    )


class CertificateMatch(Strict):
    """The client certificate of an X.509 device."""

    subject: Annotated[dict[Label, Glob | Globs], Field(max_length=10)] = Field(
        default={},
        description="Attribute (`CN`, `O`, `OU`, … or its OID) -> a glob, or a list one of which matches, "
        "without case. Each attribute must match.",
    )
    issuer: Annotated[dict[Label, Glob | Globs], Field(max_length=10)] = Field(
        default={}, description="The same of the issuer."
    )
    thumbprint: str | Annotated[list[str], Field(min_length=1, max_length=10_000)] | None = Field(
        default=None,
        description="SHA-1 (40 hex digits) or SHA-256 (64) of the certificate, or a list of them.",
    )

    @field_validator("subject", "issuer")
    @classmethod
    def _attributes(cls, attributes: dict[str, Any]) -> dict[str, Any]:
        for name in attributes:
            reading(f"certificate.subject.{name}")
        return attributes

    @field_validator("thumbprint")
    @classmethod
    def _hex(cls, value: str | list[str] | None) -> str | list[str] | None:
        for each in [value] if isinstance(value, str) else value or []:
            digits = each.replace(":", "").lower()
            if len(digits) not in (40, 64) or not set(digits) <= set("0123456789abcdef"):
                raise ValueError(f"{each[:80]!r} is no SHA-1 (40 hex digits) or SHA-256 (64)")
        return value


def _path(expression: str) -> str:
    path(expression)
    return expression


class PayloadMatch(Strict):
    """One test of the device's payload; all that is given must hold."""

    path: Annotated[str, Field(min_length=1), AfterValidator(_path)] = Field(
        description="Where to look: a JMESPath without multi-selects and with few functions, at most 256 "
        "characters."
    )
    eq: Scalar | None = Field(
        default=None, description="The value is this one (a text, number or truth), of the same type."
    )
    in_: Annotated[list[Scalar], Field(min_length=1, max_length=1_000)] | None = Field(
        default=None, alias="in", description="The value is one of these."
    )
    glob: Glob | None = Field(
        default=None, description="The value is a text that the glob matches, with case."
    )
    lt: float | None = Field(default=None, description="The value is a number less than this.")
    gt: float | None = Field(default=None, description="The value is a number greater than this.")
    exists: bool | None = Field(
        default=None, description="There is a value other than null (`true`), or there is none (`false`)."
    )

    @model_validator(mode="after")
    def _tests_something(self) -> "PayloadMatch":
        if all(each is None for each in (self.eq, self.in_, self.glob, self.lt, self.gt, self.exists)):
            raise ValueError("tests nothing; give eq, in, glob, lt, gt or exists")
        return self


class When(Strict):
    """What a device must match; everything that is given."""

    dps: Glob | Globs | None = Field(
        default=None,
        description="A glob over the name of the DPS (the route's `/api/allocate/NAME`), "
        "without case; or a list.",
    )
    enrollment: Enrollment | None = Field(
        default=None, description="Which enrollment the device comes through."
    )
    registration_id: Glob | Globs | None = Field(
        default=None,
        description="A glob over the registration id (`*`, `?`, `[abc]`), without case; or a "
        "list, one of which "
        "matches.",
    )
    attestation: Literal["symmetricKey", "x509", "tpm"] | None = Field(
        default=None, description="`symmetricKey`, `x509` or `tpm`."
    )
    certificate: CertificateMatch | None = Field(
        default=None, description="The client certificate of an X.509 device."
    )
    edge: bool | None = Field(default=None, description="Whether the enrollment makes IoT Edge devices.")
    current_hub: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="`present`, `absent` (a first registration), or the name of the hub the device is on.",
    )
    enrollment_tags: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=512)], Scalar | Globs], Field(max_length=10)
    ] = Field(
        default={},
        description="Tag of the enrollment's initial twin (dots lead into nested ones) -> a "
        "glob with case, a "
        "number, a truth, or a list of globs. Each must match.",
    )
    payload: Annotated[list[PayloadMatch], Field(max_length=10)] = Field(
        default=[], description="Tests of what the device sent; each must hold."
    )
    all: Annotated[list["When"], Field(min_length=1, max_length=20)] | None = Field(
        default=None, description="Each of these matches."
    )
    any: Annotated[list["When"], Field(min_length=1, max_length=20)] | None = Field(
        default=None, description="At least one of these matches."
    )
    not_: "When | None" = Field(default=None, alias="not", description="This does not match.")

    @field_validator("enrollment_tags")
    @classmethod
    def _tags(cls, tags: dict[str, Any]) -> dict[str, Any]:
        for name in tags:
            reading(f"enrollment.tags.{name}")
        return tags

    def parts(self) -> "list[When]":
        """The conditions inside this one."""
        return [*(self.all or ()), *(self.any or ()), *([self.not_] if self.not_ else ())]

    def nesting(self) -> int:
        """How many all, any and not stand inside each other."""
        return max((1 + part.nesting() for part in self.parts()), default=0)
