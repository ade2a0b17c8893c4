"""`webhook`: this app's webhook put on enrollments, and called as DPS would call it."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from cli import enrollments
from cli.certificates import webhook_url as own_webhook
from cli.confirm import Confirmation
from cli.connect import Session
from cli.enrollments import Noun
from cli.errors import Incomplete, Missing, NotConsented, Usage
from cli.options import DryRun, Injected, Yes
from cli.places import Hubs
from clients.arm import Unknown
from clients.errors import BadRequest, Conflict, PreconditionFailed
from clients.vault_shapes import Secret, checked_name
from clients.webhook import call_webhook
from lifecycle.enrollments import change as changes
from lifecycle.enrollments import validation
from lifecycle.enrollments import webhook as hook
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.webhook_url import is_masked
from lifecycle.errors import EnrollmentError, InvalidOption
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment

API_VERSION = "2021-10-01"
"""What the webhook understands, and newer than what it needs at least (documented)."""

AnyNoun = Noun[EnrollmentGroup] | Noun[IndividualEnrollment]

WebhookBase = Annotated[
    str | None,
    Parameter(name=("--webhook-url", "--wh"), help="This app's URL without its key; else WEBHOOK_URL."),
]
KeySecret = Annotated[
    str | None,
    Parameter(help="Secret of the vault that holds the function key; else WEBHOOK_KEY, else it is asked for."),
]
Anonymous = Annotated[bool, Parameter(negative=(), help="The function needs no key.")]


async def attach(
    *groups: Annotated[str, Parameter(help="Enrollment groups.")],
    individual: Annotated[
        list[str] | None,
        Parameter(consume_multiple=(1, None), negative=(), help="Individual enrollments beside them."),
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
    """Make enrollments ask this app: policy custom, its URL with its key. Run it again to finish or to re-key."""
    if (groups and all_groups) or (individual and all_individuals):
        raise Usage("--all-groups, --all-individuals: enrollments are named too; say one of both")
    if not (groups or individual or all_groups or all_individuals):
        raise Usage("no enrollment is named; name groups, or say --individual, --all-groups, --all-individuals")
    named = [(validation.known_id(each, "groups"), "group") for each in groups]
    named += [(validation.known_id(each, "individual"), "individual") for each in individual or ()]
    version = validation.webhook_version(api_version)
    url = await _url(session, webhook_url, key_secret, anonymous=anonymous)
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=False)
    nouns: dict[str, AnyNoun] = {
        "group": enrollments.groups(session),
        "individual": enrollments.individuals(session),
    }
    if all_groups:
        named += [(each.id, "group") async for each in nouns["group"].calls.all()]
    if all_individuals:
        named += [(each.id, "individual") async for each in nouns["individual"].calls.all()]
    results = [
        await _attach(nouns[kind], name, hook.attached(url, version), confirmation, dry_run=dry_run)
        for name, kind in named
    ]
    for each in results:
        session.output_rows.append(each)
    await session.output.many(_iterated(results), ())
    failed = [each["id"] for each in results if each["outcome"] == "failed"]
    if failed:
        raise Incomplete(f"not attached to {len(failed)} of {len(results)}: see above, and run it again")
