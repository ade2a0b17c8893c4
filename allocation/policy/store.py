"""Policy versions: stored once, and one row that says which is in force.

Rows, by partition:

    DPS|policy            `active`: the pointer, moved under its ETag, in one batch with its line of history
                          `h|LATEST-FIRST`: one line per activation or rollback
    DPS|policy|VERSION    `0000`, `0001`, …: the canonical text of one version, 16,000 characters a row

Only what was validated and compiled is ever pointed at, and it is read back from the table before that: a
version that cannot be read never goes live.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from allocation.errors import NotStored, Overtaken, PolicyError
from allocation.row_keys import AFTER, dps_field, key, storable_text
from allocation.row_keys import field as key_field
from clients.ports import Change, Clock, Row, Scalar, Table

if TYPE_CHECKING:
    from allocation.policy.compile import CompiledPolicy

CHUNK = 16_000
"""Characters of a document in one row: at most 64,000 of the 65,536 bytes of a column, whatever they are."""

MOST_CHUNKS = 64
"""Rows of one document, so that they are one batch (under 4 MiB) and one page: a million characters."""

LONGEST_NAME = 512
"""Characters kept of who did it."""

PACKAGED = ""
"""The version that a pointer names when the policy in force is the packaged one, as before any activation."""

_ACTIVE, _HISTORY = "active", "h"


@dataclass(frozen=True, slots=True)
class Activation:
    """One move of the pointer.

    Attributes:
        version: what was put in force; PACKAGED for the packaged policy.
        by: who did it.
        at: when.
        number: counts the moves of this DPS, from 1.
        back: the number of the move that a rollback returns to; 0 for the state before the first.
        how: activate or rollback.
    """

    version: str
    by: str
    at: datetime | None
    number: int
    back: int
    how: Literal["activate", "rollback"]


class PolicyStore:
    """The versions of one DPS."""

    def __init__(self, table: Table, dps: str, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._partition = key(dps_field(dps), "policy")

    async def put(self, text: str) -> str:
        """Validate, compile and store a document as operators write it; nothing goes live by that.

        Returns:
            Its version. The same policy, however it is laid out, has the same one.

        Raises:
            PolicyError: not a usable policy, or too long to be stored.
            TableUnavailable: no usable answer.
        """
        from allocation.policy import canonical, compile_policy, read_document  # noqa: PLC0415 - pydantic

        document = read_document(text)
        version = compile_policy(document).version
        stored = canonical(document)
        chunks = [stored[start : start + CHUNK] for start in range(0, len(stored), CHUNK)]
        if len(chunks) > MOST_CHUNKS:
            raise PolicyError(
                f"policy: {len(stored):,} characters as stored, of at most {CHUNK * MOST_CHUNKS:,}; "
                "match many devices by a pattern instead of naming each"
            )
        try:
            await self.text(version)
        except NotStored:
            digest = _digest(stored)
            rows = [
                Row(
                    self._document(version),
                    f"{number:04d}",
                    {"text": chunk, "parts": len(chunks), "digest": digest},
                )
                for number, chunk in enumerate(chunks)
            ]
            await self._table.write([Change("put", row) for row in rows])
        return version

    async def text(self, version: str) -> str:
        """The canonical text of a version.

        Raises:
            NotStored: there is none of that name, or a part of it is missing.
            TableUnavailable: no usable answer.
        """
        parts: list[str] = []
        head: Row | None = None
        async for row in self._table.scan(self._document(version)):
            head = head or row
            if row.key != f"{len(parts):04d}" or len(parts) == head.values.get("parts"):
                break
            parts.append(str(row.values.get("text", "")))
        if head is None:
            raise NotStored(f"policy version {version!r} is not stored; put it, then activate it")
        text = "".join(parts)
        if len(parts) != head.values.get("parts") or _digest(text) != head.values.get("digest"):
            raise NotStored(f"policy version {version!r} is damaged in the table; put it again")
        return text

    async def load(self, version: str) -> "CompiledPolicy":
        """Read a version back and compile it.

        Raises:
            PolicyError: it is not stored, damaged, or no longer a policy to this version of the app.
            TableUnavailable: no usable answer.
        """
        return compiled(version, await self.text(version))

    async def activate(self, version: str, by: str) -> Activation:
        """Put a stored version in force.

        Raises:
            PolicyError: it does not load; nothing was changed.
            Overtaken: somebody else moved the pointer in the same moment; nothing was changed.
            TableUnavailable: no usable answer; look at `active` before trying again.
        """
        await self.load(version)
        there = await self._pointer()
        last = _activation(there) if there else None
        number = last.number if last else 0
        return await self._move(there, version, by, number + 1, number, "activate")

    async def rollback(self, by: str) -> Activation:
        """Put in force what was before the last activation; once more, what was before that one.

        Before the first activation was the packaged policy.

        Raises:
            PolicyError: there is nothing to go back to, or it does not load; nothing was changed.
            Overtaken, TableUnavailable: as for activate.
        """
        there = await self._pointer()
        if there is None or (last := _activation(there)).version == PACKAGED:
            raise PolicyError("policy: nothing to roll back to: no activation stands; activate a version")
        version, back = PACKAGED, 0
        if last.back:
            row = await self._table.get(self._partition, _line(last.back))
            if row is None:
                raise NotStored(
                    f"policy: line {last.back} of the history is missing; activate a version by name"
                )
            before = _activation(row)
            version, back = before.version, before.back
        if version != PACKAGED:
            await self.load(version)
        return await self._move(there, version, by, last.number + 1, back, "rollback")

    async def active(self) -> Activation | None:
        """The pointer; None if nothing was ever activated.

        Raises:
            TableUnavailable: no usable answer.
        """
        row = await self._pointer()
        return _activation(row) if row else None

    async def history(self) -> AsyncIterator[Activation]:
        """Every activation and rollback, latest first."""
        async for row in self._table.scan(self._partition, start=key(_HISTORY, ""), stop=_HISTORY + AFTER):
            yield _activation(row)

    async def _pointer(self) -> Row | None:
        return await self._table.get(self._partition, _ACTIVE)

    async def _move(
        self,
        there: Row | None,
        version: str,
        by: str,
        number: int,
        back: int,
        how: Literal["activate", "rollback"],
    ) -> Activation:
        move = Activation(version, storable_text(by, LONGEST_NAME), self._clock.now(), number, back, how)
        assert move.at is not None
        values: dict[str, Scalar] = {
            "version": version,
            "moved_by": move.by,
            "moved_at": move.at,
            "number": number,
            "back": back,
            "how": how,
        }
        pointer = Row(self._partition, _ACTIVE, values, there.etag if there else None)
        receipt = await self._table.write(
            [
                Change("replace" if there else "insert", pointer),
                Change("insert", Row(self._partition, _line(number), values)),
            ]
        )
        if receipt.outcome != "written":
            raise Overtaken(
                "policy: somebody else activated a version in the same moment, and nothing was done; "
                "look at the history, then decide again"
            )
        return move

    def _document(self, version: str) -> str:
        return key(self._partition, key_field(version))


def compiled(version: str, text: str) -> "CompiledPolicy":
    """Compile the stored text of a version.

    Raises:
        PolicyError: it is no policy to this version of the app.
    """
    from allocation.policy import compile_policy, read_canonical  # noqa: PLC0415 - pydantic

    policy = compile_policy(read_canonical(text))
    # It keeps the name it was stored under, even if a later release of the app would name it otherwise.
    return policy if policy.version == version else replace(policy, version=version)


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _line(number: int) -> str:
    return key(_HISTORY, f"{10**10 - number:010d}")


def _activation(row: Row) -> Activation:
    values = row.values
    at, number, back = values.get("moved_at"), values.get("number"), values.get("back")
    return Activation(
        version=str(values.get("version", "")),
        by=str(values.get("moved_by", "")),
        at=at if isinstance(at, datetime) else None,
        number=number if isinstance(number, int) else 0,
        back=back if isinstance(back, int) else 0,
        how="rollback" if values.get("how") == "rollback" else "activate",
    )
