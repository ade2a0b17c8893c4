"""Which webhook URLs are this app's, and how one gets another key. Pure.

The key is the function's, so every route to the function counts: with a DPS's name at its end and without.
"""

from collections.abc import Sequence
from urllib.parse import parse_qsl, quote, urlsplit

from lifecycle.enrollments.build import Document, Edit
from lifecycle.enrollments.webhook_url import endpoint, is_masked

FUNCTION = "allocate"
"""The webhook's function, and the last segment of its route that every DPS has in common."""


def is_ours(url: object, bases: Sequence[str]) -> bool:
    """Whether a URL leads to this app's webhook, whatever key it has.

    Args:
        url: of an enrollment; anything.
        bases: this app's, without keys: the same function under each of its host names.
    """
    if not isinstance(url, str) or not url:
        return False
    try:
        *place, path = endpoint(url.partition("?")[0])
        for base in bases:
            *held, root = endpoint(base)
            if place == held and _root(path) == _root(root):
                return True
    except ValueError:
        return False
    return False


def _root(path: str) -> str:
    """The path without a DPS's name at its end."""
    head, found, tail = path.rpartition(f"/{FUNCTION}")
    named = found and (not tail or (tail.startswith("/") and "/" not in tail[1:]))
    return f"{head}/{FUNCTION}" if named else path


def key_of(url: str) -> str | None:
    """The key in a URL; None where a read masked it, "" where there is none."""
    if is_masked(url):
        return None
    try:
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    except ValueError:
        return ""
    return next((value for name, value in pairs if name.lower() == "code"), "")


def with_key(url: str, key: str) -> str:
    """The URL with this key; what else its query says stays, where it can be seen.

    Of a masked query nothing is known, and nothing but the key is documented to be in it: it is replaced.
    """
    base, _, query = url.partition("?")
    others = [] if is_masked(url) else [part for part in query.split("&") if part]
    kept = [part for part in others if part.partition("=")[0].lower() != "code"]
    coded = f"code={quote(key, safe='')}"
    return f"{base}?{'&'.join((coded, *kept))}"


def keyed(bases: Sequence[str], key: str) -> Edit:
    """The edit that gives an enrollment's webhook URL this key, if the URL is ours; repeatable."""

    def apply(document: Document) -> Document:
        definition = document.get("customAllocationDefinition")
        url = definition.get("webhookUrl") if isinstance(definition, dict) else None
        if isinstance(definition, dict) and isinstance(url, str) and is_ours(url, bases):
            document["customAllocationDefinition"] = {**definition, "webhookUrl": with_key(url, key)}
        return document

    return apply
