"""`./run local --ca`: the CA certificates that the stack's DPS knows."""

from pathlib import Path

import pytest

from local.__main__ import _options, _parser
from local.dps.authorities import CA_LIMIT, CaCertificate
from tests.local.dps import pki

PEM = pki.root().pem


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text(PEM)
    return path


def test_each_is_known_by_its_name_and_counts_as_verified(pem: Path) -> None:
    options, *_ = _options(_parser(), ["--ca", f"root={pem}", "--ca", f"line={pem}"])
    assert options.ca_certificates == tuple(CaCertificate(name, PEM.encode()) for name in ("root", "line"))


def test_without_it_there_are_none() -> None:
    options, *_ = _options(_parser(), [])
    assert options.ca_certificates == ()


@pytest.mark.parametrize("given", ["root", "=ca.pem", "root=", "root=/nowhere/ca.pem", f"root={__file__}"])
def test_what_names_no_certificate_is_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _options(_parser(), ["--ca", given])
    assert "--ca" in capsys.readouterr().err


def test_more_than_a_dps_takes_are_refused(pem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _options(
            _parser(), [part for number in range(CA_LIMIT + 1) for part in ("--ca", f"ca-{number}={pem}")]
        )
    assert str(CA_LIMIT) in capsys.readouterr().err
