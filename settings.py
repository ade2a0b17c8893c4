"""Every setting of the app, in one table, read once from the environment."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from provisioning.hubs import HIGH_TIER, HubKey, hub_key

EnrollmentKind = Literal["group", "individual"]
Mode = Literal["log", "refuse"]
Network = IPv4Network | IPv6Network
Listed = TypeVar("Listed")


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


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("set it to true or false")
    return text.lower() == "true"


def _site_resource(text: str) -> str:
    if text and _SITE.fullmatch(text) is None:
        raise ValueError(
            "set it to the app's resource id: /subscriptions/…/resourceGroups/…/providers/"
            "Microsoft.Web/sites/NAME"
        )
    return text


def _secret_name(text: str) -> str:
    if text and _SECRET.fullmatch(text) is None:
        raise ValueError("set it to a secret's name: 1 to 100 letters, digits and dashes")
    return text


def _id_scope(text: str) -> str:
    if text and not (text.isascii() and text.isalnum()):
        raise ValueError("set it to the id scope that the portal shows: letters and digits")
    return text


def _canary_prefix(text: str) -> str:
    if _CANARY_PREFIX.fullmatch(text) is None:
        raise ValueError(
            "set it to 1 to 64 small letters, digits, - and _, the first a letter or digit: a digest and a "
            "slot's name follow, and ids have at most 128 characters"
        )
    return text


def _tables(text: str) -> str:
    if text and "=" not in text and not text.startswith("https://"):
        raise ValueError("set it to https://ACCOUNT.table.core.windows.net, or to a connection string")
    return text


def _cold_policy(text: str) -> str:
    if text not in ("wait", "packaged"):
        raise ValueError("set it to wait or packaged")
    return text


def _enrollments(text: str) -> tuple[tuple[EnrollmentKind, str], ...]:
    listed: list[tuple[EnrollmentKind, str]] = []
    for part in filter(None, map(str.strip, text.split(","))):
        kind, mark, pattern = part.partition(":")
        if kind not in ("group", "individual") or not mark or not 0 < len(pattern) <= LONGEST_GLOB:
            raise ValueError(f"set it to KIND:GLOB, KIND:GLOB, … like group:line-*; {part[:40]!r} is none")
        listed.append(("group" if kind == "group" else "individual", pattern))
    return _short_enough(listed)


def _ranges(text: str) -> tuple[Network, ...]:
    listed: list[Network] = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            listed.append(ip_network(part))
        except ValueError:
            raise ValueError(
                f"set it to networks like 40.74.0.0/15, without bits beyond the prefix; {part[:40]!r} is none"
            ) from None
    return _short_enough(listed)


def _short_enough(listed: list[Listed]) -> tuple[Listed, ...]:
    if len(listed) > MOST_LISTED:
        raise ValueError(f"it has {len(listed)} entries; at most {MOST_LISTED} are looked through")
    return tuple(listed)


def _mode(text: str) -> Mode:
    if text not in ("log", "refuse"):
        raise ValueError("set it to log or refuse")
    return "refuse" if text == "refuse" else "log"


def _proxies(text: str) -> int:
    if text not in ("0", "1", "2", "3"):
        raise ValueError("set it to a number from 0 to 3")
    return int(text)


def _telemetry_ids(text: str) -> str:
    if text not in ("none", "hashed", "clear"):
        raise ValueError("set it to none, hashed or clear")
    return text


def _switch(text: str) -> bool:
    """As the worker reads it."""
    return text.lower() in {"1", "true", "yes", "t", "y"}


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


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
            raise ValueError(f"set it to a whole number from {least} to {most}")
        return int(text)

    return read


def _percent(text: str) -> float:
    return _number(text, 0.01, 100)


def _hub_units(text: str) -> Mapping[HubKey, int]:
    units: dict[HubKey, int] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, size = map(str.strip, part.partition("="))
        found = _UNITS.fullmatch(size)
        if not name or not found or not 1 <= int(found[2]) <= _MOST_UNITS:
            raise ValueError(f"set it to NAME=4, or NAME=S3:2, with 1 to {_MOST_UNITS} units")
        tier = (found[1] or "").upper()
        units[hub_key(_host(name))] = int(found[2]) * (HIGH_TIER if tier in ("S3", "B3") else 1)
    return units


_UNITS = re.compile(r"(?:([BS][123]):)?([1-9]\d{0,3})", re.ASCII | re.IGNORECASE)
_MOST_UNITS = 200
"""More than any hub has without a word to Azure's support; a typing error is more likely."""


def _hubs(text: str) -> Mapping[HubKey, str]:
    hubs: dict[HubKey, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, url = part.partition("=")
        _host(name.strip())
        hubs[hub_key(name)] = _https(url.strip())
    return hubs


LONGEST_GLOB = 256
"""Characters of one glob of ALLOWED_ENROLLMENTS, as in a policy."""

MOST_LISTED = 1_000
"""Entries of a list that every request is held against."""

_CANARY_PREFIX = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?")
_RESOURCE = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/(?!\.{1,2}/)[\w.()-]{1,90}"
    r"/providers/Microsoft\.Devices/provisioningServices/[a-z0-9-]{1,64}",
    re.IGNORECASE,
)
"""What the client of the management plane takes: a test holds the two together."""

_SITE = re.compile(
    r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.Web/sites/[^/\s]+",
    re.IGNORECASE,
)
_SECRET = re.compile(r"[0-9A-Za-z-]{1,100}", re.ASCII)
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
        "WEBHOOK_KEY_SECRET",
        "",
        "The vault's secret with the webhook's key, read where DPS masks it; `rotate webhook-key` puts it "
        "there. Empty: the key is not known to the jobs.",
        _secret_name,
    ),
    Setting(
        "WEBHOOK_KEY_MAX_AGE_DAYS",
        "180",
        "The jobs tell of a webhook key that is older (`webhook_key_old`); 0: never.",
        _zero_or_more,
    ),
    Setting(
        "WEBHOOK_SITE_ID",
        "",
        "For commands only: the allocation app's resource id, for `rotate webhook-key`.",
        _site_resource,
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
        "HUB_UNITS",
        "",
        "Hubs of more than one unit, or of tier 3, whose rates are larger: NAME=4, NAME=S3:2, separated by "
        "commas. A hub that is not named counts as one unit, so jobs never ask too much of it.",
        _hub_units,
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
        "AUDIT_SAMPLE_KEYS",
        "0",
        "How many individual enrollments' keys an audit reads, drawn anew each time: one call each. "
        "Groups' keys are all read.",
        _whole(0, 100_000),
    ),
    Setting(
        "AUDIT_CERTIFICATE_DAYS",
        "30",
        "A certificate that ends within so many days is expiring; alone in its slots it wants a successor "
        "three times as early, and two that end together count six times as early.",
        _whole(1, 1_000),
    ),
    Setting("AUDIT_KEY_AGE_DAYS", "365", "A group's keys are old after so many days.", _whole(1, 10_000)),
    Setting(
        "AUDIT_WEBHOOK_KEY_AGE_DAYS",
        "180",
        "A webhook's key that stands in an enrollment is old after so many days.",
        _whole(1, 10_000),
    ),
    Setting(
        "AUDIT_NEVER_REGISTERED_DAYS",
        "90",
        "An enrollment of that age through which nothing registered is a finding.",
        _whole(1, 10_000),
    ),
    Setting("AUDIT_QUOTA_PERCENT", "80", "A quota that is so full is running out.", _percent),
    Setting(
        "AUDIT_KEEP_RUNS",
        "30",
        "Audits whose findings are kept; growth is reckoned from them. Older ones are deleted.",
        _whole(2, 1_000),
    ),
    Setting(
        "ROTATION_SCHEDULE",
        "0 17 5 * * *",
        "When the rotations of group keys are looked at: lost events, what is stuck, what waits (NCRONTAB).",
        str,
    ),
    Setting("PURGE_SCHEDULE", "0 17 3 * * *", "When a purge begins (NCRONTAB, UTC): after the audit.", str),
    Setting(
        "PURGE_DRY_RUN",
        "true",
        "`true`: the schedule's purge only plans. `false`: it marks what is stale, and deletes what an "
        "earlier run marked long enough ago.",
        _truth,
    ),
    Setting(
        "PURGE_RULES_FILE",
        "",
        "The rules of the schedule's purge, a YAML or JSON file; relative to the app. Empty: the defaults, "
        "which `purge rules` shows.",
        _path,
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
    Setting(
        "CANARY_PREFIX",
        "rotation-canary",
        "What the registration ids of a rotation's canaries begin with, like one that the policy places. "
        "Change it between rotations.",
        _canary_prefix,
    ),
    Setting("STATISTICS_SCHEDULE", "0 * * * * *", "When the hubs' devices are counted (NCRONTAB).", str),
    Setting(
        "AVOID_HUBS_AFTER_MINUTES",
        "0",
        "New devices avoid a hub that could not be counted for so long; 0: never.",
        _zero_or_more,
    ),
    Setting(
        "ALLOWED_ENROLLMENTS",
        "",
        "Enrollments whose devices the webhook places: `group:GLOB`, `individual:GLOB` (a registration id), "
        "separated by commas. Empty: all.",
        _enrollments,
    ),
    Setting(
        "ALLOWED_ENROLLMENTS_MODE",
        "log",
        "What becomes of requests of others: `log` or `refuse` (devices stay, new ones come again).",
        _mode,
    ),
    Setting(
        "CALLER_RANGES",
        "",
        "Networks that DPS calls the webhook from, separated by commas: 40.74.0.0/15. Empty: any.",
        _ranges,
    ),
    Setting(
        "CALLER_RANGES_MODE",
        "log",
        "What becomes of requests from elsewhere: `log` or `refuse` (devices stay, new ones come again).",
        _mode,
    ),
    Setting(
        "CALLER_PROXIES",
        "0",
        "How many proxies before the app's own append to X-Forwarded-For: 1 behind a Front Door.",
        _proxies,
    ),
    Setting(
        "TELEMETRY_IDS",
        "none",
        "Registration and device ids in logs and traces: `none`, `hashed` (with TELEMETRY_ID_KEY) or "
        "`clear`. The ledger has them always.",
        _telemetry_ids,
    ),
    Setting(
        "TELEMETRY_ID_KEY",
        "",
        "The key of hashed ids, any secret text: a Key Vault reference, for who has it can try out ids.",
        str,
        secret=True,
    ),
    Setting(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "",
        "Application Insights, for the host and for the app alike.",
        str,
        secret=True,
    ),
    Setting(
        "PYTHON_ENABLE_OPENTELEMETRY",
        "false",
        "`true`: the app sends its spans, logs and metrics itself, and the host no longer forwards its log.",
        _switch,
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
    webhook_key_secret: str = ""
    webhook_key_max_age_days: float = 180.0
    webhook_site_id: str = ""
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
    hub_units: Mapping[HubKey, int] = field(default_factory=dict)
    audit_notify_url: str = field(default="", repr=False)
    audit_schedule: str = "0 17 2 * * *"
    audit_sample_keys: int = 0
    audit_certificate_days: int = 30
    audit_key_age_days: int = 365
    audit_webhook_key_age_days: int = 180
    audit_never_registered_days: int = 90
    audit_quota_percent: float = 80.0
    audit_keep_runs: int = 30
    rotation_schedule: str = "0 17 5 * * *"
    purge_schedule: str = "0 17 3 * * *"
    purge_dry_run: bool = True
    purge_rules_file: Path | None = None
    vault_resource_id: str = ""
    dps_id_scope: str = ""
    canary_prefix: str = "rotation-canary"
    statistics_schedule: str = "0 * * * * *"
    avoid_hubs_after_minutes: float = 0.0
    allowed_enrollments: tuple[tuple[EnrollmentKind, str], ...] = ()
    allowed_enrollments_mode: Mode = "log"
    caller_ranges: tuple[Network, ...] = ()
    caller_ranges_mode: Mode = "log"
    caller_proxies: int = 0
    telemetry_ids: str = "none"
    telemetry_id_key: str = field(default="", repr=False)
    applicationinsights_connection_string: str = field(default="", repr=False)
    python_enable_opentelemetry: bool = False
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
        if values["TELEMETRY_IDS"] == "hashed" and not values["TELEMETRY_ID_KEY"]:
            raise SettingsError(
                "app setting TELEMETRY_ID_KEY is empty, and TELEMETRY_IDS is 'hashed'; set it to a secret, "
                "for serial numbers behind a plain hash are found by trying them all"
            )
        # Each reader returns what its attribute holds: a test compares the two.
        return cls(**{_ATTRIBUTES.get(name, name.lower()): value for name, value in values.items()})

    def changed(self, name: str, text: str) -> "Settings":
        """These settings with one of them as a command's option says.

        Args:
            name: of the setting.
            text: its value.

        Raises:
            ValueError: the value's problem and the fix, without a name.
        """
        setting = next(each for each in TABLE if each.name == name)
        changes: dict[str, Any] = {_ATTRIBUTES.get(name, name.lower()): setting.read(text)}
        return replace(self, **changes)


_ATTRIBUTES = {"APP_ROLE": "role"}
