"""The identity registry: one device, and the first thousand."""

from local.asgi import Request, Response
from local.dps import wire
from local.hub import IotHub
from local.iothub import entries, errors, etags, shapes
from local.iothub.behaviour import HubBehaviour
from local.iothub.device import HubDevice
from local.iothub.errors import HubError
from local.iothub.packing import unpack
from local.world import Clock

IF_MATCH = "if-match"
MOST_LISTED = 1000
"""Documented."""


class RegistryApi:
    """`/devices` and `/devices/{id}`."""

    def __init__(self, hub: IotHub, clock: Clock, behaviour: HubBehaviour) -> None:
        self._hub = hub
        self._clock = clock
        self._behaviour = behaviour

    def list(self, request: Request) -> Response:
        """The oldest devices; there is no way to the others but a query.

        `top` outside 1 to 1000 counts as 1000 (documented). Raises `HubError` 400 if it is no number.
        """
        asked = request.query.get("top", "")
        try:
            top = int(asked[:20]) if asked else MOST_LISTED
        except ValueError:
            raise HubError(errors.ARGUMENT_INVALID, "top must be a whole number.") from None
        page = self._hub.devices.page(0, top if 1 <= top <= MOST_LISTED else MOST_LISTED)
        return Response(200, [shapes.identity(unpack(packed)) for packed in page.values])

    def get(self, device_id: str) -> Response:
        """One device, with its keys.

        Raises:
            HubError: 404.
        """
        return _shown(self._found(device_id))

    def put(self, device_id: str, request: Request) -> Response:
        """Make a device, or with `If-Match` replace the entry of one that is there (seen).

        Raises:
            HubError: 400; 409: there is one and no `If-Match`; 404: there is none and one; 412.
        """
        entry = entries.read(device_id, wire.parse_json(request.body), self._hub.new_keys)
        if_match = request.headers.get(IF_MATCH)
        if if_match is None:
            if device_id in self._hub.devices:
                message = f"A device with ID '{device_id}' is already registered."
                raise HubError(errors.DEVICE_ALREADY_EXISTS, message)
            return _shown(self._hub.add(entry, self._clock.now()))
        self._match(self._found(device_id), if_match)
        return _shown(self._hub.rewrite(entry, self._clock.now()))

    def delete(self, device_id: str, request: Request) -> Response:
        """Delete a device with its twin.

        Raises:
            HubError: 404; 412: `If-Match` does not match, or is not there (seen).
        """
        if_match = request.headers.get(IF_MATCH)
        if if_match is None:
            raise HubError(errors.PRECONDITION_FAILED, "Precondition failed: Etag missing")
        self._match(self._found(device_id), if_match)
        self._hub.remove(device_id, self._clock.now())
        return Response(204)

    def _found(self, device_id: str) -> HubDevice:
        device = self._hub.devices.get(device_id)
        if device is None:
            raise errors.device_not_found(device_id)
        return device

    def _match(self, device: HubDevice, if_match: str) -> None:
        etags.check(if_match, device.identity.etag, unquoted=lambda: self._behaviour.unquoted_if_match)


def _shown(device: HubDevice) -> Response:
    return Response(200, shapes.identity(device), {"ETag": f'"{device.identity.etag}"'})
