"""Which enrollment a device belongs to, proved by its shared access signature or its certificate."""

import hmac
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from local.asgi import Request
from local.dps import attestation, errors, ids, sas
from local.dps.attested import Attested
from local.dps.behaviour import Behaviour
from local.dps.certificate_auth import CertificateAuth
from local.dps.enrollments import Enrollment
from local.dps.errors import DpsError
from local.dps.store import Store
from local.world import Clock


def attest(
    certificates: CertificateAuth, request: Request, id_scope: str, registration_id: str, now: datetime
) -> Attested:
    """The enrollment of the device that calls.

    Its individual enrollment says how it must prove itself. Without one, a certificate counts unless there
    is a token too; what DPS makes of both at once is unknown.

    Raises:
        DpsError: 401 without or with a wrong proof; 400 when the individual enrollment attests by TPM,
            which this emulator does not serve.
    """
    header = request.headers.get("authorization")
    individual = certificates.store.individuals.get(ids.key(registration_id))
    if individual is not None:
        kind = individual.attestation_type
        if kind not in (attestation.SYMMETRIC_KEY, attestation.X509):
            raise DpsError(errors.BAD_REQUEST, f"The emulator cannot register {kind} devices.")
        by_certificate = kind == attestation.X509
    else:
        by_certificate = not header and bool(request.certificates)
    if by_certificate:
        return certificates.attest(request.certificates, registration_id, now)
    return _by_token(certificates.store, header, id_scope, registration_id, now)


class _Latest(NamedTuple):
    at: float
    digest: bytes
    """Of the key: whoever looks in here learns none."""


class LatestKeys:
    """The key each device last registered with, for as long as DPS may go by it alone."""

    LONGEST = 3600.0
    """Seconds it is remembered."""

    def __init__(self, clock: Clock, behaviour: Behaviour) -> None:
        """Start without any; how long a key counts is asked when another one comes."""
        self._clock = clock
        self._behaviour = behaviour
        self._latest: dict[str, _Latest] = {}

    def note(self, device: Attested) -> None:
        """A registration of the device was accepted."""
        if device.signed_with is None:
            return
        now = self._clock.monotonic()
        self._latest.pop(device.key, None)
        self._latest[device.key] = _Latest(now, _digest(device.signed_with))
        while (first := next(iter(self._latest))) and self._latest[first].at + self.LONGEST < now:
            del self._latest[first]

    def check(self, device: Attested) -> None:
        """Return unless the device comes with another key too soon.

        Raises:
            DpsError: 401002.
        """
        latest = self._latest.get(device.key)
        if latest is None or device.signed_with is None:
            return
        if not hmac.compare_digest(latest.digest, _digest(device.signed_with)):
            seconds = self._behaviour.other_key_refused_seconds
            if self._clock.monotonic() < latest.at + seconds:
                raise DpsError(errors.WRONG_KEY, "Unauthorized")


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=16).digest()


def _by_token(
    store: Store, header: str | None, id_scope: str, registration_id: str, now: datetime
) -> Attested:
    """The enrollment and keys of the device that signed.

    An individual enrollment takes precedence over every group, whatever its state. A device of a group
    signs with the key derived from its registration id as it writes it in the URL; the group's own key
    opens nothing (documented). `skn` is not looked at.

    Raises:
        DpsError: 401 without a token (401000) or with a wrong or expired key (401002).
    """
    individual = store.individuals.get(ids.key(registration_id))
    try:
        token = sas.parse(header)
    except sas.SasError as error:
        raise DpsError(errors.UNAUTHORIZED, str(error)) from None
    if token.path == f"{id_scope}/registrations/{registration_id}".lower() and not token.expired(now):
        for attested in _possible(store, individual, registration_id):
            key = next((each for each in attested.keys.present if token.signed_with(each)), None)
            if key is not None:
                return replace(attested, signed_with=key)
    raise DpsError(errors.WRONG_KEY, "Unauthorized")


def _possible(store: Store, individual: Enrollment | None, registration_id: str) -> Iterator[Attested]:
    if individual is not None:
        if individual.keys is not None:
            yield Attested(registration_id, individual, individual.keys)
        return
    known = store.registrations.get(ids.key(registration_id))
    its_group = known.group_key if known is not None else None
    latest = store.groups.get(its_group) if its_group is not None else None
    if latest is not None and latest.keys is not None:  # nearly always it: spares the walk over all groups
        yield Attested(registration_id, latest, latest.keys.derived(registration_id))
    for group in store.groups:
        if group.keys is not None and group is not latest:
            yield Attested(registration_id, group, group.keys.derived(registration_id))
