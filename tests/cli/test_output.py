"""Results in every form: hostile text stays text, lists stream, secrets stay hidden."""

import csv
import io
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cli.errors import Usage
from cli.output import FORMATS, TABLE_ROWS, Format, Output, member
from cli.terminal import Terminal
from cli.text import json_text, spreadsheet_cell, visible

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\u2066\u200b\r\n\t\x00\ud800[red]markup[/red] :smile: =cmd()"
)
DANGEROUS = set("\x1b\x07\x9b\x00\r\u202e\u2066\u200b\ud800")
COLUMNS = (member("id"), member("note"))


def terminal(*, tty: bool = False, **environment: str) -> tuple[Terminal, io.StringIO]:
    out = Screen() if tty else io.StringIO()
    return Terminal(stdout=out, environment={"TERM": "xterm", "COLUMNS": "80", **environment}), out


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


async def each(*records: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for record in records:
        yield record


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("tty", [False, True])
async def test_hostile_text_never_reaches_the_terminal(form: Format, tty: bool) -> None:
    place, out = terminal(tty=tty)
    await Output(place, form).many(each({"id": HOSTILE, "note": {HOSTILE: [HOSTILE]}}), COLUMNS)
    Output(place, form).one({"id": HOSTILE, HOSTILE: HOSTILE})
    written = out.getvalue()
    escapes = written.count("\x1b[") if tty else 0  # rich's own colours are the only ones
    assert not DANGEROUS - {"\x1b"} & set(written)
    assert written.count("\x1b") == escapes
    assert "\x1b[2J" not in written
    assert "\x1b]0" not in written
    assert form == "none" or "[red]markup[/red]" in written.replace("\n", "").replace(" ", "") or tty


@given(st.text())
def test_json_reads_back_as_it_was(text: str) -> None:
    written = json_text({"a": [text, {text: text}]}, indent=2)
    assert json.loads(written) == {"a": [text, {text: text}]}
    assert not DANGEROUS & set(written)


@given(st.text())
def test_visible_text_is_one_line_that_says_everything(text: str) -> None:
    shown = visible(text)
    assert shown.splitlines() in ([], [shown])
    assert not DANGEROUS & set(shown)
    assert visible(shown) == shown


@given(st.sampled_from("=+-@\t\r\n＝＋－＠"), st.text())  # noqa: RUF001 - the wide signs are the point
def test_a_cell_that_a_spreadsheet_would_run_is_neutralised(sign: str, text: str) -> None:
    assert spreadsheet_cell(f"{sign}{text}").startswith("'")
    assert spreadsheet_cell(f"  {sign}{text}").startswith("'")


def test_numbers_and_plain_texts_are_no_formulas() -> None:
    assert [spreadsheet_cell(value) for value in (-5, 1.5, None, True, "line-a", ["a", "b"])] == [
        "-5",
        "1.5",
        "",
        "true",
        "line-a",
        "a b",
    ]


async def test_csv_is_read_back_by_a_reader_with_formulas_as_text() -> None:
    place, out = terminal()
    rows = [{"id": "a,b", "note": '"quoted"'}, {"id": "=1+1", "note": "@SUM(A1)"}, {"id": "x"}]
    await Output(place, "csv").many(each(*rows), COLUMNS)
    assert list(csv.DictReader(io.StringIO(out.getvalue()))) == [
        {"id": "a,b", "note": '"quoted"'},
        {"id": "'=1+1", "note": "'@SUM(A1)"},
        {"id": "x", "note": ""},
    ]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_json_lines_and_yaml_hold_the_same(count: int) -> None:
    rows = [{"id": f"r{number}", "note": {"n": number, "deep": [None, True]}} for number in range(count)]
    told = {}
    for form in ("json", "jsonc", "jsonl", "yaml"):
        place, out = terminal()
        assert await Output(place, form).many(each(*rows), COLUMNS) == count
        told[form] = out.getvalue()
    assert json.loads(told["json"]) == json.loads(told["jsonc"]) == rows
    assert [json.loads(line) for line in told["jsonl"].splitlines()] == rows
    assert (YAML(typ="safe", pure=True).load(told["yaml"]) or []) == rows


async def test_a_list_is_written_as_it_comes() -> None:
    for form in ("json", "jsonl", "csv", "tsv", "yaml"):
        place, out = terminal()
        lengths: list[int] = []

        async def records(
            out: io.StringIO = out, lengths: list[int] = lengths
        ) -> AsyncIterator[dict[str, Any]]:
            for number in range(50):
                lengths.append(len(out.getvalue()))
                yield {"id": str(number)}

        await Output(place, form).many(records(), COLUMNS)
        assert all(later > earlier for earlier, later in itertools.pairwise(lengths[1:]))


async def test_a_table_starts_anew_each_thousand_rows() -> None:
    place, out = terminal()
    await Output(place, "table").many(
        each(*({"id": str(number)} for number in range(2 * TABLE_ROWS + 1))), COLUMNS
    )
    assert out.getvalue().count("note") == 3


def test_a_list_within_one_result_is_a_table_of_its_own() -> None:
    place, out = terminal()
    uses = [
        {"key": "fleet-1", "calls": 3},
        {"key": "default", "calls": 12, "lastUsed": "2026-01-01T00:00:00Z"},
    ]
    Output(place, "table").one({"stage": "overlap", "uses": uses, "hubs": ["a", "b"], "none": []})
    lines = [line.split() for line in out.getvalue().splitlines() if line.strip(" ─")]
    assert lines == [
        ["member", "value"],
        ["stage", "overlap"],
        ["hubs", "a", "b"],
        ["none"],
        ["uses:"],
        ["key", "calls", "lastUsed"],
        ["fleet-1", "3"],
        ["default", "12", "2026-01-01T00:00:00Z"],
    ]


async def test_a_query_is_jmespath_over_the_whole_list() -> None:
    rows = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    for query, form, told in (
        ("[?n > `1`].id", "tsv", "b\n"),
        ("[].[id, n]", "tsv", "a\t1\nb\t2\n"),
        ("length(@)", "json", "2\n"),
        ("[0].id", "json", '"a"\n'),
        ("[].{name: id}", "csv", "name\na\nb\n"),
    ):
        place, out = terminal()
        await Output(place, form, query).many(each(*rows), COLUMNS)  # type: ignore[arg-type]  # of FORMATS
        assert out.getvalue() == told


def test_a_query_that_is_none_is_refused() -> None:
    with pytest.raises(Usage, match="--query"):
        Output(terminal()[0], "json", "[?")
    with pytest.raises(Usage, match="--query"):
        Output(terminal()[0], "json", "sum(@)").one({"a": 1})


def test_colours_are_for_terminals_that_want_them() -> None:
    for tty, environment, coloured in (
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (False, {}, False),
    ):
        place, out = terminal(tty=tty, **environment)
        Output(place, "jsonc").one({"a": 1})
        assert ("\x1b[3" in out.getvalue()) == coloured
        assert "1" in out.getvalue()


def test_hidden_secrets_are_taken_out_of_notes_and_errors() -> None:
    err = io.StringIO()
    place = Terminal(stderr=err, environment={})
    place.hide("c2VjcmV0IGtleQ==")
    place.hide("c2VjcmV0")
    place.note("the key c2VjcmV0IGtleQ== is here")
    place.error("c2VjcmV0 too")
    assert err.getvalue() == "note: the key **** is here\nerror: **** too\n"
