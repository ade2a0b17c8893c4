"""The job that gives every enrollment the live webhook key: all groups, then all individual enrollments.

Passes follow each other until one finds nothing to rewrite and nothing that could not be. Each enrollment is
changed by the safe change (its keys sent again, its ETag, its URL read back). Where DPS masks the URL, which
key it has cannot be told: it is written again in each pass, which does no harm, and counts as done, because
this very pass wrote it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from allocation import fingerprint
from clients.errors import BadRequest, Conflict, ContinuationExpired, NotFound, PreconditionFailed
from clients.ports import Telemetry
from clients.vault_shapes import Absent, Secret
from clients.wording import plain
from lifecycle.enrollments.change import Enrollments, Kind, change
from lifecycle.errors import EnrollmentError, InvalidOption, NoSuchEnrollment
from lifecycle.jobs import Blocked, Done, Failed, JobKind, More, Progress, Slice, SliceResult
from lifecycle.rotation.webhook_key.observe import Listing
from lifecycle.rotation.webhook_key.row import RollRow, Stage
from lifecycle.rotation.webhook_key.store import RollStore
from lifecycle.rotation.webhook_key.urls import is_ours, key_of, keyed
from provisioning.documents import MalformedDocument

KIND = "webhook-key"
MOST_PASSES = 6
"""Passes of one job; more would mean that somebody gives enrollments the old key all the time."""
PAUSE_SECONDS = 300.0
"""Before a pass over what could not be rewritten."""
MOST_NAMED = 20
"""Enrollments that a result names."""

_KINDS: tuple[Kind, Kind] = ("group", "individual")


class Secrets(Protocol):
    """The vault, to read."""

    async def get(self, name: str, version: str | None = None) -> Secret | Absent:
        """A version with its value; None: the newest."""


@dataclass(frozen=True, slots=True)
class RewritePorts:
    """What a slice works on, under its shares.

    Attributes:
        listings: enrollments of each kind, in pages.
        enrollments: the same as documents.
        vault: where the key is.
    """

    listings: Mapping[Kind, Listing]
    enrollments: Mapping[Kind, Enrollments]
    vault: Secrets


def rewrite_kind(store: RollStore, ports: Callable[[Slice], RewritePorts], telemetry: Telemetry) -> JobKind:
    """The kind of job that rewrites.

    Args:
        store: the roll's row.
        ports: makes a slice's clients.
        telemetry: told of each pass.
    """

    async def run(slice_: Slice) -> SliceResult:
        return await _Rewrite(store, ports(slice_), telemetry, slice_).work()

    return JobKind(KIND, run)


class _Rewrite:
    """One slice."""

    def __init__(self, store: RollStore, ports: RewritePorts, telemetry: Telemetry, slice_: Slice) -> None:
        self._store = store
        self._ports = ports
        self._telemetry = telemetry
        self._slice = slice_
        self._key = ""
        self._bases: tuple[str, ...] = ()
        self._at: dict[str, Any] = {}

    async def work(self) -> SliceResult:  # noqa: C901 - the loop over kinds, pages and passes in one place
        """Go on from the checkpoint."""
        row = await self._store.get()
        if not _is_of(row, str(self._slice.params.get("roll"))):
            return Done({"outcome": "that roll has ended"})
        live = await self._ports.vault.get(row.secret)
        if not isinstance(live, Secret):
            return Blocked(f"the secret {row.secret} has no version that can be read: enable it, then resume")
        self._key, self._bases = live.value.reveal(), row.bases
        if fingerprint(self._key) != row.new_mark:
            return Blocked(f"the secret {row.secret} has another key than the roll's: see who changed it")
        found = self._slice.checkpoint
        self._at = _first(1) | (dict(found) if isinstance(found, Mapping) else {})
        while True:
            if self._at["kind"] == len(_KINDS):
                if (ended := await self._ended(row)) is not None:
                    return ended
                continue
            kind = _KINDS[self._at["kind"]]
            try:
                async for page in self._ports.listings[kind].pages(start=self._at["start"]):
                    if not await self._page(kind, page.items):
                        return More()
                    if page.continuation:
                        self._at["start"] = page.continuation
                    else:
                        self._at |= {"kind": self._at["kind"] + 1, "start": None}
                    self._at["seen"] = []
                    await self._save()
                    if self._slice.time_left() <= 0:
                        return More()
            except ContinuationExpired:
                # The pass begins anew: what it has rewritten is found as it shall be.
                self._at = _first(self._at["pass"])
                continue

    async def _page(self, kind: Kind, items: Iterable[Any]) -> bool:
        """One page of the listing; False: the slice's time is up within it.

        At the share of the rate a page of changes takes several slices. The next one asks for the same page,
        and a masked URL would not tell it what this one has written.
        """
        for each in items:
            if each.id in self._at["seen"]:
                continue
            if self._slice.time_left() <= 0:
                return False
            changed = await self._one(kind, each)
            self._at["seen"].append(each.id)
            if changed:
                await self._save()
        return True

    async def _one(self, kind: Kind, listed: Any) -> bool:
        """One enrollment; whether anything was sent for it."""
        counts = self._at["counts"]
        counts["seen"] += 1
        try:
            url = listed.webhook.reveal() if listed.webhook else None
        except MalformedDocument:
            url = None
        if not is_ours(url, self._bases):
            return False
        shown = key_of(str(url))
        if shown == self._key:
            counts["already"] += 1
            return False
        try:
            made = await change(self._ports.enrollments[kind], listed.id, keyed(self._bases, self._key))
        except NoSuchEnrollment:
            return True
        except (
            EnrollmentError,
            InvalidOption,
            BadRequest,
            Conflict,
            NotFound,
            PreconditionFailed,
        ) as error:
            counts["failed"] += 1
            if len(self._at["named"]) < MOST_NAMED:
                # In quotes, which telemetry takes for an id; and uncut, for half a quotation is none.
                self._at["named"].append(f"{kind} {listed.id[:128]!a}: {plain(str(error))}")
            return True
        # By the reading right before the write: the listing may be older.
        counts[_outcome(made.before, differs=bool(made.diff))] += 1
        return True

    async def _save(self) -> None:
        counts = self._at["counts"]
        await self._slice.save(self._at, Progress(done=counts["seen"], unit="enrollments"))

    async def _ended(self, row: RollRow) -> SliceResult | None:
        """Record the pass; None: another follows at once."""
        counts, number, named = self._at["counts"], self._at["pass"], self._at["named"]
        clean = not counts["rewritten"] and not counts["failed"]
        now = self._store.clock.now()

        def edit(there: RollRow) -> RollRow:
            if there.roll != row.roll:
                return there
            return replace(
                there,
                passes=there.passes + 1,
                counts=dict(counts),
                clean=now if clean else None,
                clean_since=(there.clean_since or now) if clean else None,
                proof=self._slice.job.id if clean else "",
                stage=Stage.OVERLAP if clean and there.stage is Stage.SPREADING else there.stage,
            )

        await self._store.change(edit)
        self._telemetry.event(
            "webhook_key_pass", dps=self._store.dps, roll=row.roll, clean=clean, number=number, **counts
        )
        result = {"pass": number, **counts, **({"problems": named} if named else {})}
        if clean:
            return Done({"outcome": "every enrollment with this webhook has the live key", **result})
        if number >= MOST_PASSES:
            if not counts["failed"]:
                return Failed(f"{MOST_PASSES} passes, and there is still another key each time", result)
            return Blocked(f"{counts['failed']} enrollments cannot be rewritten: {'; '.join(named)[:900]}")
        self._at = _first(number + 1)
        await self._save()
        return More(PAUSE_SECONDS) if counts["failed"] else None


def _is_of(row: RollRow, roll: str) -> bool:
    """Whether the row's roll is that of a job; its last pass comes when the old key is gone already."""
    if row.stage is Stage.IDLE:
        return row.ended == roll
    return row.roll == roll and row.standing in (Stage.SPREADING, Stage.OVERLAP)


def _first(number: int) -> dict[str, Any]:
    """Where a pass begins."""
    counts = dict.fromkeys(("seen", "already", "rewritten", "masked", "failed"), 0)
    return {"pass": number, "kind": 0, "start": None, "seen": [], "counts": counts, "named": []}


def _outcome(before: Mapping[str, Any] | None, *, differs: bool) -> str:
    """What a change comes to."""
    if not differs:
        return "already"
    url = ((before or {}).get("customAllocationDefinition") or {}).get("webhookUrl")
    return "masked" if key_of(str(url)) is None else "rewritten"
