"""Services, their hubs and their certificates as the wire has them."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from local.arm.paths import WITH_IDENTITIES
from local.arm.resources import TYPE, ArmBehaviour, Authority, LinkedHub, ProvisioningResource, group_id


class Shown:
    """The services of one subscription, shown."""

    def __init__(self, subscription: str, behaviour: ArmBehaviour) -> None:
        self._subscription = subscription
        self._behaviour = behaviour

    def id_of(self, resource: ProvisioningResource) -> str:
        """The resource id of a service."""
        group = group_id(self._subscription, resource.resource_group)
        return f"{group}/providers/{TYPE}/{resource.service.name}"

    def service(self, resource: ProvisioningResource, version: str) -> dict[str, Any]:
        """A service in an API version."""
        service = resource.service
        properties: dict[str, Any] = {
            "state": "Active",
            "provisioningState": "Succeeded",
            "iotHubs": [self._hub(resource, hub, version) for hub in service.hubs],
            "allocationPolicy": resource.allocation_policy,
            "serviceOperationsHostName": f"{service.name}.azure-devices-provisioning.net",
            "deviceProvisioningHostName": "global.azure-devices-provisioning.net",
            "idScope": service.id_scope,
            "enableDataResidency": False,
        }
        if version in WITH_IDENTITIES:
            properties["disableLocalAuth"] = resource.disable_local_auth
        shown: dict[str, Any] = {
            "etag": _etag(properties, resource.tags),
            "name": service.name,
            "location": resource.location,
            "properties": properties,
            "resourcegroup": resource.resource_group,
            "type": TYPE,
            "id": self.id_of(resource),
            "subscriptionid": self._subscription,
            "tags": dict(resource.tags),
            "sku": {"name": "S1", "tier": "Standard", "capacity": resource.capacity},
        }
        if version in WITH_IDENTITIES and resource.linked_by_identity:
            shown["identity"] = {"type": "SystemAssigned"}
        return shown

    def certificate(self, resource: ProvisioningResource, one: Authority) -> dict[str, Any]:
        """A CA certificate of a service."""
        parsed = x509.load_pem_x509_certificate(one.pem)
        der = parsed.public_bytes(serialization.Encoding.DER)
        properties = {
            "subject": parsed.subject.rfc4514_string(),
            "expiry": _http_date(parsed.not_valid_after_utc),
            "thumbprint": parsed.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - what thumbprints are
            "isVerified": one.verified,
            "created": _http_date(resource.certified),
            "updated": _http_date(resource.certified),
            "certificate": base64.b64encode(der).decode(),
        }
        return {
            "properties": properties,
            "etag": _etag(properties, {}),
            "id": f"{self.id_of(resource)}/certificates/{one.name}",
            "name": one.name,
            "type": f"{TYPE}/Certificates",
        }

    def _hub(self, resource: ProvisioningResource, hub: LinkedHub, version: str) -> dict[str, Any]:
        by_identity = hub.host_name in resource.linked_by_identity
        shown: dict[str, Any] = {"name": hub.host_name}
        weight, applies = hub.allocation_weight, hub.apply_allocation_policy
        if self._behaviour.show_default_allocation or (weight, applies) != (1, True):
            shown |= {"applyAllocationPolicy": applies, "allocationWeight": weight}
        if version in WITH_IDENTITIES:
            shown |= {
                "hostName": hub.host_name,
                "authenticationType": "SystemAssigned" if by_identity else "KeyBased",
            }
        if not by_identity:
            masked = f"HostName={hub.host_name};SharedAccessKeyName=iothubowner;SharedAccessKey=****"
            shown["connectionString"] = masked
        return shown | {"location": resource.hub_locations.get(hub.host_name, resource.location)}


def _etag(*parts: Any) -> str:
    """Eight bytes in base64, as seen; others when what they stand for has changed."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return base64.b64encode(b"\0\0\0\0" + hashlib.sha256(text.encode()).digest()[:4]).decode()


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)
