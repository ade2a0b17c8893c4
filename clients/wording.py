"""Words of a service, made fit for a message of ours: no control characters, no secrets, not endless."""

import re

LONGEST = 300
"""Characters kept of a service's explanation."""

_READ = 4096
"""Characters of it that are looked at."""

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+"
)
_NAMES = (
    r"sharedaccesskey|sharedaccesssignature|primarykey|secondarykey|symmetrickey|accountkey|password|secret"
    r"|authorization|signature|sig|token|x-functions-key"
)
_SECRET = re.compile(
    # A query's `code` is a function key; the word elsewhere ("status code: 500") is not.
    r"(?i)([?&]code=)[^\s\"'&;,]+"
    # key=value, "key": "value", key 'value'
    rf"|(\b(?:{_NAMES})\b[\"']?\s*(?:[=:]\s*[\"']?|[\"'])(?:sharedaccesssignature\s+|bearer\s+)?)[^\s\"'&;,]+"
    r"|(\b(?:sharedaccesssignature|bearer)\s+)[^\s\"';,]+"
    # the user's part of a URL
    r"|(://)[^/@\s]+(?=@)"
)
_IN_URLS = re.compile(
    # As in URLs, connection strings and headers; a bare name of a secret may head a column of a log line.
    r"(?i)([?&](?:code|sig|signature|token|key)=|\b(?:sharedaccesskey|accountkey|password)=)[^\s\"'&;,\\]+"
    r"|(\b(?:sharedaccesssignature|bearer)\s+)[^\s\"',\\]+"
    r"|(://)[^/@\s\"]+(?=@)"
)
_KEY_LIKE = re.compile(r"[A-Za-z0-9+/_-]{20,}={1,2}|[A-Za-z0-9+/_-]{40,}")
_HEX = re.compile(r"[0-9A-Fa-f-]+")


def plain(text: str) -> str:
    """The text on one line, control and direction characters taken out, secrets masked, cut at 300.

    Masked is what stands behind the name of a secret, and whatever looks like a key by itself: Base64 of
    15 bytes and more with its padding, and 40 characters and more of Base64 that are no hexadecimal number
    (thumbprints and ids are not secret).
    """
    read = text[:_READ]
    if len(text) > _READ:  # what the cut goes through may be half a secret
        read = read.rpartition(" ")[0]
    clean = _CONTROL.sub(" ", read)
    clean = _SECRET.sub(lambda found: next(part for part in found.groups() if part) + "****", clean)
    clean = _KEY_LIKE.sub(lambda found: found[0] if _HEX.fullmatch(found[0]) else "****", clean).strip()
    return clean if len(clean) <= LONGEST else clean[: LONGEST - 1] + "…"


def masked(text: str) -> str:
    """The text with keys of URLs, connection strings and authorization headers masked, and else as it is.

    Such as a function key (`?code=`), a signature (`sig=`) and what stands behind `Bearer`. Cheap where there
    is none: it is asked of each line of a log.
    """
    if not any(sign in text for sign in ("=", "@", "earer ", "EARER ")):
        return text
    return _IN_URLS.sub(lambda found: next(part for part in found.groups() if part) + "****", text)
