"""Which enrollment a device belongs to, proved by its shared access signature or its certificate."""

from collections.abc import Iterator
from datetime import datetime

from local.dps import attestation, errors, ids, sas
from local.dps.certificate_auth import CertificateAuth
from local.dps.enrollments import Enrollment
from local.dps.errors import DpsError
from local.dps.registration import Attested
from local.dps.store import Store
from local.dps.wire import Request


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
            if any(token.signed_with(key) for key in attested.keys.present):
                return attested
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
