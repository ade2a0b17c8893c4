"""`rotate webhook-key`: the function key in every enrollment's webhook URL, exchanged without a 401.

It works under the operator's own login: the app has no rights on its own keys.
"""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from cyclopts import App, Parameter

from allocation import Use, read_uses
from cli.confirm import Confirmation, OnlyShown
from cli.connect import Session
from cli.errors import Incomplete, Usage
from cli.options import CHANGES, DryRun, Injected, Yes
from cli.state import State, whoever
from cli.values import duration
from clients.pacing import UnpacedShare
from clients.vault_shapes import SecretValue
from clients.webhook import WebhookReply, call_webhook
from lifecycle.enrollments import validation
from lifecycle.enrollments.at_dps import groups, individuals
from lifecycle.enrollments.change import Kind  # noqa: TC001 - cyclopts reads annotations
from lifecycle.enrollments.diff import Difference
from lifecycle.jobs import JobStore
from lifecycle.rotation.webhook_key import roll as rolling
from lifecycle.rotation.webhook_key.follow import check_alone, join, lead_of
from lifecycle.rotation.webhook_key.observe import Peer, RollPorts, left_behind
from lifecycle.rotation.webhook_key.plan import RollPlan, plan
from lifecycle.rotation.webhook_key.row import (
    Consent,
    RollRow,
    RollTerms,
    Stage,
    Why,
    begun,
    consented,
    followed,
    retried,
)
from lifecycle.rotation.webhook_key.step import Rest
from lifecycle.rotation.webhook_key.store import RollStore
from lifecycle.rotation.webhook_key.urls import FUNCTION

Site = Annotated[
    str | None,
    Parameter(help="The allocation app's resource id, /subscriptions/…/sites/NAME; else WEBHOOK_SITE_ID."),
]
_DPS = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)
_SHORT = re.compile(r"([0-9]{1,4})([ms])", re.ASCII)


async def start(  # noqa: C901 - it begins a roll, or goes on with one
    *,
    canary: Annotated[
        str | None, Parameter(help="The enrollment group that gets the new key first; else the smallest.")
    ] = None,
    canary_individual: Annotated[
        str | None, Parameter(help="Instead: an individual enrollment that gets it first.")
    ] = None,
    replaces: Annotated[
        str | None, Parameter(help="Name of the function key to be replaced; else the one in the vault.")
    ] = None,
    also: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=(1, None),
            negative=(),
            help="Further URLs of this webhook that enrollments have: its host's other names.",
        ),
    ] = None,
    probes: Annotated[int, Parameter(help="Calls in a row that the new key must open.")] = 20,
    probe_time: Annotated[str, Parameter(help="Over which time: 2m, 90s.")] = "2m",
    watch: Annotated[str, Parameter(help="How long to wait for a device of the canary: 15m, 1h.")] = "15m",
    unused: Annotated[str, Parameter(help="How long the old key must rest before it may go: 7d.")] = "7d",
    unwatched: Annotated[
        bool,
        Parameter(negative=(), group=CHANGES, help="Go on although no device of the canary has registered."),
    ] = False,
    follow: Annotated[
        str | None,
        Parameter(help="Go along with the roll of this DPS, which has the same app: its name (DPS_NAME)."),
    ] = None,
    site: Site = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Begin a roll, or go on with the one under way, whatever it stopped at."""
    if canary is not None and canary_individual is not None:
        raise Usage("--canary-individual: a group is named too; one enrollment goes first")
    if follow is not None and (canary or canary_individual or replaces):
        raise Usage("--follow: that roll has chosen its keys and its canary already; name none")
    if follow is not None and not _DPS.fullmatch(follow):
        raise Usage(f"--follow: {follow[:80]!a} is no name of a DPS; give the DPS_NAME of its app")
    terms = RollTerms(probes, _span(probe_time, "probe_time"), _span(watch, "watch"), _span(unused, "unused"))
    store = _store(session)
    row = await store.get()
    known = "" if row.stage is Stage.IDLE else row.site
    resource = site or known or session.settings.webhook_site_id
    ports = _ports(session, resource)
    bases = (_base(session), *(validation.webhook_url(each.partition("?")[0]) for each in also or ()))
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    found: RollPlan | None = None
    lead: RollRow | None = None
    if row.stage is Stage.IDLE and follow is not None:
        lead = await lead_of(ports, follow, _secret(session))
        await confirmation.ask(
            f"go along with the roll of DPS {follow}", [Difference("webhookKey", "any", lead.new_name)]
        )
        await join(ports, follow, lead.roll)
    elif row.stage is Stage.IDLE:
        await check_alone(ports, resource)
        named: tuple[Kind, str] | None = None
        if canary is not None:
            named = "group", validation.known_id(canary, "canary")
        elif canary_individual is not None:
            named = "individual", validation.known_id(canary_individual, "canary_individual")
        found = await plan(ports, _secret(session), bases, replaces=replaces, canary=named)
        for note in _warnings(found):
            session.terminal.note(note)
        await confirmation.ask(
            "roll the webhook's key", [Difference("functionKey", found.old_name, "a new one beside it")]
        )
    elif dry_run:
        raise OnlyShown(f"--dry-run: a roll is {row.stage} and would go on; nothing was changed")
    by = whoever(None)

    def say(there: RollRow, now: datetime) -> RollRow:
        if there.stage is Stage.IDLE and lead is not None and follow is not None:
            place = replace(
                there, secret=_secret(session), site=resource, function=FUNCTION, bases=bases, terms=terms
            )
            return followed(place, lead, follow.lower(), rolling.unique(), by=by, now=now)
        if there.stage is Stage.IDLE:
            if found is None:  # it ended while this command waited
                return there
            there = begun(
                there,
                rolling.unique(),
                by=by,
                now=now,
                secret=_secret(session),
                site=resource,
                function=FUNCTION,
                bases=bases,
                terms=terms,
                old_name=found.old_name,
                old_mark=found.old_mark,
                canary=(found.canary_kind, found.canary_id),
            )
        again = retried(there)
        return consented(again, "unwatched") if unwatched else again

    row, rest = await _roll(session, store, ports, by).walk(say)
    await _tell(session, row, rest)
    if row.stage is Stage.BLOCKED or rest.asks is Why.JOB:
        raise Incomplete(rest.because)


async def status(*, session: Injected[Session]) -> None:
    """Show where the roll stands, and when each key was last used."""
    row = await _store(session).get()
    await _tell(session, row, None)


async def retire(
    *,
    uncounted: Annotated[
        bool,
        Parameter(
            negative=(),
            group=CHANGES,
            help="Although the app counts no uses of its keys, or another DPS may still need the old one.",
        ),
    ] = False,
    site: Site = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Delete the old key, if every enrollment has the new one and nobody used the old one for long enough.

    It waits until the app has looked at every enrollment once more, and deletes the key right after.
    """
    words: tuple[Consent, ...] = ("retire", "uncounted") if uncounted else ("retire",)
    row, rest = await _consent(
        session, words, "delete the old function key", site=site, yes=yes, dry_run=dry_run
    )
    if row.stage is not Stage.IDLE:
        raise Incomplete(row.problem or rest.because)


async def abort(
    *, site: Site = None, yes: Yes = False, dry_run: DryRun = False, session: Injected[Session]
) -> None:
    """Give a roll up of which only the canary has the new key: it gets the old one again."""
    row, rest = await _consent(
        session, ("abort",), "give the new function key up", site=site, yes=yes, dry_run=dry_run
    )
    if row.stage is not Stage.IDLE:
        raise Incomplete(row.problem or rest.because)


def app() -> App:
    """The noun with its commands."""
    noun = App(name="webhook-key", help="The function key in every enrollment's webhook URL.")
    for command in (start, status, retire, abort):
        noun.command(command)
    return noun


async def _consent(
    session: Session, words: tuple[Consent, ...], what: str, *, site: str | None, yes: bool, dry_run: bool
) -> tuple[RollRow, Rest]:
    store = _store(session)
    row = await store.get()
    for word in words:
        consented(row, word)  # what cannot be is said before anybody is asked
    key = row.old_name if "retire" in words else row.new_name
    if "retire" in words:
        every = ", ".join((State(session, None).dps, *row.followers))
        session.terminal.note(
            f"looked at are the enrollments of DPS {every}: any other that asks this app must follow first"
        )
    await Confirmation(session.terminal, yes=yes, dry_run=dry_run).ask(
        what, [Difference(f"functionKeys.{key}", "a key", None)]
    )

    def say(there: RollRow, now: datetime) -> RollRow:
        del now
        for word in words:
            there = consented(there, word)
        return there

    ports = _ports(session, site or row.site)
    row, rest = await _roll(session, store, ports, whoever(None)).walk(say)
    await _tell(session, row, rest)
    return row, rest


async def _tell(session: Session, row: RollRow, rest: Rest | None) -> None:
    uses = await read_uses(session.wiring.table("keyuse"))
    used = max((use.last for use in uses if use.fingerprint == row.old_mark), default=None)
    names = {row.old_mark: row.old_name, row.new_mark: row.new_name}
    session.output.one(
        {
            "stage": row.stage.value,
            "next": None if rest is None else rest.because,
            "oldKey": row.old_name,
            "newKey": row.new_name,
            "secret": row.secret,
            "canary": row.canary_id and f"{row.canary_kind} {row.canary_id}",
            "probed": _time(row.probed),
            "switched": _time(row.switched),
            "passes": row.passes,
            "lastPass": dict(row.counts) or None,
            "everyEnrollmentSince": _time(row.clean_since),
            "oldKeyMayGo": _may_go(row, used),
            "follows": row.follows,
            "followers": list(row.followers),
            "othersNotFollowing": list(left_behind(row, uses, State(session, None).dps)),
            "waitsFor": str(row.blocked),
            "problem": row.problem,
            "by": row.by,
            "uses": [
                {
                    "key": names.get(use.fingerprint) or "another",
                    "fingerprint": use.fingerprint,
                    "dps": use.dps,
                    "calls": use.calls,
                    "lastUsed": _time(use.last),
                    "lastPlaced": _time(use.last_placed),
                }
                for use in sorted(uses, key=lambda use: use.last, reverse=True)
            ],
        }
    )


def _may_go(row: RollRow, used: datetime | None) -> str | None:
    if row.standing is not Stage.OVERLAP or row.clean_since is None:
        return None
    return _time(max(filter(None, (row.clean_since, used))) + row.terms.unused)


def _roll(session: Session, store: RollStore, ports: RollPorts, by: str) -> rolling.Roll:
    def make() -> SecretValue:
        made = rolling.new_key()
        session.terminal.hide(made.reveal())
        return made

    return rolling.Roll(store, ports, by=by, tell=session.terminal.note, make_key=make)


def _store(session: Session) -> RollStore:
    dps = State(session, None).dps  # which says what to set where there are no tables
    return RollStore(session.wiring.table("rotations"), dps, session.clock)


def _ports(session: Session, site: str) -> RollPorts:
    if not site:
        raise Usage("--site: the allocation app is not known; give its resource id, or set WEBHOOK_SITE_ID")
    dps, wiring, clock = session.dps, session.wiring, session.clock

    async def call(url: str, body: bytes) -> WebhookReply:
        return await call_webhook(session.connections, clock, url, body)

    async def uses() -> tuple[Use, ...]:
        return await read_uses(wiring.table("keyuse"))

    def peer(name: str) -> Peer:
        rolls = RollStore(wiring.table("rotations"), name, clock)
        return Peer(rolls, JobStore(wiring.table("jobs"), name, clock))

    return RollPorts(
        keys=wiring.function_keys(UnpacedShare(), site, FUNCTION),
        vault=session.vault,
        enrollments={"group": groups(dps), "individual": individuals(dps)},
        listings={"group": dps.groups, "individual": dps.individuals},
        registrations=dps.registrations,
        jobs=JobStore(wiring.table("jobs"), State(session, None).dps, clock),
        uses=uses,
        call=call,
        peer=peer,
        dps=State(session, None).dps,
    )


def _base(session: Session) -> str:
    base = session.settings.webhook_url
    if not base:
        raise Usage("WEBHOOK_URL is not set; set it to the webhook's URL without its key")
    return base


def _secret(session: Session) -> str:
    name = session.settings.webhook_key_secret
    if not name:
        raise Usage(
            "WEBHOOK_KEY_SECRET is not set; set it to the name of the vault's secret for the key, here and "
            "at the app"
        )
    return name


def _warnings(found: RollPlan) -> list[str]:
    notes = [f"groups that ask this webhook: {found.groups}; its key {found.old_name} is replaced"]
    if not found.in_vault:
        notes.append(f"that key is not in the vault yet: {found.old_name} is put there first")
    if found.canary_id:
        who = f"{found.canary_kind} {found.canary_id}"
        notes.append(f"{who} gets the new key first: a device of it must register meanwhile")
    else:
        notes.append("no enrollment asks this webhook: none goes first")
    return notes


def _span(text: str, parameter: str) -> timedelta:
    """A time span, also a short one: 90s, 15m, 1h, 7d."""
    short = _SHORT.fullmatch(text.strip())
    if short:
        return int(short[1]) * (timedelta(minutes=1) if short[2] == "m" else timedelta(seconds=1))
    span = duration(text, parameter)
    assert span is not None
    return span


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
