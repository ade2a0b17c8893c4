"""Texts that devices chose: whatever they hold, each format says them and obeys none of them."""

import asyncio
import json
import re
import unicodedata
from collections.abc import AsyncIterator

import html5lib
import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lifecycle.audit.checks import CHECKS
from lifecycle.audit.finding import JSON, Finding, NotEvaluated, Severity
from lifecycle.audit.formats import FORMATS, rendered
from lifecycle.audit.formats.shape import LONGEST_TEXT
from lifecycle.audit.report import (
    CertificateEnd,
    HubLoad,
    Judged,
    Novelty,
    Quota,
    Report,
    Run,
    Suppression,
    catalogue,
)
from tests.lifecycle.audit.sample import EVERY, NOW
from tests.lifecycle.audit.test_formats import sarif_schema

SARIF = jsonschema_rs.validator_for(sarif_schema())
PIECES = (
    *(
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '"><svg onload=alert(1)>',
        "</style>",
        "]]>",
    ),
    *("</title>", "<!--", "-->", "&lt;", "&#60;", "javascript:alert(1)", "' onmouseover='x", "data-label"),
    *(
        "=HYPERLINK(1)",
        "+1",
        "@SUM(A1)",
        "|",
        "`",
        "```",
        "\\|",
        "\\`",
        "[a](http://evil.example)",
        "![a](b)",
    ),
    *(
        "@channel",
        "#1",
        "<http://evil.example>",
        "www.evil.example",
        "| a | b |",
        "---",
        "# big",
        "{0}",
        "{{",
    ),
    *(
        "\x1b[31m",
        "\x07",
        "\x9b",
        "\r\n",
        "\n\n",
        "\t",
        "\x00",
        "\x7f",
        "\u202e",
        "\u2066",
        "\u200b",
        "\ufeff",
    ),
    *("\u2028", "\ud800", "\U000e0041", "ä", "日本", "a.b", "..", "/../", "%2e%2e/", " "),
)
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=6).map("".join)
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def report_of(text: str) -> Report:
    """A report with the text wherever somebody else's can be."""
    run = Run(
        id=text,
        dps=text,
        started=NOW,
        ended=NOW,
        by=text,
        sources=EVERY,
        reasons=dict.fromkeys(sorted(EVERY)[:1], text),
        not_evaluated=(NotEvaluated("DPS-REC-001", text, text),),
        quotas=(Quota(text, 1, 2, 3.0),),
        hubs=(HubLoad(text, 5),),
        certificates=(CertificateEnd(text, NOW),),
    )
    return Report(run, catalogue(CHECKS, run), expired=(suppression(text),))


def suppression(text: str) -> Suppression:
    return Suppression("DPS-REC-001", text, text, text, NOW, NOW)


async def findings_of(text: str) -> AsyncIterator[Judged]:
    evidence: dict[str, JSON] = {text: text, "many": (text, {text: (1, None, True)})}
    yield Judged(Finding("DPS-REC-001", text, Severity.HIGH, evidence, text), Novelty.NEW)
    yield Judged(Finding("DPS-REC-002", text, Severity.LOW, {}, text), Novelty.NEW, suppression(text))
    yield Judged(Finding("DPS-REC-003", text, Severity.LOW), Novelty.RESOLVED, found=False)


async def written(form: str, text: str) -> str:
    return "".join([piece async for piece in rendered(form, report_of(text), findings_of(text))])


def bones(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """Every element of a page and the names of its attributes."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    return [(str(node.tag), tuple(map(str, node.attrib))) for node in tree.iter()]


PLAIN = "plain"

BONES = bones(asyncio.run(written("html", PLAIN)))


@settings(max_examples=40, deadline=None)
@given(text=HOSTILE)
async def test_a_page_has_the_same_elements_and_attributes_whatever_it_tells(text: str) -> None:
    shown = text.strip() or "x"  # without any text some cells are left out
    page = await written("html", shown)
    assert bones(page) == BONES
    assert not [sign for sign in page if unicodedata.category(sign) in UNSEEN and sign != "\n"]


@settings(max_examples=40, deadline=None)
@given(text=HOSTILE)
async def test_a_page_says_the_text_itself(text: str) -> None:
    clean = "".join(sign for sign in text if unicodedata.category(sign) not in UNSEEN).strip() or "x"
    tree = html5lib.parse(await written("html", clean), namespaceHTMLElements=False)
    assert clean in [code.text for code in tree.iter("code")]


@settings(max_examples=40, deadline=None)
@given(text=HOSTILE)
async def test_json_reads_back_as_what_it_was_and_nothing_in_it_moves_a_terminal(text: str) -> None:
    document = await written("json", text)
    lines = await written("jsonl", text)
    for each in (document, lines):
        assert each.isascii()
        assert all(sign.isprintable() or sign == "\n" for sign in each)
    told = json.loads(document)
    assert [each["resource"] for each in told["findings"]] == [text] * 3
    assert told["findings"][0]["evidence"]["many"][0] == text
    assert json.loads(lines.splitlines()[-2])["resource"] == text


@settings(max_examples=40, deadline=None)
@given(text=HOSTILE)
async def test_sarif_stays_valid_and_each_place_below_its_folder(text: str) -> None:
    log = await written("sarif", text)
    assert all(sign.isprintable() or sign == "\n" for sign in log)
    read = json.loads(log)
    SARIF.validate(json.loads(log.encode("ascii").decode().replace("\\ud800", "?")))
    for result in read["runs"][0]["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"dps(/([A-Za-z0-9._~-]|%[0-9A-F]{2})+)+", uri)
        assert not {".", ".."} & set(uri.split("/"))
        assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == text


@settings(max_examples=40, deadline=None)
@given(text=HOSTILE)
async def test_markdown_makes_nothing_of_a_text_but_code(text: str) -> None:
    document = await written("markdown", text)
    assert not [sign for sign in document if unicodedata.category(sign) in UNSEEN and sign != "\n"]
    parser = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table")
    tokens = parser.parse(document)
    blocks = [token.type for token in tokens]
    assert blocks == [token.type for token in parser.parse(await written("markdown", text.strip() and PLAIN))]
    inner = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inner} <= {
        "text",
        "text_special",
        "code_inline",
        "html_inline",
        "strong_open",
        "strong_close",
        "softbreak",
    }
    assert {child.content for child in inner if child.type == "html_inline"} <= {"<br>"}


async def test_a_text_without_end_is_cut_where_people_read_it() -> None:
    long = "a" * 100_000
    for form in ("html", "markdown"):
        text = await written(form, long)
        assert "a" * (LONGEST_TEXT - 1) + "…" in text
        assert "a" * LONGEST_TEXT not in text
    assert json.loads(await written("json", long))["findings"][0]["resource"] == long


@pytest.mark.parametrize("form", FORMATS)
async def test_an_empty_text_breaks_nothing(form: str) -> None:
    assert await written(form, "")
