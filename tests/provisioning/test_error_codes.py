"""The table of DPS's error codes, which README shows."""

from pathlib import Path

import pytest

from provisioning.error_codes import ERROR_CODES, ErrorCode, error_code

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("row", ERROR_CODES, ids=lambda row: str(row.code))
def test_each_code_stands_in_readme(row: ErrorCode) -> None:
    assert f"| `{row.code}` | {row.meaning} | {row.advice} |" in README


def test_codes_stand_once_and_in_order() -> None:
    codes = [str(row.code) for row in ERROR_CODES]
    assert codes == sorted(set(codes))


def test_a_code_without_a_row_has_that_of_its_status() -> None:
    assert error_code(404204) is not error_code(404)
    assert error_code(404999) is error_code(404)
    assert error_code(599001) is None
    assert error_code(-1) is None
