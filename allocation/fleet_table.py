"""The fleet table: the one owner of hub states, and the last counted loads.

A partition per DPS. Rows `state|HUB` hold an operator's word on a hub, changed by the commands below and by
nothing else; rows `load|HUB` hold how many devices the hub said it has, written by the lifecycle role.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from allocation.errors import Overtaken
from allocation.fleet import FleetView, HubState
from allocation.row_keys import dps_field, key, storable_text
from allocation.row_keys import field as key_field
from clients.ports import Clock, Receipt, Row, Scalar, Table
from provisioning.hubs import HubKey, hub_key

LONGEST_NOTE = 512
"""Characters of an operator's note or name that are kept."""

_STATE, _LOAD = "state", "load"


@dataclass(frozen=True, slots=True)
class StateRow:
    """An operator's word on a hub.

    Attributes:
        by: who said it, as given to the command.
        at: when.
        note: why, as given to the command.
        readable: False where the row holds no state this version knows. It then counts as cordoned: nobody
            is placed there against a word that cannot be read, and nobody is moved by it.
    """

    hub: HubKey
    state: HubState
    by: str
    at: datetime | None
    note: str = ""
    readable: bool = True
    etag: str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LoadRow:
    """What a hub last said of its number of devices.

    Attributes:
        devices: as counted; None if no count ever succeeded.
        as_of: when it was asked for that count; None as above.
        source: who counted, such as `statistics`.
        failing_since: since when counting fails; None while it does not.
        error: what went wrong last; "" while nothing does.
    """

    hub: HubKey
    devices: int | None = None
    as_of: datetime | None = None
    source: str = ""
    failing_since: datetime | None = None
    error: str = ""
    etag: str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class FleetRows:
    """All rows of one DPS."""

    states: Mapping[HubKey, StateRow]
    loads: Mapping[HubKey, LoadRow]

    def view(self, now: datetime) -> FleetView:
        """The fleet as an instance that read it just now has it."""
        return FleetView(
            states={hub: row.state for hub, row in self.states.items() if row.state is not HubState.OPEN},
            loads={hub: row.devices for hub, row in self.loads.items() if row.devices is not None},
            as_of=now,
        )


async def read_fleet(table: Table, dps: str) -> FleetRows:
    """Every row of a DPS, in one page unless it has hundreds of hubs.

    Raises:
        TableUnavailable: the table gave no usable answer.
    """
    states: dict[HubKey, StateRow] = {}
    loads: dict[HubKey, LoadRow] = {}
    async for row in table.scan(dps_field(dps)):
        if row.key.startswith(key(_STATE, "")):
            state = _read_state(row)
            states[state.hub] = state
        elif row.key.startswith(key(_LOAD, "")):
            load = _read_load(row)
            loads[load.hub] = load
    return FleetRows(states, loads)


async def cordon(table: Table, dps: str, hub: str, by: str, clock: Clock, note: str = "") -> StateRow:
    """Let the hub take no new device; those it has stay. The other commands take and raise the same.

    Args:
        table: the fleet table.
        dps: the DPS's name, as in the webhook's route.
        hub: the host name.
        by: who says so.
        clock: for the date.
        note: why.

    Raises:
        Overtaken: somebody else changed this hub's state in the same moment; nothing was done.
        TableUnavailable: no usable answer; read the state before trying again.
    """
    return await _say(table, dps, StateRow(hub_key(hub), HubState.CORDONED, by, clock.now(), note))


async def drain(table: Table, dps: str, hub: str, by: str, clock: Clock, note: str = "") -> StateRow:
    """Let the hub take no new device, and let go of those it has as they register and have where to go."""
    return await _say(table, dps, StateRow(hub_key(hub), HubState.DRAINING, by, clock.now(), note))


async def uncordon(table: Table, dps: str, hub: str, by: str, clock: Clock, note: str = "") -> StateRow:
    """Open the hub again, whatever its state was."""
    return await _say(table, dps, StateRow(hub_key(hub), HubState.OPEN, by, clock.now(), note))


async def disable(table: Table, dps: str, hub: str, by: str, clock: Clock, note: str = "") -> StateRow:
    """As drain, for a hub that is not to come back."""
    return await _say(table, dps, StateRow(hub_key(hub), HubState.DISABLED, by, clock.now(), note))


async def _say(table: Table, dps: str, said: StateRow) -> StateRow:
    partition, row_key = dps_field(dps), key(_STATE, key_field(said.hub))
    there = await table.get(partition, row_key)
    values: dict[str, Scalar] = {
        "hub": said.hub,
        "state": said.state.value,
        "said_by": storable_text(said.by, LONGEST_NOTE),
        "note": storable_text(said.note, LONGEST_NOTE),
    }
    if said.at is not None:
        values["said_at"] = said.at
    row = Row(partition, row_key, values, there.etag if there else None)
    receipt = await _guarded(table, row, there)
    if receipt.outcome != "written":
        raise Overtaken(
            f"hub {said.hub}: somebody else changed its state in the same moment, and nothing was done; "
            "look at it and say it again if it still holds"
        )
    return replace(said, etag=receipt.etag)


async def write_load(table: Table, dps: str, load: LoadRow) -> bool:
    """Keep a count in place of the one that was read (`load.etag`; None: there was none).

    False if another run wrote meanwhile: its count is as good.

    Raises:
        TableUnavailable: no usable answer.
    """
    values: dict[str, Scalar] = {"hub": load.hub, "source": load.source}
    if load.devices is not None and load.as_of is not None:
        values |= {"devices": load.devices, "as_of": load.as_of}
    if load.failing_since is not None:
        values |= {"failing_since": load.failing_since, "error": storable_text(load.error, LONGEST_NOTE)}
    row = Row(dps_field(dps), key(_LOAD, key_field(load.hub)), values, load.etag)
    receipt = await _guarded(table, row, row if load.etag else None)
    return receipt.outcome == "written"


async def forget_load(table: Table, dps: str, load: LoadRow) -> bool:
    """Delete a count that nobody keeps up to date any more, unless it has changed since it was read."""
    row = Row(dps_field(dps), key(_LOAD, key_field(load.hub)), {}, load.etag)
    return (await table.delete(row)).outcome == "written"


def _guarded(table: Table, row: Row, there: Row | None) -> Awaitable[Receipt]:
    write: Callable[[Row], Awaitable[Receipt]] = table.replace if there else table.insert
    return write(row)


def _read_state(row: Row) -> StateRow:
    values = row.values
    try:
        state, readable = HubState(str(values.get("state"))), True
    except ValueError:
        state, readable = HubState.CORDONED, False
    at = values.get("said_at")
    return StateRow(
        hub=_hub(row),
        state=state,
        by=str(values.get("said_by", "")),
        at=at if isinstance(at, datetime) else None,
        note=str(values.get("note", "")),
        readable=readable,
        etag=row.etag,
    )


def _read_load(row: Row) -> LoadRow:
    values = row.values
    devices, as_of, failing = values.get("devices"), values.get("as_of"), values.get("failing_since")
    # A count without its date, or a date without count, says nothing.
    counted = isinstance(devices, int) and devices >= 0 and isinstance(as_of, datetime)
    return LoadRow(
        hub=_hub(row),
        devices=devices if counted and isinstance(devices, int) else None,
        as_of=as_of if counted and isinstance(as_of, datetime) else None,
        source=str(values.get("source", "")),
        failing_since=failing if isinstance(failing, datetime) else None,
        error=str(values.get("error", "")),
        etag=row.etag,
    )


def _hub(row: Row) -> HubKey:
    # Names of hubs need no escape, so the key itself names the hub where the column is missing.
    return hub_key(str(row.values.get("hub") or row.key.partition("|")[2]))
