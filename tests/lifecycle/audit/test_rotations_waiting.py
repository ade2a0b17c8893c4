"""Which rotations wait: those that somebody must look at, in words that hold nothing harmful."""

from dataclasses import replace
from datetime import timedelta

import pytest

from lifecycle.audit.checks import operation
from lifecycle.audit.evidence import OperationEvidence
from lifecycle.audit.finding import Finding, Source
from lifecycle.audit.rotations import STILL, waiting, waiting_rotations
from lifecycle.rotation.row import RotationRow, RotationTerms, Stage, Why, adopt
from lifecycle.rotation.store import RotationStore
from tests.lifecycle.audit.cloud_rig import DPS, CloudRig
from tests.lifecycle.audit.made import NOW, around


def row(**changes: object) -> RotationRow:
    made = adopt("Line-A", "line-a-key", RotationTerms(), active="primary", others="free", by="kim", now=NOW)
    return replace(made, **changes)  # type: ignore[arg-type]  # as given


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"blocked": Why.RETIRE, "stage": Stage.BLOCKED}, "retire consent needed"),
        (
            {"blocked": Why.CHANGED, "stage": Stage.BLOCKED, "problem": "the group moved"},
            "somebody else changed it: the group moved",
        ),
        ({"stage": Stage.FAILED, "problem": "no such group"}, "a new start; it failed: no such group"),
        ({"stage": Stage.STAGING, "updated": NOW - STILL}, "nothing that is known: staging since 2026-05-30"),
        (
            {"stage": Stage.OVERLAP, "until": NOW - timedelta(days=3), "updated": NOW - STILL},
            "nothing that is known: overlap since 2026-05-30",
        ),
    ],
)
def test_rotation_that_does_not_go_on_by_itself_waits(changes: dict[str, object], told: str) -> None:
    assert waiting([row(**changes)], NOW) == {"Line-A": told}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stage": Stage.STAGING, "updated": NOW - timedelta(hours=30)},
        {"stage": Stage.OVERLAP, "until": NOW + timedelta(days=9), "updated": NOW - 10 * STILL},
        {"stage": Stage.STAGING, "updated": None},
    ],
    ids=["idle", "looked at today", "the overlap runs", "when is not told"],
)
def test_rotation_that_goes_on_by_itself_does_not(changes: dict[str, object]) -> None:
    assert waiting([row(**changes)], NOW) == {}


def test_hostile_group_and_problem_are_quoted_and_plain() -> None:
    hostile = "x'; rm -rf ~ #"
    evil = row(group=hostile, stage=Stage.BLOCKED, blocked=Why.RETIRE, problem="\x1b]0;owned\x07\n<script>")
    evidence = OperationEvidence(rotations_waiting=waiting([evil], NOW))
    [finding] = [each for each in operation(evidence, around()) if isinstance(each, Finding)]
    assert finding.fix == "./run dps rotate status 'x'\"'\"'; rm -rf ~ #'"
    assert "\x1b" not in str(finding.evidence)
    assert "\n" not in str(finding.evidence["waits_for"])


async def test_row_of_another_version_makes_it_known_that_not_all_were_read() -> None:
    rig = CloudRig()
    await rig.adopt("line-a")
    table = rig.table("rotations")
    [stored] = [each async for each in table.scan("dps-1|rotation")]
    await table.put(replace(stored, values={**stored.values, "form": 99}))
    found = await waiting_rotations(RotationStore(table, DPS, rig.now))(rig.clock.now())
    assert (dict(found.groups), len(found.unread)) == ({}, 1)
    report = await rig.audit()
    assert Source.ROTATIONS not in report.run.sources
    assert "another version" in report.run.reasons[Source.ROTATIONS]
    await rig.aclose()
