"""Lists come in pages, by name and by version id, and hold no values."""

from typing import Any

import pytest

from local.vault import VaultBehaviour
from tests.local.vault.rig import Rig, error


async def walk(rig: Rig, path: str, **query: str) -> list[list[Any]]:
    """The pages of a list."""
    answer = await rig.call("GET", path, **query)
    pages = []
    while True:
        assert answer.status_code == 200, answer.text
        body = answer.json()
        pages.append(body["value"])
        if body["nextLink"] is None:
            return pages
        assert body["nextLink"].startswith(f"https://localhost:8443{path}?api-version=2025-07-01&$skiptoken=")
        answer = await rig.call("GET", body["nextLink"])


def names(pages: list[list[Any]]) -> list[str]:
    return [item["id"].rpartition("/")[2] for page in pages for item in page]


async def test_secrets_are_listed_by_name_without_version_or_value(rig: Rig) -> None:
    for name in ("b", "C", "a"):
        await rig.set(name, tags={"of": name})
    pages = await walk(rig, "/secrets")
    assert names(pages) == ["a", "b", "C"]
    assert pages[0][0]["id"] == "https://kv-local.vault.azure.net/secrets/a"
    assert set(pages[0][0]) == {"id", "attributes", "tags"}


async def test_a_page_has_25_items_unless_fewer_are_asked_for(rig: Rig) -> None:
    for n in range(30):
        await rig.set(f"s{n:02}")
    assert [len(page) for page in await walk(rig, "/secrets")] == [25, 5]
    asked = await walk(rig, "/secrets", maxresults="7")
    assert [len(page) for page in asked] == [7, 7, 7, 7, 2]
    assert names(asked) == [f"s{n:02}" for n in range(30)]


async def test_versions_are_listed_by_id_and_not_by_age(rig: Rig) -> None:
    made = [(await rig.set(value=str(n)))["id"] for n in range(6)]
    pages = await walk(rig, "/secrets/s1/versions", maxresults="2")
    listed = [item["id"] for page in pages for item in page]
    assert [len(page) for page in pages] == [2, 2, 2]
    assert listed == sorted(made) != made
    assert all("value" not in item for page in pages for item in page)


async def test_deleted_secrets_are_listed_when_they_are_there(rig: Rig) -> None:
    for name in ("a", "b", "c"):
        await rig.set(name)
    await rig.call("DELETE", "/secrets/b")
    assert names(await walk(rig, "/secrets")) == ["a", "c"]
    assert names(await walk(rig, "/deletedsecrets")) == []
    await rig.clock.advance(5)
    pages = await walk(rig, "/deletedsecrets", maxresults="1")
    assert names(pages) == ["b"]
    assert set(pages[0][0]) == {"id", "attributes", "recoveryId", "deletedDate", "scheduledPurgeDate"}


async def test_what_changes_while_paging_neither_breaks_nor_shifts_the_rest(rig: Rig) -> None:
    for name in "bdfh":
        await rig.set(name)
    first = (await rig.call("GET", "/secrets", maxresults="2")).json()
    for name in "bf":
        await rig.call("DELETE", f"/secrets/{name}")
    await rig.set("a")
    await rig.set("g")
    second = (await rig.call("GET", first["nextLink"])).json()
    assert names([second["value"]]) == ["g", "h"]


async def test_empty_pages_still_lead_on() -> None:
    async with Rig(VaultBehaviour(empty_pages=True)) as rig:
        for name in "abc":
            await rig.set(name)
        pages = await walk(rig, "/secrets", maxresults="2")
        assert [len(page) for page in pages] == [0, 2, 0, 1]
        assert names(pages) == ["a", "b", "c"]


@pytest.mark.parametrize("size", ["0", "26", "-1", "x", "", "9" * 5000, "²"])
async def test_a_page_size_is_1_to_25(rig: Rig, size: str) -> None:
    assert error(await rig.call("GET", "/secrets", maxresults=size)) == (400, "BadParameter", None)


@pytest.mark.parametrize("token", ["", "!", "x", "Zm9v", "\xe9", "A" * 5000])
async def test_a_foreign_skiptoken_is_refused(rig: Rig, token: str) -> None:
    answer = await rig.call("GET", "/secrets", **{"$skiptoken": token})
    assert error(answer) == (400, "BadParameter", None)
