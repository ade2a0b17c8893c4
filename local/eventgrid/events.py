"""One event, and how it looks in both schemas (documented: Event Grid's event schemas). No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Schema = Literal["EventGridSchema", "CloudEventSchemaV1_0"]
EVENT_GRID: Schema = "EventGridSchema"
CLOUD_EVENTS: Schema = "CloudEventSchemaV1_0"
VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
_METADATA_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, in neither schema."""

    id: str
    topic: str
    """ARM resource id of the source; IoT Hub writes its own in upper case."""
    subject: str
    type: str
    """`Microsoft.KeyVault.SecretNewVersionCreated` and the like."""
    data: Mapping[str, Any]
    time: datetime
    data_version: str = "1"

    def body(self, schema: Schema) -> Any:
        """The JSON value of a delivery: an array of one, or a CloudEvents object."""
        when = f"{self.time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"  # seven digits
        if schema == CLOUD_EVENTS:
            return {
                "id": self.id,
                "source": self.topic,
                "specversion": "1.0",
                "type": self.type,
                "subject": self.subject,
                "time": when,
                "data": dict(self.data),
            }
        return [
            {
                "id": self.id,
                "topic": self.topic,
                "subject": self.subject,
                "eventType": self.type,
                "eventTime": when,
                "data": dict(self.data),
                "dataVersion": self.data_version,
                "metadataVersion": _METADATA_VERSION,
            }
        ]

    def headers(self, schema: Schema, kind: str, subscription: str, attempt: int) -> dict[str, str]:
        """The headers of a delivery; `kind` is Notification or SubscriptionValidation, `attempt` from 0."""
        headers = {
            "aeg-event-type": kind,
            "aeg-subscription-name": subscription.upper(),
            "aeg-delivery-count": str(attempt),
        }
        if schema == CLOUD_EVENTS:
            return {**headers, "content-type": "application/cloudevents+json; charset=utf-8"}
        return {
            **headers,
            "content-type": "application/json; charset=utf-8",
            "aeg-data-version": self.data_version,
            "aeg-metadata-version": _METADATA_VERSION,
        }
