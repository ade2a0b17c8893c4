"""Whether a roll of the webhook's key has replaced a key that somebody is about to write."""

from cli.connect import Session


async def replaced_by_roll(session: Session, key: str) -> bool:
    """Whether the key is the old one of a roll that has published its new one; False where no roll is known.

    Raises:
        TableUnavailable: the roll's row could not be read.
    """
    from allocation import fingerprint  # noqa: PLC0415 - for few commands
    from cli.state import State  # noqa: PLC0415 - as above
    from lifecycle.rotation.webhook_key.store import RollStore  # noqa: PLC0415 - as above

    if not session.settings.state_tables:
        return False
    dps = State(session, None).dps
    row = await RollStore(session.wiring.table("rotations"), dps, session.clock).get()
    return bool(row.published) and fingerprint(key) in {row.old_mark} - {""}
