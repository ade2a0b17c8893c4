"""Options become documents and edits: what is named changes, and nothing else."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.enrollments.build import complete_keys, edit, new_group, new_individual
from lifecycle.enrollments.certificates import CertificateRules
from lifecycle.enrollments.diff import differences
from lifecycle.enrollments.options import REPROVISION, Options
from lifecycle.errors import InvalidOption
from provisioning.keys import SymmetricKey
from tests.local.dps.rig import HUBS, OTHER_KEY, PRIMARY, SECONDARY, WEBHOOK, symmetric

RULES = CertificateRules(now=datetime(2026, 1, 1, tzinfo=UTC), authority=True)
names = st.text("abcXYZ", min_size=1, max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
twin_values = st.dictionaries(names, st.integers() | st.text("abc", max_size=5), max_size=3)
unknown = st.dictionaries(names.map(lambda name: f"new-{name}"), values, max_size=3)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A group as DPS could have it, members of a newer version among them."""
    twin = {"tags": draw(twin_values), "properties": {"desired": draw(twin_values), **draw(unknown)}}
    return {
        "enrollmentGroupId": "g1",
        "attestation": {**symmetric(), **draw(unknown)},
        "capabilities": {"iotEdge": draw(st.booleans()), **draw(unknown)},
        "initialTwin": {**twin, **draw(unknown)},
        "etag": '"e"',
        "provisioningStatus": draw(st.sampled_from(["enabled", "disabled"])),
        "reprovisionPolicy": {**draw(st.sampled_from([*REPROVISION.values()])), **draw(unknown)},
        "allocationPolicy": "custom",
        "iotHubs": list(HUBS),
        "customAllocationDefinition": {"webhookUrl": WEBHOOK, "apiVersion": "2019-03-31", **draw(unknown)},
        **draw(unknown),
    }


EDITS: dict[str, tuple[st.SearchStrategy[Any], str]] = {
    "primary_key": (st.just(OTHER_KEY), "attestation.symmetricKey.primaryKey"),
    "secondary_key": (st.just(OTHER_KEY), "attestation.symmetricKey.secondaryKey"),
    "edge_enabled": (st.booleans(), "capabilities.iotEdge"),
    "initial_twin_tags": (twin_values, "initialTwin.tags"),
    "initial_twin_properties": (twin_values, "initialTwin.properties.desired"),
    "provisioning_status": (st.sampled_from(["enabled", "disabled"]), "provisioningStatus"),
    "reprovision_policy": (st.sampled_from(list(REPROVISION)), "reprovisionPolicy"),
    "iot_hubs": (st.permutations(HUBS).map(lambda hubs: tuple(hubs[:2])), "iotHubs"),
    "webhook_url": (st.just("https://other.example/x?code=key"), "customAllocationDefinition.webhookUrl"),
    "api_version": (st.just("2021-10-01"), "customAllocationDefinition.apiVersion"),
}
asked = st.fixed_dictionaries({}, optional={name: strategy for name, (strategy, _) in EDITS.items()}).filter(
    bool
)


@given(documents(), asked)
def test_an_edit_touches_only_what_is_named_and_leaves_its_input_alone(
    document: dict[str, Any], options: dict[str, Any]
) -> None:
    before = copy.deepcopy(document)
    change = edit(Options(**options), RULES)
    after = change(document)
    assert document == before
    named = tuple(EDITS[name][1] for name in options)
    assert all(each.path.startswith(named) for each in differences(before, after))
    assert change(after) == after


@given(documents(), asked)
def test_a_difference_never_shows_a_secret(document: dict[str, Any], options: dict[str, Any]) -> None:
    after = edit(Options(**options), RULES)(document)
    shown = repr(differences(document, after)) + repr(differences(None, document)) + repr(Options(**options))
    for secret in (PRIMARY, SECONDARY, OTHER_KEY, "not-to-be-seen", "code=key"):
        assert secret not in shown


@given(documents())
def test_null_and_absent_are_no_difference(document: dict[str, Any]) -> None:
    written = {**document, "deviceId": None, "initialTwin": {**document["initialTwin"], "metadata": None}}
    assert differences(document, written) == ()


def test_a_changed_key_is_a_difference_though_it_is_masked() -> None:
    one, other = {"attestation": symmetric()}, {"attestation": symmetric(OTHER_KEY)}
    [told] = differences(one, other)
    assert told.path == "attestation.symmetricKey.primaryKey"
    assert told.before != told.after


def test_keys_that_nobody_gave_are_made_and_those_given_stay() -> None:
    made = iter([OTHER_KEY, SECONDARY])
    one = complete_keys(
        new_group("g", Options(primary_key=PRIMARY), RULES), lambda: SymmetricKey.parse(next(made))
    )
    assert one["attestation"] == symmetric(PRIMARY, OTHER_KEY)
    tpm = new_individual("d", "tpm", Options(endorsement_key="AAAA"), RULES)
    assert complete_keys(tpm, lambda: SymmetricKey.parse(next(made))) == tpm


def test_an_edit_that_names_hubs_takes_the_older_single_one_away() -> None:
    held = {"enrollmentGroupId": "g", "allocationPolicy": "hashed", "iotHubHostName": HUBS[0]}
    after = edit(Options(iot_hubs=HUBS[1:]), RULES)(held)
    assert after == {"enrollmentGroupId": "g", "allocationPolicy": "hashed", "iotHubs": list(HUBS[1:])}


def test_an_old_fault_elsewhere_does_not_stop_an_edit() -> None:
    held = {"enrollmentGroupId": "g", "allocationPolicy": "static", "iotHubs": []}
    after = edit(Options(provisioning_status="disabled"), RULES)(held)
    assert after == {**held, "provisioningStatus": "disabled"}


@given(st.text(max_size=300))
def test_no_text_of_a_certificate_breaks_the_check(text: str) -> None:
    for prepared in (text, f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"):
        with pytest.raises(InvalidOption) as refusal:
            new_group("g", Options(certificate_path=prepared), RULES)
        assert refusal.value.parameter == "certificate_path"
