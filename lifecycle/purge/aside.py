"""What a run keeps in rows of its own: records that wait for what hubs say, and ids that listings gave."""

from collections.abc import Iterable

from clients.ports import Row, Table
from lifecycle.audit import places
from lifecycle.audit.join import Index
from provisioning.registrations import Registration

MEMBERS = ("registrationId", "status", "assignedHub", "deviceId", "lastUpdatedDateTimeUtc", "etag")
"""Members of a record that rules read."""


def records_row(partition: str, key: str, records: Iterable[Registration]) -> Row:
    """A row of records that wait."""
    documents = (each.document() for each in records)
    kept = [{name: document[name] for name in MEMBERS if name in document} for document in documents]
    return Row(partition, key, places.spread("s", kept))


async def next_records(
    table: Table, partition: str, prefix: str, after: str
) -> tuple[str, list[Registration]] | None:
    """The next row of records, with its key; None: there is none.

    Args:
        table: where they are.
        partition: of the run.
        prefix: of their keys; it ends in "|".
        after: key of the row before; "" for the first.
    """
    async for row in table.scan(partition, start=after or prefix, stop=places.after(prefix)):
        if row.key != after:
            kept = places.gathered("s", row.values) or ()
            return row.key, [Registration.adopt(each) for each in kept]
    return None


async def ids_in(table: Table, partition: str, prefix: str, run: str) -> Index:
    """The ids in rows whose columns `places.spread` made by the letter l.

    Args:
        table: where they are.
        partition: of the run.
        prefix: of their keys; it ends in "|".
        run: its id, by which ids are digested.
    """
    index = Index(run.encode()[-16:])
    async for row in table.scan(partition, start=prefix, stop=places.after(prefix)):
        for each in places.gathered("l", row.values) or ():
            index.add(each)
    return index
