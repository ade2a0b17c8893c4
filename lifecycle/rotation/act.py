"""The steps of a rotation that change a service; a crash may follow any of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from clients.ports import Telemetry
from lifecycle.rotation.observe import (
    CREDENTIAL_TAG,
    PROVIDER_TAG,
    ROTATION_TAG,
    SLOT_TAG,
    VALIDITY_TAG,
    Seen,
    keys_of,
)
from lifecycle.rotation.ports import Ports
from lifecycle.rotation.row import CANARY_PAUSE, CANARY_TRIES, CanaryState, RotationRow, SlotName
from lifecycle.rotation.step import (
    CleanCanary,
    Keep,
    Place,
    Publish,
    SetEnabled,
    Step,
    Tidy,
    TryCanary,
    WriteAhead,
)
from lifecycle.rotation.store import RotationStore
from provisioning.enrollments import DISABLED, ENABLED, EnrollmentGroup
from provisioning.keys import SymmetricKey

TAG_CHARACTERS = 256
CONTENT_TYPE = "text/plain; charset=utf-8"


class RowMoved(Exception):
    """The row is not as it was read: look again."""


class Actor:
    """Takes steps of one group's rotation, writes its row, and tells of it."""

    def __init__(
        self, store: RotationStore, ports: Ports, telemetry: Telemetry, make_key: Callable[[], SymmetricKey]
    ) -> None:
        self._store = store
        self._ports = ports
        self._telemetry = telemetry
        self._make_key = make_key

    async def act(self, row: RotationRow, seen: Seen, step: Step) -> None:
        """A step that changes a service."""
        match step:
            case WriteAhead(slot):
                made = await self._ports.vault.set(
                    row.pending, self._make_key(), tags=self._tags(row, slot), content_type=CONTENT_TYPE
                )
                await self.write(replace(row, chosen={**row.chosen, slot: made.version}))
            case Keep(slot):
                key = _held(seen, slot)
                await self._ports.vault.set(
                    row.replaced, key, tags=self._tags(row, slot), content_type=CONTENT_TYPE
                )
            case Place(slots):
                new = {slot: SymmetricKey.parse(seen.pending[slot].reveal()) for slot in slots}
                assert seen.group is not None
                await self._ports.groups.replace(seen.group.with_keys(keys_of(seen.group, new)))
            case SetEnabled(enabled):
                assert seen.group is not None
                document = seen.group.document()
                document["provisioningStatus"] = ENABLED if enabled else DISABLED
                changed = EnrollmentGroup.read(document).with_keys(keys_of(seen.group, {}))
                await self._ports.groups.replace(changed)
            case Publish(slot):
                await self._publish(row, seen, slot)
            case Tidy(versions):
                for name, version in versions:
                    await self._ports.vault.disable(name, version)
            case TryCanary(slot):
                await self._try_canary(row, seen, slot)
            case CleanCanary():
                await self._clean_canary(row)

    async def _publish(self, row: RotationRow, seen: Seen, slot: SlotName) -> None:
        terms = row.terms
        await self._ports.vault.set(
            row.secret,
            seen.pending[slot],
            tags={
                CREDENTIAL_TAG: slot,
                PROVIDER_TAG: f"{self._ports.provider}/enrollmentGroups/{row.group}"[-TAG_CHARACTERS:],
                VALIDITY_TAG: f"{terms.validity / timedelta(days=1):g}",
                ROTATION_TAG: row.rotation,
            },
            expires=self._store.clock.now() + terms.validity,
            content_type=CONTENT_TYPE,
        )

    async def _try_canary(self, row: RotationRow, seen: Seen, slot: SlotName) -> None:
        places = self._ports.places
        canary = row.canary
        if places is None:
            await self._canary_is(
                row, CanaryState.REFUSED, "no canary can be sent: the id scope is not known"
            )
            return
        if canary.state is CanaryState.NONE:
            if not await places.unused(row.group, slot):
                name = places.id(row.group, slot)
                await self._canary_is(row, CanaryState.REFUSED, f"somebody else uses its id {name}")
                return
            # Ahead of the call: what a crash leaves behind is known to be ours.
            canary = replace(
                canary,
                state=CanaryState.REGISTERING,
                dirty=True,
                last={**canary.last, slot: self._store.clock.now()},
            )
            row = await self.write(replace(row, canary=canary))
        tried = await places.attempt(row.group, slot, SymmetricKey.parse(seen.pending[slot].reveal()))
        now = self._store.clock.now()
        canary = replace(canary, tries=canary.tries + 1, last={**canary.last, slot: now}, next_try=None)
        row = replace(row, canary=canary)
        if tried.outcome == "passed":
            await self._canary_is(row, CanaryState.PASSED, "")
        elif tried.outcome == "refused" or canary.tries >= CANARY_TRIES:
            await self._canary_is(row, CanaryState.REFUSED, tried.problem)
        else:
            later = replace(canary, next_try=now + CANARY_PAUSE)
            await self.write(replace(row, canary=later, problem=tried.problem))

    async def _canary_is(self, row: RotationRow, state: CanaryState, problem: str) -> None:
        self.tell("rotation_canary", row, state=str(state), problem=problem)
        await self.write(replace(row, canary=replace(row.canary, state=state), problem=problem))

    async def _clean_canary(self, row: RotationRow) -> None:
        if self._ports.places is not None:
            await self._ports.places.clean(row.group)
        await self.write(replace(row, canary=replace(row.canary, dirty=False)))

    async def write(self, row: RotationRow) -> RotationRow:
        """Write the row that was read.

        Raises:
            RowMoved: somebody else wrote it meanwhile.
        """
        written = await self._store.replace(row)
        if written is None:
            raise RowMoved
        return written

    def _tags(self, row: RotationRow, slot: SlotName) -> Mapping[str, str]:
        return {ROTATION_TAG: row.rotation, SLOT_TAG: slot, "EnrollmentGroup": row.group}

    def tell(self, event: str, row: RotationRow, **fields: object) -> None:
        """Tell of the rotation; never a key."""
        self._telemetry.event(
            event,
            dps=self._store.dps,
            group=row.group,
            rotation=row.rotation,
            mode=str(row.mode),
            stage=str(row.stage),
            **fields,
        )


def _held(seen: Seen, slot: SlotName) -> SymmetricKey:
    """The key in a slot."""
    assert seen.group is not None
    assert seen.group.keys is not None
    key = seen.group.keys.primary if slot == "primary" else seen.group.keys.secondary
    assert key is not None
    return key
