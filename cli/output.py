"""Results as JSON, JSON lines, tables, CSV, TSV or YAML.

JSON and YAML have the service's own members, all of them. Tables, CSV and TSV have columns: those of the
command, or the members of what --query leaves. Lists are written as they are read, so that a million
records need no more memory than a hundred; only --query needs the whole list first.
"""

import csv
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cli.errors import Usage
from cli.terminal import Terminal
from cli.text import cell, json_text, spreadsheet_cell

Format = Literal["json", "jsonc", "jsonl", "table", "csv", "tsv", "yaml", "yamlc", "none"]
FORMATS: tuple[Format, ...] = get_args(Format)

TABLE_ROWS = 1000
"""Rows of one table; more of them come as more tables, so that the widths need not wait for the last row."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, and how a record's value is read."""

    heading: str
    read: Callable[[Mapping[str, Any]], Any]


def member(path: str, heading: str | None = None) -> Column:
    """The column of a member, by its path: "reprovisionPolicy.updateHubAssignment"."""

    def read(record: Any) -> Any:
        for name in path.split("."):
            record = record.get(name) if isinstance(record, Mapping) else None
        return record

    return Column(heading or path, read)


async def first(records: AsyncIterator[Any], top: int | None) -> AsyncIterator[Any]:
    """At most `top` of them; None or -1: all. No page is read beyond the one that has the last."""
    left = -1 if top is None else top
    if left < -1:
        raise Usage(f"--top: it is {top}; give a number, or -1 for all")
    if left == 0:
        return
    async for each in records:
        yield each
        left -= 1
        if left == 0:
            return


class Output:
    """Writes the results of one command."""

    def __init__(self, terminal: Terminal, form: Format = "json", query: str | None = None) -> None:
        """Prepare.

        Args:
            terminal: results go to its stdout.
            form: how.
            query: JMESPath over the whole result.

        Raises:
            Usage: the query is no JMESPath.
        """
        self._terminal = terminal
        self.form = form
        self._search = _compiled(query)

    def one(self, result: Any, columns: Sequence[Column] = ()) -> None:
        """Write one result: an object, mostly."""
        if self._search:
            result, columns = self._search(result), ()
            if isinstance(result, list) and self.form not in ("json", "jsonc", "yaml", "yamlc"):
                self._rows(result, columns)
                return
        if self.form == "table" and isinstance(result, Mapping) and not columns:
            self._members(result)
        elif self.form in ("table", "csv", "tsv", "jsonl"):
            self._rows([result], columns)
        elif self.form in ("yaml", "yamlc"):
            self._yaml(result)
        elif self.form != "none":
            self._json(json_text(result, indent=2) + "\n")

    def _members(self, result: Mapping[str, Any]) -> None:
        """A row for each member; a list of objects is a table below: no terminal shows it in a cell."""
        below = {name: value for name, value in result.items() if _is_table(value)}
        above = [{"member": name, "value": value} for name, value in result.items() if name not in below]
        if above:
            self._rows(above, ())
        for name, rows in below.items():
            self._terminal.stdout.write(f"{cell(name)}:\n")
            self._rows(
                rows, [member_named(each) for each in dict.fromkeys(key for row in rows for key in row)]
            )

    async def many(self, results: AsyncIterator[Mapping[str, Any]], columns: Sequence[Column]) -> int:
        """Write a list as it comes; returns how many there were.

        An error on the way leaves what was written, and is the caller's.
        """
        if self._search:
            found = [each async for each in results]
            self.one(found)
            return len(found)
        writer = self._writers()[self.form](columns)
        count = 0
        async for each in results:
            writer.add(each)
            count += 1
        writer.end()
        return count

    def _rows(self, rows: Iterable[Any], columns: Sequence[Column]) -> None:
        writer = self._writers()[self.form](columns)
        for row in rows:
            writer.add(row)
        writer.end()

    def _writers(self) -> Mapping[Format, Callable[[Sequence[Column]], "_Writer"]]:
        stream, terminal = self._terminal.stdout, self._terminal
        return {
            "json": lambda _: _JsonArray(self._json),
            "jsonc": lambda _: _JsonArray(self._json),
            "jsonl": lambda _: _Lines(lambda each: stream.write(json_text(each) + "\n")),
            "table": lambda columns: _Table(terminal, columns),
            "csv": lambda columns: _Csv(terminal, columns),
            "tsv": lambda columns: _Lines(lambda each: stream.write(_tsv(each, columns))),
            "yaml": lambda _: _Lines(lambda each: self._yaml([each])),
            "yamlc": lambda _: _Lines(lambda each: self._yaml([each])),
            "none": lambda _: _Lines(lambda _each: 0),
        }

    def _json(self, text: str) -> None:
        if self.form == "jsonc" and self._terminal.stdout.isatty():
            from rich.syntax import Syntax  # noqa: PLC0415 - rich takes a while to load

            self._terminal.out().print(Syntax(text.rstrip("\n"), "json", background_color="default"))
        else:
            self._terminal.stdout.write(text)

    def _yaml(self, value: Any) -> None:
        from ruamel.yaml import YAML  # noqa: PLC0415 - as above

        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.allow_unicode = False  # what a terminal would obey is escaped with the rest
        yaml.width = 1_000_000
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as None only
        yaml.dump(value, self._terminal.stdout)


class _Writer:
    """Takes records one by one."""

    def add(self, record: Any) -> None:
        """One more."""
        raise NotImplementedError

    def end(self) -> None:
        """That was the last."""


class _Lines(_Writer):
    def __init__(self, write: Callable[[Any], object]) -> None:
        self._write = write

    def add(self, record: Any) -> None:
        self._write(record)


class _JsonArray(_Writer):
    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._any = False

    def add(self, record: Any) -> None:
        text = json_text(record, indent=2).replace("\n", "\n  ")
        self._write(f"{',' if self._any else '['}\n  {text}")
        self._any = True

    def end(self) -> None:
        self._write("\n]\n" if self._any else "[]\n")


class _Csv(_Writer):
    def __init__(self, terminal: Terminal, columns: Sequence[Column]) -> None:
        self._writer = csv.writer(terminal.stdout, lineterminator="\n")
        self._columns = columns
        self._headed = False

    def add(self, record: Any) -> None:
        self._columns = self._columns or _columns_of(record)
        self._head()
        self._writer.writerow([spreadsheet_cell(column.read(record)) for column in self._columns])

    def end(self) -> None:
        self._head()

    def _head(self) -> None:
        if not self._headed and self._columns:
            self._writer.writerow([spreadsheet_cell(column.heading) for column in self._columns])
        self._headed = True


class _Table(_Writer):
    def __init__(self, terminal: Terminal, columns: Sequence[Column]) -> None:
        self._terminal = terminal
        self._columns = columns
        self._rows: list[list[str]] = []

    def add(self, record: Any) -> None:
        self._columns = self._columns or _columns_of(record)
        self._rows.append([cell(column.read(record)) for column in self._columns])
        if len(self._rows) >= TABLE_ROWS:
            self._print()

    def end(self) -> None:
        if self._rows:
            self._print()

    def _print(self) -> None:
        from rich import box  # noqa: PLC0415 - rich takes a while to load
        from rich.table import Table  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in self._columns:
            table.add_column(Text(cell(column.heading)), overflow="fold")
        for row in self._rows:
            table.add_row(*map(Text, row))  # Text: what looks like rich's markup is none
        self._terminal.out().print(table)
        self._rows = []


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _tsv(record: Any, columns: Sequence[Column]) -> str:
    """As az writes it: values alone, without a heading."""
    read = columns or _columns_of(record)
    return "\t".join(cell(column.read(record)) for column in read) + "\n"


def _columns_of(record: Any) -> Sequence[Column]:
    if isinstance(record, Mapping):
        return [member_named(name) for name in record]
    if isinstance(record, list):
        return [_item(place) for place in range(len(record))]
    return [Column("value", lambda value: value)]


def member_named(name: str) -> Column:
    """The column of a member whose name may hold dots."""

    def read(record: Any) -> Any:
        return record.get(name) if isinstance(record, Mapping) else None

    return Column(name, read)


def _item(place: int) -> Column:
    def read(record: Any) -> Any:
        return record[place] if isinstance(record, list) and place < len(record) else None

    return Column(f"column{place + 1}", read)


def _compiled(query: str | None) -> Callable[[Any], Any] | None:
    if query is None:
        return None
    import jmespath  # noqa: PLC0415 - put off until somebody queries
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415 - as above

    try:
        compiled = jmespath.compile(query)
    except JMESPathError as error:
        shown = " ".join(str(error).split())
        raise Usage(f"--query: {shown}; write JMESPath, like '[].etag'") from None

    def search(value: Any) -> Any:
        try:
            return compiled.search(value)
        except JMESPathError as error:
            raise Usage(f"--query: {' '.join(str(error).split())}; its functions take other values") from None

    return search
