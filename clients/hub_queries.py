"""Device ids and query texts, as a hub's service API takes them."""

import re
from collections.abc import Iterable, Iterator

from clients.errors import NotSendable

ALL_DEVICES = "SELECT * FROM devices"

QUERY_CHARACTERS = 4096
"""Longest query text that is written. A hub's own limit is unknown; about 8,200 was seen for a job's."""

QUERY_IDS = 100
"""Most ids of one query: the default page, so that one call answers it."""

REASON_CHARACTERS = 128
"""Longest statusReason."""

_DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}", re.ASCII)
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,8192}")
_FRONT, _END = f"{ALL_DEVICES} WHERE deviceId IN [", "]"


def is_device_id(text: str) -> bool:
    """Whether a hub could have a device of that id: 1 to 128 of the characters it allows (documented).

    "." and ".." are left out: in a path they mean something else.
    """
    return _DEVICE_ID.fullmatch(text) is not None and text not in {".", ".."}


def checked_device_id(text: str) -> str:
    """The id, if it is one.

    Raises:
        NotSendable: it is none. The message shows it with everything unprintable escaped.
    """
    if not is_device_id(text):
        raise NotSendable(
            f"device id {text[:140]!a} is none that a hub can have: 1 to 128 letters, digits and "
            "- : . + % _ # * ? ! ( ) , = @ ; $ '"
        )
    return text


def if_match(etag: str) -> str:
    """An identity's etag as the header wants it: hubs took it only in quotes once (seen both ways).

    Raises:
        NotSendable: it is empty, a wildcard, or no etag.
    """
    bare = etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag
    if bare == "*" or '"' in bare or not _PRINTABLE.fullmatch(bare):
        raise NotSendable("etag: give the one that was read with the device; a wildcard guards nothing")
    return f'"{bare}"'


def checked_continuation(token: str) -> str:
    """A continuation token, fit for a header.

    Raises:
        NotSendable: no hub gave it.
    """
    if not _PRINTABLE.fullmatch(token):
        raise NotSendable("continuation: give the one that came with the page before, or none to begin again")
    return token


def batches(ids: Iterable[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Queries that together ask for all ids, each with the ids it asks for.

    Ids are checked against what a hub allows, which leaves the quote as the only character that means
    something within a text; it is escaped with a backslash (documented).

    Raises:
        NotSendable: one of them is no device id; those before it have been given out.
    """
    texts: list[str] = []
    wanted: set[str] = set()
    size = 0
    for device_id in ids:
        if device_id in wanted:
            continue
        text = "'" + checked_device_id(device_id).replace("'", "\\'") + "'"
        if texts and (len(texts) == QUERY_IDS or size + len(text) + 1 > QUERY_CHARACTERS):
            yield _query(texts), frozenset(wanted)
            texts, wanted, size = [], set(), 0
        size += len(text) + 1 if texts else len(_FRONT) + len(text) + len(_END)
        texts.append(text)
        wanted.add(device_id)
    if texts:
        yield _query(texts), frozenset(wanted)


def _query(texts: Iterable[str]) -> str:
    return f"{_FRONT}{','.join(texts)}{_END}"
