"""The steps over the group itself: look, disable, keep its keys, delete. Each may be done again."""

from typing import Any

from lifecycle.decommission.work import Work
from lifecycle.enrollments import at_dps
from lifecycle.enrollments import change as changes
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import attestation_type
from lifecycle.enrollments.escrow import escrow
from lifecycle.errors import (
    InvalidOption,
    LifecycleError,
    MaskedWebhook,
    NoSuchEnrollment,
    NotEscrowed,
    NotVerified,
    RotationMoved,
)
from lifecycle.jobs import Blocked, Failed, More, SliceResult
from lifecycle.purge.rules import excluded
from provisioning.documents import MalformedDocument
from provisioning.enrollments import DISABLED, EnrollmentGroup

TRIES = 5
"""How often keys are put into the vault again, before somebody must see to it."""

TRY_SECONDS = 30.0


class NotThatGroup(LifecycleError):
    """The group is not the one that was to go, or somebody wants it: names what is in the way."""


async def look(work: Work) -> Failed | None:
    """See whether it can be done at all. Nothing is changed."""
    told, state = work.told, work.state
    if excluded("", told.group, told.policy):
        return Failed(f"purge.exclude_groups keeps group {told.group!a}: take it out of the rules")
    found = await work.dps.groups.get(told.group)
    if found is None:
        return Failed(str(NoSuchEnrollment("group", told.group)))
    if told.made and told.made != made(found.document()):
        return Failed(f"group {told.group!a} was made anew since you looked at it: look at it again")
    document = found.document()
    state.made, state.was = made(document), str(document.get("provisioningStatus") or "")
    state.symmetric = attestation_type(document) == "symmetricKey"
    if state.symmetric and told.escrow and work.vault is None and not told.dry_run:
        return Failed(
            f"group {told.group!a} has symmetric keys, and there is no vault to keep them in: set VAULT_URL, "
            "or say --no-escrow: the keys of all its devices are then lost with it"
        )
    state.to("survey")
    await work.save()
    return None


async def disable(work: Work) -> Failed | Blocked | None:
    """Disable it, its keys sent again."""
    state = work.state

    def edit(document: Document) -> Document:
        _same(work, document)
        return {**document, "provisioningStatus": DISABLED}

    async def changed(webhook: str | None) -> changes.EnrollmentChange:
        return await changes.change(at_dps.groups(work.dps), work.told.group, edit, webhook_url=webhook)

    try:
        try:
            done = await changed(None)
        except MaskedWebhook:
            done = await changed(await work.ports.webhook())
    except MaskedWebhook as error:
        return Failed(
            f"{error}; or disable it yourself and run this again: what is disabled already is not written"
        )
    except (NoSuchEnrollment, NotThatGroup, InvalidOption) as error:
        return Failed(str(error))
    except NotVerified as error:
        return Blocked(str(error))
    at = None if done.diff else _updated(done.before or {})
    # A group that was disabled long ago has let nothing begin since.
    state.disabled_at = (at or work.now).isoformat()
    state.to("escrow")
    await work.save()
    return None


async def keep_keys(work: Work) -> SliceResult | None:
    """Put its keys into the vault, and read them back."""
    state = work.state
    if state.symmetric and work.told.escrow:
        document = await changes.with_keys(at_dps.groups(work.dps), work.told.group)
        if document is None:
            return Failed(f"group {work.told.group!a} was deleted by somebody else before its keys were kept")
        try:
            _same(work, document)
            await _escrow(work, document)
        except NotThatGroup as error:
            return Failed(str(error))
        except (NotEscrowed, InvalidOption) as error:
            return await _not_kept(work, error)
    state.to("count")
    await work.save()
    return None


async def still(work: Work) -> bool:
    """Whether it is there, as this run left it; False: somebody else deleted it.

    Raises:
        NotThatGroup: it was made anew, or enabled.
    """
    found = await work.dps.groups.get(work.told.group)
    if found is None:
        return False
    _disabled(work, found.document())
    return True


async def gone(work: Work) -> bool:
    """Whether there is no group of its id."""
    return await work.dps.groups.get(work.told.group) is None


async def delete(work: Work) -> SliceResult | None:
    """Delete it under its ETag, once the keys that it has by then are in the vault."""

    async def before_delete(document: Document) -> None:
        _disabled(work, document)
        if work.told.escrow and attestation_type(document) == "symmetricKey":
            await _escrow(work, document)

    try:
        await changes.delete(at_dps.groups(work.dps), work.told.group, before_delete=before_delete)
    except NoSuchEnrollment:
        pass  # by this run before it died, or by somebody else
    except NotThatGroup as error:
        return Failed(str(error))
    except (NotEscrowed, InvalidOption) as error:
        return await _not_kept(work, error)
    work.state.to("after")
    await work.save()
    return None


async def end_rotation(work: Work) -> None:
    """Take the group out of rotation, now that it is gone: nothing of it is to be begun or waited for."""
    if work.told.dry_run or work.state.remade or not await gone(work):
        return
    try:
        if await work.ports.forget(work.told.group):
            work.state.rotation = "ended; its secrets stay in the vault"
    except RotationMoved as error:
        work.state.rotation = f"left as it is: {error}"


def made(document: Any) -> str:
    """When a group was made, as DPS writes it."""
    return str(document.get("createdDateTimeUtc") or "")


async def _not_kept(work: Work, error: NotEscrowed | InvalidOption) -> SliceResult:
    """The vault may only have been slow, or its answer was lost; else somebody must see to it."""
    work.state.unsure += 1
    if work.state.unsure > TRIES:
        work.state.unsure = 0
        await work.save()
        return Blocked(f"{error}; it is disabled")
    await work.save()
    return More(TRY_SECONDS)


async def _escrow(work: Work, document: Document) -> None:
    if work.vault is None:
        raise NotEscrowed("group", work.told.group, "has keys, and there is no vault any more: set VAULT_URL")
    kept = await escrow(work.vault, work.dps.host, "group", document)
    if kept is not None:
        work.state.kept = [kept.secret, kept.version]


def _same(work: Work, document: Document) -> None:
    if made(document) != work.state.made:
        raise NotThatGroup(f"group {work.told.group!a} was deleted and made anew meanwhile: it is left alone")


def _disabled(work: Work, document: Document) -> None:
    _same(work, document)
    if document.get("provisioningStatus") != DISABLED:
        raise NotThatGroup(
            f"somebody enabled group {work.told.group!a} again: it is not deleted, its devices may register"
        )


def _updated(document: Document) -> Any:
    try:
        return EnrollmentGroup.read(document).updated
    except MalformedDocument:
        return None
