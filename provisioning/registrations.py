"""Registrations: a device's record at DPS."""

from typing import NewType

RegistrationKey = NewType("RegistrationKey", str)
"""A registration id in the form that compares: lower-case."""


def registration_key(registration_id: str) -> RegistrationKey:
    """The form of a registration id under which devices are compared, hashed and stored.

    Registration ids are case-insensitive at DPS (documented). The text as sent is kept beside it, because
    the HMAC that derives a device key is not.
    """
    return RegistrationKey(registration_id.lower())
