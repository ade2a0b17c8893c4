"""`webhook`: this app's webhook put on enrollments, and called as DPS would call it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import enrollments
from cli.confirm import Confirmation, OnlyShown
from cli.connect import Session
from cli.enrollments import Noun
from cli.errors import Incomplete, Missing, NotConsented, Usage
from cli.options import DryRun, Injected, Yes
from cli.output import member
from cli.rolled import replaced_by_roll
from cli.state import linked_hubs
from clients.arm import Unknown
from clients.errors import BadRequest, ClientError, Conflict, NotFound, PreconditionFailed
from clients.vault_shapes import Secret
from clients.webhook import call_webhook
from lifecycle.enrollments import change as changes
from lifecycle.enrollments import validation
from lifecycle.enrollments import webhook as hook
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.webhook_url import is_masked, same_endpoint
from lifecycle.errors import EnrollmentError, EnrollmentMoved, InvalidOption
from lifecycle.rotation.webhook_key.urls import key_of
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment

API_VERSION = "2021-10-01"
"""What the webhook is sent unless told otherwise; a custom policy needs 2018-09-01-preview at least."""

AnyNoun = Noun[EnrollmentGroup] | Noun[IndividualEnrollment]

WebhookBase = Annotated[
    str | None,
    Parameter(name=("--webhook-url", "--wh"), help="This app's URL without its key; else WEBHOOK_URL."),
]
KeySecret = Annotated[
    str | None,
    Parameter(
        help="The vault's secret with the key; else WEBHOOK_KEY_SECRET, WEBHOOK_KEY, or you are asked for it."
    ),
]
Anonymous = Annotated[bool, Parameter(negative=(), help="The function needs no key.")]

_COLUMNS = (member("kind"), member("id"), member("outcome"), member("problem"))


async def attach(
    *groups: Annotated[str, Parameter(help="Enrollment groups.", negative=())],
    individual: Annotated[
        list[str] | None,
        Parameter(consume_multiple=(1, None), negative=(), help="Individual enrollments."),
    ] = None,
    all_groups: Annotated[bool, Parameter(negative=(), help="Every enrollment group.")] = False,
    all_individuals: Annotated[bool, Parameter(negative=(), help="Every individual enrollment.")] = False,
    webhook_url: WebhookBase = None,
    key_secret: KeySecret = None,
    anonymous: Anonymous = False,
    api_version: Annotated[
        str, Parameter(name=("--api-version", "--av"), help="API version of what it is sent.")
    ] = API_VERSION,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Make enrollments ask this app: custom policy, its URL with its key. Run again, it goes on."""
    if (groups and all_groups) or (individual and all_individuals):
        raise Usage("--all-groups: enrollments are named too; name them, or say all")
    if not (groups or individual or all_groups or all_individuals):
        raise Usage(
            "no enrollment is named; name groups, or say --individual, --all-groups, --all-individuals"
        )
    named = [(validation.known_id(each, "groups"), False) for each in groups]
    named += [(validation.known_id(each, "individual"), True) for each in individual or ()]
    version = validation.webhook_version(api_version)
    url = await _url(session, webhook_url, key_secret, anonymous=anonymous)
    group_noun, individual_noun = enrollments.groups(session), enrollments.individuals(session)
    if all_groups:
        named += [(each.id, False) async for each in group_noun.calls.all()]
    if all_individuals:
        named += [(each.id, True) async for each in individual_noun.calls.all()]
    wanted: list[tuple[AnyNoun, str]] = [
        (individual_noun if alone else group_noun, name) for name, alone in named
    ]
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)

    async def current() -> str:
        """Read again for each: a roll may have published another key meanwhile."""
        known = "" if anonymous else await _known(session, key_secret)
        session.terminal.hide(known)
        return hook.with_key(webhook_url or session.settings.webhook_url, known) if known else url

    run = _Attaching(session, current, version, confirmation)
    await session.output.many(run.each(wanted), _COLUMNS)
    if run.declined is not None:
        raise run.declined
    if run.failed:
        raise Incomplete(f"not attached to {run.failed} of {len(wanted)}: see above, and run it again")


class _Attaching:
    """One run over several enrollments; what concerns one of them stops none of the others."""

    def __init__(
        self,
        session: Session,
        url: Callable[[], Awaitable[str]],
        version: str,
        confirmation: Confirmation,
    ) -> None:
        self.failed = 0
        self.declined: NotConsented | None = None
        self._session = session
        self._url = url
        self._version = version
        self._confirmation = confirmation

    async def each(self, wanted: Sequence[tuple[AnyNoun, str]]) -> AsyncIterator[Mapping[str, Any]]:
        """What became of each, as it goes."""
        stopped = ""
        for noun, name in wanted:
            told: dict[str, Any] = {"kind": noun.documents.kind, "id": name}
            if stopped:
                self.failed += 1
                yield told | {"outcome": "not tried", "problem": stopped}
                continue
            try:
                yield told | {"outcome": await self._one(noun, name)}
            except OnlyShown:
                yield told | {"outcome": "would change"}
            except NotConsented as declined:
                self.declined, stopped = declined, "not agreed"
                yield told | {"outcome": "not agreed"}
            except (
                EnrollmentError,
                InvalidOption,
                BadRequest,
                Conflict,
                NotFound,
                PreconditionFailed,
            ) as error:
                self.failed += 1
                yield told | {"outcome": "failed", "problem": str(error)}
            except ClientError as error:
                self.failed += 1
                stopped = "the service could not be worked with"
                yield told | {"outcome": "failed", "problem": str(error)}

    async def _one(self, noun: AnyNoun, name: str) -> str:
        url = await self._url()
        if await replaced_by_roll(self._session, key_of(url) or ""):
            raise InvalidOption(
                "key",
                "it was replaced by `rotate webhook-key`",
                "set WEBHOOK_KEY_SECRET, or give --key-secret, to the secret with the new one",
            )

        async def consent(planned: changes.EnrollmentChange) -> None:
            before = (planned.before or {}).get("customAllocationDefinition") or {}
            if is_masked(before.get("webhookUrl")):
                self._session.terminal.note(
                    f"{name}: DPS does not show the key that is there; it is written again"
                )
            await self._confirmation.ask(f"attach the webhook to {noun.what} {name}", planned.diff)
            if await self._url() != url:
                raise EnrollmentMoved(
                    noun.documents.kind, name, "is to ask a webhook whose key was replaced meanwhile"
                )

        made = await changes.change(noun.documents, name, hook.attached(url, self._version), consent=consent)
        return "attached" if made.diff else "already"


async def check(
    group: Annotated[str | None, Parameter(help="An enrollment group whose webhook to call.")] = None,
    *,
    individual: Annotated[
        str | None, Parameter(help="Instead: an individual enrollment whose webhook to call.")
    ] = None,
    hub: Annotated[
        list[str] | None,
        Parameter(consume_multiple=(1, None), negative=(), help="Hubs to offer; else those DPS would offer."),
    ] = None,
    webhook_url: WebhookBase = None,
    key_secret: KeySecret = None,
    anonymous: Anonymous = False,
    session: Injected[Session],
) -> None:
    """Call the webhook as DPS would for a new device, and explain the answer. Nothing is registered."""
    if group is not None and individual is not None:
        raise Usage("--individual: a group is named too; check one at a time")
    document = await _document(session, group, individual)
    offered = await _offered(session, document, hub)
    url = await _called(session, document, webhook_url, key_secret, anonymous=anonymous)
    for note in _doubts(session, document, url):
        session.terminal.note(note)
    answered = await call_webhook(
        session.connections, session.clock, url, hook.request_body(document, offered)
    )
    verdict = hook.explain(answered, offered)
    told = {"webhook": url.partition("?")[0], "registrationId": hook.CHECK_ID, **verdict.told()}
    session.output.one(told)
    if not verdict.good:
        raise Incomplete(f"{verdict.meaning}; {verdict.fix}")


def app() -> App:
    """The noun with its commands."""
    noun = App(name="webhook", help="The custom-allocation webhook: attached to enrollments, and checked.")
    noun.command(attach)
    noun.command(check)
    return noun


async def _url(session: Session, given: str | None, key_secret: str | None, *, anonymous: bool) -> str:
    """This app's URL with its key, which is hidden from every message from now on."""
    base = given or session.settings.webhook_url
    hook.with_key(base, "")  # what is wrong with the URL is said before anybody is asked for a key
    key = "" if anonymous else await _key(session, key_secret)
    session.terminal.hide(key)
    url = hook.with_key(base, key)
    session.terminal.hide(url.partition("?")[2])
    return url


async def _known(session: Session, key_secret: str | None) -> str:
    """The key, where nobody has to be asked for it; "" else."""
    if key_secret is None:
        return await session.webhook_key()
    found = await session.vault.get(key_secret)
    if not isinstance(found, Secret):
        raise Missing(f"--key-secret: the vault has no readable secret {key_secret}")
    return found.value.reveal().strip()


async def _key(session: Session, key_secret: str | None) -> str:
    if known := await _known(session, key_secret):
        return known
    typed = await session.terminal.ask_secret("function key of the webhook: ")
    if not typed:
        raise Usage(
            "there is no function key; set WEBHOOK_KEY, say --key-secret NAME for one in the vault, or "
            "--anonymous where the function needs none (a key on a command line would stay in its history)"
        )
    return typed


async def _document(session: Session, group: str | None, individual: str | None) -> Document | None:
    if group is None and individual is None:
        return None
    noun: AnyNoun = enrollments.groups(session) if group is not None else enrollments.individuals(session)
    name = validation.known_id(group or individual or "", "group" if group is not None else "individual")
    found = await noun.documents.read(name)
    if found is None:
        raise Missing(f"there is no {noun.what} {name}; list them to see what there is")
    return found


async def _offered(session: Session, document: Document | None, named: list[str] | None) -> Sequence[str]:
    """The hubs that DPS would offer: the enrollment's, else all that are linked."""
    if named:
        return validation.hub_names(named, "hub")
    single = (document or {}).get("iotHubHostName")
    own = (document or {}).get("iotHubs") or ([single] if single else [])
    if own:
        return list(own)
    linked = await linked_hubs(session)
    if isinstance(linked, Unknown) or not linked:
        why = linked.reason if isinstance(linked, Unknown) else "there are none"
        raise Usage(f"--hub: which hubs DPS would offer is not known ({why}); name some")
    return tuple(linked.values())


async def _called(
    session: Session, document: Document | None, given: str | None, key_secret: str | None, *, anonymous: bool
) -> str:
    """The URL to call: that of the enrollment where it can be read, else this app's."""
    held = ((document or {}).get("customAllocationDefinition") or {}).get("webhookUrl")
    if isinstance(held, str) and held and not is_masked(held) and given is None and key_secret is None:
        session.terminal.hide(held.partition("?")[2])
        return validation.webhook_url(held)
    return await _url(session, given, key_secret, anonymous=anonymous)


def _doubts(session: Session, document: Document | None, url: str) -> list[str]:
    """What else keeps the enrollment from asking this app."""
    if document is None:
        return []
    held = (document.get("customAllocationDefinition") or {}).get("webhookUrl")
    found = []
    if document.get("allocationPolicy") != "custom":
        found.append("the enrollment's policy is not custom, so DPS asks no webhook for it: `webhook attach`")
    if isinstance(held, str) and is_masked(held):
        found.append("DPS does not show the key that the enrollment has: this app's own was tried instead")
    if isinstance(held, str) and not same_endpoint(held.partition("?")[0], url.partition("?")[0]):
        found.append(f"the enrollment asks {held.partition('?')[0]}, not what is called here")
    own = session.settings.webhook_url
    if own and not same_endpoint(url.partition("?")[0], own):
        found.append(f"this is not this app's webhook, which is {own}")
    if document.get("provisioningStatus") == "disabled":
        found.append("the enrollment is disabled: no device of it may register")
    return found
