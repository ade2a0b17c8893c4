"""What the app, the vault, DPS and the counts say of a roll, and the steps it can take: values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lifecycle.rotation.webhook_key.row import RollRow, Why

Work = Literal["none", "runs", "blocked", "ended"]


@dataclass(frozen=True, slots=True)
class Reality:
    """What the app, the vault, DPS and the counts say now; keys only as comparisons.

    Attributes:
        old: whether the app has the old key.
        new: what the app has under the new key's name: nothing, the pending key, or another value.
        live: the version of the live secret that readers get; "" where they get none.
        live_state: why not.
        live_is: whose key that version has.
        pending: the version of the pending secret with this roll's key, readable; "" for none.
        pending_mark: the fingerprint of that key.
        published: the version of the live secret that this roll made; "" for none.
        canary: the key that the canary's URL has; "unseen" where a read masks it, or it was not looked at.
        refused: devices of the canary that DPS refused for the webhook's 401 since the switch.
        new_placed: when a device was last placed through the new key.
        new_used: when the new key last opened the function at all.
        old_used: the same of the old key.
        left: other DPS that called with one of the two keys and do not go along with this roll.
        behind: DPS that go along, and have not got through their enrollments yet, or not lately.
        since: when the last DPS that goes along had got through its enrollments.
        job: the job that rewrites enrollments.
        final: of the pass right before the deletion, for every DPS of the roll; "proved": it found nothing.
        loose: versions of the pending secret that nobody needs any more.
    """

    old: bool = True
    new: Literal["missing", "made", "other"] = "missing"
    live: str = ""
    live_state: Literal["there", "missing", "disabled"] = "missing"
    live_is: Literal["old", "new", "other", ""] = ""
    pending: str = ""
    pending_mark: str = ""
    published: str = ""
    canary: Literal["new", "old", "unseen", "elsewhere", "missing"] = "unseen"
    refused: int = 0
    new_placed: datetime | None = None
    new_used: datetime | None = None
    old_used: datetime | None = None
    left: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    since: datetime | None = None
    job: Work = "none"
    final: Work | Literal["proved"] = "none"
    loose: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to do for a command."""

    because: str
    asks: Why = Why.NONE


@dataclass(frozen=True, slots=True)
class Watch:
    """Look again in a while."""

    because: str


@dataclass(frozen=True, slots=True)
class Record:
    """Write the row, and nothing else."""

    row: RollRow
    note: str


@dataclass(frozen=True, slots=True)
class KeepOld:
    """Put the old key into the vault, as the live secret's first version."""

    note: str = "the key that is in use goes to the vault"
    needs: str = "the live secret has no version; the app has the old key"


@dataclass(frozen=True, slots=True)
class WriteAhead:
    """Make a key and put it into the pending secret, before the app gets it."""

    note: str = "the new key goes to the vault before it is used"
    needs: str = "no readable version of the pending secret has this roll's id"


@dataclass(frozen=True, slots=True)
class Make:
    """Give the app the pending key, under the new name."""

    note: str = "the app gets the new key beside the old one"
    needs: str = "the pending key is readable; the app has nothing under the new name"


@dataclass(frozen=True, slots=True)
class Probe:
    """Call the webhook with the new key until it was taken often enough in a row."""

    note: str = "the webhook is called with the new key: its instances may still have the old list of keys"
    needs: str = "the app has the pending key under the new name"


@dataclass(frozen=True, slots=True)
class SwitchCanary:
    """Give the canary enrollment the new key."""

    note: str = "the canary gets the new key"
    needs: str = "the app was seen to take the new key; the row says that it is being switched"


@dataclass(frozen=True, slots=True)
class Restore:
    """Give the canary enrollment the old key again."""

    note: str = "the canary gets the old key again"
    needs: str = "the app has the old key"


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the pending key the live secret's next version."""

    note: str = "the new key becomes the secret's next version"
    needs: str = "the app took it; the live secret's newest version is the one to be replaced"


@dataclass(frozen=True, slots=True)
class AskJob:
    """Ask the app for a pass over all enrollments."""

    note: str = "the app is asked to rewrite the enrollments"
    needs: str = "no such job is under way"


@dataclass(frozen=True, slots=True)
class AskFinal:
    """Ask the app, for every DPS of the roll, for the pass that the deletion waits for."""

    note: str = "the app is asked to look at every enrollment once more"
    needs: str = "the old key may go but for that; this command has not asked yet"


@dataclass(frozen=True, slots=True)
class DeleteKey:
    """Delete a function key at the app."""

    which: Literal["old", "new"]
    note: str = "a key is deleted at the app"
    needs: str = (
        "of the old key: consent, a pass without a finding that this command asked for and has just seen "
        "end, no use for the stated time, the new key live and at the app; of the new one: it was given up, "
        "and the canary has the old one"
    )


@dataclass(frozen=True, slots=True)
class Close:
    """End the roll for every DPS that goes along, and ask the app for one more pass over their enrollments.

    Whoever was given the old key while the last pass was past it gets the new one by this.
    """

    note: str = "the old key is deleted; the app looks at every enrollment once more"
    needs: str = "the app does not have the old key any more, by consent"


@dataclass(frozen=True, slots=True)
class Tidy:
    """Disable versions of the pending secret that nobody needs."""

    versions: tuple[str, ...]
    note: str = "what was written ahead is disabled"
    needs: str = "the key is the live secret's, or was given up"


Step = (
    Rest
    | Watch
    | Record
    | KeepOld
    | WriteAhead
    | Make
    | Probe
    | SwitchCanary
    | Restore
    | Publish
    | AskJob
    | AskFinal
    | DeleteKey
    | Close
    | Tidy
)
