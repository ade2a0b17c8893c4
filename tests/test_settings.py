"""Settings: one table, read once, with errors that name the setting and the fix."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.arm import ArmClient
from clients.connections import Connections
from clients.errors import NotSendable
from local.host import ncrontab
from settings import TABLE, Role, Setting, Settings, SettingsError
from tests.clients.stage import CountingShare, Handed, QuickClock, no_jitter

DPS = (
    "/subscriptions/0e0e0e0e-0000-0000-0000-000000000000/resourceGroups/rg-fleet"
    "/providers/Microsoft.Devices/provisioningServices/fleet"
)
TAKEN = [("fleet", "fleet"), ("rg-fleet", "Rg_(x).1"), ("/subscriptions", "/SUBSCRIPTIONS")]
"""What of that id is written otherwise, and it is one still."""


def test_defaults_hold_where_nothing_or_blanks_are_set() -> None:
    assert Settings.read({}) == Settings.read({"APP_ROLE": " ", "POLICY_FILE": ""})
    assert Settings.read({}) == Settings(role=Role.ALL, policy_file=None)


def test_values_are_read() -> None:
    read = Settings.read({"APP_ROLE": "Allocation", "POLICY_FILE": "policy.json"})
    assert read == Settings(role=Role.ALLOCATION, policy_file=Path("policy.json"))


def test_a_bad_value_is_refused_by_name_with_the_fix() -> None:
    with pytest.raises(SettingsError, match=r"APP_ROLE.*'web'.*all, allocation, lifecycle"):
        Settings.read({"APP_ROLE": "web"})


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_each_setting_has_an_attribute_of_what_it_reads(setting: Setting) -> None:
    read = Settings.read({"APP_ROLE": "lifecycle"})
    attribute = getattr(read, "role" if setting.name == "APP_ROLE" else setting.name.lower())
    given = "lifecycle" if setting.name == "APP_ROLE" else setting.default
    assert attribute == setting.read(given)


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        ("COLD_POLICY", "guess", "wait or packaged"),
        ("REQUEST_SECONDS", "0", "from 0.01 to 3600"),
        ("LEDGER_KEEP_DAYS", "nan", "from 0 to 100000"),
        ("LEDGER_SECONDS", "soon", "a number"),
        ("HUBS", "hub-a.azure-devices.net, https://hub-b", "the host name alone"),
        ("HUB_UNITS", "hub-a.azure-devices.net", "NAME=4, or NAME=S3:2"),
        ("HUB_UNITS", "hub-a.azure-devices.net=0", "1 to 200"),
        ("HUB_UNITS", "hub-a.azure-devices.net=S4:1", "NAME=S3:2"),
        ("HUB_UNITS", "hub-a.azure-devices.net=1000", "1 to 200"),
        ("HUB_UNITS", "https://hub-a=4", "the host name alone"),
        ("AUDIT_SAMPLE_KEYS", "-1", "a whole number from 0 to 100000"),
        ("AUDIT_CERTIFICATE_DAYS", "2.5", "a whole number from 1 to 1000"),
        ("AUDIT_KEEP_RUNS", "1", "a whole number from 2 to 1000"),
        ("AUDIT_KEY_AGE_DAYS", "\uff19", "a whole number"),
        ("AUDIT_QUOTA_PERCENT", "101", "from 0.01 to 100"),
        ("CANARY_PREFIX", "Canary", "small letters"),
        ("CANARY_PREFIX", "-canary", "small letters"),
        ("CANARY_PREFIX", "c" * 65, "1 to 64"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_the_range(name: str, text: str, fix: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*{fix}"):
        Settings.read({name: text})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *TAKEN,
        ("0e0e0e0e-", "mine-"),
        ("rg-fleet", "."),
        ("rg-fleet", ".."),
        ("rg-fleet", "a?b"),
        ("rg-fleet", "r" * 91),
        ("rg-fleet", "a/b"),
        ("/fleet", "/fleet/listkeys"),
        ("/fleet", "/fl.eet"),
        ("/fleet", f"/{'f' * 65}"),
        ("provisioningServices", "IotHubs"),
    ],
)
def test_the_id_of_a_dps_is_taken_that_its_client_takes_and_no_other(before: str, after: str) -> None:
    """One that only the client refused would end every tick of the jobs."""
    resource = DPS.replace(before, after)

    def ask() -> ArmClient:
        return ArmClient(
            resource,
            auth=Handed(""),
            connections=Connections(),
            share=CountingShare(),
            clock=QuickClock(),
            jitter=no_jitter,
        )

    if (before, after) in TAKEN:
        ask()
        assert Settings.read({"DPS_RESOURCE_ID": resource}).dps_resource_id == resource
    else:
        with pytest.raises(NotSendable):
            ask()
        with pytest.raises(SettingsError, match=r"DPS_RESOURCE_ID.*the portal shows"):
            Settings.read({"DPS_RESOURCE_ID": resource})


def test_units_of_a_hub_count_as_those_of_the_smallest_tier() -> None:
    read = Settings.read({"HUB_UNITS": "A.example=4, b.example = s3:2,c.example=B2:1"}).hub_units
    assert read == {"a.example": 4, "b.example": 100, "c.example": 1}


def test_one_setting_can_be_changed_as_it_is_read() -> None:
    changed = Settings.read({}).changed("AUDIT_SAMPLE_KEYS", "12")
    assert changed == Settings.read({"AUDIT_SAMPLE_KEYS": "12"})
    with pytest.raises(ValueError, match="a whole number from 0"):
        changed.changed("AUDIT_SAMPLE_KEYS", "many")


def test_hubs_are_a_list() -> None:
    read = Settings.read({"HUBS": "A.example, b.example=https://localhost:8443,"}).hubs
    assert read == {"a.example": "", "b.example": "https://localhost:8443"}


def test_a_connection_string_is_shown_nowhere() -> None:
    secret = "AccountName=a;AccountKey=c2VjcmV0"
    assert "c2VjcmV0" not in repr(Settings.read({"STATE_TABLES": secret}))
    with pytest.raises(SettingsError, match="STATE_TABLES: its value cannot be used") as caught:
        Settings.read({"STATE_TABLES": "http://c2VjcmV0"})
    assert "c2VjcmV0" not in str(caught.value)


REFERENCE = "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/x)"
"""As the app finds it where the platform could not resolve it."""


@pytest.mark.parametrize("setting", [each for each in TABLE if each.secret], ids=lambda setting: setting.name)
def test_an_unresolved_reference_is_never_taken_for_the_secret(setting: Setting) -> None:
    """Anybody can guess it. Where nobody is harmed the app goes without, else it says so."""
    if not setting.spared:
        with pytest.raises(SettingsError, match=f"{setting.name}.*was not resolved"):
            Settings.read({setting.name: REFERENCE})
        return
    read = Settings.read({setting.name: REFERENCE})
    assert getattr(read, setting.name.lower()) == ""
    assert "was not resolved" in read.ignored[setting.name]


@pytest.mark.parametrize("key", ["", REFERENCE])
def test_hashed_ids_without_a_key_are_withheld_and_no_device_waits_for_that(key: str) -> None:
    read = Settings.read({"TELEMETRY_IDS": "hashed", "TELEMETRY_ID_KEY": key})
    assert (read.telemetry_ids, read.telemetry_id_key) == ("none", "")
    assert "TELEMETRY_ID_KEY is not set" in read.ignored["TELEMETRY_IDS"]
    assert Settings.read({"TELEMETRY_IDS": "hashed", "TELEMETRY_ID_KEY": "k"}).ignored == {}


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        ("AUDIT_NOTIFY_URL", "http://chat.example/hook", "Teams or Slack gave you"),
        ("AUDIT_SCHEDULE", "every night", "0 17 2 * * *"),
        ("PURGE_SCHEDULE", "17 25 * * *", "six fields"),
        ("ROTATION_SCHEDULE", "0 17 5 * * 7", "six fields"),
        ("STATISTICS_SCHEDULE", "00:05:00", "six fields"),
        ("RETENTION_SCHEDULE", "0 41 * ? * *", "six fields"),
    ],
)
def test_what_the_app_can_do_without_stops_no_device_by_a_typing_error(
    name: str, text: str, fix: str
) -> None:
    """A schedule that the host cannot read would silence its timer."""
    read = Settings.read({name: text})
    assert fix in read.ignored[name]
    assert replace(read, ignored={}) == Settings.read({})


NUMBERS = st.integers(0, 99).map(str)
WORDS = st.sampled_from(
    ["*", "JAN", "mon", "M", "sunda", "x", "", "?", "L", "-1", "1-", "5-2", "FRI-MON", "60"]
)
PARTS = st.builds(
    lambda first, last, step: f"{first}{last and f'-{last}'}{step and f'/{step}'}",
    NUMBERS | WORDS,
    st.just("") | NUMBERS | WORDS,
    st.just("") | NUMBERS,
)
FIELDS = st.lists(PARTS, min_size=1, max_size=3).map(",".join) | st.just("*")


@given(st.lists(FIELDS, min_size=4, max_size=7).map(" ".join))
def test_a_schedule_is_taken_that_the_host_takes_and_no_other(text: str) -> None:
    try:
        ncrontab.parse(text)
        known = True
    except ncrontab.ScheduleError:
        known = False
    assert ("AUDIT_SCHEDULE" not in Settings.read({"AUDIT_SCHEDULE": text}).ignored) == known
