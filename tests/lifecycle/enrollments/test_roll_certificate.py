"""A certificate is rolled step by step; each step can be repeated, and none can be taken out of turn."""

import copy
from typing import Any

import pytest

from lifecycle.enrollments import roll_certificate as roll
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import Enrollments, change, create, with_keys
from lifecycle.enrollments.roll_certificate import New, Slots, Step, edit, next_step, slots
from lifecycle.enrollments.verify import certificate_thumbprints
from lifecycle.errors import InvalidOption, NotVerified
from local.explore import Life, Run, explore
from local.switches import Switches
from tests.lifecycle.enrollments.rig import Rig
from tests.local.dps.pki import root, self_signed

OLD, NEW, THIRD = (root(name).pem for name in ("Old", "New", "Third"))
STEPS: tuple[Step, ...] = ("stage", "promote", "retire")
NAMES = {text: New(text).name for text in (OLD, NEW, THIRD)}


def signed(primary: str | None = OLD, secondary: str | None = None) -> Document:
    held = {"primary": primary, "secondary": secondary}
    certificates = {slot: {"certificate": text} for slot, text in held.items() if text}
    return {
        "enrollmentGroupId": "line-x",
        "attestation": {"type": "x509", "x509": {"signingCertificates": certificates}},
    }


def named(primary: str = "old-ca", secondary: str | None = None) -> Document:
    held = {"primary": primary} | ({"secondary": secondary} if secondary else {})
    return {"enrollmentGroupId": "line-x", "attestation": {"type": "x509", "x509": {"caReferences": held}}}


def info_only(document: Document) -> Document:
    """The document as a service shows it that does not show certificates' texts."""
    for slot in document["attestation"]["x509"]["signingCertificates"].values():
        sha1, sha256 = certificate_thumbprints(slot.pop("certificate")) or ("", "")
        slot["info"] = {"sha1Thumbprint": sha1, "sha256Thumbprint": sha256, "subjectName": "CN=x"}
    return document


def names(document: Document) -> tuple[str | None, str | None]:
    held = slots(document)
    return tuple(each.name if each else None for each in (held.primary, held.secondary))  # type: ignore[return-value]


def test_three_steps_exchange_the_certificate() -> None:
    document = signed()
    assert names(document := edit("stage", New(NEW))(document)) == (NAMES[OLD], NAMES[NEW])
    assert names(document := edit("promote", New(NEW))(document)) == (NAMES[NEW], NAMES[OLD])
    assert names(edit("retire", New(NEW))(document)) == (NAMES[NEW], None)


@pytest.mark.parametrize("step", STEPS)
def test_each_step_done_twice_is_done_once(step: Step) -> None:
    document = signed()
    for each in STEPS[: STEPS.index(step) + 1]:
        document = edit(each, New(NEW))(document)
    assert edit(step, New(NEW))(document) == document


def test_earlier_step_after_a_later_one_changes_nothing_back() -> None:
    rolled = signed(NEW)
    for step in STEPS:
        assert edit(step, New(NEW))(rolled) == rolled
    promoted = signed(NEW, OLD)
    assert edit("stage", New(NEW))(promoted) == promoted


@pytest.mark.parametrize(
    ("step", "document", "message"),
    [
        ("stage", signed(OLD, THIRD), "both slots are in use"),
        ("promote", signed(), "is in no slot"),
        ("retire", signed(), "is in no slot"),
        ("retire", signed(OLD, NEW), "--promote"),
        ("promote", signed(OLD, THIRD), "is in no slot"),
        ("stage", named(), "CA certificates by name"),
        ("stage", {"attestation": {"type": "symmetricKey"}}, "not by X.509"),
        ("stage", {"attestation": {"type": "x509", "x509": {}}}, "neither certificates"),
    ],
)
def test_step_out_of_turn_is_refused_with_the_one_that_can_be_made(
    step: Step, document: Document, message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        edit(step, New(NEW))(document)


def test_ca_names_roll_likewise() -> None:
    document = named()
    new = New(ca_name="new-ca")
    for step, expected in zip(
        STEPS, [("old-ca", "new-ca"), ("new-ca", "old-ca"), ("new-ca", None)], strict=True
    ):
        document = edit(step, new)(document)
        assert names(document) == expected
    with pytest.raises(InvalidOption, match="certificates of its own"):
        edit("stage", new)(signed())


def test_certificate_that_changes_its_slot_is_sent_with_its_text() -> None:
    hidden = info_only(signed(OLD, NEW))
    with pytest.raises(InvalidOption, match="--old-certificate-path"):
        edit("promote", New(NEW))(hidden)
    with pytest.raises(InvalidOption, match="--old-certificate-path"):
        edit("promote", New(NEW, old_certificate=THIRD))(hidden)
    after = edit("promote", New(NEW, old_certificate=OLD))(hidden)
    assert after["attestation"]["x509"]["signingCertificates"] == {
        "primary": {"certificate": NEW},
        "secondary": {"certificate": OLD},
    }
    retired = edit("retire", New(NEW))(info_only(after))
    assert retired["attestation"]["x509"]["signingCertificates"] == {"primary": {"certificate": NEW}}


@pytest.mark.parametrize(
    ("document", "new", "words"),
    [
        (signed(), None, "--certificate-path"),
        (signed(), NAMES[NEW], "--certificate-path"),
        (signed(OLD, NEW), NAMES[NEW], "--promote"),
        (signed(NEW, OLD), NAMES[NEW], "--retire"),
        (signed(NEW), NAMES[NEW], "complete"),
        (signed(OLD, THIRD), NAMES[NEW], "both slots"),
        (signed(OLD, NEW), None, "--promote"),
        (named(), None, "--ca-name"),
    ],
    # Named, since the certificates and so their thumbprints are made anew in every process.
    ids=["unnamed", "begin", "promote", "retire", "done", "full", "promote unnamed", "ca names"],
)
def test_next_step_is_told_from_every_state(document: Document, new: str | None, words: str) -> None:
    assert words in next_step(slots(document), new)


async def test_roll_under_every_switch_and_crash_leaves_the_old_or_the_new_one_in_force() -> None:
    async def scenario(run: Run) -> None:
        rig = Rig(Switches(run))
        await create(rig.groups(), signed())

        async def work(life: Life) -> None:
            enrollments = rig.groups(life.transport(rig.transport()))
            for step in STEPS:
                try:
                    await change(enrollments, "line-x", edit(step, New(NEW)))
                finally:
                    held = rig.service.group("line-x")
                    assert held is not None
                    there = names(held.wire())
                    assert NAMES[OLD] in there or there[0] == NAMES[NEW]

        await run.live(work)
        held = rig.service.group("line-x")
        assert held is not None
        assert names(held.wire()) == (NAMES[NEW], None)
        await rig.aclose()

    report = await explore(scenario)
    report.check()
    assert report.runs > 10


async def test_individual_enrollments_certificate_is_rolled_too() -> None:
    rig = Rig()
    one, two = self_signed("dev-1").pem, self_signed("dev-1").pem
    document: dict[str, Any] = {
        "registrationId": "dev-1",
        "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": one}}}},
    }
    await create(rig.individuals(), document)
    for step in STEPS:
        await change(rig.individuals(), "dev-1", edit(step, New(two)))
    held = await with_keys(rig.individuals(), "dev-1")
    assert held is not None
    assert names(held) == (New(two).name, None)
    await rig.aclose()


class Service:
    """A service that shows no texts of certificates, and perhaps keeps what was removed."""

    kind = "group"

    def __init__(self, inner: Enrollments, *, keeps_removed: bool = False) -> None:
        self.inner = inner
        self.keeps_removed = keeps_removed

    async def read(self, enrollment_id: str) -> Document | None:
        found = await self.inner.read(enrollment_id)
        return None if found is None else info_only(found)

    async def write(self, enrollment_id: str, document: Document, etag: str | None) -> Document:
        document = copy.deepcopy(document)
        certificates = document["attestation"]["x509"]["signingCertificates"]
        if self.keeps_removed:
            certificates.setdefault("secondary", {"certificate": OLD})
        return await self.inner.write(enrollment_id, document, etag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_what_is_read_back_is_compared_by_thumbprint_where_no_text_is_shown() -> None:
    rig = Rig()
    await create(rig.groups(), signed(NEW, OLD))
    service: Any = Service(rig.groups())
    await change(service, "line-x", edit("retire", New(NEW)))
    held = await with_keys(rig.groups(), "line-x")
    assert held is not None
    assert names(held) == (NAMES[NEW], None)
    await rig.aclose()


async def test_old_certificate_that_the_service_keeps_is_found_out() -> None:
    rig = Rig()
    await create(rig.groups(), signed(NEW, OLD))
    service: Any = Service(rig.groups(), keeps_removed=True)
    with pytest.raises(NotVerified, match="secondary"):
        await change(service, "line-x", edit("retire", New(NEW)))
    await rig.aclose()


def test_slots_of_a_certificate_that_cannot_be_read_are_told_apart_from_empty_ones() -> None:
    odd = {
        "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": "?"}}}}
    }
    held: Slots = slots(odd)
    assert held.primary == roll.Credential("unreadable")
