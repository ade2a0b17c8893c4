"""Every setting of the app, in one table, read once from the environment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class SettingsError(ValueError):
    """A setting holds what it cannot hold; names the setting and the fix."""


class Role(StrEnum):
    """Which half of the package this deployment is."""

    ALL = "all"
    ALLOCATION = "allocation"
    LIFECYCLE = "lifecycle"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    Attributes:
        name: of the app setting (environment variable).
        default: its value where it is not set or empty, as text.
        meaning: for README, which a test holds to this table.
        read: turns the text into its value; raises ValueError saying what belongs there.
    """

    name: str
    default: str
    meaning: str
    read: Callable[[str], object]


def _role(text: str) -> Role:
    try:
        return Role(text.lower())
    except ValueError:
        raise ValueError(f"set it to one of {', '.join(Role)}") from None


def _path(text: str) -> Path | None:
    return Path(text) if text else None


TABLE = (
    Setting(
        "APP_ROLE",
        "all",
        "Which functions run: `allocation` (the webhook), `lifecycle` (the jobs) or `all` (one machine).",
        _role,
    ),
    Setting(
        "POLICY_FILE",
        "",
        "The allocation policy, a JSON file; relative to the app. Empty: every linked hub alike.",
        _path,
    ),
)
"""All settings."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings' values."""

    role: Role
    policy_file: Path | None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the whole table.

        Raises:
            SettingsError: names the setting, its value's problem and the fix.
        """
        values: dict[str, object] = {}
        for setting in TABLE:
            text = environment.get(setting.name, "").strip() or setting.default
            try:
                values[setting.name] = setting.read(text)
            except ValueError as error:
                raise SettingsError(f"app setting {setting.name}: {text!r} cannot be used; {error}") from None
        role, policy_file = values["APP_ROLE"], values["POLICY_FILE"]
        assert isinstance(role, Role)
        assert policy_file is None or isinstance(policy_file, Path)
        return cls(role=role, policy_file=policy_file)
