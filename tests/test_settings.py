"""Settings: one table, read once, with errors that name the setting and the fix."""

from pathlib import Path

import pytest

from settings import TABLE, Role, Setting, Settings, SettingsError


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
    ],
)
def test_a_value_out_of_its_range_is_refused_with_the_range(name: str, text: str, fix: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*{fix}"):
        Settings.read({name: text})


def test_hubs_are_a_list() -> None:
    read = Settings.read({"HUBS": "A.example, b.example=https://localhost:8443,"}).hubs
    assert read == {"a.example": "", "b.example": "https://localhost:8443"}


def test_a_connection_string_is_shown_nowhere() -> None:
    secret = "AccountName=a;AccountKey=c2VjcmV0"
    assert "c2VjcmV0" not in repr(Settings.read({"STATE_TABLES": secret}))
    with pytest.raises(SettingsError, match="STATE_TABLES: its value cannot be used") as caught:
        Settings.read({"STATE_TABLES": "http://c2VjcmV0"})
    assert "c2VjcmV0" not in str(caught.value)
