"""Device twins, one at a time."""

from collections.abc import Callable
from datetime import datetime

from local.asgi import Request, Response
from local.hub import IotHub
from local.iothub import errors, etags, shapes, twin_body
from local.iothub.behaviour import HubBehaviour
from local.iothub.device import HubDevice, Twin
from local.iothub.registry import IF_MATCH
from local.iothub.twin_body import Change
from local.world import Clock


class TwinApi:
    """`/twins/{id}`. `If-Match` is optional here and its quotes do not count."""

    def __init__(self, hub: IotHub, clock: Clock, behaviour: HubBehaviour) -> None:
        self._hub = hub
        self._clock = clock
        self._behaviour = behaviour

    def get(self, device_id: str) -> Response:
        """The twin as it is now.

        Raises:
            HubError: 404.
        """
        return self._shown(self._found(device_id))

    def patch(self, device_id: str, request: Request) -> Response:
        """Change tags and desired properties.

        Raises:
            HubError: 400, 404, 412.
        """
        return self._write(device_id, request, twin_body.merged)

    def put(self, device_id: str, request: Request) -> Response:
        """Replace tags and desired properties.

        Raises:
            HubError: 400, 404, 412.
        """
        return self._write(device_id, request, twin_body.replaced)

    def _write(
        self, device_id: str, request: Request, change: Callable[[Twin, Change, datetime], Twin]
    ) -> Response:
        given = twin_body.read(request.body)
        device = self._found(device_id)
        etags.check(request.headers.get(IF_MATCH, "*"), device.twin.etag)
        return self._shown(self._hub.set_twin(device_id, change(device.twin, given, self._clock.now())))

    def _found(self, device_id: str) -> HubDevice:
        device = self._hub.devices.get(device_id)
        if device is None:
            raise errors.device_not_found(device_id)
        return device

    def _shown(self, device: HubDevice) -> Response:
        body = shapes.twin(device, capital_thumbprints=self._behaviour.capital_thumbprints)
        return Response(200, body, {"ETag": f'"{device.twin.etag}"'})
