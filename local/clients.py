"""Plain clients of a DPS: what an operator's tool and a device's firmware send over HTTPS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from local.dps import sas

SERVICE_API = "2021-10-01"
DEVICE_API = "2021-10-01"
_PATIENCE = httpx.Timeout(30.0)


def _machine() -> datetime:
    return datetime.now(UTC)


class CallFailedError(Exception):
    """A call was answered with an error; carries its status and DPS's error body."""

    def __init__(self, method: str, path: str, response: httpx.Response) -> None:
        super().__init__(f"{method} {path}: {response.status_code} {response.text[:500]}")
        self.status = response.status_code


def connect(url: str, trust: ssl.SSLContext | None, *, connections: int = 100) -> httpx.AsyncClient:
    """An HTTP client of one server; `trust` is the authority of its certificate."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(
        base_url=url,
        verify=trust or ssl.create_default_context(),
        timeout=_PATIENCE,
        limits=limits,
        trust_env=False,
    )


class ServiceClient:
    """An operator's client of the service API."""

    def __init__(
        self, http: httpx.AsyncClient, connection_string: str, *, now: Callable[[], datetime] = _machine
    ) -> None:
        """Make it; `now` dates its tokens, where the service's date is not the machine's."""
        parts = dict(part.split("=", 1) for part in connection_string.split(";"))
        self._http = http
        self._host, self._policy = parts["HostName"], parts["SharedAccessKeyName"]
        self._key = parts["SharedAccessKey"]
        self._now = now

    async def put_group(self, group: Mapping[str, Any], *, etag: str | None = None) -> dict[str, Any]:
        """Create a group, or replace the one whose ETag this is."""
        return await self._put(f"/enrollmentGroups/{quote(group['enrollmentGroupId'])}", group, etag)

    async def put_enrollment(
        self, enrollment: Mapping[str, Any], *, etag: str | None = None
    ) -> dict[str, Any]:
        """Create an individual enrollment, or replace the one whose ETag this is."""
        return await self._put(f"/enrollments/{quote(enrollment['registrationId'])}", enrollment, etag)

    async def delete_group(self, group: str) -> None:
        """Delete a group, whatever is left of it."""
        await self._call("DELETE", f"/enrollmentGroups/{quote(group)}", headers={"If-Match": "*"})

    async def keys(self, path: str) -> dict[str, str]:
        """The symmetric keys of `enrollmentGroups/ID` or `enrollments/ID`."""
        response = await self._call("POST", f"/{path}/attestationmechanism")
        keys: dict[str, str] = response.json()["symmetricKey"]
        return keys

    async def registrations(self, group: str) -> AsyncIterator[dict[str, Any]]:
        """The registration records of a group, page by page."""
        async for record in self._pages(f"/registrations/{quote(group)}/query"):
            yield record

    async def enrollments(self) -> AsyncIterator[dict[str, Any]]:
        """The individual enrollments, each with its `registrationState`."""
        async for enrollment in self._pages("/enrollments/query"):
            yield enrollment

    async def _put(self, path: str, body: Mapping[str, Any], etag: str | None) -> dict[str, Any]:
        response = await self._call("PUT", path, body, {"If-Match": etag} if etag else {})
        stored: dict[str, Any] = response.json()
        return stored

    async def _pages(self, path: str) -> AsyncIterator[dict[str, Any]]:
        token: str | None = None
        while True:
            headers = {"x-ms-continuation": token} if token else {}
            response = await self._call("POST", path, {"query": "SELECT *"}, headers)
            for item in response.json():
                yield item
            token = response.headers.get("x-ms-continuation")
            if not token:
                return

    async def _call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        expires = self._now() + timedelta(minutes=10)
        token = sas.sign(self._host, self._key, expires, self._policy)
        response = await self._http.request(
            method,
            path,
            params={"api-version": SERVICE_API},
            json=body,
            headers={"Authorization": token, **(headers or {})},
        )
        if response.is_error:
            raise CallFailedError(method, path, response)
        return response


@dataclass(frozen=True, slots=True)
class Device:
    """A device that registers with a symmetric key."""

    registration_id: str
    key: str = field(repr=False)
    payload: Mapping[str, Any] | None = None
    now: Callable[[], datetime] = _machine
    """Dates its tokens."""

    async def register(self, http: httpx.AsyncClient, id_scope: str) -> dict[str, Any]:
        """Register and poll until DPS has decided, as long as that takes.

        Returns:
            The final registration state: `assigned`, `failed` or `disabled`.

        Raises:
            CallFailedError: DPS answered with an error, such as 401 for a wrong key.
        """
        path = f"/{id_scope}/registrations/{quote(self.registration_id)}"
        body: dict[str, Any] = {"registrationId": self.registration_id}
        if self.payload is not None:
            body["payload"] = self.payload
        response = await self._send(http, "PUT", f"{path}/register", id_scope, body)
        while response.status_code == httpx.codes.ACCEPTED:
            await asyncio.sleep(float(response.headers.get("Retry-After", "3")))
            operation = response.json()["operationId"]
            response = await self._send(http, "GET", f"{path}/operations/{operation}", id_scope)
        state: dict[str, Any] = response.json()["registrationState"]
        return state

    async def _send(
        self, http: httpx.AsyncClient, method: str, path: str, id_scope: str, body: object = None
    ) -> httpx.Response:
        resource = f"{id_scope}/registrations/{self.registration_id}"
        token = sas.sign(resource, self.key, self.now() + timedelta(hours=1), "registration")
        response = await http.request(
            method, path, params={"api-version": DEVICE_API}, json=body, headers={"Authorization": token}
        )
        if response.is_error:
            raise CallFailedError(method, path, response)
        return response
