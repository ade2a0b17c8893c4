"""Where a device may be, as the settings of a command have it."""

from cli.connect import Session
from cli.state import hub_client, linked_hubs
from clients.arm import Unknown
from lifecycle.enrollments import at_dps
from lifecycle.enrollments.devices import Places


async def places(session: Session) -> Places:
    """The DPS and its hubs; where these are not known, a note says what is not looked at."""
    found = await linked_hubs(session)
    if isinstance(found, Unknown):
        session.terminal.note(
            f"which hubs are linked is not known ({found.reason}): only the hub of the registration record "
            "and those that the enrollment names are looked at; set DPS_RESOURCE_ID or HUBS"
        )
    return Places(
        at_dps.individuals(session.dps),
        session.dps.registrations,
        lambda hub: hub_client(session, hub),
        () if isinstance(found, Unknown) else tuple(found),
    )
