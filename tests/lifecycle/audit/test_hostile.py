"""Whatever stands in a document, no check raises, and no secret comes out."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.audit.evidence import (
    DeviceEvidence,
    EnrollmentEvidence,
    OperationEvidence,
    RecordEvidence,
    WebhookEvidence,
)
from lifecycle.audit.finding import Finding, NotEvaluated
from provisioning.documents import MalformedDocument
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment
from provisioning.keys import SymmetricKeys
from provisioning.registrations import Registration
from tests.lifecycle.audit.made import (
    COMMON,
    HUB_A,
    HUB_B,
    Evidence,
    around,
    calls,
    counts,
    findings,
    group,
    individual,
    look,
    record,
    row,
    signed_by,
)
from tests.lifecycle.audit.planted import PLANTED, text_key

TEXTS = st.text(max_size=30) | st.sampled_from(
    ["", "\x00", "\u202e", "=cmd|' /C calc'!A0", "<script>", "2026-13-45", "9999-12-31T23:59:59Z", "http://[",
     "https://fleet.example/api/allocate?code=x", "custom", "x509", "never", "0001-01-01T00:00:00Z", HUB_A]
)  # fmt: skip
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
CERTIFICATES = st.fixed_dictionaries(
    {},
    optional={
        "primary": st.fixed_dictionaries({}, optional={"certificate": TEXTS, "info": ANY}),
        "secondary": ANY,
    },
)
ATTESTATIONS = st.fixed_dictionaries(
    {"type": st.sampled_from(["x509", "symmetricKey", "tpm", "none"]) | ANY},
    optional={
        "x509": st.fixed_dictionaries(
            {},
            optional={
                "signingCertificates": CERTIFICATES,
                "clientCertificates": CERTIFICATES,
                "caReferences": ANY,
            },
        )
        | ANY,
    },
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "attestation": ATTESTATIONS | ANY,
        "iotHubs": st.lists(TEXTS, max_size=3) | ANY,
        "iotHubHostName": TEXTS | ANY,
        "allocationPolicy": st.sampled_from(["custom", "hashed"]) | ANY,
        "customAllocationDefinition": st.fixed_dictionaries(
            {}, optional={"webhookUrl": TEXTS, "apiVersion": TEXTS}
        )
        | ANY,
        "initialTwin": st.fixed_dictionaries({}, optional={"tags": ANY, "properties": ANY}) | ANY,
        "reprovisionPolicy": ANY,
        "provisioningStatus": ANY,
        "createdDateTimeUtc": TEXTS | ANY,
        "lastUpdatedDateTimeUtc": TEXTS | ANY,
        "registrationState": ANY,
    },
)
RECORDS = st.fixed_dictionaries(
    {"registrationId": TEXTS.filter(bool)},
    optional={
        "status": st.sampled_from(["assigned", "failed", "assigning", "disabled"]) | ANY,
        "assignedHub": TEXTS | ANY,
        "errorCode": st.integers() | ANY,
        "errorMessage": TEXTS | ANY,
        "lastUpdatedDateTimeUtc": TEXTS | ANY,
        "deviceId": TEXTS | ANY,
    },
)


def sound(evidence: Evidence) -> None:
    """Every outcome is whole, and no check speaks twice of one thing."""
    told = list(look(evidence, around()))
    assert all(isinstance(each, Finding | NotEvaluated) for each in told)
    seen = [(each.check, each.resource) for each in told if isinstance(each, Finding)]
    assert len(seen) == len(set(seen))
    for each in told:
        if isinstance(each, Finding):
            json.dumps(dict(each.evidence), default=lambda value: pytest.fail(f"{value!r} is no JSON"))


@settings(max_examples=300)
@given(TEXTS.filter(bool), MEMBERS, st.booleans())
def test_no_enrollment_makes_a_check_raise(name: str, members: dict[str, Any], shown: bool) -> None:
    for kind, member in ((EnrollmentGroup, "enrollmentGroupId"), (IndividualEnrollment, "registrationId")):
        for document in ({member: name, **members}, {member: name, **COMMON, **members}):
            try:
                enrollment = kind.read(document)
            except MalformedDocument:
                continue
            sound(EnrollmentEvidence(enrollment, registered=False, webhook_keys_shown=shown))


@settings(max_examples=200)
@given(RECORDS, st.booleans())
def test_no_record_makes_a_check_raise(document: dict[str, Any], confirmed: bool) -> None:
    try:
        read = Registration.read(document)
    except MalformedDocument:
        return
    sound(RecordEvidence(read, "g", None, (HUB_B,), HUB_A, confirmed=confirmed))


@given(TEXTS, TEXTS, st.none() | st.integers(0, 999), st.floats(0, 100))
def test_no_text_of_anybody_makes_a_check_raise(
    name: str, text: str, status: int | None, seconds: float
) -> None:
    sound(DeviceEvidence(HUB_A, row(name), confirmed=True))
    sound(WebhookEvidence(name, status, text, seconds))
    sound(OperationEvidence(jobs_blocked={name: text}, rotations_waiting={name: text}, poisoned=1))
    sound(counts(key_digests={"1": (name, text)}))


CANARY = "c4n4ryS3cr3tOfTheTestThatMustNotShowAnywhere"
KEY = text_key(CANARY[:32])
LEAKS: tuple[Evidence, ...] = (
    group(calls(f"http://other.example/{CANARY}?code={CANARY}", "2019-03-31"), keys=SymmetricKeys(KEY, KEY)),
    group(calls(f"https://user:{CANARY}@other.example/api&code={CANARY}")),
    individual(calls(f"https://fleet.example/api/{CANARY}?code={CANARY}"), keys=SymmetricKeys(KEY)),
    record({"status": "failed", "errorMessage": f"GET https://x/api?code={CANARY} SharedAccessKey={CANARY}"}),
    record(
        {"status": "failed", "errorMessage": f"SharedAccessSignature sr=x&sig={CANARY}&se=1 Bearer {CANARY}"}
    ),
    WebhookEvidence("group:a", 500, f"https://fleet.example/api/allocate?code={CANARY} failed", 1.0),
    OperationEvidence(jobs_blocked={"a": f"HostName=x;SharedAccessKey={CANARY}"}),
    OperationEvidence(rotations_waiting={"a": f"token={CANARY}"}),
    group({"iotHubs": [f"a,b;SharedAccessKey={CANARY}"]}),
    counts(key_digests={CANARY: ("a/primary", "b/primary")}),
)


@pytest.mark.parametrize("evidence", LEAKS, ids=range(len(LEAKS)))
def test_no_secret_comes_out_in_a_finding_a_reason_or_a_repr(evidence: Evidence) -> None:
    outcomes = list(look(evidence, around()))
    assert any(isinstance(each, Finding) for each in outcomes)
    said = [repr(each) for each in outcomes] + [repr(evidence)] * (not isinstance(evidence, PLAIN))
    for text in said:
        assert CANARY not in text
        assert KEY.reveal() not in text


PLAIN = (WebhookEvidence, OperationEvidence, RecordEvidence)
"""Evidence whose own texts are not known to hold secrets; findings clean them all the same."""


@pytest.mark.parametrize("check_id", PLANTED)
def test_no_planted_finding_holds_a_webhooks_key(check_id: str) -> None:
    planted = PLANTED[check_id]
    assert all("the-function-key" not in repr(each) for each in findings(planted.evidence, planted.around))


def test_evidence_is_small_whatever_is_long() -> None:
    long = "x" * 100_000
    told = [
        *findings(record({"status": "failed", "errorMessage": long})),
        *findings(group({"iotHubs": [f"{long}, {long}"]})),
        *findings(WebhookEvidence("a", 500, long, 1.0)),
        *findings(counts(key_digests={"1": tuple(f"group-{n}/primary" for n in range(90))})),
    ]
    assert len(told) >= 93
    assert max(len(json.dumps(dict(each.evidence))) for each in told) < 1_000


def test_of_a_large_random_mix_every_outcome_is_sound() -> None:
    draw = random.Random(1)
    members = {name: value for each in PLANTED.values() for name, value in _document(each.evidence).items()}
    for _ in range(200):
        some = dict(draw.sample(sorted(members.items(), key=str), 4))
        some.pop("enrollmentGroupId", None)
        some.pop("registrationId", None)
        sound(replace(group(some), secret=None))
    sound(group(signed_by(None)))


def _document(evidence: Evidence) -> dict[str, Any]:
    return evidence.enrollment.document() if isinstance(evidence, EnrollmentEvidence) else {}
