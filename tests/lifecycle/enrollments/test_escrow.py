"""Keys that are to be deleted are in the vault first, or the enrollment stays."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import Conflict, OutcomeUnknown
from clients.vault_shapes import Absent, Secret, SecretValue, SecretVersion
from lifecycle.enrollments.escrow import escrow, secret_name
from lifecycle.errors import NotEscrowed
from tests.local.dps.rig import PRIMARY, SECONDARY, group

if TYPE_CHECKING:
    from lifecycle.enrollments.change import Kind

HOST = "my-dps.azure-devices-provisioning.net"
ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9\-._:]{0,126}[A-Za-z0-9]\Z")


class Vault:
    """Keeps versions; `answers` says what comes of the sets, one by one."""

    def __init__(self, *answers: str) -> None:
        self.held: dict[str, list[SecretValue]] = {}
        self._answers = list(answers)

    async def get(self, name: str, version: str | None = None) -> Secret | Absent:
        held = self.held.get(name)
        return Secret(_version(name, len(held)), held[-1]) if held else Absent.MISSING

    async def versions(self, name: str) -> AsyncIterator[SecretVersion]:
        for number in range(len(self.held.get(name, ()))):
            yield _version(name, number + 1)

    async def set(self, name: str, value: SecretValue, **more: Any) -> SecretVersion:
        answer = self._answers.pop(0) if self._answers else "done"
        if answer == "blocked":
            raise Conflict("a deleted secret has the name", service="Key Vault")
        if answer != "lost before":
            self.held.setdefault(name, []).append(value)
        if answer.startswith("lost"):
            raise OutcomeUnknown("no answer", service="Key Vault")
        return _version(name, len(self.held[name]))


def _version(name: str, number: int) -> SecretVersion:
    return SecretVersion(name, f"{number:032x}", True, None, None, None, None, {}, None)  # type: ignore[arg-type]  # dates do not count here


async def test_both_keys_are_kept_once() -> None:
    vault = Vault()
    first = await escrow(vault, HOST, "group", group())
    assert first == await escrow(vault, HOST, "group", group())
    [held] = vault.held.values()
    assert [json.loads(value.reveal()) for value in held] == [
        {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}
    ]


async def test_a_set_without_an_answer_counts_when_it_can_be_read() -> None:
    vault = Vault("lost after")
    assert await escrow(vault, HOST, "group", group()) is not None
    with pytest.raises(NotEscrowed, match="not deleted"):
        await escrow(Vault("lost before"), HOST, "group", group())


async def test_a_deleted_secret_of_the_name_is_told_of() -> None:
    with pytest.raises(NotEscrowed, match="recover or purge"):
        await escrow(Vault("blocked"), HOST, "group", group())


async def test_keys_that_cannot_be_read_are_not_taken_for_none() -> None:
    with pytest.raises(NotEscrowed, match="could not be read"):
        await escrow(
            Vault(), HOST, "group", {"enrollmentGroupId": "g", "attestation": {"type": "symmetricKey"}}
        )


async def test_what_has_no_symmetric_keys_needs_no_vault() -> None:
    vault = Vault("blocked")
    assert await escrow(vault, HOST, "individual", {"attestation": {"type": "tpm"}}) is None
    assert vault.held == {}


@given(ids, ids)
def test_each_enrollment_has_a_secret_of_its_own_that_a_vault_takes(one: str, other: str) -> None:
    kinds: tuple[Kind, ...] = ("group", "individual")
    names = {secret_name(HOST, kind, name) for kind in kinds for name in (one, other)}
    assert len(names) == (2 if one.lower() == other.lower() else 4)
    assert all(len(name) <= 127 and name.replace("-", "").isalnum() and name.isascii() for name in names)
