"""What the facts leave open about DPS, each as one choice.

Every field is a behaviour that no public source establishes, unless its text says otherwise; its
default is the plainest reading. Code that must be safe whatever the real service does can be run
under other values.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One reading of the unknown behaviours of DPS."""

    webhook_timeout: float = 30.0
    """Seconds DPS waits for the webhook's answer before it counts as unreachable."""

    mask_webhook_url_on_get: bool = False
    """Whether GET, query and PUT answers show `webhookUrl` with its query as `?****`.

    The webhook's own request body always does (seen in captured requests)."""

    put_without_keys: Literal["keep", "regenerate", "refuse"] = "keep"
    """What a PUT of an existing symmetric-key enrollment without keys does to its keys."""

    put_update_returns_keys: bool = False
    """Whether the answer to a PUT that updates carries the keys, as that of a PUT that creates does."""

    default_page_size: int = 100
    """Items of a page when the request names no size, or one below 1."""

    max_page_size: int = 1000
    """Most items of a page, whatever the request asks for."""

    continuation_lifetime: float | None = None
    """Seconds after which a continuation token is refused with 400; None: never."""

    orphans_queryable: bool = True
    """Whether the registrations of a deleted enrollment group can still be queried through its id."""

    enrollment_delete_drops_registration: bool = True
    """Whether deleting an individual enrollment deletes its registration record.

    The record is part of the enrollment's shape. Deleting a group keeps its records (documented)."""

    failure_keeps_hub: bool = True
    """Whether the record of a failed or disabled registration still names the hub of the one before.

    False: the next registration looks like a first one."""

    retired_hubs_in_linked_hubs: bool = True
    """Whether the webhook's `linkedHubs` names hubs with `applyAllocationPolicy` false."""

    hub_key_follows_registration: bool = True
    """Whether registering again on the same hub rewrites the hub identity's keys."""

    hub_throttle: Literal["wait", "fail"] = "wait"
    """What a registration does when its hub has no room for DPS's identity operations.

    `wait`: the device polls `assigning` until there is. `fail`: it ends as failed with 429000."""

    other_key_refused_seconds: float = 0.0
    """For how long after a registration with one key a device's other keys are refused with 401002.

    Seen in 2020: about 30 minutes, because DPS remembers the key (Azure/azure-iot-sdk-node#721,
    azure-iot-sdk-c#1748). The CLI's own tests change keys at once. A key is remembered for an hour."""

    existing_twin: Literal["reset", "keep"] = "reset"
    """What an initial assignment does to the twin of a device the hub already has."""

    client_certificates_expire: bool = True
    """Whether the dates of a certificate count that an individual enrollment names itself.

    False: the thumbprint decides alone, as an IoT hub's does."""

    signing_certificates_are_trusted: bool = False
    """Whether a group's own signing certificate vouches for devices without a verified CA above it.

    Documented is that it does not: the chain must reach a certificate verified by proof of possession.
    True spares a test the upload of a CA certificate."""

    x509_result_shows_certificates: bool = False
    """Whether a device's result has `certificateInfo` and `signingCertificateInfo`.

    They are in the published shape; results seen from 2022 to 2025 have the enrollment group's id alone."""

    retry_after_on_429: int | None = None
    """Seconds in the `Retry-After` header of a 429; None: it has no such header."""

    message_limit: int = 96 * 1024
    """Largest request body, and largest answer of a webhook, in bytes.

    96 KB as the "maximum size of message" is documented; what it applies to is not."""
