"""Files of enrollments -> what there is to do -> done. A plan is shown before anything is changed.

Every item is one safe change of one enrollment, so a run that dies in the middle is finished by running it
again: what was done is then unchanged. Nothing is deleted unless told to prune, and then its keys are
escrowed first; a disabled individual enrollment is never pruned, for it may be all that keeps a revoked
device out.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from clients.errors import BadRequest, Conflict, NotSendable, PreconditionFailed
from lifecycle.enrollments import change as changes
from lifecycle.enrollments.build import Document, Edit
from lifecycle.enrollments.change import EnrollmentChange, Kind, attestation_type
from lifecycle.enrollments.diff import Difference, differences
from lifecycle.enrollments.files import KeyFrom, KeysFrom, Wanted
from lifecycle.enrollments.merge import with_members
from lifecycle.enrollments.webhook_url import MASK, is_masked, same_endpoint
from lifecycle.errors import AlreadyThere, EnrollmentError, EnrollmentMoved, FileRefused, InvalidOption

CALLS_A_MINUTE = 1000
"""What DPS allows for everybody together (documented)."""

Action = Literal["create", "update", "unchanged", "delete", "keep"]


class References(Protocol):
    """Resolves what files only name. Nothing of it is ever shown."""

    async def keys(self, source: KeysFrom, kind: Kind, enrollment_id: str) -> dict[str, str] | None:
        """Both keys as the service has them; None: there are none where they should be.

        Raises:
            InvalidOption: what is there is none, or may not be read.
        """

    async def webhook_key(self, source: KeyFrom) -> str | None:
        """A function key; None: there is none where it should be.

        Raises:
            InvalidOption: it is one that a roll has replaced.
        """


@dataclass(frozen=True, slots=True)
class There:
    """The enrollments of one kind at the DPS.

    Attributes:
        listed: all of them, id and whether it is disabled; for pruning.
    """

    enrollments: changes.Enrollments
    listed: Callable[[], AsyncIterator[tuple[str, bool]]]


@dataclass(frozen=True, slots=True)
class Item:
    """What is to be done with one enrollment.

    Attributes:
        where: the document that wants it; "" for one that no file names.
        document: that shall be created, with keys.
        edit: that makes it so.
        note: why it is kept.
        key_from: where its webhook's key comes from, if a reference says so.
        key: that key, as it was when the plan was made.
    """

    action: Action
    kind: Kind
    id: str
    where: str = ""
    diff: tuple[Difference, ...] = ()
    calls: int = 0
    note: str = ""
    document: Document | None = field(default=None, repr=False)
    edit: Edit | None = field(default=None, repr=False)
    key_from: KeyFrom | None = None
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be done, in this order."""

    items: tuple[Item, ...]

    @property
    def counts(self) -> dict[Action, int]:
        """How many of each action."""
        every: tuple[Action, ...] = ("create", "update", "unchanged", "delete", "keep")
        return {each: sum(item.action == each for item in self.items) for each in every}

    @property
    def todo(self) -> tuple[Item, ...]:
        """The items that change something."""
        return tuple(item for item in self.items if item.action in ("create", "update", "delete"))

    @property
    def calls(self) -> int:
        """Calls of the DPS that it takes, if nobody interferes."""
        return sum(item.calls for item in self.todo)

    @property
    def minutes(self) -> int:
        """Minutes that DPS's own rate makes of these calls, at least."""
        return math.ceil(self.calls / CALLS_A_MINUTE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item.

    Attributes:
        problem: "" if it was done.
    """

    item: Item
    problem: str = ""


async def plan(
    wanted: Sequence[Wanted],
    there: Mapping[Kind, There],
    references: References,
    *,
    prune: Iterable[Kind] = (),
    webhook_url: str | None = None,
) -> Plan:
    """Compare files with what there is. Reads only.

    Args:
        wanted: all documents, each enrollment once.
        there: both kinds.
        references: resolves keys.
        prune: kinds of which every enrollment goes that no file names.
        webhook_url: this app's, with its key, for reads that mask it.

    Raises:
        FileRefused: a document cannot be carried out; names it and the fix.
        ClientError: what a call may raise; nothing was changed.
    """
    items = [await _item(each, there[each.kind].enrollments, references, webhook_url) for each in wanted]
    for kind in prune:
        named = {each.id.lower() for each in wanted if each.kind == kind}
        async for enrollment_id, is_disabled in there[kind].listed():
            if enrollment_id.lower() not in named:
                items.append(_pruned(kind, enrollment_id, is_disabled=is_disabled))
    return Plan(tuple(items))


async def apply(
    item: Item,
    there: There,
    references: References,
    *,
    before_delete: Callable[[Document], Awaitable[None]],
    webhook_url: changes.OwnWebhook = None,
) -> Outcome:
    """Carry one item out; what concerns this enrollment alone is an outcome and not raised.

    Args:
        item: of a plan that somebody agreed to; a change of anything else is not made.
        there: its kind.
        references: as for `plan`: a webhook's key that is another by now is not written.
        before_delete: keeps keys safe, or decides not to.
        webhook_url: this app's, with its key, for reads that mask it; or what reads it.

    Raises:
        ClientError: the service cannot be worked with; the items after this one are not tried.
    """

    async def still(planned: EnrollmentChange) -> None:
        if item.diff and item.action == "update" and planned.diff != item.diff:
            raise EnrollmentMoved(item.kind, item.id, "was changed since the plan was shown")

    try:
        if item.key_from is not None and await references.webhook_key(item.key_from) != item.key:
            raise EnrollmentMoved(
                item.kind, item.id, "is to ask a webhook whose key was replaced since the plan was shown"
            )
        if item.action == "create" and item.document is not None and item.edit is not None:
            try:
                await changes.create(there.enrollments, item.document)
            except AlreadyThere:
                # Made in the meantime; if by an earlier run of this, it is as it should be.
                made = await changes.change(there.enrollments, item.id, item.edit, consent=_nothing_more)
                assert not made.diff
        elif item.action == "update" and item.edit is not None:
            await changes.change(
                there.enrollments, item.id, item.edit, consent=still, webhook_url=webhook_url
            )
        elif item.action == "delete":
            await changes.delete(there.enrollments, item.id, before_delete=before_delete)
    except (EnrollmentError, InvalidOption, BadRequest, Conflict, NotSendable, PreconditionFailed) as error:
        return Outcome(item, str(error))
    return Outcome(item)


async def _nothing_more(planned: EnrollmentChange) -> None:
    raise EnrollmentMoved(
        planned.kind, planned.enrollment_id, "was made by somebody else since the plan was shown"
    )


async def _item(
    wanted: Wanted, enrollments: changes.Enrollments, references: References, webhook_url: str | None
) -> Item:
    existing = await changes.with_keys(enrollments, wanted.id)
    keys = await _keys(wanted, existing, references)
    url, key = await _webhook_url(wanted, existing, references)
    members = _whole(wanted, keys, url)
    key_from = wanted.webhook_key if key else None

    def edit(document: Document) -> Document:
        return with_members(document, members)

    if existing is None:
        return replace(_creation(wanted, members, edit), key_from=key_from, key=key)
    if wanted.members.get("attestation") and attestation_type(wanted.members) != attestation_type(existing):
        raise FileRefused(
            wanted.where,
            "attestation.type",
            f"the enrollment attests by {attestation_type(existing)!a}, and that cannot be changed",
            "name another id, or delete it first",
        )
    diff = differences(existing, edit(existing))
    if not diff:
        return Item("unchanged", wanted.kind, wanted.id, wanted.where)
    held = (edit(existing).get("customAllocationDefinition") or {}).get("webhookUrl")
    masked = isinstance(held, str) and is_masked(held)
    if masked and not (webhook_url and same_endpoint(str(held), webhook_url)):
        raise FileRefused(
            wanted.where,
            "customAllocationDefinition.key",
            "DPS masks the webhook's key when it is read, and any change has to write it again",
            "say {vault: NAME} or {environment: VARIABLE}, or set WEBHOOK_URL and WEBHOOK_KEY",
        )
    symmetric = attestation_type(existing) == "symmetricKey"
    return Item(
        "update",
        wanted.kind,
        wanted.id,
        wanted.where,
        diff,
        calls=5 if symmetric else 3,
        edit=edit,
        key_from=key_from,
        key=key,
    )


def _creation(wanted: Wanted, members: Document, edit: Edit) -> Item:
    document = {name: value for name, value in members.items() if value is not None}
    if not attestation_type(document):
        raise FileRefused(
            wanted.where, "attestation", "the enrollment is not there, and this says not how it attests",
            "add attestation with its type, or correct the id",
        )  # fmt: skip
    x509 = document["attestation"].get("x509")
    for slot in _certificate_slots(x509):
        if not (isinstance(slot, Mapping) and slot.get("certificate")):
            raise FileRefused(
                wanted.where,
                "attestation.x509",
                "the enrollment is not there, and this holds no certificate, only what one says",
                "add `certificate` with its PEM text",
            )
    calls = 6 if attestation_type(document) == "symmetricKey" else 5
    return Item(
        "create",
        wanted.kind,
        wanted.id,
        wanted.where,
        differences(None, document),
        calls,
        document=document,
        edit=edit,
    )


def _certificate_slots(x509: object) -> list[object]:
    if not isinstance(x509, Mapping):
        return []
    held = [x509.get(member) for member in ("clientCertificates", "signingCertificates")]
    return [slot for slots in held if isinstance(slots, Mapping) for slot in slots.values() if slot]


def _pruned(kind: Kind, enrollment_id: str, *, is_disabled: bool) -> Item:
    if kind == "individual" and is_disabled:
        note = "disabled: it may be all that keeps a revoked device out; delete it by hand if it is not"
        return Item("keep", kind, enrollment_id, note=note)
    return Item("delete", kind, enrollment_id, calls=3)


def _whole(wanted: Wanted, keys: dict[str, str] | None, url: str | None) -> Document:
    """The members of a document with its references resolved."""
    members = dict(wanted.members)
    if keys is not None:
        members["attestation"] = {**members["attestation"], "symmetricKey": keys}
    if url is not None:
        members["customAllocationDefinition"] = {**members["customAllocationDefinition"], "webhookUrl": url}
    return members


async def _keys(wanted: Wanted, existing: Document | None, references: References) -> dict[str, str] | None:
    """The keys that the enrollment shall have; None: those it has."""
    source = wanted.keys
    if source is None:
        return None
    if source.source == "keep" or (existing is not None and source.source in ("escrow", "new")):
        if existing is None:
            raise FileRefused(
                wanted.where,
                "attestation.symmetricKey",
                f"{wanted.id!a} is not there, so it has no keys to keep",
                "write escrow for those kept when it was deleted, new for new ones, or {vault: NAME}",
            )
        return None
    try:
        found = await references.keys(source, wanted.kind, wanted.id)
    except InvalidOption as error:
        raise FileRefused(wanted.where, "attestation.symmetricKey", error.problem, error.fix) from None
    if found is None:
        raise FileRefused(
            wanted.where,
            "attestation.symmetricKey",
            f"there are no keys in {source.source}{f' {source.name}' if source.name else ''}",
            "name where they are",
        )
    return found


async def _webhook_url(
    wanted: Wanted, existing: Document | None, references: References
) -> tuple[str | None, str]:
    """The webhook's URL, None: as the document has it, or says nothing of one; and the key put into it."""
    from lifecycle.enrollments.webhook import with_key  # noqa: PLC0415 - only where there is a webhook

    custom = wanted.members.get("customAllocationDefinition")
    source = wanted.webhook_key
    if source is None or not isinstance(custom, dict) or not custom.get("webhookUrl"):
        return None, ""
    base: str = custom["webhookUrl"]
    path = "customAllocationDefinition.key"
    held = ((existing or {}).get("customAllocationDefinition") or {}).get("webhookUrl")
    same = isinstance(held, str) and same_endpoint(held.partition("?")[0], base)
    if source.source == "none":
        return base, ""
    if source.source in ("keep", "unsaid"):
        if same:
            return f"{base}?{MASK}", ""  # which stands for what is there when it is written
        raise FileRefused(
            wanted.where,
            path,
            "the webhook is not the one that is there, so there is no key of it to keep",
            "say setting, {vault: NAME}, {environment: VARIABLE}, or none for a webhook without a key",
        )
    try:
        key = await references.webhook_key(source)
    except InvalidOption as error:
        raise FileRefused(wanted.where, path, error.problem, error.fix) from None
    if not key:
        where = f"{source.source} {source.name}".strip()
        raise FileRefused(wanted.where, path, f"there is no key in {where}", "put it there, or say keep")
    if same and is_masked(held):
        return str(held), ""  # whether it has this key cannot be seen; `webhook attach` writes it again
    return with_key(base, key), key
