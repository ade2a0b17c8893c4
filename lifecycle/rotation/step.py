"""What DPS and the vault say of a rotation, and the steps it can take: values.

A step never trusts the row alone. What a crash left half done shows in the reality: a key that was written
ahead, a slot that holds it, a version that was published. Steps that change a service name what must hold
right before (`needs`); whoever takes them holds the change to it by an ETag, or by the tag of the rotation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from lifecycle.rotation.row import RotationRow, SlotName, Why


@dataclass(frozen=True, slots=True)
class Reality:
    """What DPS and the vault say now, keys only as comparisons.

    Attributes:
        group: whether the group is there and has symmetric keys.
        same: whether it is the group that was adopted, as far as is known, and not one made anew since.
        enabled: whether it lets devices in.
        writable: False where its webhook's key is masked and not known here.
        filled: the slots that hold a key.
        live: the version of the live secret that readers get; "" where they get none.
        live_state: why not.
        live_in: the slots whose key is that version's.
        pending: slot -> version of the pending secret with this rotation's new key, readable.
        placed: the slots that hold it.
        kept: the slots whose present key this rotation has kept aside.
        published: the version of the live secret that this rotation made; "" for none.
        published_in: the slots whose key is that version's.
        loose: (secret, version) of what is to be disabled, once the new key is published or given up.
    """

    group: Literal["symmetric", "other", "missing"] = "symmetric"
    same: bool = True
    enabled: bool = True
    writable: bool = True
    filled: frozenset[SlotName] = frozenset()
    live: str = ""
    live_state: Literal["there", "missing", "disabled"] = "missing"
    live_in: frozenset[SlotName] = frozenset()
    pending: Mapping[SlotName, str] = field(default_factory=dict)
    placed: frozenset[SlotName] = frozenset()
    kept: frozenset[SlotName] = frozenset()
    published: str = ""
    published_in: frozenset[SlotName] = frozenset()
    loose: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to do. `asks`: what only a person can give; an alert is due."""

    because: str
    asks: Why = Why.NONE


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to do before a time."""

    until: datetime
    because: str


@dataclass(frozen=True, slots=True)
class Record:
    """Write the row, and nothing else."""

    row: RotationRow
    note: str


@dataclass(frozen=True, slots=True)
class WriteAhead:
    """Make a key and put it into the pending secret, before any slot gets it."""

    slot: SlotName
    needs: str = "no version of the pending secret has this rotation's id and slot"


@dataclass(frozen=True, slots=True)
class Keep:
    """Put the key that is to be overwritten into the replaced secret."""

    slot: SlotName
    needs: str = "the slot holds a key that no version of this rotation in the replaced secret equals"


@dataclass(frozen=True, slots=True)
class Place:
    """Put the pending keys into their slots; every other key of the group is sent as it was read."""

    slots: tuple[SlotName, ...]
    needs: str = (
        "each slot is free (or this is a breach), its present key is kept, its new key is readable in the "
        "vault; the group is at the ETag that was read"
    )


@dataclass(frozen=True, slots=True)
class SetEnabled:
    """Enable or disable the group."""

    enabled: bool
    needs: str = (
        "to enable: the live secret's key is in the active slot; the group is at the ETag that was read"
    )


@dataclass(frozen=True, slots=True)
class TryCanary:
    """Register the slot's canary with the pending key."""

    slot: SlotName
    needs: str = "the slot holds the pending key; no other key was used for the canary's id for 30 minutes"


@dataclass(frozen=True, slots=True)
class CleanCanary:
    """Delete the canaries' devices and registration records."""

    needs: str = "the row says that this group's canaries may have left something"


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the pending key the live secret's next version."""

    slot: SlotName
    needs: str = (
        "the slot holds the pending key; no version of the live secret has this rotation's id; its newest "
        "version is the one to be replaced (or this is a breach)"
    )


@dataclass(frozen=True, slots=True)
class Tidy:
    """Disable versions that nobody may read any more."""

    versions: tuple[tuple[str, str], ...]
    needs: str = "the new key is published, or its rotation was given up; none of them is the live version"


Step = (
    Rest | Wait | Record | WriteAhead | Keep | Place | SetEnabled | TryCanary | CleanCanary | Publish | Tidy
)
