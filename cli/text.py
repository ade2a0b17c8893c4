"""Text from outside, made fit for a terminal, a JSON document and a spreadsheet."""

import json
import re
from typing import Any

_HOSTILE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: they move the cursor, colour, ring, rename the window
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # unseen, or turning
    "\ud800-\udfff"  # half a character
    "\U000e0000-\U000e007f"  # unseen tags
    "]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def visible(text: str) -> str:
    r"""The text on one line, with everything that a terminal would obey or hide as \x1b, \u202e or \n."""
    return _HOSTILE.sub(_escaped, text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON that reads back as itself; what a terminal would obey is escaped within its texts.

    JSON's own escapes cover the characters below space; the others only ever stand in texts.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "\n".join(_HOSTILE.sub(_json_escaped, line) for line in text.split("\n"))


def cell(value: Any) -> str:
    """A value as one cell for people: a text as it is, nothing for none, a list joined, else JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(map(visible, value))
    return json_text(value)


def spreadsheet_cell(value: Any) -> str:
    """A cell that no spreadsheet runs: an apostrophe goes before a text that starts as a formula would."""
    text = cell(value)
    raw = value if isinstance(value, str) else text
    if not isinstance(value, int | float) and raw.lstrip(" ").startswith(_FORMULA):
        return f"'{text}"
    return text


def _escaped(found: re.Match[str]) -> str:
    sign = found[0]
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(sign)
    if short:
        return short
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escaped(found: re.Match[str]) -> str:
    sign = found[0]
    return json.dumps(sign)[1:-1] if ord(sign) >= 0x10000 else f"\\u{ord(sign):04x}"
