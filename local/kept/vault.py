"""The secrets of a vault and the events that time will bring, one a line."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from local.vault import KeyVault
from local.vault.expiry import Due
from local.vault.store import Secret, State, Version

SECRET, DUE, RAISED = "secret", "due", "raised"
_VERSION = tuple(field.name for field in fields(Version))


def values(vault: KeyVault) -> Iterator[dict[str, Any]]:
    """Secrets in the order they were made, then the events to come and those that have been."""
    for secret in vault.secrets.every():
        yield {SECRET: _secret(secret)}
    for due in vault.watch.due():
        yield {DUE: asdict(due)}
    for kind, version in sorted(vault.watch.raised()):
        yield {RAISED: [kind, version]}


def put_secret(vault: KeyVault, kept: Mapping[str, Any]) -> None:
    """Put a secret back, in the state it was in.

    Raises:
        KeyError, TypeError, ValueError: it is not one of `values`.
    """
    versions = {each["id"]: Version(**each) for each in kept["versions"]}
    secret = Secret(
        name=kept["name"],
        versions=versions,
        current_id=versions[kept["current_id"]].id,
        state=State[kept["state"]],
        until=_moment(kept["until"]),
        deleted=_moment(kept["deleted"]),
    )
    vault.secrets.restore(secret)


def put_due(vault: KeyVault, kept: Mapping[str, Any]) -> None:
    """Put an event to come back.

    Raises:
        TypeError: it is not one of `values`.
    """
    vault.watch.restore_due(Due(**kept))


def put_raised(vault: KeyVault, kept: list[str]) -> None:
    """Put the mark back that an event was raised.

    Raises:
        ValueError: it is not one of `values`.
    """
    kind, version = kept
    vault.watch.restore_raised(kind, version)


def _secret(secret: Secret) -> dict[str, Any]:
    return {
        "name": secret.name,
        "versions": [{name: getattr(each, name) for name in _VERSION} for each in secret.versions.values()],
        "current_id": secret.current_id,
        "state": secret.state.name,
        "until": secret.until and secret.until.isoformat(),
        "deleted": secret.deleted and secret.deleted.isoformat(),
    }


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
