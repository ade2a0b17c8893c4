"""A registration as a device makes it: to see with a canary's own key that an enrollment lets it in.

It allocates: DPS calls the webhook, makes a device on a hub and keeps a record. The device API knows one key
for a device; for some 30 minutes after a registration with one key DPS may refuse the other (seen in 2020,
errorCode 401002), so each slot's canary needs a registration id of its own.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from clients.connections import Connections
from clients.errors import ClientError, NotFound, NotSendable, OutcomeUnknown
from clients.ports import Clock, RateShare
from clients.reading import Members, Misshapen, understood
from clients.service import CALL_SECONDS, Fault, Reply, Request, Service
from clients.wording import plain
from provisioning.hubs import HubKey, hub_key
from provisioning.keys import SymmetricKey

DEVICE_API_VERSION = "2021-10-01"
"""The version that is spoken; the one place where it is said."""

SECONDS = 120.0
"""How long a registration may take. A working webhook is answered for in seconds; DPS asks a failing one
again for about seven minutes, which is more than a canary waits for."""

SAS_SECONDS = 600
"""How long a device's signature is good for. Each call has a new one; clocks may differ by some minutes."""

_POLL_SECONDS = 3.0
"""Seconds between two polls where DPS names none (seen in a sample)."""

_LONGEST_POLL = 30.0
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-._:]{0,126}[A-Za-z0-9\-])?", re.ASCII)
_SCOPE = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_OPERATION = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,256}", re.ASCII)
_GLOBAL = re.compile(r"global\.azure-devices-provisioning\.[a-z]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Assigned:
    """DPS put the device on a hub.

    Attributes:
        hub: the form in which host names compare.
        device_id: on that hub.
        substatus: "initialAssignment", "deviceDataMigrated", "deviceDataReset" or
            "reprovisionedToInitialAssignment"; None if not given.
        payload: what the webhook had handed to the device; None without.
    """

    hub: HubKey
    device_id: str
    substatus: str | None = None
    payload: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """DPS ended the registration: 400207 to 400209 are the webhook's doing, for instance."""

    code: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Disabled:
    """The enrollment does not let the device in."""

    code: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Assigning:
    """DPS has not decided yet."""


Outcome = Assigned | Failed | Disabled
"""How a registration ended."""


class DeviceClient:
    """The device API of one DPS, for symmetric keys over HTTPS."""

    def __init__(
        self,
        url: str,
        id_scope: str,
        *,
        connections: Connections,
        share: RateShare,
        clock: Clock,
        jitter: Callable[[], float],
        seconds: float = SECONDS,
        global_endpoint: bool = False,
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            url: `https://HOST` of the DPS itself.
            id_scope: of the DPS.
            connections: shared with the other clients.
            share: of the DPS's 1,000 device registrations a minute; each poll is counted too.
            clock: for pauses, budgets and the expiry of signatures.
            jitter: a random number in [0, 1), drawn per pause.
            seconds: how long a registration may take in all, waiting for the share included.
            global_endpoint: whether the URL may be the endpoint that all DPS of a cloud share.

        Raises:
            NotSendable: the id scope cannot be one, or the URL is the shared endpoint.
        """
        if not _SCOPE.fullmatch(id_scope):
            raise NotSendable(
                "id_scope: letters and digits, such as 0ne00000000; the portal's overview shows it"
            )
        host = urlsplit(url).hostname or ""
        if _GLOBAL.fullmatch(host) and not global_endpoint:
            raise NotSendable(
                "url: it is the endpoint that all DPS share; give this DPS's own host name, or allow it "
                "with global_endpoint"
            )
        self._url = url
        self._scope = id_scope
        self._connections = connections
        self._share = share
        self._clock = clock
        self._jitter = jitter
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"DeviceClient({self._url!r}, {self._scope!r})"

    async def register(
        self, registration_id: str, key: SymmetricKey, payload: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Register and wait for the outcome.

        Args:
            registration_id: as the device writes it: the key was derived from this casing.
            key: the device's own: of its individual enrollment, or derived from its group's.
            payload: handed to the webhook.

        Raises:
            NotSendable: the registration id or the URL cannot be one.
            Unauthenticated: the key does not open it (code "401002"), at all or not yet.
            OutcomeUnknown: no answer, or accepted and not decided within the time: `look_up` tells later.
                To register again is what a device does then; it allocates again.
            ServiceError: DPS refused before it began.
        """
        began = self._clock.monotonic()
        path = self._path(registration_id)
        service = self._service(registration_id, key)
        body: dict[str, Any] = {"registrationId": registration_id}
        if payload is not None:
            body["payload"] = dict(payload)
        reply = await service.send(Request("PUT", f"{path}/register", body=body, writes=True))
        operation, outcome = understood(service.name, reply.body, _read_operation, wrote=True)
        while isinstance(outcome, Assigning):
            pause = _pause(reply)
            if self._clock.monotonic() - began + pause > self._seconds:
                raise _open(f"it was not decided within {self._seconds:g} s")
            await self._clock.sleep(pause)
            try:
                reply = await service.send(Request("GET", f"{path}/operations/{operation}"))
                _, outcome = understood(service.name, reply.body, _read_operation)
            except ClientError as error:
                raise _open(str(error)) from None
        return outcome

    async def look_up(self, registration_id: str, key: SymmetricKey) -> Outcome | Assigning | None:
        """The record of the last registration; None: there is none. Allocates nothing.

        Raises:
            NotSendable: the registration id cannot be one.
            Unauthenticated: the key does not open it.
            ServiceError: DPS gave no usable answer.
        """
        path = self._path(registration_id)
        service = self._service(registration_id, key)
        body = {"registrationId": registration_id}
        try:
            reply = await service.send(Request("POST", path, body=body))
        except NotFound as error:
            if not error.code.startswith("404"):  # not DPS's own word
                raise
            return None
        return understood(service.name, reply.body, _read_state)

    def _path(self, registration_id: str) -> str:
        if not _ID.fullmatch(registration_id):
            raise NotSendable(
                f"registration id {registration_id[:140]!a} is none: 1 to 128 letters, digits and - . _ :, "
                "beginning with a letter or digit and ending with one or a dash"
            )
        return f"/{self._scope}/registrations/{quote(registration_id, safe='')}"

    def _service(self, registration_id: str, key: SymmetricKey) -> Service:
        return Service(
            "DPS (device API)",
            self._url,
            api_version=DEVICE_API_VERSION,
            auth=_DeviceAuth(f"{self._scope}/registrations/{registration_id}", key, self._clock),
            connections=self._connections,
            share=self._share,
            clock=self._clock,
            fault=_fault,
            jitter=self._jitter,
            call_seconds=min(CALL_SECONDS, self._seconds),
        )


class _DeviceAuth:
    """A device's signature: `sr={idScope}%2Fregistrations%2F{id}`, `skn=registration` (documented)."""

    def __init__(self, resource: str, key: SymmetricKey, clock: Clock) -> None:
        self._resource = quote(resource, safe="")
        self._key = key
        self._clock = clock

    async def header(self, *, fresh: bool = False) -> str:  # noqa: ARG002 - each one is fresh
        expiry = int(self._clock.now().timestamp()) + SAS_SECONDS
        signature = quote(self._key.sign(f"{self._resource}\n{expiry}"), safe="")
        return f"SharedAccessSignature sr={self._resource}&sig={signature}&se={expiry}&skn=registration"


def _open(why: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"DPS accepted the registration, and how it ended is not known: {why}; look it up, or register again",
        service="DPS (device API)",
    )


def _pause(reply: Reply) -> float:
    text = reply.headers.get("retry-after", "").strip()
    told = float(text) if text.isascii() and text.isdigit() and len(text) < 6 else _POLL_SECONDS
    return min(max(told, 1.0), _LONGEST_POLL)


def _read_operation(body: Any) -> tuple[str, Outcome | Assigning]:
    """The operation's id, and how it stands."""
    members = Members(body, "the operation")
    operation = members.text("operationId")
    if not _OPERATION.fullmatch(operation):
        raise Misshapen("operationId of the operation must be letters, digits and - . _")
    if members.one_of("status", *_STATUSES) in _UNDECIDED:
        return operation, Assigning()
    return operation, _read_state(members.object_or_empty("registrationState"))


_UNDECIDED = ("unassigned", "assigning")
_STATUSES = (*_UNDECIDED, "assigned", "failed", "disabled")


def _read_state(body: Any) -> Outcome | Assigning:
    members = Members(body, "the registration")
    status = members.one_of("status", *_STATUSES)
    if status in _UNDECIDED:
        return Assigning()
    if status == "assigned":
        return Assigned(
            hub=hub_key(members.text("assignedHub")),
            device_id=members.text("deviceId"),
            substatus=members.text_or_none("substatus"),
            payload=body.get("payload"),
        )
    code = members.whole_or_none("errorCode") or None  # 0 is how some write that there is none
    message = plain(members.text_or_none("errorMessage") or "")
    return Failed(code, message) if status == "failed" else Disabled(code, message)


def _fault(body: Any) -> Fault:
    if not isinstance(body, Mapping):
        return Fault()
    code, message, tracking = (body.get(name) for name in ("errorCode", "message", "trackingId"))
    return Fault(
        str(code) if isinstance(code, int) and not isinstance(code, bool) else "",
        message if isinstance(message, str) else "",
        tracking if isinstance(tracking, str) else "",
    )
