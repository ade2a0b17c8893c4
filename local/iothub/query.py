r"""The part of the hub's query language that is emulated.

    SELECT * FROM devices [WHERE condition [AND condition]...]
    SELECT COUNT() AS name FROM devices [WHERE ...]

A condition is `deviceId = 'text'`, `deviceId IN ['text', ...]`, `status = 'text'` or
`connectionState = 'text'`. Words count without case. A text stands in single or double quotes, with the
escapes \', \", \\ and \uXXXX (documented).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from local.iothub import errors
from local.iothub.device import DISABLED, ENABLED
from local.iothub.errors import HubError
from local.iothub.packing import is_connected, is_enabled

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\['"\\]|\\u[0-9a-fA-F]{4})*'|"(?:[^"\\]|\\['"\\]|\\u[0-9a-fA-F]{4})*")"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)|(?P<sign>[*()\[\],=]))"""
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_GRAMMAR = (
    "The emulator knows SELECT * or SELECT COUNT() AS name, FROM devices, and WHERE with deviceId = 'id', "
    "deviceId IN ['id', ...], status = '...' and connectionState = '...', joined by AND."
)


@dataclass(frozen=True, slots=True)
class Query:
    """What a query asks for."""

    count_as: str | None = None
    """The name of the count; None: the devices themselves."""
    ids: tuple[str, ...] | None = None
    """None: all; else only these, each once."""
    status: str | None = None
    connection_state: str | None = None

    def wants(self, packed: bytes) -> bool:
        """Whether a device's status and connection are those asked for; its id is not looked at."""
        if self.status is not None and self.status != (ENABLED if is_enabled(packed) else DISABLED):
            return False
        shown = "Connected" if is_connected(packed) else "Disconnected"
        return self.connection_state in (None, shown)

    @property
    def filters(self) -> bool:
        """Whether `wants` refuses any device."""
        return self.status is not None or self.connection_state is not None


def parse(text: str) -> Query:
    """Read a query.

    Raises:
        HubError: 400: not in the grammar above.
    """
    return _Parser(_tokens(text)).query()


def _refused(where: str) -> HubError:
    return HubError(errors.ARGUMENT_INVALID, f"BadRequest: {where[:60]!r} cannot be read. {_GRAMMAR}")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    value: str


def _tokens(text: str) -> list[_Token]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _refused(text[at:])
        kind, value = match.lastgroup, match[match.lastgroup]
        found.append(_Token(kind, _unescaped(value[1:-1]) if kind == "text" else value))
        at = match.end()
    return found


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)


class _Parser:
    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._ids: tuple[str, ...] | None = None
        self._texts: dict[str, str] = {}
        self._nothing = False

    def query(self) -> Query:
        self._word("select")
        count_as = None
        if self._peek("word", "count"):
            count_as = self._count()
        else:
            self._sign("*")
        self._word("from")
        self._word("devices")
        if self._at < len(self._tokens):
            self._word("where")
            self._condition()
            while self._at < len(self._tokens):
                self._word("and")
                self._condition()
        return Query(
            count_as=count_as,
            ids=() if self._nothing else self._ids,
            status=self._texts.get("status"),
            connection_state=self._texts.get("connectionstate"),
        )

    def _count(self) -> str:
        self._at += 1
        self._sign("(")
        self._sign(")")
        self._word("as")
        return self._take("word").value

    def _condition(self) -> None:
        name = self._take("word").value.lower().removeprefix("devices.")
        conditions: dict[str, Callable[[], None]] = {
            "deviceid": self._device_id,
            "status": lambda: self._equals("status"),
            "connectionstate": lambda: self._equals("connectionstate"),
        }
        if name not in conditions:
            self._at -= 1
            raise self._unexpected()
        conditions[name]()

    def _device_id(self) -> None:
        wanted = self._list() if self._peek("word", "in") else (self._equal_text(),)
        known = wanted if self._ids is None else tuple(each for each in self._ids if each in set(wanted))
        self._ids = tuple(dict.fromkeys(known))

    def _list(self) -> tuple[str, ...]:
        self._at += 1
        self._sign("[")
        found: list[str] = []
        while not self._peek("sign", "]"):
            if found:
                self._sign(",")
            found.append(self._take("text").value)
        self._sign("]")
        return tuple(found)

    def _equals(self, name: str) -> None:
        value = self._equal_text()
        self._nothing |= self._texts.setdefault(name, value) != value

    def _equal_text(self) -> str:
        self._sign("=")
        return self._take("text").value

    def _peek(self, kind: str, value: str) -> bool:
        if self._at >= len(self._tokens):
            return False
        token = self._tokens[self._at]
        return token.kind == kind and token.value.lower() == value

    def _word(self, value: str) -> None:
        self._expect("word", value)

    def _sign(self, value: str) -> None:
        self._expect("sign", value)

    def _expect(self, kind: str, value: str) -> None:
        if not self._peek(kind, value):
            raise self._unexpected()
        self._at += 1

    def _take(self, kind: str) -> _Token:
        if self._at >= len(self._tokens) or self._tokens[self._at].kind != kind:
            raise self._unexpected()
        self._at += 1
        return self._tokens[self._at - 1]

    def _unexpected(self) -> HubError:
        return _refused(self._tokens[self._at].value if self._at < len(self._tokens) else "its end")
