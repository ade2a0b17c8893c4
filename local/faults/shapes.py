"""The bodies of 429, 500 and 503, as each service words its errors.

Of the services' own 500 and 503 no source shows a body; where the emulator has no error of that kind, the
shape is the service's and the words are this module's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from local.arm import ArmError
from local.dps import errors as dps_errors
from local.dps import wire
from local.iothub import errors as hub_errors
from local.vault.errors import VaultError
from local.vault.errors import throttled as vault_throttled
from local.world import World

_JSON = "application/json; charset=utf-8"
_WORDS = {
    429: "Too many requests.",
    500: "An internal error occurred.",
    503: "The service is temporarily unavailable.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; Content-Length goes without saying."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Shape(Protocol):
    """How a service words an error."""

    def __call__(self, status: int, retry_after: int | None, world: World, /) -> Answer:
        """The answer of 429, 500 or 503; `retry_after`: seconds for its header, None: no header."""


def plain(status: int, retry_after: int | None, _world: World) -> Answer:
    """No body: what the Functions front end and most gateways answer."""
    return Answer(status, _retry(retry_after))


def dps(status: int, retry_after: int | None, world: World) -> Answer:
    """A provisioning service's error."""
    codes = {429: dps_errors.THROTTLED, 500: dps_errors.INTERNAL}
    message = "Operations are being throttled for this tenant." if status == 429 else _WORDS[status]
    error = dps_errors.DpsError(codes.get(status, status * 1000), message, headers=_retry(retry_after))
    response = wire.error_response(error, world.random, world.clock.now())
    return _json(response.status, response.value, response.headers)


def hub(status: int, retry_after: int | None, world: World) -> Answer:
    """An IoT hub's error."""
    codes = {429: hub_errors.THROTTLED, 500: hub_errors.SERVER_ERROR}
    code = codes.get(status, hub_errors.Code("GenericServiceUnavailable", status * 1000))
    error = hub_errors.HubError(code, _WORDS[status], headers=_retry(retry_after))
    response = hub_errors.response(error, world.random, world.clock.now(), numbered=False)
    return _json(response.status, response.value, response.headers)


def vault(status: int, retry_after: int | None, _world: World) -> Answer:
    """A key vault's error."""
    codes = {500: "InternalServerError", 503: "ServiceUnavailable"}
    if status == 429:
        error = vault_throttled(retry_after)
    else:
        error = VaultError(status, codes[status], _WORDS[status], headers=_retry(retry_after))
    return _json(error.status, error.body, error.headers)


def arm(status: int, retry_after: int | None, _world: World) -> Answer:
    """The management plane's error."""
    codes = {429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable"}
    response = ArmError(status, codes[status], _WORDS[status]).response
    return _json(response.status, response.value, {**response.headers, **_retry(retry_after)})


def tables(status: int, retry_after: int | None, _world: World) -> Answer:
    """Table storage's error: OData JSON with the names that storage services document."""
    code = {429: "ServerBusy", 500: "InternalError", 503: "ServerBusy"}[status]
    message = {"lang": "en-US", "value": _WORDS[status]}
    body = {"odata.error": {"code": code, "message": message}}
    return _json(status, body, {"x-ms-error-code": code, **_retry(retry_after)})


def _retry(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}


def _json(status: int, value: Any, headers: Mapping[str, str]) -> Answer:
    body = json.dumps(value, separators=(",", ":")).encode()
    return Answer(status, {"Content-Type": _JSON, **headers}, body)
