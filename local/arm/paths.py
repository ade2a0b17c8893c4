"""What a request is about: its API version, its path, and the right it needs."""

from collections.abc import Sequence

from local.arm.errors import ArmError, nothing_here
from local.arm.resources import TYPE
from local.asgi import Request

API_VERSIONS = ("2022-12-12", "2026-08-31", "2026-11-01")
WITH_IDENTITIES = API_VERSIONS[1:]
"""Where hubs can be linked by identity and shared keys can be turned off."""


def version_of(request: Request) -> str:
    """The API version a request names.

    Raises:
        ArmError: 400: none, or one that is not served.
    """
    version = request.query.get("api-version")
    if not version:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise ArmError(400, "MissingApiVersionParameter", message)
    if version not in API_VERSIONS:
        message = (
            f"No registered resource provider found for location 'global' and API version '{version}' for "
            f"type 'provisioningServices'. The supported api-versions are '{', '.join(API_VERSIONS)}'."
        )
        raise ArmError(400, "NoRegisteredProviderFound", message)
    return version


def split(segments: Sequence[str]) -> tuple[str, str | None, Sequence[str]]:
    """Subscription, resource group and what follows the type in a path.

    Raises:
        ArmError: 404: it is not a path of provisioning services.
    """
    lower = [segment.lower() for segment in segments]
    kind = [word.lower() for word in ("providers", *TYPE.split("/"))]
    if lower[:1] == ["subscriptions"] and lower[2:5] == kind:
        return segments[1], None, segments[5:]
    if lower[:1] == ["subscriptions"] and lower[2:3] == ["resourcegroups"] and lower[4:7] == kind:
        return segments[1], segments[3], segments[7:]
    raise nothing_here()


def action_of(method: str, rest: Sequence[str]) -> str | None:
    """The right that a method needs on what follows the type in a path; None: it takes no such method."""
    kind = f"{TYPE}/certificates" if len(rest) > 1 and rest[1].lower() == "certificates" else TYPE
    if method == "POST":
        return f"{kind}/{rest[-1].lower()}/action" if len(rest) > 1 else None
    if method == "GET":
        return f"{kind}/read"
    verbs = {"PUT": "write", "PATCH": "write", "DELETE": "delete"}
    return f"{kind}/{verbs[method]}" if method in verbs and rest else None
