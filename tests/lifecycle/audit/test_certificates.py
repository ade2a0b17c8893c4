"""What the audit makes of certificates that openssl made, whole and broken."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.arm import CaCertificate
from lifecycle.audit import certificates
from lifecycle.audit.evidence import EnrollmentEvidence
from lifecycle.audit.finding import Severity
from provisioning.attestation import Certificate
from tests.lifecycle.audit.made import (
    NOW,
    ago,
    around,
    certificate,
    counts,
    findings,
    found,
    group,
    individual,
    not_told,
    pem,
    signed_by,
    wire,
)
from tests.lifecycle.audit.openssl import Authority

EXPIRED, EXPIRING, FUTURE = "DPS-CRED-001", "DPS-CRED-002", "DPS-CRED-003"
WEAK_KEY, WEAK_SIGNATURE, NO_AUTHORITY, ALONE, NO_CLIENT = (f"DPS-CRED-{n:03}" for n in (5, 6, 7, 9, 10))
CONTENT = {WEAK_KEY, WEAK_SIGNATURE, NO_AUTHORITY}
DATES = {EXPIRED, EXPIRING, FUTURE, ALONE}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def signer(text: str | None, info: Mapping[str, Any] | None = None) -> EnrollmentEvidence:
    slot = {"certificate": text, "info": info}
    return group({"attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": slot}}}})


def client(text: str) -> EnrollmentEvidence:
    slots = {"primary": {"certificate": text}}
    return individual({"attestation": {"type": "x509", "x509": {"clientCertificates": slots}}})


@pytest.mark.parametrize(
    ("extensions", "how", "expected"),
    [
        ("authority", {"key": "rsa1024"}, [WEAK_KEY]),
        ("authority", {"key": "rsa2048"}, []),
        ("authority", {"key": "p256"}, []),
        ("authority", {"key": "ed25519"}, []),
        ("authority", {"key": "secp256k1"}, [WEAK_KEY]),
        ("authority", {"digest": "sha1"}, [WEAK_SIGNATURE]),
        ("authority", {"digest": "md5"}, [WEAK_SIGNATURE]),
        ("authority", {"digest": "sha512"}, []),
        ("authority", {"valid": ("20240101000000Z", "20260601115959Z")}, [EXPIRED]),
        ("authority", {"valid": ("20240101000000Z", "20260701115959Z")}, [EXPIRING, ALONE]),
        ("authority", {"valid": ("20240101000000Z", "20260701120001Z")}, [ALONE]),
        ("authority", {"valid": ("20260601120001Z", "20360101000000Z")}, [FUTURE]),
        ("authority", {"valid": ("20200101000000Z", "20991231235959Z")}, []),
        ("leaf", {}, [NO_AUTHORITY]),
        ("bare", {}, [NO_AUTHORITY]),
        ("no_sign", {}, [NO_AUTHORITY]),
    ],
)
def test_a_signing_certificate_is_judged_by_key_signature_dates_and_constraints(
    authority: Authority, extensions: str, how: dict[str, Any], expected: list[str]
) -> None:
    evidence = signer(authority.sign(extensions, **how))
    assert found(evidence) == expected
    assert not_told(evidence) == set()


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [("client", []), ("any_usage", []), ("leaf", []), ("bare", []), ("server", [NO_CLIENT])],
)
def test_a_devices_certificate_must_be_for_tls_clients(
    authority: Authority, extensions: str, expected: list[str]
) -> None:
    assert found(client(authority.sign(extensions))) == expected


def test_der_and_pem_in_base64_are_read_as_pem_is(authority: Authority) -> None:
    text = authority.sign("leaf", "rsa1024")
    body = "".join(text.splitlines()[1:-1])
    for form in (text, body, base64.b64encode(text.encode()).decode(), f"Bag attributes\n{text}"):
        assert found(signer(form)) == [WEAK_KEY, NO_AUTHORITY]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("MII", "AAA"),
        lambda text: text.replace("-----END", "----END"),
        lambda text: text.upper(),
        lambda _: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        lambda _: "ÿ\x00\ud800",
        lambda _: "A" * (certificates.MOST_TEXT + 1),
    ],
)
def test_a_broken_certificate_is_not_evaluated_and_never_blamed(authority: Authority, break_it: Any) -> None:
    evidence = signer(break_it(authority.sign("authority", "rsa1024")))
    assert found(evidence) == []
    assert not_told(evidence) == CONTENT | DATES


def test_of_a_broken_certificate_the_services_dates_count(authority: Authority) -> None:
    evidence = signer("broken", {"notBeforeUtc": wire(ago(days=900)), "notAfterUtc": wire(ago(days=1))})
    assert found(evidence) == [EXPIRED]
    assert not_told(evidence) == CONTENT


def test_where_the_service_shows_no_text_its_info_tells_the_dates_alone() -> None:
    evidence = signer(
        None, {"notBeforeUtc": wire(ago(days=900)), "notAfterUtc": wire(NOW + timedelta(days=20))}
    )
    assert found(evidence) == [EXPIRING, ALONE]
    assert not_told(evidence) == CONTENT


def test_of_a_chain_the_certificate_counts_that_the_service_describes(authority: Authority) -> None:
    weak, line = authority.sign("authority", "rsa1024"), authority.sign("authority")
    chain = weak + line + authority.root
    described = certificates.read(_certificate(line)).thumbprint
    assert found(signer(chain, {"sha1Thumbprint": described.lower()})) == []
    assert found(signer(chain)) == [WEAK_KEY]
    [finding] = findings(signer(chain))
    assert finding.evidence["primary"]["certificates_in_the_text"] == 3  # type: ignore[index, call-overload]


def test_a_text_that_is_another_certificate_than_described_is_not_judged(authority: Authority) -> None:
    evidence = signer(authority.sign("leaf", "rsa1024"), {"sha256Thumbprint": "AB" * 32})
    assert found(evidence) == []
    assert not_told(evidence) >= CONTENT


def test_a_roots_own_signature_is_nothing_that_anybody_relies_on(authority: Authority) -> None:
    assert WEAK_SIGNATURE not in found(signer(authority.root))
    assert certificates.read(_certificate(authority.root)).hash == "SHA-1"


def test_a_ca_certificate_of_the_dps_is_judged_once_and_not_again_for_each_group() -> None:
    old = certificate(end=ago(days=3), authority=False)
    root = CaCertificate("root", "CN=root", "", verified=True, expires=None, der=old)
    with_ = around(certificates=(root,))
    [expired, no_authority] = findings(counts(), with_)
    assert (expired.check, no_authority.check) == (EXPIRED, NO_AUTHORITY)
    assert expired.resource == no_authority.resource == "ca:root"
    assert "az iot dps certificate create --dps-name dps-1" in expired.fix
    named = group({"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "root"}}}})
    assert found(named, with_) == []


def test_a_ca_certificate_that_is_not_shown_is_judged_by_its_date() -> None:
    root = CaCertificate("root", "", "", verified=True, expires=NOW + timedelta(days=2), der=None)
    assert found(counts(), around(certificates=(root,))) == [EXPIRING]
    assert not_told(counts(), around(certificates=(root,))) == {FUTURE, *CONTENT}


def test_of_a_groups_ca_certificates_those_near_their_end_want_a_successor() -> None:
    ending = CaCertificate("a", "", "", verified=True, expires=NOW + timedelta(days=60), der=None)
    also = CaCertificate("b", "", "", verified=True, expires=NOW + timedelta(days=70), der=None)
    one = {"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "A"}}}}
    two = {"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "a", "secondary": "b"}}}}
    with_ = around(certificates=(ending, also))
    assert found(group(one), with_) == [ALONE]
    assert found(group(two), with_) == ["DPS-CRED-004"]


def test_a_certificate_matters_more_where_no_other_slot_goes_on() -> None:
    dead, lasting = certificate(end=ago(days=1)), certificate()
    assert _severities(signed_by(dead, lasting)) == [Severity.HIGH]
    assert _severities(signed_by(dead)) == [Severity.CRITICAL]
    assert _severities(signed_by(dead, certificate(end=ago(days=2)))) == [Severity.CRITICAL]
    later = certificate(start=NOW + timedelta(days=1))
    assert _severities(signed_by(lasting, later)) == [Severity.LOW]
    assert _severities(signed_by(later)) == [Severity.HIGH]


def test_the_subject_in_a_finding_is_made_fit_for_a_line() -> None:
    hostile = certificate(name="evil\x1b[31m\u202e\nroot", end=ago(days=1))
    [finding] = findings(group(signed_by(hostile)))
    subject = finding.evidence["primary"]["subject"]  # type: ignore[index, call-overload]
    assert subject.isprintable()  # type: ignore[union-attr]


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda some: b"\x30\x82" + some))
def test_reading_never_raises_whatever_the_bytes(content: bytes) -> None:
    assert certificates.read_der(content, None).problem
    for text in (content.decode("latin-1"), base64.b64encode(content).decode()):
        assert certificates.read(_certificate(text)).problem


_WHOLE = certificate()


@given(st.integers(0, len(_WHOLE) - 1), st.integers(0, 255))
def test_reading_never_raises_whichever_byte_is_wrong(place: int, value: int) -> None:
    changed = bytearray(_WHOLE)
    changed[place] = value
    reading = certificates.read_der(bytes(changed), datetime(2027, 1, 1, tzinfo=UTC))
    assert reading.not_after is not None
    assert certificates.read(_certificate(base64.b64encode(changed).decode())).held in (0, 1)


def test_der_and_pem_read_alike() -> None:
    assert certificates.read(_certificate(pem(_WHOLE))) == certificates.read_der(_WHOLE, None)


def _certificate(text: str) -> Certificate:
    return Certificate(text, None, None, None, None, None, None, None)


def _severities(attestation: dict[str, Any]) -> list[Severity]:
    return [each.severity for each in findings(group(attestation)) if each.check in (EXPIRED, FUTURE)]
