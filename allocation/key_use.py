"""When each of the webhook's keys was last used, so that an old one is not deleted under somebody.

The hot path adds to a dict. What it holds goes to Table storage beside the requests: a key's first use at
once, further ones a minute later at the latest if a request comes then. An instance that dies takes at most
that last minute with it, which is nothing against the days that a key must rest before it may go.

A key is told apart by a fingerprint: 48 bits of a digest salted with its purpose. A key that the Functions
host makes has 256 random bits, and so have ours, so nobody finds one by its fingerprint.

A row per key and DPS, in a partition of its own: the function's keys are the app's, and every DPS that calls
it uses one of them. So here alone the partition does not begin with a DPS's name.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from clients.errors import ClientError
from clients.ports import Clock, Row, Table, Telemetry

PARTITION = "-|webhook-key-use"
FLUSH_SECONDS = 60.0
"""How long a use may stay in memory."""

KEYS = 64
"""Keys that one instance tells apart. A function has a few; only one that lets everybody in sees more."""

DPS = 16
"""Names of DPS that one instance tells apart: who has a key can make names up in the route."""

OTHERS = "~others"
"""What further names are counted under. No DPS can be called that."""

CODE = "code"
"""The query parameter with the key; ASP.NET compares names of parameters without their case."""

TRIES = 4
"""How often a row is written that another instance keeps moving; after that the next flush adds it."""

_PURPOSE = b"dps-fleet webhook key fingerprint 1"
_DPS = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)


def fingerprint(key: str) -> str:
    """What a key is told apart by, in rows and logs: 12 hexadecimal digits. "" of no key."""
    if not key:
        return ""
    return hmac.new(_PURPOSE, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:12]


def presented(header: str | None, url: str, params: Mapping[str, str]) -> str | None:
    """The key that the host let a request in by; None: none was presented.

    As the host's AuthenticationLevelHandler finds it (seen in its source): the header, where there is one,
    even an empty one; else the first value of the query parameter `code`, in any case of its letters. The
    parameters alone would not do: the host hands several values of one name on as one, joined by commas.

    Args:
        header: x-functions-key as the host hands it on; None: there was none.
        url: of the request, as the host hands it on; one without a query says nothing.
        params: of its query, as the host hands them on.
    """
    if header is not None:
        return header.partition(",")[0].strip() or None
    try:
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    except ValueError:
        pairs = []
    for name, value in (*pairs, *params.items()):
        if name.lower() == CODE:
            return value or None
    return None


@dataclass(frozen=True, slots=True)
class Use:
    """What is known of a key's use for a DPS.

    Attributes:
        fingerprint: of the key.
        dps: as the route names it, in lower case; "" for the one without a name.
        calls: how many.
        first: of them.
        last: of them.
        placed: those of devices that were answered 200.
        last_placed: None: none was.
    """

    fingerprint: str
    dps: str
    calls: int
    first: datetime
    last: datetime
    placed: int = 0
    last_placed: datetime | None = None

    def plus(self, other: "Use") -> "Use":
        """Both together."""
        moments = [each for each in (self.last_placed, other.last_placed) if each is not None]
        return replace(
            self,
            calls=self.calls + other.calls,
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            placed=self.placed + other.placed,
            last_placed=max(moments, default=None),
        )


class KeyUse:
    """Counts the uses of keys; one per process."""

    def __init__(self, table: Table | None, clock: Clock, telemetry: Telemetry) -> None:
        """Count nothing yet.

        Args:
            table: where they go; None: nowhere.
            clock: the time.
            telemetry: told of each flush, with fingerprints.
        """
        self._table = table
        self._clock = clock
        self._telemetry = telemetry
        self._held: dict[tuple[str, str], Use] = {}
        self._flushed: dict[tuple[tuple[str, str], bool], float] = {}
        self._keys: set[str] = set()
        self._dps: set[str] = set()
        self._writing: asyncio.Task[None] | None = None

    def count(self, key: str | None, dps: str, status: int, *, check: bool = False) -> None:
        """Note one call. Needs a running loop; never raises, and waits for nothing.

        Args:
            key: as presented, in the query or the header; None: none was.
            dps: of the route.
            status: what it was answered.
            check: only a check of the webhook called: the key was used, and no device was placed by it.
        """
        placed = status == 200 and not check
        if self._table is None or not key:
            return
        name = (fingerprint(key), _told(self._dps, dps.lower(), DPS) if _DPS.fullmatch(dps) else "")
        if _told(self._keys, name[0], KEYS) == OTHERS:
            return
        now = self._clock.now()
        used = Use(*name, 1, now, now, int(placed), now if placed else None)
        held = self._held.get(name)
        self._held[name] = used if held is None else held.plus(used)
        idle = self._writing is None or self._writing.done()
        # The first call that placed a device is worth a write of its own: a canary is watched by it.
        since = self._flushed.get((name, placed))
        if idle and (since is None or self._clock.monotonic() - since >= FLUSH_SECONDS):
            self._writing = asyncio.create_task(self.flush())

    async def flush(self) -> None:
        """Write what is held. Never raises: what could not be written stays for the next time."""
        assert self._table is not None
        held, self._held = self._held, {}
        for name, use in held.items():
            try:
                written = await _add(self._table, use)
                problem = "" if written else "its row kept moving"
            except ClientError as error:
                # It may have been written all the same: then some calls count twice. The times are right.
                written, problem = False, str(error)
            except Exception as error:  # noqa: BLE001 - a count must cost no request
                written, problem = False, type(error).__name__
            # A table that is down is not tried at every request either.
            for placed in {False, use.placed > 0}:
                self._flushed[name, placed] = self._clock.monotonic()
            if written:
                self._telemetry.event(
                    "webhook_key_used", dps=use.dps, key=use.fingerprint, calls=use.calls, placed=use.placed
                )
                continue
            there = self._held.get(name)
            self._held[name] = use if there is None else use.plus(there)
            self._telemetry.event("webhook_key_uncounted", dps=use.dps, key=use.fingerprint, problem=problem)


def _told(known: set[str], name: str, most: int) -> str:
    if name not in known and len(known) >= most:
        return OTHERS
    known.add(name)
    return name


async def read_uses(table: Table) -> tuple[Use, ...]:
    """Every key's uses.

    Raises:
        TableUnavailable.
    """
    return tuple([use async for row in table.scan(PARTITION) if (use := _use(row)) is not None])


def uses_of(uses: tuple[Use, ...], key: str) -> Use | None:
    """One key's uses for every DPS together; None: none is known. `key`: its fingerprint."""
    found: Use | None = None
    for each in uses:
        if each.fingerprint == key:
            found = each if found is None else found.plus(each)
    return found


async def _add(table: Table, use: Use) -> bool:
    """Add to the row; False: it kept moving."""
    key = f"{use.fingerprint}|{use.dps or '-'}"
    for _ in range(TRIES):
        row = await table.get(PARTITION, key)
        if row is None:
            if (await table.insert(Row(PARTITION, key, _values(use)))).outcome == "written":
                return True
            continue
        there = _use(row)
        total = use if there is None else there.plus(use)
        if (await table.replace(Row(PARTITION, key, _values(total), row.etag))).outcome == "written":
            return True
    return False


def _values(use: Use) -> Mapping[str, str | int | datetime]:
    values: dict[str, str | int | datetime] = {
        "fingerprint": use.fingerprint,
        "dps": use.dps,
        "calls": use.calls,
        "first": use.first,
        "last": use.last,
        "placed": use.placed,
    }
    return values if use.last_placed is None else {**values, "last_placed": use.last_placed}


def _use(row: Row) -> Use | None:
    """The row, if it is one of this version."""
    held = row.values
    fingerprint_, dps, calls, placed = (held.get(each) for each in ("fingerprint", "dps", "calls", "placed"))
    first, last, last_placed = (held.get(each) for each in ("first", "last", "last_placed"))
    if not (isinstance(fingerprint_, str) and isinstance(dps, str) and isinstance(calls, int)):
        return None
    if not (isinstance(first, datetime) and isinstance(last, datetime) and isinstance(placed, int)):
        return None
    at = last_placed if isinstance(last_placed, datetime) else None
    return Use(fingerprint_, dps, calls, first, last, placed, at)
