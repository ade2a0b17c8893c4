"""Values that the allocation tests share."""

from collections.abc import Iterable
from typing import Any

from allocation.facts import Facts, linked
from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import registration_key


def hub(name: str) -> str:
    return f"{name}.azure-devices.net"


def key(name: str) -> HubKey:
    return hub_key(hub(name))


def facts(device: str = "dev-1", hubs: Iterable[str] = ("a", "b", "c"), current: str | None = None) -> Facts:
    return Facts(
        dps="",
        registration_id=device,
        registration=registration_key(device),
        linked_hubs=linked([hub(name) for name in hubs]),
        current_hub=key(current) if current else None,
    )


def body(
    device: object = "dev-1", hubs: object = None, current: object = None, **more: Any
) -> dict[str, Any]:
    """An allocation request; `hubs` defaults to three."""
    context: dict[str, Any] = {"registrationId": device, "symmetricKey": {}}
    if current is not None:
        context["currentIotHubHostName"] = current
    names = [hub("a"), hub("b"), hub("c")] if hubs is None else hubs
    return {
        "enrollmentGroup": {"enrollmentGroupId": "g1"},
        "deviceRuntimeContext": context,
        "linkedHubs": names,
    } | more
