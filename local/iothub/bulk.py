"""Up to a hundred registry operations in one call."""

from collections.abc import Callable
from typing import Any

from local.asgi import Request, Response
from local.dps import shapes, wire
from local.hub import IotHub
from local.iothub import entries, errors, etags, twin_body
from local.iothub.behaviour import HubBehaviour
from local.iothub.device import Twin
from local.iothub.errors import HubError
from local.world import Clock

MOST = 100
"""Documented."""
_ITEM = shapes.members(
    {
        "id": shapes.text,
        "eTag": shapes.text,
        "importMode": shapes.text,
        **twin_body.MEMBERS,
        **entries.IDENTITY,
    },
    required=("id",),
)


class BulkApi:
    """`POST /devices`: a list of devices, each with an `importMode`."""

    def __init__(
        self,
        hub: IotHub,
        clock: Clock,
        behaviour: HubBehaviour,
        spend: Callable[[int], None],
    ) -> None:
        """Serve a hub.

        Args:
            hub: whose devices.
            clock: of the world.
            behaviour: what is unknown.
            spend: takes so many operations from the hub's budget.
        """
        self._hub = hub
        self._clock = clock
        self._behaviour = behaviour
        self._spend = spend
        self._modes: dict[str, Callable[[dict[str, Any]], None]] = {
            "create": self._create,
            "update": self._update,
            "updateifmatchetag": self._update,
            "createorupdate": lambda item: (
                self._update(item) if item["id"] in self._hub.devices else self._create(item)
            ),
            "delete": self._delete,
            "deleteifmatchetag": self._delete,
            "updatetwin": self._update_twin,
        }

    def run(self, request: Request) -> Response:
        """Do each operation by itself; one that fails leaves the others done (unknown).

        Without an `importMode` a device is made, or updated if it is there (documented for import jobs).

        Raises:
            HubError: 400: not a list of at most 100, or a device twice; 429.
            DpsError: 400: not JSON, or members of another type.
        """
        body = wire.parse_json(request.body)
        items = shapes.list_of(_ITEM)(body, "The body")
        if len(items) > MOST:
            raise HubError(errors.BULK_FAILURE, f"A bulk call names at most {MOST} devices.")
        if len({item["id"] for item in items}) < len(items):
            raise HubError(errors.DEFINED_MULTIPLE_TIMES, "A bulk call names each device once.")
        self._spend(len(items) if len(items) > 1 and self._behaviour.bulk_counts_devices else 1)
        failures = [failure for item in items if (failure := self._do(item)) is not None]
        result = {"isSuccessful": not failures, "errors": failures, "warnings": []}
        return Response(400 if failures else 200, result)

    def _do(self, item: dict[str, Any]) -> dict[str, Any] | None:
        try:
            self._change(item)
        except HubError as error:
            return {"deviceId": item["id"], "errorCode": error.code.name, "errorStatus": error.message}
        return None

    def _change(self, item: dict[str, Any]) -> None:
        mode = item.get("importMode", "createOrUpdate").lower()
        if mode not in self._modes:
            raise HubError(errors.ARGUMENT_INVALID, "The emulator does not know that importMode.")
        device = self._hub.devices.get(item["id"])
        if device is not None and mode.endswith("ifmatchetag"):
            etags.check(item.get("eTag", ""), device.identity.etag)
        self._modes[mode](item)

    def _create(self, item: dict[str, Any]) -> None:
        device_id = item["id"]
        entry = entries.entry(device_id, item, self._hub.new_keys)
        if device_id in self._hub.devices:
            message = f"A device with ID '{device_id}' is already registered."
            raise HubError(errors.DEVICE_ALREADY_EXISTS, message)
        now, nothing = self._clock.now(), Twin({}, {}, {}, desired_version=0, writes=0)
        self._hub.add(entry, now, twin_body.replaced(nothing, twin_body.change(item), now))

    def _update(self, item: dict[str, Any]) -> None:
        self._must_be_there(item)
        self._hub.rewrite(entries.entry(item["id"], item, self._hub.new_keys), self._clock.now())

    def _delete(self, item: dict[str, Any]) -> None:
        self._must_be_there(item)
        self._hub.remove(item["id"], self._clock.now())

    def _update_twin(self, item: dict[str, Any]) -> None:
        self._must_be_there(item)
        twin = self._hub.devices[item["id"]].twin
        changed = twin_body.merged(twin, twin_body.change(item), self._clock.now())
        self._hub.set_twin(item["id"], changed)

    def _must_be_there(self, item: dict[str, Any]) -> None:
        if item["id"] not in self._hub.devices:
            raise errors.device_not_found(item["id"])
