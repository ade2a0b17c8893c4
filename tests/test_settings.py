"""Settings: one table, read once, with errors that name the setting and the fix."""

from pathlib import Path

import pytest

from settings import Role, Settings, SettingsError


def test_defaults_hold_where_nothing_or_blanks_are_set() -> None:
    assert Settings.read({}) == Settings.read({"APP_ROLE": " ", "POLICY_FILE": ""})
    assert Settings.read({}) == Settings(role=Role.ALL, policy_file=None)


def test_values_are_read() -> None:
    read = Settings.read({"APP_ROLE": "Allocation", "POLICY_FILE": "policy.json"})
    assert read == Settings(role=Role.ALLOCATION, policy_file=Path("policy.json"))


def test_a_bad_value_is_refused_by_name_with_the_fix() -> None:
    with pytest.raises(SettingsError, match=r"APP_ROLE.*'web'.*all, allocation, lifecycle"):
        Settings.read({"APP_ROLE": "web"})
