"""Rules match what they say and nothing else, whatever a device sends."""

import base64
import json
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation import request
from allocation.decision import decide
from allocation.errors import NotAllocatable, NotUnderstood, Unread
from allocation.evidence import PAYLOAD_DEPTH, PAYLOAD_VALUES
from allocation.facts import Facts, Placed, Rejected, Wait
from allocation.fleet import ALL_OPEN
from allocation.policy import CompiledPolicy, compile_policy
from allocation.policy.document import PolicyDocument
from allocation.reading import path, reading
from tests.allocation.making import body, hub

NAMES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}


@cache
def certificate() -> bytes:
    """Subject CN=Press-7, O=Contoso, OU=Presses, OU=Line 1; issuer CN=Device CA 2. DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [("CN", "Press-7"), ("O", "Contoso"), ("OU", "Presses"), ("OU", "Line 1")]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NAMES[name], value) for name, value in subject]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Device CA 2")]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=365))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


def thumbprint(algorithm: hashes.HashAlgorithm) -> str:
    return x509.load_der_x509_certificate(certificate()).fingerprint(algorithm).hex()


def asking(**more: Any) -> Facts:
    """A request of an X.509 device of a group, with payload and tags; `more` goes into its context."""
    whole = body("Press-7", current=more.pop("current", None), **more.pop("request", {}))
    del whole["deviceRuntimeContext"]["symmetricKey"]
    whole["deviceRuntimeContext"] |= {
        "x509": {"clientCertificate": base64.b64encode(certificate()).decode()},
        "payload": {
            "model": "VX-1",
            "fw": {"major": 3},
            "sensors": [{"type": "t"}, {"type": "v", "n": 9}],
            "on": True,
        },
    } | more
    whole["enrollmentGroup"] |= {
        "attestation": {"type": "x509"},
        "capabilities": {"iotEdge": True},
        "initialTwin": {"tags": {"site": {"kind": "factory", "no": 4}}, "properties": {}},
    } | whole["enrollmentGroup"]
    return request.parse(json.dumps(whole).encode(), "Plant-1")


def rejecting(when: dict[str, Any]) -> CompiledPolicy:
    document = {"rules": [{"name": "r", "when": when, "reject": {"reason": "x"}}]}
    return compile_policy(PolicyDocument.model_validate(document))


def matches(when: dict[str, Any], facts: Facts) -> bool:
    return isinstance(decide(facts, rejecting(when), ALL_OPEN), Rejected)


YES: list[dict[str, Any]] = [
    {},
    {"dps": "plant-*"},
    {"dps": ["x", "PLANT-1"]},
    {"enrollment": {"kind": "group"}},
    {"enrollment": {"kind": "group", "id": ["G*"]}},
    {"registration_id": "press-?"},
    {"attestation": "x509"},
    {"certificate": {"subject": {"CN": "press-*", "o": "contoso"}}},
    {"certificate": {"subject": {"OU": "line *"}, "issuer": {"CN": ["x", "Device CA ?"]}}},
    {"edge": True},
    {"current_hub": "absent"},
    {"enrollment_tags": {"site.kind": "fac*", "site.no": 4}},
    {"payload": [{"path": "model", "eq": "VX-1"}]},
    {"payload": [{"path": "model", "in": ["a", "VX-1"]}, {"path": "model", "glob": "VX-?"}]},
    {"payload": [{"path": "fw.major", "gt": 2, "lt": 4}, {"path": "on", "eq": True}]},
    {"payload": [{"path": "sensors[?type=='v'] | [0].n", "eq": 9}]},
    {"payload": [{"path": "sensors[1].n", "exists": True}, {"path": "nothing", "exists": False}]},
    {"payload": [{"path": "length(sensors)", "eq": 2}]},
    {"all": [{"edge": True}, {"dps": "plant-1"}]},
    {"any": [{"edge": False}, {"dps": "plant-1"}]},
    {"not": {"edge": False}},
]
NO: list[dict[str, Any]] = [
    {"dps": "plant"},
    {"enrollment": {"kind": "individual"}},
    {"enrollment": {"id": "g"}},
    {"registration_id": "press"},
    {"attestation": "tpm"},
    {"certificate": {"subject": {"CN": "press"}}},
    {"certificate": {"subject": {"OU": "line 2"}}},
    {"certificate": {"subject": {"L": "*"}}},
    {"certificate": {"issuer": {"CN": "press-7"}}},
    {"certificate": {"thumbprint": "ab" * 20}},
    {"certificate": {"thumbprint": ["ab" * 20, "cd" * 32]}},
    {"edge": False},
    {"current_hub": "present"},
    {"current_hub": hub("a")},
    {"enrollment_tags": {"site.kind": "FACTORY"}},
    {"enrollment_tags": {"site.no": True}},
    {"enrollment_tags": {"site": "*"}},
    {"enrollment_tags": {"none": "*"}},
    {"payload": [{"path": "model", "eq": "vx-1"}]},
    {"payload": [{"path": "on", "eq": 1}]},
    {"payload": [{"path": "fw.major", "eq": "3"}]},
    {"payload": [{"path": "fw.major", "gt": 3}]},
    {"payload": [{"path": "model", "gt": 3}]},
    {"payload": [{"path": "on", "lt": 3}]},
    {"payload": [{"path": "length(on)", "exists": True}]},
    {"payload": [{"path": "fw.major < model", "exists": True}]},
    {"payload": [{"path": "model.x[0]", "exists": True}]},
    {"all": [{"edge": True}, {"dps": "x"}]},
    {"any": [{"edge": False}, {"dps": "x"}]},
    {"not": {"edge": True}},
    {"not": {}},
]


@pytest.mark.parametrize("when", YES, ids=str)
def test_condition_matches(when: dict[str, Any]) -> None:
    assert matches(when, asking())


@pytest.mark.parametrize("when", NO, ids=str)
def test_condition_does_not_match(when: dict[str, Any]) -> None:
    assert not matches(when, asking())


def test_thumbprints_of_both_lengths_match_without_case_and_with_colons() -> None:
    sha1, sha256 = thumbprint(hashes.SHA1()), thumbprint(hashes.SHA256())
    colons = ":".join(sha1[at : at + 2] for at in range(0, 40, 2))
    for written in (sha1, sha1.upper(), colons, sha256, ["ab" * 20, sha256]):
        assert matches({"certificate": {"thumbprint": written}}, asking())


def test_the_current_hub_matches_by_presence_and_name() -> None:
    facts = asking(current=hub("A"))
    assert matches({"current_hub": "present"}, facts)
    assert matches({"current_hub": hub("a")}, facts)
    assert not matches({"current_hub": hub("b")}, facts)
    assert not matches({"current_hub": "absent"}, facts)


@pytest.mark.parametrize(
    ("enrollment", "edge"),
    [
        ({}, False),
        ({"capabilities": None}, False),
        ({"capabilities": {}}, False),
        ({"CAPABILITIES": {"IOTEDGE": True}}, True),
    ],
)
def test_an_enrollment_without_capabilities_is_not_edge(enrollment: dict[str, Any], edge: bool) -> None:
    whole = body() | {"enrollmentGroup": enrollment}
    facts = request.parse(json.dumps(whole).encode(), "")
    assert matches({"edge": edge}, facts)
    assert not matches({"edge": not edge}, facts)


@pytest.mark.parametrize(
    ("when", "context", "enrollment"),
    [
        ({"certificate": {"subject": {"CN": "x"}}}, {"x509": {}}, {}),
        ({"certificate": {"subject": {"CN": "x"}}}, {"x509": "text"}, {}),
        ({"certificate": {"subject": {"CN": "x"}}}, {"x509": {"clientCertificate": 7}}, {}),
        ({"certificate": {"thumbprint": "ab" * 20}}, {"x509": {"clientCertificate": "no Base64!"}}, {}),
        ({"certificate": {"thumbprint": "ab" * 20}}, {"x509": {"clientCertificate": "AAAA"}}, {}),
        ({"certificate": {"thumbprint": "ab" * 20}}, {"x509": {"clientCertificate": "A" * 70_000}}, {}),
        ({"edge": True}, {}, {"capabilities": 7}),
        ({"edge": True}, {}, {"capabilities": {"iotEdge": "yes"}}),
        ({"enrollment_tags": {"a": "x"}}, {}, {"initialTwin": []}),
        ({"enrollment_tags": {"a": "x"}}, {}, {"initialTwin": {"tags": "x"}}),
    ],
)
def test_a_shape_of_dps_that_nobody_knows_neither_rejects_nor_places(
    when: dict[str, Any], context: dict[str, Any], enrollment: dict[str, Any]
) -> None:
    for current in (None, hub("a")):
        whole = body(current=current) | {"enrollmentGroup": {"enrollmentGroupId": "g"} | enrollment}
        whole["deviceRuntimeContext"] |= context
        facts = request.parse(json.dumps(whole).encode(), "")
        decision = decide(facts, rejecting(when), ALL_OPEN)
        assert decision.degraded
        assert isinstance(decision, Wait if current is None else Placed)
        # A policy that does not hang on it decides as ever.
        assert not decide(facts, rejecting({"registration_id": "x"}), ALL_OPEN).degraded


def test_an_oversized_or_deep_payload_counts_as_none() -> None:
    deep: Any = 1
    for _ in range(PAYLOAD_DEPTH):
        deep = {"a": deep}
    here = {"payload": [{"path": "a", "exists": True}]}
    assert matches(here, asking(payload=deep))
    assert not matches(here, asking(payload={"a": deep}))
    assert matches(here, asking(payload={"a": [0] * (PAYLOAD_VALUES - 2)}))
    assert not matches(here, asking(payload={"a": [0] * (PAYLOAD_VALUES - 1)}))


@pytest.mark.parametrize("said", [None, 7, "text", [], [[{}]], True, {}, {"a": None}, 1.5])
def test_a_path_into_anything_gives_a_value_or_none(said: Any) -> None:
    for expression in (
        "a",
        "a.b[0]",
        "a[*].b",
        "[0]",
        "length(a)",
        "a[?b > `1`]",
        "contains(a, 'x')",
        "a < b",
    ):
        if expression != "[0]":
            path(expression)(said)


class Counted(dict[str, Any]):
    """A payload that counts how often it is looked at."""

    looks = 0

    def get(self, key: str, default: Any = None) -> Any:
        Counted.looks += 1
        return super().get(key, default)


@pytest.mark.parametrize(
    "expression",
    [
        "a[*].b[*].c[*].d",
        "a[].b[].c[].d[]",
        "*.*.*.*",
        "a[?b[?c[?d]]]",
        "a[?b && c && d && e] | [?b || c || d || e] | [?b].c",
        "a[*].b | [] | [] | [*].c | [?d]",
        "a[?length(b) > `0` && contains(b, `1`)].b[?c == d].e",
    ],
)
def test_an_expression_looks_at_each_value_at_most_once_for_each_of_its_parts(expression: str) -> None:
    def grown(depth: int) -> Any:
        if depth == 0:
            return 1
        return [Counted({name: grown(depth - 1) for name in "bcde"}) for _ in range(3)]

    payload = Counted({"a": grown(3)})
    values = json.dumps(payload).count(":") + json.dumps(payload).count(",") + 1
    find = path(expression)
    Counted.looks = 0
    find(payload)
    assert Counted.looks <= len(expression) * values


@pytest.mark.parametrize(
    "expression",
    [
        "[a, a]",
        "{x: a}",
        "to_string(a)",
        "sort(a)",
        "map(&b, a)",
        "join(',', a)",
        "merge(a, a)",
        "a[*].`[1, 2]`",
        "@",
        "a | @",
        "a[*]" + ".c" * 40,
        "a[?b]" * 12,
    ],
)
def test_expressions_that_could_blow_up_do_not_compile(expression: str) -> None:
    with pytest.raises(ValueError):
        path(expression)


junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
EVERYTHING = {
    "rules": [
        {"name": f"r{number}", "when": when, "twin": {"tags": {"a": {"$from": "payload.model"}}}}
        for number, when in enumerate([*NO, {"certificate": {"thumbprint": "ab" * 20}}])
        if when not in ({}, {"not": {}})
    ],
    "default": {
        "place": {"region": {"from": "payload.region"}},
        "twin": {
            "tags": {"a": {"$text": "{payload.model} {certificate.subject.CN} {enrollment.tags.site.no}"}}
        },
        "payload": {"b": {"$from": "payload.config"}},
    },
}


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["x509", "tpm", "symmetricKey", "payload", "X509"], junk)
    ),
    st.fixed_dictionaries({}, optional=dict.fromkeys(["attestation", "capabilities", "initialTwin"], junk)),
    st.none() | st.just(hub("a")),
    st.binary(max_size=60),
)
@settings(max_examples=300)
def test_hostile_evidence_never_breaks_a_decision(
    context: dict[str, Any], enrollment: dict[str, Any], current: str | None, der: bytes
) -> None:
    policy = EVERY_READING
    whole = body(current=current) | {"enrollmentGroup": enrollment}
    whole["deviceRuntimeContext"] |= context
    if der:
        broken = bytearray(certificate())
        for at, byte in enumerate(der):
            broken[random.Random(at).randrange(len(broken))] = byte
        whole["deviceRuntimeContext"]["x509"] = {"clientCertificate": base64.b64encode(broken).decode()}
    try:
        facts = request.parse(json.dumps(whole).encode(), "")
    except (NotAllocatable, NotUnderstood):
        return
    answer = request.answer(decide(facts, policy, ALL_OPEN))
    assert answer.status in ((200,) if current else (200, 503))
    if answer.status == 200:
        assert json.loads(answer.body)["iotHubHostName"] in (hub("a"), hub("b"), hub("c"))


EVERY_READING = compile_policy(PolicyDocument.model_validate(EVERYTHING))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "payload",
        "payload.",
        "certificate",
        "certificate.subject",
        "certificate.subject.",
        "enrollment.tags",
        "enrollment.tags.",
        "enrollment.tags.a..b",
        "hub",
        "attestation.x",
        "certificate.serial",
    ],
)
def test_a_name_that_reads_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        reading(name)


def test_reads_names_each_reading_once() -> None:
    same = [{"payload": [{"path": "a", "eq": 1}]}, {"payload": [{"path": "a", "eq": 2}], "edge": True}]
    rules = [{"name": f"r{at}", "when": when} for at, when in enumerate(same)]
    policy = compile_policy(PolicyDocument.model_validate({"rules": rules}))
    assert policy.reads == {"payload.a", "edge"}


def test_a_reading_of_an_unknown_shape_raises_unread() -> None:
    facts = asking(x509={"other": 1})
    with pytest.raises(Unread, match=r"certificate\.thumbprint: the request tells it in a shape"):
        facts.evidence.read(reading("certificate.thumbprint"))
