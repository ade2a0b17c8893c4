"""Whether what is read back is what was written. Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from lifecycle.enrollments.diff import READ_ONLY
from lifecycle.enrollments.webhook_url import is_masked, same_endpoint

_SECRETS = ("primaryKey", "secondaryKey")
_HOSTS = ("iotHubs", "iotHubHostName")


def mismatches(
    written: Mapping[str, Any], read: Mapping[str, Any], former: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Paths of the members that were written and read back otherwise; none of their values.

    Null and absent are the same. Members that the service adds of its own (dates, `info` of a certificate,
    a twin's `metadata`) are no mismatch; host names compare without case and order, for the service may
    write them as it likes; numbers by value; a webhook URL whose query is masked without it; a certificate
    whose text is not shown by its thumbprint.

    Args:
        written: what was sent.
        read: what is there now.
        former: what was there before: a member of it that was left out of `written` must be gone.
    """
    return (*_walk("", written, read), *_left("", former or {}, written, read))


def certificate_thumbprints(text: str) -> tuple[str, str] | None:
    """SHA-1 and SHA-256 of a certificate, PEM or Base64 of DER, in upper-case hexadecimal; None: it is none.

    Which is all that a read may show of it, and what people compare.
    """
    try:
        der = base64.b64decode(_body(text).encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not der:
        return None
    sha1 = hashlib.sha1(der, usedforsecurity=False).hexdigest()
    return sha1.upper(), hashlib.sha256(der).hexdigest().upper()


def _walk(path: str, written: Mapping[str, Any], read: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in written.items():
        if not path and name in READ_ONLY:
            continue
        if name == "info" and "certificate" in written:  # the service works it out from the certificate
            continue
        inner = f"{path}.{name}" if path else name
        other = read.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found += _walk(inner, value, other)
        elif name == "certificate" and other is None and isinstance(value, str):
            if not _is_of(value, read.get("info")):
                found.append(inner)
        elif not _same(name, value, other):
            found.append(inner)
    return found


def _left(
    path: str, former: Mapping[str, Any], written: Mapping[str, Any], read: Mapping[str, Any]
) -> list[str]:
    """Members that were taken out and are there still."""
    found: list[str] = []
    for name, value in former.items():
        if not path and name in READ_ONLY:
            continue
        if name in ("info", "metadata", "count", "version"):  # the service's own
            continue
        inner = f"{path}.{name}" if path else name
        kept, other = written.get(name), read.get(name)
        if isinstance(value, Mapping) and isinstance(kept, Mapping) and isinstance(other, Mapping):
            found += _left(inner, value, kept, other)
        elif value is not None and kept is None and other and _same(name, value, other):
            found.append(inner)
    return found


def _is_of(certificate: str, info: Any) -> bool:
    """Whether what is told of a certificate is told of this one."""
    thumbprints = certificate_thumbprints(certificate)
    if thumbprints is None or not isinstance(info, Mapping):
        return False
    told = (info.get("sha1Thumbprint"), info.get("sha256Thumbprint"))
    pairs = [(mine, theirs) for mine, theirs in zip(thumbprints, told, strict=True) if theirs]
    return bool(pairs) and all(mine == str(theirs).upper() for mine, theirs in pairs)


def _same(name: str, value: Any, other: Any) -> bool:
    if value is None or other is None:
        return not value and not other  # an empty object or list and none are the same to the service
    if name in _SECRETS and isinstance(value, str) and isinstance(other, str):
        return hmac.compare_digest(value.encode(), other.encode())
    if name == "webhookUrl" and is_masked(other):
        return isinstance(value, str) and same_endpoint(value.split("?")[0], other.split("?")[0])
    if name in _HOSTS:
        return _hosts(value) == _hosts(other)
    if name == "certificate" and isinstance(value, str) and isinstance(other, str):
        return _body(value) == _body(other)
    alike = type(value) is type(other) or (_is_number(value) and _is_number(other))  # 60.0 may come as 60
    return alike and bool(value == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hosts(value: Any) -> list[str]:
    names = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return sorted(str(name).lower().rstrip(".") for name in names)


def _body(certificate: str) -> str:
    """The Base64 of a certificate, whether it is PEM or bare."""
    lines = (line.strip() for line in certificate.strip().splitlines())
    return "".join(line for line in lines if not line.startswith("-----"))
