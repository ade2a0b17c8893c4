"""The service API: enrollments, enrollment groups, registration records (published version 2021-10-01)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from local.asgi import Request, Response
from local.dps import attestation, enrollments, errors, ids, keys, paging, wire
from local.dps.behaviour import Behaviour
from local.dps.enrollments import Draft, Enrollment, Kind
from local.dps.errors import BAD_REQUEST, DpsError
from local.dps.limits import Limits
from local.dps.ordering import Ordering
from local.dps.records import RecordList, Registration
from local.dps.store import Store
from local.world import World

T = TypeVar("T")

BULK_LIMIT = 10
"""Most items of a bulk operation (documented)."""
BULK_MODES = ("create", "update", "updateIfMatchETag", "delete")


class ServiceApi:
    """The operations of the service API over one store; each raises `DpsError` for what it refuses."""

    def __init__(
        self,
        *,
        store: Store,
        world: World,
        behaviour: Behaviour,
        limits: Limits,
        linked: Callable[[], Collection[str]],
        forget: Callable[[str], None],
    ) -> None:
        """Wire it up.

        Args:
            store: the records.
            world: time and randomness.
            behaviour: the open choices.
            limits: how many enrollments there may be.
            linked: `ids.key` of the linked hubs' names.
            forget: called with the key of each deleted registration record.
        """
        self._store = store
        self._world = world
        self._behaviour = behaviour
        self._limits = limits
        self._linked = linked
        self._forget = forget

    def get(self, kind: Kind, name: str) -> Response:
        """GET of an enrollment; never with symmetric keys (documented)."""
        return Response(200, self._show(self._existing(kind, name)))

    def put(self, kind: Kind, name: str, request: Request) -> Response:
        """PUT: creates with 200, or updates an existing enrollment named by `If-Match`.

        Only the answer to a creation carries the symmetric keys (seen).
        """
        draft = enrollments.parse(kind, wire.parse_object(request.body), self._linked())
        if ids.key(draft.id) != ids.key(ids.registration_id(name, "The id in the path")):
            raise DpsError(BAD_REQUEST, f"{kind.id_member} differs from the id in the path.")
        before = self._store.enrollments(kind).get(ids.key(draft.id))
        if_match = request.headers.get("if-match")
        if before is None:
            if if_match is not None:  # `*` too must find something; that this is a 404 is inferred
                raise _not_found(kind)
            return Response(200, self._show(self._create(kind, draft), keys=True))
        if if_match is None:
            raise DpsError(
                errors.CONFLICT, f"{draft.id} exists already; send its etag in If-Match to change it."
            )
        _check_etag(if_match, before.etag)
        after = self._update(draft, before)
        told = after.keys is not None and self._behaviour.put_update_returns_keys
        return Response(200, self._show(after, keys=told))

    def delete(self, kind: Kind, name: str, request: Request) -> Response:
        """DELETE of an enrollment. A group's registration records stay (documented)."""
        found = self._existing(kind, name)
        _check_etag(request.headers.get("if-match"), found.etag)
        self._remove(found)
        return Response(204)

    def attestation_mechanism(self, kind: Kind, name: str) -> Response:
        """The attestation with its keys; the one call that tells them later on."""
        found = self._existing(kind, name)
        return Response(200, attestation.with_keys(found.members["attestation"], found.keys))

    def query(self, kind: Kind, request: Request) -> Response:
        """All enrollments of a kind, in pages. The query text is not understood, only asked for."""
        if not isinstance(wire.parse_object(request.body).get("query"), str):
            raise DpsError(BAD_REQUEST, "The body needs a query text.")
        table = self._store.enrollments(kind)

        def show(found: Sequence[Enrollment]) -> list[dict[str, Any]]:
            return [self._show(each) for each in found]

        return self._page(request, table.order, show, kind.item_type, "")

    def bulk(self, kind: Kind, request: Request) -> Response:
        """Up to ten enrollments at once; each succeeds or fails for itself."""
        body = wire.parse_object(request.body)
        items, mode = body.get(kind.bulk_member), body.get("mode")
        if not isinstance(mode, str) or mode not in BULK_MODES:
            raise DpsError(BAD_REQUEST, f"mode must be one of {', '.join(BULK_MODES)}.")
        if not isinstance(items, list) or not 1 <= len(items) <= BULK_LIMIT:
            raise DpsError(BAD_REQUEST, f"{kind.bulk_member} must be a list of 1 to {BULK_LIMIT} items.")
        failures = []
        for item in items:
            try:
                self._bulk_item(kind, mode, item)
            except DpsError as error:
                named = item.get(kind.id_member) if isinstance(item, dict) else None
                failures.append(
                    {
                        kind.id_member: named if isinstance(named, str) else "",
                        "errorCode": error.code,
                        "errorStatus": error.message,
                    }
                )
        return Response(200, {"isSuccessful": not failures, "errors": failures})

    def get_registration(self, name: str) -> Response:
        """GET of a registration record, whatever enrollment it came through."""
        return Response(200, self._registration(name).wire())

    def delete_registration(self, name: str, request: Request) -> Response:
        """DELETE of a registration record; the hub's device stays (inferred)."""
        found = self._registration(name)
        _check_etag(request.headers.get("if-match"), found.etag)
        self._drop_registration(ids.key(name))
        return Response(204)

    def query_registrations(self, group: str, request: Request) -> Response:
        """The records of a group's devices, in pages; a body, if sent, is not looked at.

        A group that never was, or is gone with all its records, is a 404 (inferred).
        """
        key = ids.key(ids.registration_id(group, "The id in the path"))
        records, exists = self._store.registrations, self._store.groups.get(key) is not None
        order = records.of_group(key)
        if not exists and (order is None or not self._behaviour.orphans_queryable):
            raise _not_found(enrollments.GROUP)

        return self._page(request, order or Ordering[bytes](), RecordList, "deviceRegistration", key)

    def _page(
        self,
        request: Request,
        order: Ordering[T],
        show: Callable[[Sequence[T]], Any],
        item_type: str,
        of: str,
    ) -> Response:
        behaviour, clock = self._behaviour, self._world.clock
        return paging.page(request, order, show, item_type=item_type, of=of, behaviour=behaviour, clock=clock)

    def _existing(self, kind: Kind, name: str) -> Enrollment:
        found = self._store.enrollments(kind).get(ids.key(ids.registration_id(name, "The id in the path")))
        if found is None:
            raise _not_found(kind)
        return found

    def _registration(self, name: str) -> Registration:
        found = self._store.registrations.get(ids.key(ids.registration_id(name, "The id in the path")))
        if found is None:
            raise DpsError(errors.REGISTRATION_NOT_FOUND, "There is no such registration record.")
        return found

    def _show(self, enrollment: Enrollment, *, keys: bool = False) -> dict[str, Any]:
        record = None if enrollment.kind.is_group else self._store.registrations.get(enrollment.key)
        state = record.wire() if record is not None and record.group is None else None
        calls = enrollment.members.get("customAllocationDefinition") is not None
        masked = calls and self._behaviour.mask_webhook_url_on_get
        return enrollment.wire(keys=keys, mask_url=masked, registration_state=state)

    def _create(self, kind: Kind, draft: Draft) -> Enrollment:
        table, attested = self._store.enrollments(kind), draft.attestation
        if kind.is_group:
            most, found = self._limits.groups, table.count(attested.type)
        else:
            most, found = self._limits.individual_enrollments, len(table)
        if most is not None and found >= most:
            raise DpsError(errors.QUOTA_EXCEEDED, f"There are {found} already; {most} is the limit.")
        made = keys.generate(self._world.random) if attested.type == attestation.SYMMETRIC_KEY else None
        now = self._world.clock.now()
        enrollment = Enrollment(
            kind=kind,
            id=draft.id,
            members=draft.members,
            attestation_type=attested.type,
            etag=wire.enrollment_etag(self._world.random, now),
            created=now,
            updated=now,
            keys=attested.keys or made,
        )
        table.put(enrollment)
        return enrollment

    def _update(self, draft: Draft, before: Enrollment) -> Enrollment:
        """Replace an enrollment; its id's spelling, creation time and place stay.

        Changing the attestation type is let through; the portal does not offer it, the API is not known to
        refuse it.
        """
        now = self._world.clock.now()
        enrollment = Enrollment(
            kind=before.kind,
            id=before.id,
            members=draft.members,
            attestation_type=draft.attestation.type,
            etag=wire.enrollment_etag(self._world.random, now),
            created=before.created,
            updated=now,
            keys=draft.attestation.keys or self._keys_without_any(draft, before),
        )
        self._store.enrollments(before.kind).put(enrollment)
        return enrollment

    def _keys_without_any(self, draft: Draft, before: Enrollment) -> keys.SymmetricKeys | None:
        if draft.attestation.type != attestation.SYMMETRIC_KEY:
            return None
        choice = self._behaviour.put_without_keys
        if choice == "refuse":
            raise DpsError(BAD_REQUEST, "attestation.symmetricKey must carry the keys.")
        kept = before.keys if choice == "keep" else None
        return kept or keys.generate(self._world.random)

    def _remove(self, enrollment: Enrollment) -> None:
        self._store.enrollments(enrollment.kind).delete(enrollment.key)
        if (
            not enrollment.kind.is_group
            and self._store.registrations.get(enrollment.key) is not None
            and self._behaviour.enrollment_delete_drops_registration
        ):
            self._drop_registration(enrollment.key)

    def _drop_registration(self, key: str) -> None:
        self._store.registrations.delete(key)
        self._forget(key)

    def _bulk_item(self, kind: Kind, mode: str, item: Any) -> None:
        if not isinstance(item, Mapping):
            raise DpsError(BAD_REQUEST, "An enrollment must be a JSON object.")
        before = self._store.enrollments(kind).get(ids.key(enrollments.body_id(kind, item)))
        if mode == "create":
            if before is not None:
                raise DpsError(errors.CONFLICT, f"{before.id} exists already.")
            self._create(kind, enrollments.parse(kind, item, self._linked()))
            return
        if before is None:
            raise _not_found(kind)
        if mode == "delete":
            self._remove(before)
            return
        draft = enrollments.parse(kind, item, self._linked())
        if mode == "updateIfMatchETag":
            if draft.etag is None:
                raise DpsError(BAD_REQUEST, "The mode updateIfMatchETag needs an etag in each item.")
            _check_etag(draft.etag, before.etag)
        self._update(draft, before)


def _check_etag(if_match: str | None, stored: str) -> None:
    if if_match is not None and not wire.etags_match(if_match, stored):
        raise DpsError(errors.PRECONDITION_FAILED, "If-Match does not match: the record has changed.")


def _not_found(kind: Kind) -> DpsError:
    return DpsError(
        kind.not_found, f"There is no such {'enrollment group' if kind.is_group else 'enrollment'}."
    )
