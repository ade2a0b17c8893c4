"""Counts the devices of every hub into the fleet table, where placements read them.

It belongs to the lifecycle role: the webhook's app is public and has no rights on hubs. What a hub says of
itself may lag, and need not fall after deletes (unknown); the count is taken as it comes, with its age.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from allocation import FleetRows, LoadRow, read_fleet, write_load
from clients.errors import ClientError
from clients.hubs import HubClient, HubShares
from clients.ports import Clock, Table, Telemetry
from lifecycle.rates import Rate, Rates
from provisioning.hubs import HubKey

AT_ONCE = 5
"""Hubs that are asked at the same time; a DPS links 50 at most (documented)."""

HUB_SECONDS = 20.0
"""How long one hub may take. The runs are a minute apart, and a hub that does not answer is no reason to let
the others wait for the next one."""

SOURCE = "statistics"


class HubStatistics(Protocol):
    """Asks hubs for their number of devices, within a share of their rate."""

    async def devices(self, hub: HubKey) -> int:
        """All devices of the hub, disabled ones too.

        Raises:
            ClientError: it could not be asked, or did not answer so.
        """


@dataclass(frozen=True, slots=True)
class Counted:
    """What one run did."""

    counted: tuple[HubKey, ...]
    failed: tuple[HubKey, ...]


async def count_devices(
    table: Table,
    dps: str,
    hubs: Iterable[HubKey],
    statistics: HubStatistics,
    clock: Clock,
    telemetry: Telemetry,
) -> Counted:
    """Ask every hub once, and keep what it said, or since when it cannot be asked.

    Args:
        table: the fleet table.
        dps: whose hubs these are, as in the webhook's route.
        hubs: which.
        statistics: asks them.
        clock: the date of counts.
        telemetry: is told of hubs that cannot be counted.

    Raises:
        TableUnavailable: what was known could not be read, or no count could be kept.
    """
    rows = await read_fleet(table, dps)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(hub: HubKey) -> LoadRow:
        async with turns:
            return await _counted(rows, hub, statistics, clock)

    wanted = sorted(set(hubs))
    loads = await asyncio.gather(*(one(hub) for hub in wanted))
    for load in loads:
        await write_load(table, dps, load)
        if load.failing_since is not None:
            telemetry.event(
                "hub_not_counted",
                dps=dps,
                hub=load.hub,
                since=load.failing_since.isoformat(),
                problem=load.error,
            )
    failed = tuple(load.hub for load in loads if load.failing_since is not None)
    return Counted(tuple(hub for hub in wanted if hub not in failed), failed)


async def _counted(rows: FleetRows, hub: HubKey, statistics: HubStatistics, clock: Clock) -> LoadRow:
    before = rows.loads.get(hub) or LoadRow(hub)
    # Devices that come while the hub counts may be in or not: dated before, the count is never too young.
    asked_at = clock.now()
    try:
        async with asyncio.timeout(HUB_SECONDS):
            devices = await statistics.devices(hub)
    except TimeoutError:
        problem = f"no answer within {HUB_SECONDS:g} s"
    except ClientError as error:
        problem = str(error)
    else:
        return replace(before, devices=devices, as_of=asked_at, source=SOURCE, failing_since=None, error="")
    return replace(before, failing_since=before.failing_since or asked_at, error=problem)


class AskedHubs:
    """Asks the hubs themselves, each within this work's share of its rate."""

    def __init__(self, rates: Rates, client: Callable[[HubKey, HubShares], HubClient]) -> None:
        """Ask nothing yet.

        Args:
            rates: of the process.
            client: makes a hub's client, with rights to read its statistics.
        """
        self._rates = rates
        self._client = client
        self._hubs: dict[HubKey, HubClient] = {}

    async def devices(self, hub: HubKey) -> int:
        """All devices of the hub, disabled ones too."""
        if hub not in self._hubs:
            share = self._rates.share("statistics", Rate.HUB_REGISTRY, hub)
            self._hubs[hub] = self._client(hub, HubShares(share, share, share))
        return (await self._hubs[hub].statistics()).total
