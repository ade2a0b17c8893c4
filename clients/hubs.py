"""An IoT hub's identities, twins and counts, over its service API.

What a hub says is not always what it holds (each seen or documented once, none to be relied upon):
statistics may lag and need not fall after deletes; a query may miss a new device and still find a deleted
one for many minutes. Only `HubClient.device` reads the registry itself, so no device is to be taken for
gone because a query does not find it.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from clients.auth import HUB_SCOPE
from clients.connections import Connections
from clients.errors import NotFound, NotSendable, PreconditionFailed, UnexpectedReply
from clients.hub_queries import (
    ALL_DEVICES,
    REASON_CHARACTERS,
    batches,
    checked_continuation,
    checked_device_id,
    if_match,
    is_device_id,
)
from clients.hub_shapes import (
    DEVICE_NOT_FOUND,
    HubDevice,
    HubRow,
    HubStatistics,
    HubTwin,
    Status,
    code_only,
    fault_of,
    read_device,
    read_row,
    read_statistics,
    read_twin,
)
from clients.outcomes import Deleted, Deletion, Gone, Moved
from clients.ports import Clock, RateShare
from clients.reading import Members, Misshapen, items, understood
from clients.service import Auth, Fault, Reply, Request, Service
from provisioning.hubs import HubKey, hub_key

__all__ = [
    "HUB_API_VERSION",
    "HUB_SCOPE",
    "HubClient",
    "HubDevice",
    "HubPage",
    "HubRow",
    "HubShares",
    "HubStatistics",
    "HubTwin",
    "is_device_id",
]

T = TypeVar("T")


class _Named(Protocol):
    @property
    def device_id(self) -> str: ...


Named = TypeVar("Named", bound=_Named)

HUB_API_VERSION = "2024-03-31"
"""The version that the Azure CLI sends (seen); the one place where it is said."""

PAGE_SIZE = 500
"""Devices of a page. A twin may reach some 100 KB, and an answer is read up to 64 MiB."""

_LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class HubShares:
    """Shares of one hub's rates, a separate one for each of its throttle classes (documented).

    Attributes:
        identities: reads, changes and deletes of devices, and statistics (whether these count is unknown):
            100 a minute and unit on S1, shared with DPS creating devices.
        queries: one for each page: 20 a minute and unit on S1.
        twins: reads of single twins: 100 a second on S1.
    """

    identities: RateShare
    queries: RateShare
    twins: RateShare


@dataclass(frozen=True, slots=True)
class HubPage:
    """Some devices, and where to go on: None after the last ones. A page may be empty before the end."""

    rows: tuple[HubRow, ...]
    continuation: str | None


class HubClient:
    """One hub. Every method may raise ServiceError and NoCredential, those that change OutcomeUnknown too."""

    def __init__(
        self,
        host_name: str,
        *,
        auth: Auth,
        connections: Connections,
        shares: HubShares,
        clock: Clock,
        jitter: Callable[[], float],
        url: str | None = None,
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            host_name: `name.azure-devices.net`, in any case.
            auth: an Entra token for HUB_SCOPE, or a SAS for the host.
            connections: shared with the other clients.
            shares: of this hub's rates.
            clock: for pauses and budgets.
            jitter: a random number in [0, 1), drawn per pause.
            url: where it is served, if not at its host name.

        Raises:
            NotSendable: the host name or URL cannot be one.
        """
        self.key: HubKey = hub_key(host_name)

        def service(share: RateShare, fault: Callable[[Any], Fault] = fault_of) -> Service:
            return Service(
                f"hub {self.key}",
                url or f"https://{self.key}",
                api_version=HUB_API_VERSION,
                auth=auth,
                connections=connections,
                share=share,
                clock=clock,
                fault=fault,
                jitter=jitter,
            )

        self._identities = service(shares.identities)
        self._with_keys = service(shares.identities, code_only)
        self._queries = service(shares.queries)
        self._twins = service(shares.twins)

    def __repr__(self) -> str:
        return f"HubClient({self.key!r})"

    async def statistics(self) -> HubStatistics:
        """The counts the hub gives out. They may be late, and may never fall."""
        reply = await self._identities.send(Request("GET", "/statistics/devices"))
        return self._understood(reply, read_statistics)

    async def device(self, device_id: str) -> HubDevice | None:
        """The registry's entry; None if the hub itself says that it has no such device.

        Any other 404 (a wrong host, a proxy) raises NotFound: it says nothing of the device.

        Raises:
            NotSendable: no hub can have a device of that id.
        """
        reply = await self._entry(device_id)
        return None if reply is None else self._understood(reply, _of(device_id, read_device))

    async def delete(self, device_id: str, etag: str) -> Deletion:
        """Delete a device with its twin, if its identity is still the one that was read.

        Args:
            device_id: case-sensitive.
            etag: of the identity (HubDevice.etag).

        Raises:
            NotSendable: the id or the etag cannot be one.
            OutcomeUnknown: read the device again; its generation_id tells an old one from a new one.
        """
        headers = {"if-match": if_match(etag)}
        try:
            await self._identities.send(Request("DELETE", _device(device_id), headers=headers, writes=True))
        except NotFound as error:
            if error.code != DEVICE_NOT_FOUND:
                raise
            return Gone()
        except PreconditionFailed:
            return Moved()
        return Deleted()

    async def set_status(
        self, device_id: str, status: Status, etag: str, reason: str | None = None
    ) -> HubDevice | Gone | Moved:
        """Enable or disable a device; a disabled one cannot connect, and is cut off if it is connected.

        The API replaces whole entries, keys included (seen: without keys it makes new ones, which would
        lock the device out). So the entry is read and sent back with another status and reason, under its
        etag; nothing else of it changes, and its keys are not looked at. Takes two identity operations, or
        one if it is that way already.

        Args:
            device_id: case-sensitive.
            status: the new one.
            etag: of the identity, as read when this was decided.
            reason: noted beside the status; None: no note. At most 128 characters.

        Raises:
            NotSendable: an argument that a hub would refuse.
            UnexpectedReply: the entry came without the keys it must have; nothing was sent.
            OutcomeUnknown: read the device again.
        """
        expected = if_match(etag)
        if status not in ("enabled", "disabled"):
            raise NotSendable("status: enabled or disabled")
        if reason is not None and len(reason) > REASON_CHARACTERS:
            raise NotSendable(f"reason: at most {REASON_CHARACTERS} characters, not {len(reason)}")
        read = await self._entry(device_id)
        if read is None:
            return Gone()
        device = self._understood(read, _of(device_id, read_device))
        if if_match(device.etag) != expected:
            return Moved()
        if (device.status, device.status_reason) == (status, reason):
            return device
        self._understood(read, _with_its_keys)
        body = {**read.body, "status": status, "statusReason": reason}
        request = Request("PUT", _device(device_id), headers={"if-match": expected}, body=body, writes=True)
        try:
            written = await self._with_keys.send(request)
        except NotFound as error:
            if error.code != DEVICE_NOT_FOUND:
                raise
            return Gone()
        except PreconditionFailed:
            return Moved()
        return self._understood(written, _of(device_id, read_device), wrote=True)

    async def twin(self, device_id: str) -> HubTwin | None:
        """The device's twin; None if the hub itself says that it has no such device."""
        path = f"/twins/{quote(checked_device_id(device_id), safe='')}"
        reply = await _unless_missing(self._twins, Request("GET", path))
        return None if reply is None else self._understood(reply, _of(device_id, read_twin))

    async def devices_in(self, ids: Iterable[str]) -> dict[str, HubRow]:
        """Which of these devices queries find, by id. One that is missing may still exist: see above.

        Ids compare as they are, case included, and go out in batches, each a query or more.

        Raises:
            NotSendable: one of them cannot be a device id (`is_device_id`); it is not passed over, lest it
                be taken for a device that is gone.
        """
        found: dict[str, HubRow] = {}
        for query, wanted in batches(ids):
            async for page in self._pages(query, None, len(wanted)):
                found |= {row.device_id: row for row in page.rows if row.device_id in wanted}
        return found

    async def pages(
        self, continuation: str | None = None, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[HubPage]:
        """All devices, page by page, in no known order. It is whole only if it ends without an exception.

        Args:
            continuation: of the last page that was seen, to go on after it.
            page_size: devices asked for at once, 1 to 1,000; the hub may give fewer.

        Raises:
            NotSendable: the continuation or the size cannot be one.
            BadRequest: with a continuation: the hub does not take it any more; begin again.
        """
        if not 1 <= page_size <= _LARGEST_PAGE:
            raise NotSendable(f"page_size: 1 to {_LARGEST_PAGE}, not {page_size}")
        async for page in self._pages(ALL_DEVICES, continuation, page_size):
            yield page

    async def _pages(self, query: str, continuation: str | None, size: int) -> AsyncIterator[HubPage]:
        while True:
            headers = {"x-ms-max-item-count": str(size)}
            if continuation is not None:
                headers["x-ms-continuation"] = checked_continuation(continuation)
            request = Request("POST", "/devices/query", headers=headers, body={"query": query})
            reply = await self._queries.send(request)
            rows = self._understood(reply, _read_rows)
            following = reply.headers.get("x-ms-continuation") or None
            if following is not None and following == continuation:
                raise UnexpectedReply(
                    f"{self._queries.name}: a page leads to itself; begin the listing again",
                    service=self._queries.name,
                )
            yield HubPage(rows, following)
            if following is None:
                return
            continuation = following

    async def _entry(self, device_id: str) -> Reply | None:
        return await _unless_missing(self._identities, Request("GET", _device(device_id)))

    def _understood(self, reply: Reply, read: Callable[[Any], T], *, wrote: bool = False) -> T:
        return understood(self._identities.name, reply.body, read, wrote=wrote)


def _device(device_id: str) -> str:
    return f"/devices/{quote(checked_device_id(device_id), safe='')}"


async def _unless_missing(service: Service, request: Request) -> Reply | None:
    try:
        return await service.send(request)
    except NotFound as error:
        if error.code != DEVICE_NOT_FOUND:
            raise
        return None


def _of(device_id: str, read: Callable[[Any], Named]) -> Callable[[Any], Named]:
    """Reads an answer about that device, and about no other."""

    def checked(body: Any) -> Named:
        found = read(body)
        if found.device_id != device_id:
            raise Misshapen("it is about another device than the one asked for")
        return found

    return checked


def _read_rows(body: Any) -> tuple[HubRow, ...]:
    return tuple(read_row(each) for each in items(body, "a query's page"))


def _with_its_keys(body: Any) -> None:
    """Raises Misshapen where an entry sent back as it came would have the hub make new keys."""
    authentication = Members(body, "the device").object("authentication")
    if authentication.text("type") == "sas":
        keys = authentication.object("symmetricKey")
        keys.text("primaryKey")
        keys.text("secondaryKey")
