"""What a roll would be about: which key it replaces, and which enrollment goes first. Changes nothing."""

from collections import Counter
from dataclasses import dataclass

from allocation import fingerprint
from clients.vault_shapes import Absent, Secret
from lifecycle.enrollments.change import Kind
from lifecycle.errors import NoSuchEnrollment, RotationRefused
from lifecycle.rotation.webhook_key.observe import RollPorts
from lifecycle.rotation.webhook_key.row import SUBJECT
from lifecycle.rotation.webhook_key.urls import is_ours, key_of
from provisioning.documents import MalformedDocument

DEFAULT = "default"
"""The key that the host makes with a function (documented)."""

MOST_LOOKED_AT = 50
"""Groups that are compared by size. Counting one takes a call for each page of its records."""

MOST_COUNTED = 200
"""Records of a group that are counted: a larger one is large enough to be passed over."""


@dataclass(frozen=True, slots=True)
class RollPlan:
    """What a roll would begin with.

    Attributes:
        old_name: the function key that is replaced.
        old_mark: its fingerprint.
        in_vault: whether the vault has it already.
        canary_kind: of the enrollment that goes first.
        canary_id: its id; "" where no enrollment asks this webhook.
        groups: that ask this webhook.
    """

    old_name: str
    old_mark: str
    in_vault: bool
    canary_kind: Kind
    canary_id: str
    groups: int


async def plan(
    ports: RollPorts,
    secret: str,
    bases: tuple[str, ...],
    *,
    replaces: str | None = None,
    canary: tuple[Kind, str] | None = None,
) -> RollPlan:
    """Look at the app, the vault and the enrollments.

    Args:
        ports: see RollPorts.
        secret: the vault's secret with the webhook's key.
        bases: the webhook's URLs without keys.
        replaces: the name of the function key to be replaced; None: the one that the vault has, else the
            one that groups show, else `default`.
        canary: the enrollment that goes first; None: the smallest group with a registration.

    Raises:
        RotationRefused: which key is replaced cannot be told, or the canary asks another webhook.
        NoSuchEnrollment: there is no such canary.
        ClientError: what a call may raise.
    """
    shown: Counter[str] = Counter()
    groups: list[str] = []
    async for each in ports.listings["group"].all():
        url = _url(each)
        if url is not None and is_ours(url, bases):
            shown[fingerprint(key_of(url) or "")] += 1
            if each.enabled and each.allocation_policy == "custom":
                groups.append(each.id)
    name, mark, in_vault = await _old(ports, secret, replaces, shown)
    kind, first = await _named(ports, bases, canary) if canary else await _smallest(ports, bases, groups)
    return RollPlan(name, mark, in_vault, kind, first, sum(shown.values()))


async def _old(
    ports: RollPorts, secret: str, replaces: str | None, shown: Counter[str]
) -> tuple[str, str, bool]:
    keys = await ports.keys.all()
    marks = {name: fingerprint(value.reveal()) for name, value in keys.items()}
    live = await ports.vault.get(secret)
    if live is Absent.DISABLED:
        raise RotationRefused(
            SUBJECT, f"has a secret {secret} whose newest version is disabled", "enable it first"
        )
    if replaces is not None and replaces not in marks:
        raise RotationRefused(SUBJECT, f"the function has no key {replaces!a}", "see its keys in the portal")
    if isinstance(live, Secret):
        held = fingerprint(live.value.reveal().strip())
        found = [name for name, mark in marks.items() if mark == held and replaces in (None, name)]
        if not found:
            raise RotationRefused(
                SUBJECT,
                f"the secret {secret} holds none of the function's own keys"
                + (f" named {replaces!a}" if replaces else " (a host key, or one that was deleted?)"),
                "set the secret to the function key that enrollments have",
            )
        return found[0], held, True
    if replaces is None:
        # "" is the mark of no key, and of one that is masked: no key has it.
        likely = sorted((name for name, mark in marks.items() if shown[mark]), key=lambda n: -shown[marks[n]])
        replaces = likely[0] if likely else DEFAULT if DEFAULT in marks else None
    if replaces is None:
        raise RotationRefused(
            SUBJECT,
            f"has {len(marks)} function keys, and none of them is in the vault",
            "say --replaces NAME",
        )
    return replaces, marks[replaces], False


async def _named(ports: RollPorts, bases: tuple[str, ...], canary: tuple[Kind, str]) -> tuple[Kind, str]:
    kind, name = canary
    document = await ports.enrollments[kind].read(name)
    if document is None:
        raise NoSuchEnrollment(kind, name)
    if not is_ours((document.get("customAllocationDefinition") or {}).get("webhookUrl"), bases):
        raise RotationRefused(
            SUBJECT, f"the canary {name[:128]!a} does not ask this webhook", "name one that does"
        )
    return canary


async def _smallest(ports: RollPorts, bases: tuple[str, ...], groups: list[str]) -> tuple[Kind, str]:
    """Of the groups with a registration the one with the fewest: others prove nothing while they wait."""
    sizes: dict[str, int] = {}
    for group in groups[:MOST_LOOKED_AT]:
        count = 0
        async for _ in ports.registrations.of_group(group):
            count += 1
            if count == MOST_COUNTED:
                break
        sizes[group] = count
    if sizes:
        return "group", min(sizes, key=lambda name: (sizes[name] == 0, sizes[name], name))
    async for page in ports.listings["individual"].pages():
        for each in page.items:
            url = _url(each)
            if each.enabled and url is not None and is_ours(url, bases):
                return "individual", str(each.id)
    return "group", ""


def _url(listed: object) -> str | None:
    try:
        webhook = listed.webhook  # type: ignore[attr-defined]  # of both kinds of enrollments
    except MalformedDocument:
        return None
    return None if webhook is None else str(webhook.reveal())
