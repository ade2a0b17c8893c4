"""Several DPS, one app: the function's keys are the app's, so one DPS rolls them and the others go along.

Each DPS has its own row, its own job and its own enrollments. The one that rolls deletes the old key, when
each that goes along has got through its enrollments. A second roll beside the first would replace the key
that the first one has just made, and neither could ever delete its old one.
"""

from dataclasses import replace

from allocation import fingerprint
from clients.vault_shapes import Secret
from lifecycle.errors import RotationRefused
from lifecycle.rotation.webhook_key.observe import RollPorts
from lifecycle.rotation.webhook_key.row import SUBJECT, RollRow, Stage


async def check_alone(ports: RollPorts, site: str) -> None:
    """Refuse a second roll of one app's keys; as far as the app's counts name its DPS.

    Raises:
        RotationRefused: another DPS rolls them.
        TableUnavailable: the counts or the rows could not be read.
    """
    uses = await ports.uses() if ports.uses is not None else ()
    for name in sorted({use.dps for use in uses} - {"", ports.dps.lower()}):
        row = await ports.peer(name).rolls.get()
        if row.stage is not Stage.IDLE and not row.follows and row.site.lower() == site.lower():
            raise RotationRefused(
                SUBJECT, f"is being rolled by DPS {name}", f"say `rotate webhook-key start --follow {name}`"
            )


async def lead_of(ports: RollPorts, name: str, secret: str) -> RollRow:
    """The roll to go along with.

    Args:
        ports: of the DPS that goes along.
        name: the DPS that rolls.
        secret: where this DPS's app finds the webhook's key.

    Raises:
        RotationRefused: there is none, it is this one's own, or the new key is not in that secret.
        ClientError: what a call may raise.
    """
    if name.lower() == ports.dps.lower():
        raise RotationRefused(SUBJECT, "cannot follow its own roll", "name the DPS that began the roll")
    lead = await ports.peer(name).rolls.get()
    if lead.stage is Stage.IDLE or not lead.published:
        raise RotationRefused(
            SUBJECT,
            f"has no roll of DPS {name!a} to go along with: it is {lead.stage}, its new key not published",
            "see `rotate webhook-key status` there",
        )
    live = await ports.vault.get(secret)
    if not isinstance(live, Secret) or fingerprint(live.value.reveal().strip()) != lead.new_mark:
        raise RotationRefused(
            SUBJECT,
            f"has a secret {secret} that does not hold the new key of DPS {name!a}",
            "name the same secret of the same vault in WEBHOOK_KEY_SECRET, or put the new key there",
        )
    return lead


async def join(ports: RollPorts, name: str, roll: str) -> None:
    """Have the DPS that rolls wait for this one before it deletes the old key.

    Raises:
        RotationRefused: that roll has ended meanwhile.
        RotationMoved, TableUnavailable: it may have been written; join again.
    """
    us = ports.dps.lower()

    def edit(there: RollRow) -> RollRow:
        if there.roll != roll:
            raise RotationRefused(SUBJECT, f"of DPS {name!a} has ended meanwhile", "see its status")
        return replace(there, followers=tuple(sorted({*there.followers, us})))

    await ports.peer(name).rolls.change(edit)
