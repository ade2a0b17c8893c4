"""Options of `audit run`: from when on something counts, in this run alone."""

from dataclasses import dataclass, fields
from typing import Annotated

from cyclopts import Group, Parameter

from cli.errors import Usage, option
from settings import Settings  # noqa: TID251 - of the session, with this run's options

THRESHOLDS = Group("From when on something counts; without an option, as the settings say", sort_key=4)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """Each is named as its setting is: --key-age-days for AUDIT_KEY_AGE_DAYS."""

    sample_keys: Annotated[
        int | None,
        Parameter(group=THRESHOLDS, help="Read the keys of so many individual enrollments: one call each."),
    ] = None
    certificate_days: Annotated[
        int | None, Parameter(group=THRESHOLDS, help="A certificate that ends so soon is expiring.")
    ] = None
    key_age_days: Annotated[
        int | None, Parameter(group=THRESHOLDS, help="A group's keys are old after so many days.")
    ] = None
    webhook_key_age_days: Annotated[
        int | None, Parameter(group=THRESHOLDS, help="A webhook's key is old after so many days.")
    ] = None
    never_registered_days: Annotated[
        int | None,
        Parameter(group=THRESHOLDS, help="An enrollment of that age, unused, is a finding."),
    ] = None
    quota_percent: Annotated[
        float | None, Parameter(group=THRESHOLDS, help="A quota that is so full is running out.")
    ] = None

    def over(self, settings: Settings) -> Settings:
        """The settings with what was given.

        Raises:
            Usage: a value that its setting cannot have either.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                try:
                    settings = settings.changed(f"AUDIT_{each.name.upper()}", f"{value:g}")
                except ValueError as error:
                    raise Usage(f"{option(each.name)}: {error}") from None
        return settings

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return any(getattr(self, each.name) is not None for each in fields(self))


AS_SET = ThresholdOptions()
