"""What the values of an enrollment must be, looked at before anything is sent.

Each check returns the value as it is sent, or raises InvalidOption with the parameter and the fix.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from lifecycle.errors import InvalidOption
from provisioning.hubs import hub_key
from provisioning.ids import InvalidId, check_enrollment_id, check_known_id
from provisioning.keys import KeyFormatError, SymmetricKey

TAGS_BYTES = 8 * 1024
"""Most bytes of a twin's tags, as JSON (documented for hubs)."""

DESIRED_BYTES = 32 * 1024
"""Most bytes of a twin's desired properties, as JSON (documented for hubs)."""

INFORMATION_BYTES = 96 * 1024
"""Most bytes of the device information: DPS's largest message (documented; what it counts is not)."""

OLDEST_WEBHOOK_VERSION = "2018-09-01-preview"
"""The first API version whose types a webhook can be sent (documented)."""

_DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+"
)
_VERSION = re.compile(r"(\d{4}-\d\d-\d\d)(-preview)?")
_CA_NAME = re.compile(r"[!-~]{1,256}")
_NOT_IN_NAMES = re.compile(r"[\x00-\x20\x7f-\x9f.$#]")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_RESERVED = ("count", "metadata")
# TwinCollection has a "version" too, but the Azure CLI's own examples set a tag of that name.
_DEPTH, _NAME_BYTES, _TEXT_BYTES = 10, 1024, 4096


def new_id(text: str, parameter: str) -> str:
    """The id of an enrollment that is to be made."""
    try:
        return check_enrollment_id(text, parameter)
    except InvalidId:
        raise InvalidOption(
            parameter,
            f"{_short(text)} is no id that DPS takes",
            "use 1 to 128 ASCII letters, digits and -._: that start with a letter or digit and end with one "
            "or a dash",
        ) from None


def known_id(text: str, parameter: str) -> str:
    """The id of something that may exist: DPS's characters, wherever they stand."""
    try:
        return check_known_id(text, parameter)
    except InvalidId:
        raise InvalidOption(
            parameter, f"{_short(text)} is no id of DPS", "ids are 1 to 128 letters, digits and -._:"
        ) from None


def device_id(text: str, parameter: str = "device_id") -> str:
    """The id that the device gets at its hub: 1 to 128 characters of IoT Hub's set; its case counts."""
    if _DEVICE_ID.fullmatch(text):
        return text
    raise InvalidOption(
        parameter,
        f"{_short(text)} is no device id that IoT Hub takes",
        "use 1 to 128 ASCII letters, digits and -:.+%_#*?!(),=@;$'",
    )


def hub_names(names: Sequence[str], parameter: str = "iot_hubs") -> tuple[str, ...]:
    """Host names of hubs, each once. One empty text is no hub at all: every linked one."""
    if list(names) == [""]:
        return ()
    for name in names:
        if "," in name or ";" in name or " " in name.strip():
            raise InvalidOption(
                parameter,
                f"{_short(name)} is one text that holds several names",
                "separate them by spaces: --iot-hubs hub-a.azure-devices.net hub-b.azure-devices.net",
            )
        if not _HOST.fullmatch(name):
            raise InvalidOption(
                parameter,
                f"{_short(name)} is no host name",
                "give the hub's full host name, like hub-a.azure-devices.net",
            )
    twice = {name for name in names if sum(hub_key(name) == hub_key(other) for other in names) > 1}
    if twice:
        raise InvalidOption(parameter, f"{_short(min(twice))} stands there twice", "name each hub once")
    return tuple(names)


def symmetric_key(text: str, parameter: str) -> SymmetricKey:
    """A primary or secondary key."""
    try:
        return SymmetricKey.parse(text.strip())
    except KeyFormatError as error:
        raise InvalidOption(
            parameter, str(error), "give Base64 text of 16 to 64 bytes, with its = at the end"
        ) from None


def endorsement_key(text: str, parameter: str = "endorsement_key") -> str:
    """A TPM's endorsement key: Base64, of any length but none."""
    try:
        if base64.b64decode(text.strip(), validate=True):
            return text.strip()
    except (binascii.Error, ValueError):
        pass
    raise InvalidOption(
        parameter, "a TPM's endorsement key is Base64 text", "give it as the TPM's tool printed it"
    )


def ca_name(text: str, parameter: str) -> str:
    """The name of a CA certificate of the DPS; no path, for a resource's name in Azure has no slash."""
    if _CA_NAME.fullmatch(text) and not set(text) & set("/\\?#%&"):
        return text
    raise InvalidOption(
        parameter,
        f"{_short(text)} is no name of a CA certificate",
        "give the name it has at the DPS; a file goes into --certificate-path",
    )


def webhook_url(text: str, parameter: str = "webhook_url") -> str:
    """Where DPS asks for a custom allocation. It carries a key, so no message shows it."""
    try:
        parts = urlsplit(text)
        sound = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
        parts = urlsplit("")
    # The stack on one machine serves its functions without TLS; no real DPS can call a loopback address.
    schemes = ("https", "http") if parts.hostname in _LOOPBACK else ("https",)
    if not sound or parts.scheme.lower() not in schemes or re.search(r"[\s\x00-\x1f\x7f-\x9f]", text):
        raise InvalidOption(
            parameter,
            "it is no https URL",
            "give https://HOST/api/allocate?code=FUNCTION-KEY, as DPS is to call it",
        )
    if parts.username is not None or parts.fragment:
        raise InvalidOption(
            parameter,
            "it has a user or a #fragment, which DPS does not send",
            "give the key as ?code=FUNCTION-KEY",
        )
    if "****" in parts.query:
        raise InvalidOption(
            parameter,
            "its key is masked (****): it was copied from where keys are not shown",
            "give the URL with the function key itself",
        )
    return text


def webhook_version(text: str, parameter: str = "api_version") -> str:
    """The API version of the types that the webhook is sent."""
    shape = _VERSION.fullmatch(text)
    try:
        if shape and date.fromisoformat(shape[1]) >= date.fromisoformat(OLDEST_WEBHOOK_VERSION[:10]):
            return text
    except ValueError:
        pass
    raise InvalidOption(
        parameter,
        f"{_short(text)} is no API version that a webhook can be sent",
        f"give a version like 2021-10-01, {OLDEST_WEBHOOK_VERSION} or later",
    )


def twin_part(value: Any, parameter: str, most: int) -> Mapping[str, Any]:
    """Tags or desired properties, or the device information: a JSON object within a hub's limits.

    Names may hold neither control characters nor space . $ #, and the three that DPS reads as members of its
    own TwinCollection cannot be used at the top.
    """
    if not isinstance(value, dict):
        raise InvalidOption(
            parameter, "it is no JSON object", 'give one, like {"location": {"region": "US"}}'
        )
    nested = value.get("properties") if set(value) == {"properties"} else value
    if isinstance(nested, dict) and set(nested) == {"desired"} and isinstance(nested["desired"], dict):
        raise InvalidOption(
            parameter,
            'it wraps the properties in "desired", and DPS would nest them once more',
            'give the content of "desired" alone',
        )
    for name in _RESERVED:
        if name in value:
            raise InvalidOption(
                parameter,
                f'"{name}" at the top is a member that DPS keeps for itself (TwinCollection)',
                f'rename it, for example to "{name}_dps"',
            )
    _check_twin(value, parameter, 1)
    size = json_bytes(value)
    if size > most:
        raise InvalidOption(
            parameter, f"it has {size:,} bytes as JSON", f"a hub takes at most {most:,}: make it smaller"
        )
    return value


def json_bytes(value: Any) -> int:
    """How many bytes a JSON value has on the wire."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _check_twin(value: Any, parameter: str, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value, parameter)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidOption(parameter, "a number is not finite", "JSON has no NaN and no Infinity")
    elif isinstance(value, dict | list) and depth > _DEPTH:
        raise InvalidOption(
            parameter, f"it nests deeper than {_DEPTH} levels", "a hub refuses it: flatten it"
        )
    elif isinstance(value, list):
        if None in value:
            raise InvalidOption(parameter, "a list holds null", "a hub refuses it: leave it out")
        for each in value:
            _check_twin(each, parameter, depth + 1)
    elif isinstance(value, dict):
        for name, each in value.items():
            _check_name(name, parameter)
            _check_twin(each, parameter, depth + 1)


def _check_text(text: str, parameter: str) -> None:
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InvalidOption(parameter, "a text has half a surrogate pair", "write the whole character")
    if len(text.encode()) > _TEXT_BYTES:
        raise InvalidOption(parameter, f"a text is over {_TEXT_BYTES} bytes", "a hub refuses it: shorten it")


def _check_name(name: Any, parameter: str) -> None:
    if not isinstance(name, str):
        raise InvalidOption(parameter, "a name is no text", "give a JSON object, with names in quotes")
    if not name or len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES or _NOT_IN_NAMES.search(name):
        raise InvalidOption(
            parameter,
            f"the name {_short(name)} is not allowed in a twin",
            f"names have up to {_NAME_BYTES} bytes, no control characters, and no space . $ #",
        )


def _short(text: str) -> str:
    """The text in quotes, escaped and cut: for a message."""
    return ascii(text if len(text) <= 60 else text[:59] + "~")
