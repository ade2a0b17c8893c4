"""Enrollments and registrations as views that lose nothing, and show no secret."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.attestation import Attestation, Slots
from provisioning.documents import MalformedDocument
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment, ReprovisionPolicy
from provisioning.keys import SymmetricKey, SymmetricKeys
from provisioning.registrations import Registration

PRIMARY = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
SECONDARY = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
CODE = "not-to-be-seen"
GROUP: dict[str, Any] = {
    "enrollmentGroupId": "Factory-7",
    "attestation": {
        "type": "symmetricKey",
        "symmetricKey": {"primaryKey": PRIMARY, "secondaryKey": SECONDARY, "later": 1},
    },
    "capabilities": {"iotEdge": True, "later": 2},
    "initialTwin": {
        "tags": {"site": "a", "count": None, "metadata": None, "version": None},
        "properties": {"desired": {"interval": 60, "count": None, "metadata": None, "version": None}},
    },
    "etag": '"0000f176-0000-0700-0000-62eaad1e0000"',
    "provisioningStatus": "disabled",
    "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
    "createdDateTimeUtc": "2022-08-03T17:15:10.8464255Z",
    "lastUpdatedDateTimeUtc": "2022-08-04T17:15:10.8464255Z",
    "allocationPolicy": "custom",
    "iotHubs": ["Hub-A.azure-devices.net"],
    "customAllocationDefinition": {
        "webhookUrl": f"https://app.example/api/allocate?code={CODE}",
        "apiVersion": "2021-10-01",
    },
    "namespaceName": "of 2026-11-01",
}
RECORD: dict[str, Any] = {
    "registrationId": "Dev-1",
    "createdDateTimeUtc": "2022-08-03T17:15:10.8464255Z",
    "assignedHub": "Hub-A.azure-devices.net",
    "deviceId": "dev-1",
    "status": "failed",
    "substatus": "initialAssignment",
    "errorCode": 400207,
    "errorMessage": "Custom allocation failed with status code: 400",
    "lastUpdatedDateTimeUtc": "2022-08-04T00:00:00Z",
    "etag": "IjY5MDAzNTUyLTAwMDAtMDMwMC0wMDAwLTYzMGZkYThhMDAwMCI=",
    "payload": {"secret": CODE},
    "later": [1],
}


def test_a_group_says_what_its_document_says() -> None:
    group = EnrollmentGroup.read(GROUP)
    assert (group.id, group.key, group.etag) == ("Factory-7", "factory-7", GROUP["etag"])
    assert (group.attestation.kind, group.enabled, group.iot_edge) == ("symmetricKey", False, True)
    assert (group.allocation_policy, group.iot_hubs) == ("custom", ("Hub-A.azure-devices.net",))
    assert group.reprovision_policy == ReprovisionPolicy(
        update_hub_assignment=True, migrate_device_data=False
    )
    assert (group.initial_twin.tags, group.initial_twin.desired) == ({"site": "a"}, {"interval": 60})
    assert group.created == datetime(2022, 8, 3, 17, 15, 10, 846425, UTC)
    assert group.webhook is not None
    assert (group.webhook.base, group.webhook.masked) == ("https://app.example/api/allocate", False)
    assert CODE in group.webhook.reveal()
    assert group.keys == SymmetricKeys(SymmetricKey.parse(PRIMARY), SymmetricKey.parse(SECONDARY))


def test_an_enrollment_that_says_little_has_the_documented_defaults() -> None:
    one = IndividualEnrollment.read({"registrationId": "dev-1", "attestation": {"type": "tpm"}})
    assert (one.enabled, one.iot_edge, one.iot_hubs, one.allocation_policy) == (True, False, (), None)
    assert (one.webhook, one.reprovision_policy, one.etag, one.created) == (None, None, "", None)
    assert (one.device_id, one.registration_state, one.device_information, one.keys) == (None, None, {}, None)
    assert (one.initial_twin.tags, one.initial_twin.desired) == ({}, {})


def test_null_members_are_as_absent_ones() -> None:
    nothing = dict.fromkeys((*EnrollmentGroup.MEMBERS, *IndividualEnrollment.MEMBERS))
    one = IndividualEnrollment.read(nothing | {"registrationId": "dev-1"})
    assert (one.attestation.kind, one.enabled, one.registration_state) == ("", True, None)


def test_what_is_sent_is_what_was_read_without_what_only_the_service_writes() -> None:
    sent = EnrollmentGroup.read(GROUP).wire()
    for name in ("createdDateTimeUtc", "lastUpdatedDateTimeUtc"):
        assert name not in sent
    assert sent == {name: value for name, value in GROUP.items() if name in sent}
    assert EnrollmentGroup.read(sent).wire() == sent


def test_what_is_shown_has_neither_keys_nor_the_function_key() -> None:
    group = EnrollmentGroup.read(GROUP)
    shown = json.dumps(group.shown())
    assert not any(secret in shown for secret in (PRIMARY, SECONDARY, CODE))
    assert '"later": 1' in shown
    assert PRIMARY not in json.dumps(group.document())
    for thing in (group, group.keys, group.webhook, group.attestation, Registration.read(RECORD)):
        for text in (repr(thing), str(thing), f"{thing}"):
            assert not any(secret in text for secret in (PRIMARY, SECONDARY, CODE))


def test_a_view_does_not_change_with_the_document_it_was_read_from() -> None:
    document = copy.deepcopy(GROUP)
    group = EnrollmentGroup.read(document)
    document["initialTwin"]["tags"]["site"] = "b"
    document["attestation"]["symmetricKey"].clear()
    group.document()["iotHubs"].clear()
    group.wire()["attestation"].clear()
    dict(group.initial_twin.tags)["site"] = "c"
    assert document["enrollmentGroupId"] == "Factory-7"
    assert group == EnrollmentGroup.read(GROUP)
    with pytest.raises(AttributeError):
        group.keys = None  # type: ignore[misc]  # that is the point


def test_a_single_host_name_is_a_list_of_one() -> None:
    one = IndividualEnrollment.read({"registrationId": "dev-1", "iotHubHostName": "hub-a", "iotHubs": []})
    assert one.iot_hubs == ("hub-a",)


@pytest.mark.parametrize(
    ("update", "migrate", "name"),
    [
        (True, True, "reprovisionandmigratedata"),
        (True, False, "reprovisionandresetdata"),
        (False, False, "never"),
        (False, True, "never"),
    ],
)
def test_reprovisioning_is_called_as_the_azure_cli_calls_it(update: bool, migrate: bool, name: str) -> None:
    assert ReprovisionPolicy(update, migrate).name == name


def test_an_inline_record_is_the_enrollments_own() -> None:
    state = {name: value for name, value in RECORD.items() if name != "registrationId"}
    one = IndividualEnrollment.read({"registrationId": "Dev-1", "registrationState": state})
    assert one.registration_state is not None
    assert (one.registration_state.key, one.registration_state.status) == ("dev-1", "failed")


def test_a_record_says_what_its_document_says() -> None:
    record = Registration.read(RECORD)
    assert (record.id, record.key, record.device_id) == ("Dev-1", "dev-1", "dev-1")
    assert (record.assigned_hub, record.hub) == ("Hub-A.azure-devices.net", "hub-a.azure-devices.net")
    assert (record.status, record.substatus, record.error_code) == ("failed", "initialAssignment", 400207)
    assert record.error_message == RECORD["errorMessage"]
    assert (record.updated, record.etag) == (datetime(2022, 8, 4, tzinfo=UTC), RECORD["etag"])
    assert (record.payload, record.document()) == (RECORD["payload"], RECORD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2022-08-03T17:15:10Z", datetime(2022, 8, 3, 17, 15, 10, tzinfo=UTC)),
        ("2022-08-03T17:15:10.1", datetime(2022, 8, 3, 17, 15, 10, 100000, UTC)),
        ("2022-08-03T17:15:10.8464255+02:00", datetime(2022, 8, 3, 15, 15, 10, 846425, UTC)),
        ("0001-01-01T00:00:00", None),
        ("", None),
    ],
)
def test_times_of_every_spelling_are_read_in_utc(text: str, expected: datetime | None) -> None:
    assert Registration.read(RECORD | {"createdDateTimeUtc": text}).created == expected


def test_a_time_that_is_none_is_told_by_its_member() -> None:
    record = Registration.read(RECORD | {"createdDateTimeUtc": "yesterday"})
    with pytest.raises(MalformedDocument, match="createdDateTimeUtc"):
        _ = record.created


@pytest.mark.parametrize(
    "wrong",
    [
        {"attestation": []},
        {"attestation": {"type": 1}},
        {"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "****"}}},
        {"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": 1}}},
        {"attestation": {"type": "symmetricKey", "symmetricKey": {"secondaryKey": SECONDARY}}},
        {"attestation": {"type": "symmetricKey", "symmetricKey": "x"}},
        {"iotHubs": "hub-a,hub-b"},
        {"initialTwin": "{}"},
        {"enrollmentGroupId": ""},
        {"enrollmentGroupId": None},
        {"enrollmentGroupId": 7},
        {"provisioningStatus": True},
        {"etag": 1},
        {"customAllocationDefinition": []},
    ],
)
def test_a_malformed_document_is_told_by_its_member_and_never_by_its_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(MalformedDocument) as caught:
        EnrollmentGroup.read(GROUP | wrong)
    [name] = wrong
    assert name in str(caught.value) or "symmetricKey" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (PRIMARY, SECONDARY, CODE, "hub-a", "****"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=10,
    ),
    st.sampled_from(sorted(IndividualEnrollment.MEMBERS)),
)
def test_no_json_is_more_than_malformed(value: Any, member: str) -> None:
    for document in (value, {"registrationId": "d", "attestation": {"type": "x509"}} | {member: value}):
        said = ""
        try:
            one = IndividualEnrollment.read(document)
            _ = (
                one.webhook,
                one.iot_hubs,
                one.initial_twin,
                one.reprovision_policy,
                one.iot_edge,
                one.created,
            )
            _ = (
                one.attestation.signing_certificates,
                one.registration_state,
                one.device_information,
                repr(one),
            )
            json.dumps(one.wire())
            json.dumps(one.shown())
        except MalformedDocument as error:
            said = str(error)
        assert len(said) < 200


def test_certificates_stand_in_their_slots() -> None:
    info = {
        "subjectName": "CN=factory",
        "sha1Thumbprint": "AB",
        "sha256Thumbprint": "CD",
        "issuerName": "CN=root",
        "notBeforeUtc": "2022-01-01T00:00:00Z",
        "notAfterUtc": "2032-01-01T00:00:00Z",
        "serialNumber": "7",
        "version": 3,
    }
    read = Attestation.adopt(
        {
            "type": "x509",
            "x509": {
                "signingCertificates": {
                    "primary": {"certificate": "PEM", "info": info},
                    "secondary": {"info": info},
                },
                "caReferences": {"secondary": "root-2"},
            },
        }
    )
    signing = read.signing_certificates
    assert signing.primary is not None
    assert signing.secondary is not None
    assert (signing.primary.text, signing.secondary.text) == ("PEM", None)
    assert (signing.primary.subject, signing.primary.not_after) == (
        "CN=factory",
        datetime(2032, 1, 1, tzinfo=UTC),
    )
    assert read.ca_references == Slots(None, "root-2")
    assert not read.client_certificates
    assert Attestation.adopt({"type": "tpm", "tpm": {"endorsementKey": "EK"}}).endorsement_key == "EK"


def test_keys_are_compared_slot_by_slot() -> None:
    first, second = SymmetricKey.parse(PRIMARY), SymmetricKey.parse(SECONDARY)
    assert SymmetricKeys(first, second).same_as(SymmetricKeys(first, second))
    for other in (SymmetricKeys(second, first), SymmetricKeys(first), None):
        assert not SymmetricKeys(first, second).same_as(other)
    assert SymmetricKeys(first).same_as(SymmetricKeys(first))
