"""Every setting of the app, in one table, read once from the environment."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from provisioning.hubs import HubKey, hub_key


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
        secret: its value is never shown.
    """

    name: str
    default: str
    meaning: str
    read: Callable[[str], object]
    secret: bool = False


def _role(text: str) -> Role:
    try:
        return Role(text.lower())
    except ValueError:
        raise ValueError(f"set it to one of {', '.join(Role)}") from None


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _host(text: str) -> str:
    if text and (_HOST.fullmatch(text) is None):
        raise ValueError("set it to the host name alone, like NAME.azure-devices-provisioning.net")
    return text


def _https(text: str) -> str:
    if not text:
        return ""
    parts = urlsplit(text)
    loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme not in ("https", "http" if loopback else "https"):
        raise ValueError("set it to an https URL; http is for this machine alone")
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("set it to an https URL without user, query and key")
    return text.rstrip("/")


def _chat(text: str) -> str:
    if text:
        parts = urlsplit(text)
        if parts.scheme != "https" or not parts.hostname or parts.username or not text.isascii():
            raise ValueError("set it to the https URL that Teams or Slack gave you, as it is")
    return text


def _dps_resource(text: str) -> str:
    if text and _RESOURCE.fullmatch(text) is None:
        raise ValueError(
            "set it to the id that the portal shows under Properties: /subscriptions/…/resourceGroups/…/"
            "providers/Microsoft.Devices/provisioningServices/NAME"
        )
    return text


def _vault_resource(text: str) -> str:
    if text and _VAULT.fullmatch(text) is None:
        raise ValueError(
            "set it to the vault's resource id: /subscriptions/…/resourceGroups/…/providers/"
            "Microsoft.KeyVault/vaults/NAME"
        )
    return text


def _id_scope(text: str) -> str:
    if text and not (text.isascii() and text.isalnum()):
        raise ValueError("set it to the id scope that the portal shows: letters and digits")
    return text


def _tables(text: str) -> str:
    if text and "=" not in text and not text.startswith("https://"):
        raise ValueError("set it to https://ACCOUNT.table.core.windows.net, or to a connection string")
    return text


def _cold_policy(text: str) -> str:
    if text not in ("wait", "packaged"):
        raise ValueError("set it to wait or packaged")
    return text


def _seconds(text: str) -> float:
    return _number(text, 0.01, 3_600)


def _zero_or_more(text: str) -> float:
    return _number(text, 0, 100_000)


def _number(text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:  # not a number is in no range
        raise ValueError(f"set it to a number from {least:g} to {most:g}")
    return value


def _hubs(text: str) -> Mapping[HubKey, str]:
    hubs: dict[HubKey, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, url = part.partition("=")
        _host(name.strip())
        hubs[hub_key(name)] = _https(url.strip())
    return hubs


_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?")
_RESOURCE = re.compile(
    r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.Devices/provisioningServices/[^/\s]+",
    re.IGNORECASE,
)

_VAULT = re.compile(
    r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.KeyVault/vaults/[^/\s]+",
    re.IGNORECASE,
)


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
        "The allocation policy, a YAML or JSON file; relative to the app. Empty: every linked hub alike.",
        _path,
    ),
    Setting(
        "DPS_HOST",
        "",
        "The DPS that the jobs and commands work on: its service host name, without https://.",
        _host,
    ),
    Setting(
        "DPS_CONNECTION_STRING",
        "",
        "For commands only, instead of `--login`: a shared access policy's connection string. "
        "The app uses its identity.",
        str,
        secret=True,
    ),
    Setting(
        "DPS_RESOURCE_ID",
        "",
        "The DPS's resource id: linked hubs, weights and CA certificates are read there. "
        "Empty: they count as unknown.",
        _dps_resource,
    ),
    Setting(
        "ARM_URL",
        "https://management.azure.com",
        "The management plane's URL; another one in a sovereign cloud.",
        _https,
    ),
    Setting(
        "VAULT_URL",
        "",
        "The Key Vault that keys are escrowed in and published to: https://NAME.vault.azure.net.",
        _https,
    ),
    Setting(
        "IDENTITY_CLIENT_ID",
        "",
        "The client id of a user-assigned managed identity. Empty: the system-assigned one.",
        str,
    ),
    Setting(
        "WEBHOOK_URL",
        "",
        "This app's public webhook URL as DPS is to call it (custom domain), without its key.",
        _https,
    ),
    Setting(
        "WEBHOOK_KEY",
        "",
        "For commands only: the function key that goes with WEBHOOK_URL. The app never needs it.",
        str,
        secret=True,
    ),
    Setting(
        "DPS_NAME",
        "",
        "The DPS that calls `/api/allocate` without a name: its state is kept, and the jobs work, under it.",
        str,
    ),
    Setting(
        "STATE_TABLES",
        "",
        "Table storage for policy versions, hub states, loads and the ledger: an account's table endpoint, "
        "entered with the app's identity, or a connection string. Empty: none is kept.",
        _tables,
        secret=True,
    ),
    Setting(
        "COLD_POLICY",
        "wait",
        "What an instance does that could not read the state yet: `wait` (devices stay, new ones come "
        "again) or `packaged` (the packaged policy decides over all linked hubs).",
        _cold_policy,
    ),
    Setting(
        "STATE_REFRESH_SECONDS",
        "15",
        "Policy and hub states older than this are read again beside the next request.",
        _seconds,
    ),
    Setting(
        "STATE_MAX_AGE_SECONDS",
        "60",
        "A request waits for a new reading of older ones, up to 0.3 s; then they decide all the same.",
        _seconds,
    ),
    Setting("REQUEST_SECONDS", "2.5", "What one allocation request may take in all.", _seconds),
    Setting(
        "LEDGER_SECONDS",
        "0.3",
        "How long an answer waits for its row in the ledger.",
        _seconds,
    ),
    Setting(
        "LEDGER_KEEP_DAYS",
        "90",
        "Older rows of the ledger are deleted; 0 keeps them for ever.",
        _zero_or_more,
    ),
    Setting(
        "RETENTION_SCHEDULE",
        "0 41 * * * *",
        "When old rows are deleted, a minute at a time (NCRONTAB: second minute hour day month weekday).",
        str,
    ),
    Setting(
        "HUBS",
        "",
        "Host names of the hubs that the jobs work on, separated by commas; NAME=https://… where one is "
        "served elsewhere. Empty: those linked to DPS_RESOURCE_ID.",
        _hubs,
    ),
    Setting(
        "AUDIT_NOTIFY_URL",
        "",
        "Where a message goes of what an audit newly found: a Teams workflow's or Slack's webhook URL. "
        "Who has it can post there: rather a Key Vault reference. Empty: nowhere.",
        _chat,
        secret=True,
    ),
    Setting("AUDIT_SCHEDULE", "0 17 2 * * *", "When an audit begins (NCRONTAB, UTC).", str),
    Setting(
        "ROTATION_SCHEDULE",
        "0 17 5 * * *",
        "When the rotations of group keys are looked at: lost events, what is stuck, what waits (NCRONTAB).",
        str,
    ),
    Setting(
        "VAULT_RESOURCE_ID",
        "",
        "The Key Vault's resource id: only its events start a rotation. Empty: those of a vault of its name.",
        _vault_resource,
    ),
    Setting(
        "DPS_ID_SCOPE",
        "",
        "The DPS's id scope: a rotation's canary registers with it. Empty: no canary can.",
        _id_scope,
    ),
    Setting("STATISTICS_SCHEDULE", "0 * * * * *", "When the hubs' devices are counted (NCRONTAB).", str),
    Setting(
        "AVOID_HUBS_AFTER_MINUTES",
        "0",
        "New devices avoid a hub that could not be counted for so long; 0: never.",
        _zero_or_more,
    ),
    Setting(
        "CA_FILE",
        "",
        "A PEM file of the only certificate authorities to trust. Empty: the public ones.",
        _path,
    ),
)
"""All settings."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings' values."""

    role: Role
    policy_file: Path | None
    dps_host: str = ""
    dps_connection_string: str = field(default="", repr=False)
    dps_resource_id: str = ""
    arm_url: str = "https://management.azure.com"
    vault_url: str = ""
    identity_client_id: str = ""
    webhook_url: str = ""
    webhook_key: str = field(default="", repr=False)
    dps_name: str = ""
    state_tables: str = field(default="", repr=False)
    cold_policy: str = "wait"
    state_refresh_seconds: float = 15.0
    state_max_age_seconds: float = 60.0
    request_seconds: float = 2.5
    ledger_seconds: float = 0.3
    ledger_keep_days: float = 90.0
    retention_schedule: str = "0 41 * * * *"
    hubs: Mapping[HubKey, str] = field(default_factory=dict)
    audit_notify_url: str = field(default="", repr=False)
    audit_schedule: str = "0 17 2 * * *"
    rotation_schedule: str = "0 17 5 * * *"
    vault_resource_id: str = ""
    dps_id_scope: str = ""
    statistics_schedule: str = "0 * * * * *"
    avoid_hubs_after_minutes: float = 0.0
    ca_file: Path | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the whole table.

        Raises:
            SettingsError: names the setting, its value's problem and the fix.
        """
        values: dict[str, Any] = {}
        for setting in TABLE:
            text = environment.get(setting.name, "").strip() or setting.default
            try:
                values[setting.name] = setting.read(text)
            except ValueError as error:
                shown = "its value" if setting.secret else repr(text)
                raise SettingsError(f"app setting {setting.name}: {shown} cannot be used; {error}") from None
        # Each reader returns what its attribute holds: a test compares the two.
        return cls(**{_ATTRIBUTES.get(name, name.lower()): value for name, value in values.items()})


_ATTRIBUTES = {"APP_ROLE": "role"}
