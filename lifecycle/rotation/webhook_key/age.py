"""The webhook key by reference: read from the vault where it is needed, and told of when it is old."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from clients.errors import ClientError
from clients.ports import Clock, Telemetry
from clients.vault_shapes import Secret
from lifecycle.enrollments.webhook import with_key
from lifecycle.rotation.webhook_key.rewrite import Secrets

FIX = "./run dps rotate webhook-key start"


def own_webhook(vault: Secrets | None, secret: str, base: str) -> Callable[[], Awaitable[str | None]]:
    """What reads this app's webhook URL with its key: for writes of enrollments whose read masks it.

    Args:
        vault: None: there is none.
        secret: the name of the secret with the key; "" for none.
        base: the URL without the key; "" where it is not known.

    Returns:
        Reads the vault at each call; None where one of the three is missing, or the secret has no readable
        version. May raise what a read of the vault raises.
    """

    async def read() -> str | None:
        if vault is None or not secret or not base:
            return None
        found = await vault.get(secret)
        return with_key(base, found.value.reveal().strip()) if isinstance(found, Secret) else None

    return read


async def tell_age(
    vault: Secrets, secret: str, most: timedelta, clock: Clock, telemetry: Telemetry, *, dps: str
) -> None:
    """Tell of a key that is older than it may be, or not in the vault. It changes nothing."""
    try:
        found = await vault.get(secret)
    except ClientError as error:
        telemetry.event("webhook_key_unseen", dps=dps, secret=secret, problem=str(error))
        return
    if not isinstance(found, Secret):
        telemetry.event(
            "webhook_key_unseen", dps=dps, secret=secret, problem=f"no readable version; {FIX} puts one there"
        )
        return
    age = clock.now() - found.about.created
    if age > most:
        days = timedelta(days=1)
        telemetry.event(
            "webhook_key_old", dps=dps, secret=secret, days=age // days, most=most / days, fix=FIX
        )
