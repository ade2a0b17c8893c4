"""Files of enrollments: what is exported changes nothing when applied, and no secret is ever in one."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.enrollments.build import Document
from lifecycle.enrollments.diff import differences
from lifecycle.enrollments.files import KeyFrom, KeysFrom, check_unique, exported, read, written
from lifecycle.enrollments.merge import with_members
from lifecycle.errors import FileRefused
from tests.lifecycle.enrollments.rig import KEYS, WEBHOOK, group
from tests.local.dps.pki import root

CERTIFICATE, OTHER = root("One").pem, root("Two").pem
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters=".$# \x7f", min_codepoint=33), max_size=8
).filter(lambda name: name and not any("\x80" <= sign <= "\x9f" for sign in name))
LEAVES = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(
        ["no", "12:30", "2001-01-01", "1_000", "0x1f", "~", "", "null", "<<", "=", "1e5", "# x", "- a"]
    ),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
COLLECTIONS = st.dictionaries(
    NAMES.filter(lambda name: name not in ("count", "metadata", "version")), VALUES, max_size=4
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Enrollments as the service gives them, without symmetric keys."""
    is_group = draw(st.booleans())
    document: Document = {
        "enrollmentGroupId" if is_group else "registrationId": draw(
            st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True)
        )
    }
    member = "signingCertificates" if is_group else "clientCertificates"
    info = {"subjectName": "CN=x", "sha256Thumbprint": "AB" * 32}
    document["attestation"] = draw(
        st.sampled_from(
            [
                {"type": "symmetricKey"},
                {"type": "x509", "x509": {member: {"primary": {"certificate": CERTIFICATE, "info": info}}}},
                {"type": "x509", "x509": {member: {"primary": {"info": info}, "secondary": None}}},
                {"type": "x509", "x509": {"caReferences": {"primary": "ca-1"}}},
                {"type": "tpm", "tpm": {"endorsementKey": "AToAAQALAAMAsgAg"}},
            ]
        )
    )
    bookkeeping = {"count": None, "metadata": None, "version": None}
    document["initialTwin"] = {
        "tags": draw(COLLECTIONS) | draw(st.sampled_from([{}, bookkeeping])),
        "properties": {"desired": draw(COLLECTIONS)},
    }
    if draw(st.booleans()):
        document["allocationPolicy"] = "custom"
        document["customAllocationDefinition"] = draw(
            st.sampled_from(
                [
                    {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"},
                    {"webhookUrl": "https://app.example/api/allocate?****", "apiVersion": "2021-10-01"},
                    {"webhookUrl": "https://app.example/api/allocate", "apiVersion": "2021-10-01"},
                ]
            )
        )
    document |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "iotHubs": st.just(["Hub-B.azure-devices.net", "hub-a.azure-devices.net"]),
                "provisioningStatus": st.sampled_from(["enabled", "disabled"]),
                "capabilities": st.just({"iotEdge": False}),
                "reprovisionPolicy": st.none()
                | st.just({"updateHubAssignment": True, "migrateDeviceData": False}),
                "memberOfANewerVersion": VALUES,
                "etag": st.just('"1"'),
                "createdDateTimeUtc": st.just("2022-08-03T17:15:10.8464255Z"),
                "registrationState": st.just({"status": "assigned"}),
            },
        )
    )
    return document


@settings(deadline=None, max_examples=60)
@given(documents(), st.sampled_from(["yaml", "jsonl"]))
def test_applying_what_was_exported_changes_nothing(document: Document, form: Any) -> None:
    text = "".join(written([exported(document)], form))
    [wanted] = read(text, "f")
    members = dict(wanted.members)
    custom = members.get("customAllocationDefinition")
    if custom and wanted.webhook_key and wanted.webhook_key.source == "keep":
        held = document["customAllocationDefinition"]["webhookUrl"]  # what `keep` means
        members["customAllocationDefinition"] = custom | {"webhookUrl": held}
    after = with_members(document, members)
    assert differences(document, after) == ()


@settings(deadline=None, max_examples=40)
@given(st.lists(documents(), max_size=4), st.sampled_from(["yaml", "jsonl"]))
def test_many_documents_in_one_stream_are_read_as_they_were_written(every: list[Document], form: Any) -> None:
    shown = [exported(each) for each in every]
    found = read("".join(written(shown, form)), "f") if shown else []
    assert [each.id for each in found] == [
        each.get("enrollmentGroupId") or each.get("registrationId") for each in shown
    ]


def test_no_secret_and_nothing_read_only_is_written() -> None:
    document = group(etag='"1"', createdDateTimeUtc="x", registrationState={"status": "assigned"})
    shown = exported(document)
    text = "".join(written([shown], "yaml")) + "".join(written([shown], "jsonl"))
    for secret in (*KEYS.values(), "function-key-of-the-test", "****"):
        assert secret not in text
    assert shown["attestation"] == {"type": "symmetricKey", "symmetricKey": "keep"}
    assert shown["customAllocationDefinition"] == {
        "webhookUrl": "https://app.example/api/allocate",
        "apiVersion": "2021-10-01",
        "key": "keep",
    }
    assert not {"etag", "createdDateTimeUtc", "registrationState"} & shown.keys()


@pytest.mark.parametrize("form", ["yaml", "jsonl"])
def test_terminal_obeys_nothing_of_an_export(form: Any) -> None:
    document = group(initialTwin={"tags": {"a": "\x1b[31m\u202e"}})
    text = "".join(written([exported(document)], form))
    assert all(sign == "\n" or " " <= sign <= "~" for sign in text)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("keep", KeysFrom("keep")),
        ("escrow", KeysFrom("escrow")),
        ("new", KeysFrom("new")),
        ("{vault: line-a-keys}", KeysFrom("vault", "line-a-keys")),
        (f"{{vault: k, version: '{'a' * 32}'}}", KeysFrom("vault", "k", "a" * 32)),
        ("{environment: {primaryKey: ONE}}", KeysFrom("environment", "ONE")),
        (
            "{environment: {primaryKey: ONE, secondaryKey: TWO}}",
            KeysFrom("environment", "ONE", secondary="TWO"),
        ),
    ],
)
def test_keys_are_named_by_where_they_come_from(given: str, expected: KeysFrom) -> None:
    [wanted] = read(
        f"enrollmentGroupId: g\nattestation: {{type: symmetricKey, symmetricKey: {given}}}\n", "f"
    )
    assert wanted.keys == expected
    assert wanted.members["attestation"] == {"type": "symmetricKey"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("keep", KeyFrom("keep")),
        ("setting", KeyFrom("setting")),
        ("none", KeyFrom("none")),
        ("{vault: k}", KeyFrom("vault", "k")),
        ("{environment: K}", KeyFrom("environment", "K")),
    ],
)
def test_webhooks_key_is_named_by_where_it_comes_from(given: str, expected: KeyFrom) -> None:
    text = f"{GROUP}customAllocationDefinition: {{webhookUrl: 'https://a.example/x', key: {given}}}"
    [wanted] = read(text, "f")
    assert wanted.webhook_key == expected


GROUP = "enrollmentGroupId: g\n"
BAD = {
    "a key": (
        f"{GROUP}attestation: {{type: symmetricKey, symmetricKey: {{primaryKey: abc}}}}",
        "attestation.symmetricKey",
    ),
    "no reference": (
        f"{GROUP}attestation: {{type: symmetricKey, symmetricKey: what}}",
        "attestation.symmetricKey",
    ),
    "odd secret": (
        f"{GROUP}attestation: {{type: symmetricKey, symmetricKey: {{vault: a_b}}}}",
        "symmetricKey.vault",
    ),
    "a query": (
        f"{GROUP}customAllocationDefinition: {{webhookUrl: 'https://a.example/x?code=s'}}",
        "webhookUrl",
    ),
    "odd key": (f"{GROUP}customAllocationDefinition: {{webhookUrl: 'https://a.example/x', key: 7}}", "key"),
    "http": (f"{GROUP}customAllocationDefinition: {{webhookUrl: 'http://a.example/x'}}", "webhookUrl"),
    "number as URL": (f"{GROUP}customAllocationDefinition: {{webhookUrl: 5}}", "webhookUrl"),
    "list as URL": (f"{GROUP}customAllocationDefinition: {{webhookUrl: [a]}}", "webhookUrl"),
    "old version": (f"{GROUP}customAllocationDefinition: {{apiVersion: '2017-01-01'}}", "apiVersion"),
    "no id": ("attestation: {type: tpm}", "names no enrollment"),
    "two ids": ("enrollmentGroupId: g\nregistrationId: r", "both"),
    "odd id": ("enrollmentGroupId: 'a b'", "enrollmentGroupId"),
    "number as id": ("enrollmentGroupId: 7", "enrollmentGroupId"),
    "hubs as text": (f"{GROUP}iotHubs: a b", "iotHubs"),
    "hub list in one": (f"{GROUP}iotHubs: ['a.example,b.example']", "iotHubs"),
    "policy": (f"{GROUP}allocationPolicy: random", "allocationPolicy"),
    "status": (f"{GROUP}provisioningStatus: off", "provisioningStatus"),
    "twin": (f"{GROUP}initialTwin: {{tags: {{a.b: 1}}}}", "initialTwin.tags"),
    "certificate": (
        GROUP + "attestation: {type: x509, x509: {signingCertificates: {primary: {certificate: '-'}}}}",
        "attestation.x509",
    ),
    "alias": ("enrollmentGroupId: &a g\niotHubs: [*a]", "aliases"),
    "laughs": ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "aliases"),
    "tag": ("enrollmentGroupId: !!python/object:os.system g", "tags"),
    "merge": (f"{GROUP}x: {{<<: {{a: 1}}}}", "merges"),
    "twice": ("enrollmentGroupId: g\nenrollmentGroupId: h", "twice"),
    "twice in JSON": ('{"enrollmentGroupId": "g", "enrollmentGroupId": "h"}', "twice"),
    "date": (f"{GROUP}x: 2001-01-01", "date"),
    "infinity": (f"{GROUP}x: .inf", "finite"),
    "NaN in JSON": ('{"enrollmentGroupId": "g", "x": NaN}', "NaN"),
    "number as name": (f"{GROUP}x: {{1: a}}", "no text"),
    "a list": ("[]\n---\n- 1", ""),
    "a text": ("hello", "no object"),
    "broken": ("a: [", "not YAML"),
    "broken JSON": ('{"a": ', "not JSON"),
    "deep": (f"{GROUP}x: {'[' * 60}{']' * 60}", "deep"),
    "deep JSON": ('{"enrollmentGroupId": "g", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "deep"),
    "control": ("enrollmentGroupId: g\x1b", "not YAML"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_hostile_file_is_refused_with_its_name_the_place_and_a_fix(text: str, words: str) -> None:
    with pytest.raises(FileRefused) as caught:
        read(text, "bad.yaml")
    told = caught.value.problem
    assert told.startswith("bad.yaml")
    assert words in told
    assert caught.value.fix


def test_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(FileRefused, match="bytes"):
        read("#" * (4 * 1024 * 1024 + 1), "big.yaml")


def test_one_enrollment_in_two_files_is_refused_naming_both() -> None:
    one, other = (
        read(json.dumps({"enrollmentGroupId": "G"}), "a.json"),
        read("enrollmentGroupId: g", "b.yaml"),
    )
    with pytest.raises(FileRefused, match=r"b\.yaml.*a\.json"):
        check_unique([*one, *other])
    check_unique([*one, *read("registrationId: g", "c.yaml")])


def test_members_left_out_stay_and_null_takes_one_away() -> None:
    held = group(memberOfANewerVersion=1)
    after = with_members(
        held, {"enrollmentGroupId": "LINE-A", "iotHubs": None, "provisioningStatus": "disabled"}
    )
    expected = {name: value for name, value in held.items() if name != "iotHubs"}
    assert after == {**expected, "provisioningStatus": "disabled"}


@pytest.mark.parametrize(
    ("held", "wanted", "alike"),
    [(True, 1, False), (1, 1.0, True), (None, {}, False), ({"a": None}, {}, True), ([1, 2], [2, 1], False)],
)
def test_values_of_a_twin_are_told_apart_as_json_tells_them(held: Any, wanted: Any, alike: bool) -> None:
    before = group(initialTwin={"tags": {"x": held}})
    after = with_members(before, {"initialTwin": {"tags": {"x": wanted}}})
    assert (json.dumps(after) == json.dumps(before)) is alike  # to Python, True is 1


def test_certificate_is_changed_for_another_and_kept_for_the_same() -> None:
    held: Document = {
        "enrollmentGroupId": "g",
        "attestation": {
            "type": "x509",
            "x509": {
                "signingCertificates": {"primary": {"certificate": CERTIFICATE, "info": {"version": 3}}}
            },
        },
    }
    bare = "".join(line for line in CERTIFICATE.splitlines() if not line.startswith("-"))
    same = {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": bare}}}}
    assert with_members(held, {"attestation": same}) == held
    other = {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": OTHER}}}}
    assert with_members(held, {"attestation": other})["attestation"] == other
