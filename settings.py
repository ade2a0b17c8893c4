"""Every setting of the app, in one table, read once from the environment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import setting_readers as read
from provisioning.hubs import HubKey
from setting_readers import EnrollmentKind, Mode, Network


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
        spared: the app can do without: what cannot be used, or is a Key Vault reference that the platform
            could not resolve, counts as not set and is told of (Settings.ignored). Elsewhere it is refused.
    """

    name: str
    default: str
    meaning: str
    read: Callable[[str], object]
    secret: bool = False
    spared: bool = False

    def value_of(self, text: str) -> object:
        """Its value.

        Raises:
            ValueError: the text cannot be used: what belongs there.
        """
        if text.startswith(REFERENCE):
            raise ValueError(UNRESOLVED)
        return self.read(text)


REFERENCE = "@Microsoft.KeyVault("
"""What a Key Vault reference begins with. One that cannot be resolved reaches the app as its own text
(documented: App Service, "Use Key Vault references")."""
UNRESOLVED = (
    "it is a Key Vault reference that was not resolved: put the secret into the vault, let the app's "
    "identity read it, and restart the app"
)


def _role(text: str) -> Role:
    try:
        return Role(text.lower())
    except ValueError:
        raise ValueError(f"set it to one of {', '.join(Role)}") from None


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
        read.path,
    ),
    Setting(
        "DPS_HOST",
        "",
        "The DPS that the jobs and commands work on: its service host name, without https://.",
        read.host,
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
        read.dps_resource,
    ),
    Setting(
        "ARM_URL",
        "https://management.azure.com",
        "The management plane's URL; another one in a sovereign cloud.",
        read.https,
    ),
    Setting(
        "VAULT_URL",
        "",
        "The Key Vault that keys are escrowed in and published to: https://NAME.vault.azure.net.",
        read.https,
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
        read.https,
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
        read.secret_name,
    ),
    Setting(
        "WEBHOOK_KEY_MAX_AGE_DAYS",
        "180",
        "The jobs tell of a webhook key that is older (`webhook_key_old`); 0: never.",
        read.zero_or_more,
    ),
    Setting(
        "WEBHOOK_SITE_ID",
        "",
        "For commands only: the allocation app's resource id, for `rotate webhook-key`.",
        read.site_resource,
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
        read.tables,
        secret=True,
    ),
    Setting(
        "COLD_POLICY",
        "wait",
        "What an instance does that could not read the state yet: `wait` (devices stay, new ones come "
        "again) or `packaged` (the packaged policy decides over all linked hubs).",
        read.one_of("wait", "packaged"),
    ),
    Setting(
        "STATE_REFRESH_SECONDS",
        "15",
        "Policy and hub states older than this are read again beside the next request.",
        read.seconds,
    ),
    Setting(
        "STATE_MAX_AGE_SECONDS",
        "60",
        "A request waits for a new reading of older ones, up to 0.3 s; then they decide all the same.",
        read.seconds,
    ),
    Setting("REQUEST_SECONDS", "2.5", "What one allocation request may take in all.", read.seconds),
    Setting(
        "LEDGER_SECONDS",
        "0.3",
        "How long an answer waits for its row in the ledger.",
        read.seconds,
    ),
    Setting(
        "LEDGER_KEEP_DAYS",
        "90",
        "Older rows of the ledger are deleted; 0 keeps them for ever.",
        read.zero_or_more,
    ),
    Setting(
        "RETENTION_SCHEDULE",
        "0 41 * * * *",
        "When old rows are deleted, a minute at a time (NCRONTAB: second minute hour day month weekday).",
        read.schedule,
        spared=True,
    ),
    Setting(
        "HUBS",
        "",
        "Host names of the hubs that the jobs work on, separated by commas; NAME=https://… where one is "
        "served elsewhere. Empty: those linked to DPS_RESOURCE_ID.",
        read.hubs,
    ),
    Setting(
        "HUB_UNITS",
        "",
        "Hubs of more than one unit, or of tier 3, whose rates are larger: NAME=4, NAME=S3:2, separated by "
        "commas. A hub that is not named counts as one unit, so jobs never ask too much of it.",
        read.hub_units,
    ),
    Setting(
        "AUDIT_NOTIFY_URL",
        "",
        "Where a message goes of what an audit newly found: a Teams workflow's or Slack's webhook URL. "
        "Who has it can post there: rather a Key Vault reference. Empty: nowhere.",
        read.chat,
        secret=True,
        spared=True,
    ),
    Setting(
        "AUDIT_SCHEDULE", "0 17 2 * * *", "When an audit begins (NCRONTAB, UTC).", read.schedule, spared=True
    ),
    Setting(
        "AUDIT_SAMPLE_KEYS",
        "0",
        "How many individual enrollments' keys an audit reads, drawn anew each time: one call each. "
        "Groups' keys are all read.",
        read.whole(0, 100_000),
    ),
    Setting(
        "AUDIT_CERTIFICATE_DAYS",
        "30",
        "A certificate that ends within so many days is expiring; alone in its slots it wants a successor "
        "three times as early, and two that end together count six times as early.",
        read.whole(1, 1_000),
    ),
    Setting("AUDIT_KEY_AGE_DAYS", "365", "A group's keys are old after so many days.", read.whole(1, 10_000)),
    Setting(
        "AUDIT_WEBHOOK_KEY_AGE_DAYS",
        "180",
        "A webhook's key that stands in an enrollment is old after so many days.",
        read.whole(1, 10_000),
    ),
    Setting(
        "AUDIT_NEVER_REGISTERED_DAYS",
        "90",
        "An enrollment of that age through which nothing registered is a finding.",
        read.whole(1, 10_000),
    ),
    Setting("AUDIT_QUOTA_PERCENT", "80", "A quota that is so full is running out.", read.percent),
    Setting(
        "AUDIT_KEEP_RUNS",
        "30",
        "Audits whose findings are kept; growth is reckoned from them. Older ones are deleted.",
        read.whole(2, 1_000),
    ),
    Setting(
        "ROTATION_SCHEDULE",
        "0 17 5 * * *",
        "When the rotations of group keys are looked at: lost events, what is stuck, what waits (NCRONTAB).",
        read.schedule,
        spared=True,
    ),
    Setting(
        "PURGE_SCHEDULE",
        "0 17 3 * * *",
        "When a purge begins (NCRONTAB, UTC): after the audit.",
        read.schedule,
        spared=True,
    ),
    Setting(
        "PURGE_DRY_RUN",
        "true",
        "`true`: the schedule's purge only plans. `false`: it marks what is stale, and deletes what an "
        "earlier run marked long enough ago.",
        read.truth,
    ),
    Setting(
        "PURGE_RULES_FILE",
        "",
        "The rules of the schedule's purge, a YAML or JSON file; relative to the app. Empty: the defaults, "
        "which `purge rules` shows.",
        read.path,
    ),
    Setting(
        "VAULT_RESOURCE_ID",
        "",
        "The Key Vault's resource id: only its events start a rotation. Empty: those of a vault of its name.",
        read.vault_resource,
    ),
    Setting(
        "DPS_ID_SCOPE",
        "",
        "The DPS's id scope: a rotation's canary registers with it. Empty: no canary can.",
        read.id_scope,
    ),
    Setting(
        "CANARY_PREFIX",
        "rotation-canary",
        "What the registration ids of a rotation's canaries begin with, like one that the policy places. "
        "Change it between rotations.",
        read.canary_prefix,
    ),
    Setting(
        "STATISTICS_SCHEDULE",
        "0 * * * * *",
        "When the hubs' devices are counted (NCRONTAB).",
        read.schedule,
        spared=True,
    ),
    Setting(
        "AVOID_HUBS_AFTER_MINUTES",
        "0",
        "New devices avoid a hub that could not be counted for so long; 0: never.",
        read.zero_or_more,
    ),
    Setting(
        "ALLOWED_ENROLLMENTS",
        "",
        "Enrollments whose devices the webhook places: `group:GLOB`, `individual:GLOB` (a registration id), "
        "separated by commas. Empty: all.",
        read.enrollments,
    ),
    Setting(
        "ALLOWED_ENROLLMENTS_MODE",
        "log",
        "What becomes of requests of others: `log` or `refuse` (devices stay, new ones come again).",
        read.one_of("log", "refuse"),
    ),
    Setting(
        "CALLER_RANGES",
        "",
        "Networks that DPS calls the webhook from, separated by commas: 40.74.0.0/15. Empty: any.",
        read.ranges,
    ),
    Setting(
        "CALLER_RANGES_MODE",
        "log",
        "What becomes of requests from elsewhere: `log` or `refuse` (devices stay, new ones come again).",
        read.one_of("log", "refuse"),
    ),
    Setting(
        "CALLER_PROXIES",
        "0",
        "How many proxies before the app's own append to X-Forwarded-For: 1 behind a Front Door.",
        read.whole(0, 3),
    ),
    Setting(
        "TELEMETRY_IDS",
        "none",
        "Registration and device ids in logs and traces: `none`, `hashed` (with TELEMETRY_ID_KEY) or "
        "`clear`. The ledger has them always.",
        read.one_of("none", "hashed", "clear"),
    ),
    Setting(
        "TELEMETRY_ID_KEY",
        "",
        "The key of hashed ids, any secret text: a Key Vault reference, for who has it can try out ids.",
        str,
        secret=True,
        spared=True,
    ),
    Setting(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "",
        "Application Insights, for the host and for the app alike.",
        str,
        secret=True,
        spared=True,
    ),
    Setting(
        "PYTHON_ENABLE_OPENTELEMETRY",
        "false",
        "`true`: the app sends its spans, logs and metrics itself, and the host no longer forwards its log.",
        read.switch,
    ),
    Setting(
        "CA_FILE",
        "",
        "A PEM file of the only certificate authorities to trust. Empty: the public ones.",
        read.path,
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
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Settings that cannot be used and that the app goes without, each with its problem and the fix."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the whole table.

        Raises:
            SettingsError: names the setting, its value's problem and the fix.
        """
        values: dict[str, Any] = {}
        ignored: dict[str, str] = {}
        for setting in TABLE:
            text = environment.get(setting.name, "").strip() or setting.default
            try:
                values[setting.name] = setting.value_of(text)
            except ValueError as error:
                shown = "its value" if setting.secret else repr(text)
                if not setting.spared:
                    problem = f"app setting {setting.name}: {shown} cannot be used; {error}"
                    raise SettingsError(problem) from None
                values[setting.name] = setting.read(setting.default)
                ignored[setting.name] = f"{shown} cannot be used, so its default holds; {error}"
        if values["TELEMETRY_IDS"] == "hashed" and not values["TELEMETRY_ID_KEY"]:
            # No device waits for what telemetry may tell of it: ids are withheld.
            values["TELEMETRY_IDS"] = "none"
            ignored["TELEMETRY_IDS"] = (
                "it is hashed and TELEMETRY_ID_KEY is not set, so no ids are told; set that to a secret, "
                "for serial numbers behind a plain hash are found by trying them all"
            )
        # Each reader returns what its attribute holds: a test compares the two.
        told = {_ATTRIBUTES.get(name, name.lower()): value for name, value in values.items()}
        return cls(**told, ignored=ignored)

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
