"""Every check finds its fault, and nothing else does; a clean service has none."""

import re
import shlex
from collections import Counter
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest

from cli.app import application
from lifecycle.audit.checks import CHECKS, check_of, not_evaluated
from lifecycle.audit.evidence import DeviceEvidence, OperationEvidence, WebhookEvidence
from lifecycle.audit.finding import Check, Source
from tests.lifecycle.audit.made import (
    HUB_A,
    NOW,
    Evidence,
    around,
    ca,
    certificate,
    counts,
    device_of,
    findings,
    group,
    individual,
    look,
    named_cas,
    record,
    row,
    signed_by,
)
from tests.lifecycle.audit.planted import CLIENT, PLANTED

README = (Path(__file__).parents[3] / "README.md").read_text()

CLEAN: tuple[Evidence, ...] = (
    group(),
    group(signed_by(certificate())),
    group(named_cas("ROOT")),
    individual(),
    individual(device_of(certificate(authority=False, usages=(CLIENT,)))),
    individual({"provisioningStatus": "disabled", "allocationPolicy": None}, registered=False),
    record(),
    record(group=None),
    counts(),
    OperationEvidence(policy_active="one", policy_seen=frozenset({"one"})),
    WebhookEvidence("group:line-a", 200, "", 0.1),
    WebhookEvidence("group:line-a", 401, "", 0.1, with_key=False),
)


def test_every_check_has_a_planted_fault() -> None:
    assert PLANTED.keys() == {check.id for check in CHECKS}


@pytest.mark.parametrize("check_id", PLANTED)
def test_a_planted_fault_is_found_by_its_check_alone(check_id: str) -> None:
    planted = PLANTED[check_id]
    told = findings(planted.evidence, planted.around)
    assert {each.check for each in told} == {check_id}
    [finding] = [each for each in told if each.resource == planted.resource]
    assert finding.severity is planted.severity
    assert dict(planted.shows).items() <= dict(finding.evidence).items()
    assert planted.fix in finding.fix


@pytest.mark.parametrize("check_id", PLANTED)
def test_a_fault_is_the_same_finding_in_every_run(check_id: str) -> None:
    planted = PLANTED[check_id]
    first, second = (findings(planted.evidence, planted.around) for _ in range(2))
    assert first == second
    assert max(Counter((each.check, each.resource) for each in first).values()) == 1


@pytest.mark.parametrize("evidence", CLEAN, ids=lambda each: type(each).__name__)
def test_a_clean_service_has_no_finding_and_everything_is_evaluated(evidence: Evidence) -> None:
    assert list(look(evidence, around())) == []


def test_with_every_source_known_all_checks_are_evaluated() -> None:
    assert list(not_evaluated(around())) == []


@pytest.mark.parametrize("source", Source)
def test_a_source_that_is_not_known_is_named_by_each_check_that_wants_it(source: Source) -> None:
    without = frozenset({source})
    changes = {"webhook": ""} if source is Source.CONFIGURATION else {}
    told = list(not_evaluated(around(without=without, **changes)))
    assert {each.check for each in told} == {
        check.id for check in CHECKS if source in check.needs | check.reads
    }
    assert all(source in each.reason or "WEBHOOK_URL" in each.reason for each in told)


@pytest.mark.parametrize("check", [check for check in CHECKS if check.needs], ids=lambda check: str(check.id))
def test_a_check_whose_needs_are_not_met_finds_nothing(check: Check) -> None:
    planted = PLANTED[check.id]
    for source in check.needs:
        with_ = around(
            without=frozenset({source}), webhook="" if source is Source.CONFIGURATION else "https://a.b"
        )
        assert check.id not in {each.check for each in findings(planted.evidence, with_)}


def test_ids_are_in_order_of_family_and_number_without_gaps() -> None:
    families: dict[str, list[int]] = {}
    for check in CHECKS:
        prefix, family, number = check.id.split("-")
        assert prefix == "DPS"
        families.setdefault(family, []).append(int(number))
    assert list(families) == ["ALLOC", "CRED", "REC", "QUOTA", "OPS"]
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in families.values())


def test_a_check_is_found_by_its_id_in_any_case() -> None:
    assert check_of("dps-cred-001") is CHECKS[13]
    assert check_of("DPS-CRED-999") is None


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.id))
def test_each_check_says_what_why_and_whence_in_one_line(check: Check) -> None:
    for text in (check.title, check.why, check.fix, check.source):
        assert text
        assert "\n" not in text
        assert "|" not in text  # it stands in a table of README
    assert not check.title.endswith(".")
    assert check.needs | check.reads
    assert not check.needs & check.reads


def commands(fix: str) -> list[list[str]]:
    """The commands of a fix, as a shell takes them apart; words for people between them are passed over."""
    parts = fix.split(", then ")
    return [shlex.split(part) for part in parts if part.startswith(("./run dps ", "az iot "))]


def test_a_fix_quotes_what_it_names_for_a_shell() -> None:
    hostile = "x'; rm -rf ~ #"
    told = chain.from_iterable(
        findings(evidence)
        for evidence in (
            group({"enrollmentGroupId": hostile, "allocationPolicy": None}),
            record({"registrationId": hostile, "status": "failed"}),
            DeviceEvidence(HUB_A, row(hostile), confirmed=True),
            OperationEvidence(jobs_blocked={hostile: ""}, rotations_waiting={hostile: ""}),
        )
    )
    fixes = [each.fix for each in told]
    assert len(fixes) == 5
    for fix in fixes:
        assert any(hostile in command for command in commands(fix))


def test_no_fix_of_a_planted_fault_lacks_a_name() -> None:
    told = chain.from_iterable(findings(each.evidence, each.around) for each in PLANTED.values())
    assert [each.fix for each in told if re.search(r"\{\w+\}", each.fix)] == []


PLANNED = frozenset({"audit", "decommission", "job", "purge", "rotate"})
"""Nouns that commands may not have yet; once they do, their commands are parsed as well."""


def test_every_command_that_a_fix_names_is_one_that_there_is() -> None:
    told = [each for planted in PLANTED.values() for each in findings(planted.evidence, planted.around)]
    one = individual({"allocationPolicy": None, "customAllocationDefinition": None})
    named = group(named_cas("ROOT"))
    soon = around(certificates=(ca("root", certificate(end=NOW + timedelta(days=50))),))
    told += findings(one) + findings(named, soon) + findings(counts(), soon)
    words = [command[2:] for each in told for command in commands(each.fix) if command[0] == "./run"]
    assert len(words) > len(CHECKS) * 3 // 4
    root = application()
    for command in words:
        if command[0] in PLANNED and command[0] not in root:
            continue
        root.parse_args(command, exit_on_error=False, print_error=False, help_on_error=False)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.id))
def test_each_check_stands_in_readme_with_its_severity_title_and_fix(check: Check) -> None:
    assert f"| `{check.id}` | {check.severity} | {check.title} | `{check.fix}` |" in README


def test_readme_has_no_check_that_there_is_not() -> None:
    assert re.findall(r"^\| `(DPS-[A-Z]+-\d+)` \|", README, re.MULTILINE) == [check.id for check in CHECKS]
