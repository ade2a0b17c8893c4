"""The ids of registrations, individual enrollments and enrollment groups.

Case-insensitive, up to 128 letters, digits and `-._:`. They start with a letter or digit; the documentation
lets them end with a letter, digit or dash, the API's description with a letter or digit (documented both).
"""

import re

_STRICT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-._:]{0,126}[A-Za-z0-9\-])?")
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._:]{1,128}")


class InvalidId(ValueError):
    """An id that DPS does not take. Names the parameter and the fix; the id in it is escaped and cut."""


def check_registration_id(text: str, parameter: str = "registration_id") -> str:
    """The id of an individual enrollment or a device that is to be made.

    Its case is kept: it does not count at DPS, but in the HMAC that derives a device's key.

    Raises:
        InvalidId: DPS does not take it.
    """
    return _checked(text, parameter)


def check_enrollment_id(text: str, parameter: str = "enrollment_id") -> str:
    """The id of an enrollment group that is to be made: the same rule.

    Raises:
        InvalidId: DPS does not take it.
    """
    return _checked(text, parameter)


def check_known_id(text: str, parameter: str) -> str:
    """An id that is only looked for: the right characters, wherever they stand, but not dots alone.

    Dots alone would be another path.

    Raises:
        InvalidId: DPS has none like it.
    """
    if _CHARACTERS.fullmatch(text) and text.strip("."):
        return text
    raise InvalidId(
        f"{parameter} is {_shown(text)}; ids of DPS are 1 to 128 ASCII letters, digits and - . _ : correct it"
    )


def _checked(text: str, parameter: str) -> str:
    if _STRICT.fullmatch(text):
        return text
    raise InvalidId(
        f"{parameter} is {_shown(text)}; use 1 to 128 ASCII letters, digits and - . _ : that start with a "
        "letter or digit and end with one or a dash"
    )


def _shown(text: str) -> str:
    return ascii(f"{text[:59]}~" if len(text) > 60 else text)
