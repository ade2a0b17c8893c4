"""What the clients of the management plane have in common: a resource's path, and the service."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from clients.connections import Connections
from clients.errors import NotSendable
from clients.ports import Clock, RateShare
from clients.service import Auth, Fault, Service

NAME = "the management plane"


def resource_path(resource_id: str, shape: re.Pattern[str], what: str, example: str) -> str:
    """The path of a resource.

    Args:
        resource_id: as the portal shows it.
        shape: that it must have.
        what: whose it is, for people.
        example: its end, for people: Microsoft.Web/sites/NAME.

    Raises:
        NotSendable: it has another shape.
    """
    trimmed = resource_id.strip().rstrip("/")
    segments = trimmed.split("/")
    if not shape.fullmatch(trimmed) or {".", ".."} & set(segments):
        raise NotSendable(
            f"the {what}'s resource id must look like /subscriptions/ID/resourceGroups/NAME/providers/"
            f"{example}; copy it from the portal (JSON view)"
        )
    return "/".join(quote(segment, safe="()") for segment in segments)


def management(
    url: str,
    *,
    api_version: str,
    auth: Auth,
    connections: Connections,
    share: RateShare,
    clock: Clock,
    jitter: Callable[[], float],
    fault: Callable[[Any], Fault],
) -> Service:
    """The service; nothing is sent.

    Raises:
        NotSendable: the URL cannot be one.
    """
    return Service(
        NAME,
        url,
        api_version=api_version,
        auth=auth,
        connections=connections,
        share=share,
        clock=clock,
        fault=fault,
        jitter=jitter,
    )
