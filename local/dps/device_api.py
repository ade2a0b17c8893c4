"""The device API: register, poll, look up (published version 2021-10-01)."""

import re
from typing import Any
from urllib.parse import quote, urlencode

from local.asgi import Request, Response
from local.dps import device_auth, errors, ids, wire
from local.dps.attested import Attested
from local.dps.certificate_auth import CertificateAuth
from local.dps.device_auth import LatestKeys
from local.dps.errors import BAD_REQUEST, DpsError
from local.dps.limits import Throttle
from local.dps.records import Registration
from local.dps.registration import Operation, Registrar
from local.dps.store import Store
from local.world import World

RETRY_AFTER = 3
"""Seconds a device is told to wait before it polls (seen in a sample)."""
_HOST = re.compile(r"[A-Za-z0-9.\-_\[\]:]{1,255}")


class DeviceApi:
    """The operations a device may call; each raises `DpsError` for what it refuses."""

    def __init__(
        self,
        *,
        id_scope: str,
        host_name: str,
        store: Store,
        certificates: CertificateAuth,
        latest_keys: LatestKeys,
        registrar: Registrar,
        world: World,
        registrations: Throttle,
        polls: Throttle,
        quota: int | None,
    ) -> None:
        """Wire it up.

        Args:
            id_scope: the first segment of its paths.
            host_name: where to poll, for a client that sends no usable Host header.
            store: the records.
            certificates: judges client certificates.
            latest_keys: refuses a key that came too soon after another.
            registrar: runs registrations.
            world: the time.
            registrations: how many of them all devices together may start.
            polls: how often each device may ask; a rate of its own (documented).
            quota: most registration records.
        """
        self._id_scope = id_scope
        self._host_name = host_name
        self._store = store
        self._certificates = certificates
        self._latest_keys = latest_keys
        self._registrar = registrar
        self._world = world
        self._registrations = registrations
        self._polls = polls
        self._quota = quota

    def register(self, name: str, request: Request) -> Response:
        """PUT register: always 202 with where to poll; the outcome comes by polling, failures too."""
        attested = self._attest(name, request)
        body = wire.parse_object(request.body, empty_is_object=True)
        stated = body.get("registrationId")
        if stated is not None and ids.key(ids.registration_id(stated)) != attested.key:
            raise DpsError(BAD_REQUEST, "registrationId differs from the id in the path.")
        payload = body.get("payload")
        if not isinstance(payload, dict | None):
            raise DpsError(BAD_REQUEST, "payload must be an object.")
        self._registrations.take()
        self._check_quota(attested.key)
        self._latest_keys.note(attested)
        operation = self._registrar.register(attested, payload)
        path = (
            f"/{quote(self._id_scope)}/registrations/{quote(name, safe='')}/operations/{quote(operation.id)}"
        )
        version = urlencode({"api-version": request.query.get("api-version", "")})
        host = request.headers.get("host", "")
        where = f"https://{host if _HOST.fullmatch(host) else self._host_name}{path}?{version}"
        return Response(202, _assigning(operation), {"Location": where, "Retry-After": str(RETRY_AFTER)})

    def poll(self, name: str, operation_id: str, request: Request) -> Response:
        """GET of an operation: 202 while it runs, then 200 with the outcome, also for a failure."""
        attested = self._attest(name, request)
        self._polls.take(attested.key)
        operation = self._registrar.operation(name, operation_id)
        if operation is None:
            raise DpsError(errors.NOT_FOUND, "There is no such operation.")
        if operation.result is None:
            state = {"registrationId": operation.registration_id, "status": "assigning"}
            body = {**_assigning(operation), "registrationState": state}
            return Response(202, body, {"Retry-After": str(RETRY_AFTER)})
        result = operation.result
        return Response(
            200,
            {
                "operationId": operation.id,
                "status": result.status,
                "registrationState": _result(result, attested),
            },
        )

    def look_up(self, name: str, request: Request) -> Response:
        """POST of a registration: its record as the device may see it; allocates nothing (inferred)."""
        attested = self._attest(name, request)
        wire.parse_object(request.body, empty_is_object=True)
        found = self._store.registrations.get(ids.key(name))
        if found is None:
            raise DpsError(errors.REGISTRATION_NOT_FOUND, "The device has not been registered.")
        return Response(200, _result(found, attested))

    def _check_quota(self, key: str) -> None:
        """How a registration over the quota ends is unknown."""
        records = self._store.registrations
        if self._quota is not None and len(records) >= self._quota and records.get(key) is None:
            raise DpsError(errors.QUOTA_EXCEEDED, f"There are {len(records)} registration records already.")

    def _attest(self, name: str, request: Request) -> Attested:
        checked = ids.registration_id(name, "The registration id in the path")
        now = self._world.clock.now()
        attested = device_auth.attest(self._certificates, request, self._id_scope, checked, now)
        self._latest_keys.check(attested)
        return attested


def _assigning(operation: Operation) -> dict[str, Any]:
    return {"operationId": operation.id, "status": "assigning"}


def _result(record: Registration, attested: Attested) -> dict[str, Any]:
    """The device's view: the record, and by what it proved itself through which group."""
    proof = {} if attested.certificate is None else dict(attested.certificate.shown)
    if record.group:
        proof["enrollmentGroupId"] = record.group
    return {"symmetricKey" if attested.certificate is None else "x509": proof, **record.wire()}
