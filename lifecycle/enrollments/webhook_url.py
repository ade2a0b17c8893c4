"""Webhook URLs with a key in their query, and what reading an enrollment may leave of it.

DPS masks the query of a webhook's URL as `?****` in the calls it makes (seen). Whether a read of an
enrollment does so too is unknown; a masked URL written back would replace the key by asterisks, and every
registration of the enrollment would fail from then on.
"""

from urllib.parse import urlsplit

MASK = "****"
"""What stands for a query that is not told."""


def is_masked(url: object) -> bool:
    """Whether this is what a read left of a URL, and must never be written."""
    return isinstance(url, str) and MASK in url


def endpoint(url: str) -> tuple[str, str, int | None, str]:
    """What tells one webhook from another: scheme, host, port and path; not the key."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme.lower())
    return parts.scheme.lower(), (parts.hostname or "").rstrip("."), port, parts.path.rstrip("/").lower()


def same_endpoint(one: str, other: str) -> bool:
    """Whether two URLs are the same webhook, whatever their keys."""
    try:
        return endpoint(one) == endpoint(other)
    except ValueError:
        return one == other
