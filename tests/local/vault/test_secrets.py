"""Secrets live, change, go and come back as recorded calls of the service show."""

from typing import Any

import pytest

from local.vault import VaultBehaviour
from tests.local.vault.rig import DAY, Rig, error


async def test_a_set_answers_with_the_documented_members(rig: Rig) -> None:
    given = {"enabled": True, "nbf": 1, "exp": 2}
    made = await rig.set("Name-1", "x", contentType="text/plain", tags={"a": "b"}, attributes=given)
    assert made.pop("id").startswith("https://kv-local.vault.azure.net/secrets/Name-1/")
    assert made == {
        "value": "x",
        "contentType": "text/plain",
        "tags": {"a": "b"},
        "attributes": {
            "enabled": True,
            "nbf": 1,
            "exp": 2,
            "created": rig.now,
            "updated": rig.now,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
        },
    }


async def test_a_plain_set_shows_no_attribute_that_was_not_given(rig: Rig) -> None:
    made = await rig.set()
    assert set(made) == {"value", "id", "attributes"}
    assert set(made["attributes"]) == {"enabled", "created", "updated", "recoveryLevel", "recoverableDays"}


async def test_every_set_makes_a_version_even_of_the_same_value(rig: Rig) -> None:
    made = [await rig.set(value="same") for _ in range(3)]
    assert len({each["id"] for each in made}) == 3
    latest = (await rig.call("GET", "/secrets/s1/")).json()
    assert latest == made[2]
    for each in made:
        version = each["id"].rpartition("/")[2]
        assert (await rig.call("GET", f"/secrets/s1/{version}")).json() == each


async def test_names_count_without_case(rig: Rig) -> None:
    first, second = await rig.set("Some-Name", "1"), await rig.set("some-name", "2")
    assert first["id"].rpartition("/")[0] == second["id"].rpartition("/")[0]
    assert (await rig.call("GET", "/SECRETS/SOME-NAME")).json()["value"] == "2"


async def test_an_empty_value_is_a_value(rig: Rig) -> None:
    assert (await rig.set(value=""))["value"] == ""


async def test_an_update_changes_what_it_names_and_shows_no_value(rig: Rig) -> None:
    made = await rig.set(tags={"a": "1"}, contentType="t", attributes={"exp": 5})
    await rig.clock.advance(10)
    version = made["id"].rpartition("/")[2]
    changed = (await rig.call("PATCH", f"/secrets/s1/{version}", {"attributes": {"nbf": 3}})).json()
    assert changed["attributes"] == made["attributes"] | {"nbf": 3, "updated": rig.now}
    assert (changed["tags"], changed["contentType"]) == ({"a": "1"}, "t")
    assert "value" not in changed
    replaced = (await rig.call("PATCH", "/secrets/s1/", {"tags": {"b": "2"}, "value": "ignored"})).json()
    assert replaced["tags"] == {"b": "2"}
    assert (await rig.call("GET", "/secrets/s1")).json()["value"] == "v"


async def test_a_disabled_current_version_hides_the_secret_and_not_its_versions(rig: Rig) -> None:
    first = await rig.set(value="1")
    second = await rig.set(value="2", attributes={"enabled": False})
    assert error(await rig.call("GET", "/secrets/s1/")) == (403, "Forbidden", "SecretDisabled")
    assert error(await rig.call("GET", second["id"].partition(".net")[2])) == (
        403,
        "Forbidden",
        "SecretDisabled",
    )
    assert (await rig.call("GET", first["id"].partition(".net")[2])).json()["value"] == "1"
    assert len((await rig.call("GET", "/secrets/s1/versions")).json()["value"]) == 2
    await rig.call("PATCH", "/secrets/s1/", {"attributes": {"enabled": True}})
    assert (await rig.call("GET", "/secrets/s1")).json()["value"] == "2"


@pytest.mark.parametrize("attributes", [{"exp": 1}, {"nbf": 4_000_000_000}])
async def test_an_expired_secret_or_one_not_yet_valid_is_still_given_out(
    rig: Rig, attributes: dict[str, int]
) -> None:
    await rig.set(attributes=attributes)
    assert (await rig.call("GET", "/secrets/s1")).status_code == 200


async def test_what_is_missing_is_not_found(rig: Rig) -> None:
    missing = (404, "SecretNotFound", None)
    await rig.set("there")
    for method, path in [
        ("GET", "/secrets/s1"),
        ("GET", f"/secrets/there/{'0' * 32}"),
        ("PATCH", "/secrets/s1"),
        ("DELETE", "/secrets/s1"),
        ("GET", "/deletedsecrets/s1"),
        ("POST", "/deletedsecrets/there/recover"),
        ("DELETE", "/deletedsecrets/there"),
    ]:
        assert error(await rig.call(method, path, {} if method == "PATCH" else None)) == missing, path
    assert (await rig.call("GET", "/secrets/s1/versions")).json() == {"value": [], "nextLink": None}


async def test_a_delete_takes_its_time_and_keeps_the_name(rig: Rig) -> None:
    made = await rig.set()
    gone = await rig.call("DELETE", "/secrets/s1")
    body = gone.json()
    assert "value" not in body
    assert body["recoveryId"] == "https://kv-local.vault.azure.net/deletedsecrets/s1"
    assert (body["deletedDate"], body["scheduledPurgeDate"]) == (rig.now, rig.now + 90 * DAY)
    assert body["id"] == made["id"]
    being_deleted = (409, "Conflict", "ObjectIsBeingDeleted")
    assert error(await rig.call("PUT", "/secrets/s1", {"value": "x"})) == being_deleted
    purged = await rig.call("DELETE", "/deletedsecrets/s1")
    assert error(purged) == being_deleted
    assert purged.json()["error"]["message"] == "Secret is currently being deleted."
    assert error(await rig.call("POST", "/deletedsecrets/s1/recover")) == being_deleted
    assert (await rig.call("GET", "/deletedsecrets/s1")).status_code == 404
    assert (await rig.call("GET", "/secrets/s1/")).status_code == 404
    await rig.clock.advance(5)
    assert (await rig.call("GET", "/deletedsecrets/s1")).json() == body
    assert (await rig.call("GET", "/secrets/s1/")).status_code == 404
    assert error(await rig.call("PUT", "/secrets/s1", {"value": "x"})) == (
        409,
        "Conflict",
        "ObjectIsDeletedButRecoverable",
    )


async def test_a_recovered_secret_has_all_its_versions(rig: Rig) -> None:
    made = [await rig.set(value=value) for value in "ab"]
    await rig.call("DELETE", "/secrets/s1")
    await rig.clock.advance(5)
    back = (await rig.call("POST", "/deletedsecrets/s1/recover")).json()
    assert (back["id"], "value" in back) == (made[1]["id"], False)
    assert (await rig.call("GET", "/secrets/s1/")).status_code == 404
    assert error(await rig.call("PUT", "/secrets/s1", {"value": "x"})) == (
        409,
        "Conflict",
        "ObjectIsBeingRecovered",
    )
    await rig.clock.advance(1)
    assert (await rig.call("GET", "/secrets/s1/")).json() == made[1]
    assert [version.value for version in rig.vault.peek("s1")] == ["a", "b"]
    assert (await rig.call("GET", "/deletedsecrets/s1")).status_code == 404


async def test_a_purged_secret_frees_its_name_after_a_while(rig: Rig) -> None:
    await rig.set()
    await rig.call("DELETE", "/secrets/s1")
    await rig.clock.advance(5)
    assert (await rig.call("DELETE", "/deletedsecrets/s1")).status_code == 204
    assert error(await rig.call("PUT", "/secrets/s1", {"value": "x"})) == (
        409,
        "Conflict",
        "ObjectIsBeingDeleted",
    )
    await rig.clock.advance(5)
    await rig.set(value="x")
    assert [version.value for version in rig.vault.peek("s1")] == ["x"]


async def test_a_deleted_secret_is_purged_when_its_retention_is_over() -> None:
    async with Rig(VaultBehaviour(retention_days=7)) as rig:
        await rig.set()
        await rig.call("DELETE", "/secrets/s1")
        await rig.clock.advance(7 * DAY - 1)
        found = (await rig.call("GET", "/deletedsecrets/s1")).json()
        assert found["attributes"]["recoveryLevel"] == "CustomizedRecoverable+Purgeable"
        await rig.clock.advance(1)
        assert (await rig.call("GET", "/deletedsecrets/s1")).status_code == 404
        await rig.set()


async def test_purge_protection_refuses_purges() -> None:
    async with Rig(VaultBehaviour(purge_protection=True)) as rig:
        made = await rig.set()
        assert made["attributes"]["recoveryLevel"] == "Recoverable"
        await rig.call("DELETE", "/secrets/s1")
        await rig.clock.advance(5)
        assert error(await rig.call("DELETE", "/deletedsecrets/s1")) == (403, "Forbidden", None)


def test_retention_is_7_to_90_days() -> None:
    for days in (6, 91):
        with pytest.raises(ValueError, match="7 to 90"):
            VaultBehaviour(retention_days=days)


@pytest.mark.parametrize("name", ["a_b", "a.b", "a%20b", "é", "a" * 128, "a%0Ab", "a%2Fb"])
async def test_a_name_is_letters_digits_and_dashes(rig: Rig, name: str) -> None:
    for method in ("PUT", "GET", "PATCH", "DELETE"):
        body: Any = {"value": "x"} if method in ("PUT", "PATCH") else None
        answer = await rig.call(method, f"/secrets/{name}", body)
        assert error(answer) == (400, "BadParameter", None)
        assert answer.json()["error"]["message"].startswith("The request URI contains an invalid name: ")


async def test_the_longest_name_is_127(rig: Rig) -> None:
    await rig.set("a" * 127)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"value": None},
        {"value": 1},
        {"value": "é" * 12_801},
        {"value": "x" * 25_601},
        {"value": "x", "tags": {str(n): "" for n in range(16)}},
        {"value": "x", "tags": {"a": "x" * 257}},
        {"value": "x", "tags": {"x" * 257: ""}},
        {"value": "x", "tags": {"a": 1}},
        {"value": "x", "tags": []},
        {"value": "x", "contentType": 1},
        {"value": "x", "attributes": []},
        {"value": "x", "attributes": {"enabled": "yes"}},
        {"value": "x", "attributes": {"exp": "2030-01-01"}},
        {"value": "x", "attributes": {"exp": -1}},
        {"value": "x", "attributes": {"exp": 1.5}},
        {"value": "x", "attributes": {"nbf": True}},
        {"value": "x", "attributes": {"nbf": 10**12}},
    ],
)
async def test_a_set_over_a_limit_or_of_a_wrong_type_changes_nothing(rig: Rig, body: Any) -> None:
    assert error(await rig.call("PUT", "/secrets/s1", body)) == (400, "BadParameter", None)
    assert (rig.vault.peek("s1"), rig.events) == ((), [])


async def test_what_is_just_within_the_limits_is_kept(rig: Rig) -> None:
    tags = {f"{n:0>256}": "x" * 256 for n in range(15)}
    made = await rig.set(value="é" * 12_800, tags=tags)
    assert (len(made["value"]), made["tags"]) == (12_800, tags)


@pytest.mark.parametrize("version", ["7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"])
async def test_every_current_api_version_is_spoken(rig: Rig, version: str) -> None:
    answer = await rig.call("PUT", "/secrets/s1", {"value": "x"}, **{"api-version": version})
    assert answer.status_code == 200


@pytest.mark.parametrize("version", ["7.3", "2016-10-01", ""])
async def test_an_old_or_missing_api_version_is_refused(rig: Rig, version: str) -> None:
    answer = await rig.call("GET", "/secrets", **{"api-version": version})
    assert error(answer) == (400, "BadParameter", None)


async def test_a_wrong_method_is_405_and_a_wrong_path_404(rig: Rig) -> None:
    answer = await rig.call("POST", "/secrets/s1")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, PUT, PATCH, DELETE")
    assert (await rig.call("GET", "/keys")).status_code == 404
