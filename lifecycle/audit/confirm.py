"""Reads by id what the listings only suggest, so that no finding rests on a listing or on a digest.

A device that no listing shows may be there all the same, and one that a listing shows may be gone (hubs'
queries lag, seen); ids may share a digest. So each suggestion is read: the record at DPS, the device in the
registry of its hub. The number of reads is bounded; what is beyond is said not to be evaluated.
"""

from typing import Any

from clients.arm import Unknown
from clients.hubs import HubDevice, HubRow, is_device_id
from lifecycle.audit import checks, fenced, places
from lifecycle.audit.digests import digests
from lifecycle.audit.evidence import DeviceEvidence, OrphanEvidence, RecordEvidence
from lifecycle.audit.finding import Source
from lifecycle.audit.hub_listings import OTHER_HUB, STRANGER, row_of
from lifecycle.audit.join import AT_HOME, ELSEWHERE, Index
from lifecycle.audit.listings import about, seconds
from lifecycle.audit.orphans import BEYOND, READ, gone_groups
from lifecycle.audit.snapshot import Listed
from lifecycle.audit.work import CANDIDATES, Work
from provisioning.hubs import HubKey
from provisioning.ids import InvalidId, check_known_id
from provisioning.registrations import Registration


async def confirm(work: Work) -> bool:
    """Read what the hubs' listings suggested; whether that is over."""
    if work.run.at == 0:
        if not await _strangers(work):
            return False
        work.run.at, work.run.cursor = 1, []
    return await _records(work)


async def _strangers(work: Work) -> bool:
    """Devices for which no record was listed."""
    run, around = work.run, work.around(*READ)
    row, place = run.cursor or (0, 0)
    # Records of a group that is gone are told of with its name, by `orphans`.
    unexplained = all(group.lost for group in await gone_groups(work))
    while row < fenced.total(run.strangers):
        for candidate in (await _candidates(work, row))[place:]:
            if candidate[0] == STRANGER:
                evidence = await _stranger(work, HubKey(run.hubs[candidate[1]]), row_of(candidate))
                if isinstance(evidence, DeviceEvidence):
                    work.note(checks.device(evidence, around))
                elif evidence is not None and unexplained and await _left(work, evidence):
                    work.note(checks.orphan(OrphanEvidence(evidence.key, "", evidence), around))
            place += 1
            run.cursor = [row, place]
            if not await work.saved_if_due():
                return False
        row, place = row + 1, 0
    return True


async def _stranger(work: Work, hub: HubKey, row: HubRow) -> DeviceEvidence | Registration | None:
    """A device that may have no record, or a record of it that no listing gave; None: it has gone."""
    if not _may_read(work):
        return DeviceEvidence(hub, row)
    if _can_register(row.device_id):
        record = await work.read(work.dps.registrations.get(row.device_id))
        if isinstance(record, Unknown):
            return DeviceEvidence(hub, row)
        if record is not None:
            return record
    device = await work.read(work.hub(hub).device(row.device_id))
    if device is None:
        return None
    return DeviceEvidence(hub, row, confirmed=not isinstance(device, Unknown))


async def _left(work: Work, record: Registration) -> bool:
    """Whether a record that no listing gave is certainly left of an enrollment that is gone.

    An individual enrollment's record is listed with it alone: whether DPS keeps it beyond is not known. One
    that changed since the run began may be of an enrollment that was made since.
    """
    updated = seconds(record)
    if not updated or updated >= int(work.started.timestamp()):
        return False
    return await work.read(work.dps.individuals.get(record.id)) is None


async def _records(work: Work) -> bool:
    """Records whose device is not in its hub's listing, or in another's."""
    run, around = work.run, work.around(*READ)
    index, aliases = await digests(work)
    if not index.doubtful() and not aliases.doubtful():
        return True
    others = await _others(work)
    whole = {HubKey(run.hubs[int(kept.name[1:])]) for kept in run.hub_listings if kept.whole}
    number, chunk_number, place = run.cursor or (0, 0, 0)
    while number < len(run.listings):
        kept = run.listings[number]
        chunks = work.snapshots.chunks(work.id, kept.name, kept.spans, first=chunk_number, etags=True)
        async for at, chunk in chunks:
            skip = place if at == chunk_number else 0
            for each in _doubtful(chunk, skip, index, aliases, whole):
                evidence = await _record(work, chunk[each], kept.group or None, others, whole)
                if evidence is not None:
                    work.note(about(checks.record(evidence, around), Source.HUBS))
                run.cursor = [number, at, each + 1]
                if not await work.saved_if_due():
                    return False
            run.cursor = [number, at + 1, 0]
            if not await work.saved_if_due():
                return False
        number, chunk_number, place = number + 1, 0, 0
        run.cursor = [number, 0, 0]
    return True


def _doubtful(chunk: list[Listed], skip: int, index: Index, aliases: Index, whole: set[HubKey]) -> list[int]:
    """The places of assigned records that were not seen at their hub, or seen at another."""
    found = []
    for at, each in enumerate(chunk):
        if at < skip or not each.assigned:
            continue
        entry = aliases.find(each.device) if each.device else index.find(each.id)
        flags = 0 if entry is None else entry.flags
        if flags & ELSEWHERE or (not flags & AT_HOME and each.hub in whole):
            found.append(at)
    return found


async def _record(
    work: Work, each: Listed, group: str | None, others: dict[str, list[int]], whole: set[HubKey]
) -> RecordEvidence | None:
    """What can be said of a doubtful record; None: it is as it should be, or not there any more."""
    elsewhere = [HubKey(work.run.hubs[at]) for at in others.get(each.device_id.lower(), ())]
    if not elsewhere and each.hub not in whole:
        return None
    if not _may_read(work):
        return _unread(each, group, elsewhere, BEYOND)
    record = await work.read(work.dps.registrations.get(each.id))
    if isinstance(record, Unknown):
        return _unread(each, group, elsewhere, record.reason)
    if record is None or record.hub is None or record.hub != each.hub or record.status != "assigned":
        return None
    device_id = record.device_id or each.device_id
    at_home = await _device(work, record.hub, device_id)
    there = []
    for hub in elsewhere:
        found = await _device(work, hub, device_id)
        if isinstance(found, HubRow):
            there.append(hub)
    return RecordEvidence(record, group, at_home, tuple(there), confirmed=True)


async def _device(work: Work, hub: HubKey, device_id: str) -> HubRow | Unknown | None:
    """A device as its hub's registry has it."""
    if not is_device_id(device_id):
        return None
    if hub not in work.run.hubs:
        return Unknown(f"{hub} is not one of the hubs that this run reads")
    found = await work.read(work.hub(hub).device(device_id))
    return _as_row(found) if isinstance(found, HubDevice) else found


def _as_row(found: HubDevice) -> HubRow:
    return HubRow(found.device_id, found.status, found.connection_state, found.last_activity, None, None, {})


def _unread(each: Listed, group: str | None, elsewhere: list[HubKey], reason: str) -> RecordEvidence:
    document: dict[str, Any] = {"registrationId": each.id, "status": "assigned", "deviceId": each.device_id}
    if each.hub is not None:
        document["assignedHub"] = each.hub
    return RecordEvidence(Registration.adopt(document), group, Unknown(reason), tuple(elsewhere))


def _may_read(work: Work) -> bool:
    if work.run.read >= work.audited.limits.reads:
        return False
    work.run.read += 1
    return True


def _can_register(device_id: str) -> bool:
    try:
        check_known_id(device_id, "deviceId")
    except InvalidId:
        return False
    return True


async def _candidates(work: Work, number: int) -> list[list[Any]]:
    ((key, _),) = fenced.windows(CANDIDATES, work.run.strangers, 1, first=number, stop=number + 1)
    row = await work.ports.table.get(places.kept(work.audited.dps, work.id), key)
    return [] if row is None else places.gathered("q", row.values)


async def _others(work: Work) -> dict[str, list[int]]:
    if work.memory.others is None:
        others: dict[str, list[int]] = {}
        for number in range(fenced.total(work.run.strangers)):
            for kind, hub, device_id, *_ in await _candidates(work, number):
                if kind == OTHER_HUB:
                    others.setdefault(device_id.lower(), []).append(hub)
        work.memory.others = others
    return work.memory.others
