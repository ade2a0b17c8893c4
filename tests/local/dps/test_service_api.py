"""The service API, in process."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from local.dps.behaviour import Behaviour
from local.tls import CertificateAuthority
from tests.local.dps.rig import (
    HUBS,
    OTHER_KEY,
    PRIMARY,
    SECONDARY,
    WEBHOOK,
    Rig,
    custom,
    group,
    individual,
    symmetric,
)

KINDS = [("enrollmentGroups", group, 404204), ("enrollments", individual, 404201)]


async def test_put_creates_with_200_and_get_returns_what_was_stored(rig: Rig) -> None:
    members: dict[str, Any] = {
        "provisioningStatus": "disabled",
        "iotHubs": [HUBS[1]],
        "allocationPolicy": "hashed",
    }
    made = await rig.put_group(**members)
    assert made.status_code == 200
    assert made.headers["content-type"].startswith("application/json")
    read = (await rig.call("GET", "/enrollmentGroups/g1")).json()
    assert {name: read[name] for name in members} == members
    assert read["etag"] == made.json()["etag"]
    assert re.fullmatch(r'"[0-9a-f-]{36}"', read["etag"])


async def test_times_carry_seven_fractional_digits(rig: Rig) -> None:
    made = (await rig.put_group()).json()
    for member in ("createdDateTimeUtc", "lastUpdatedDateTimeUtc"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", made[member])


async def test_members_come_in_the_order_of_captured_bodies(rig: Rig) -> None:
    await rig.put_group(**custom(capabilities={"iotEdge": False}, iotHubs=[HUBS[0]], reprovisionPolicy={}))
    assert list((await rig.call("GET", "/enrollmentGroups/g1")).json()) == [
        "enrollmentGroupId",
        "attestation",
        "capabilities",
        "etag",
        "provisioningStatus",
        "reprovisionPolicy",
        "createdDateTimeUtc",
        "lastUpdatedDateTimeUtc",
        "allocationPolicy",
        "iotHubs",
        "customAllocationDefinition",
    ]


@pytest.mark.parametrize(("path", "body", "_code"), KINDS)
async def test_keys_are_shown_at_creation_and_by_attestationmechanism_only(
    rig: Rig, path: str, body: Any, _code: int
) -> None:
    made = await rig.call("PUT", f"/{path}/one", body("one"))
    assert made.json()["attestation"] == symmetric()
    await rig.call("PUT", f"/{path}/one", body("one"), if_match="*")
    shown = [
        (await rig.call("GET", f"/{path}/one")).json(),
        (await rig.call("POST", f"/{path}/query", {"query": "SELECT *"})).json()[0],
    ]
    assert [each["attestation"] for each in shown] == [{"type": "symmetricKey"}] * 2
    keys = await rig.call("POST", f"/{path}/one/attestationmechanism")
    assert (keys.status_code, keys.json()) == (200, symmetric())


@pytest.mark.parametrize(
    "attestation",
    [
        {"type": "symmetricKey"},
        {"type": "symmetricKey", "symmetricKey": {}},
        {"type": "symmetricKey", "symmetricKey": None, "tpm": None, "x509": None},
        {"type": "symmetricKey", "symmetricKey": {"primaryKey": None, "secondaryKey": ""}},
    ],
)
async def test_creation_without_keys_makes_two_of_64_bytes(rig: Rig, attestation: Any) -> None:
    made = (await rig.put_group(attestation=attestation)).json()["attestation"]["symmetricKey"]
    assert [len(base64.b64decode(key)) for key in made.values()] == [64, 64]
    assert made["primaryKey"] != made["secondaryKey"]


async def test_a_secondary_key_is_not_required(rig: Rig) -> None:
    await rig.put_group(attestation=symmetric(PRIMARY, None))
    shown = (await rig.call("POST", "/enrollmentGroups/g1/attestationmechanism")).json()
    assert shown["symmetricKey"] == {"primaryKey": PRIMARY}


@pytest.mark.parametrize("choice", ["keep", "regenerate", "refuse"])
async def test_put_without_keys_does_what_the_behaviour_says(choice: Any) -> None:
    async with Rig(Behaviour(put_without_keys=choice)) as rig:
        await rig.put_group()
        answer = await rig.call(
            "PUT", "/enrollmentGroups/g1", group(attestation={"type": "symmetricKey"}), if_match="*"
        )
        after = (await rig.call("POST", "/enrollmentGroups/g1/attestationmechanism")).json()
        assert answer.status_code == (400 if choice == "refuse" else 200)
        assert (after == symmetric()) == (choice != "regenerate")


async def test_put_with_keys_replaces_them(rig: Rig) -> None:
    await rig.put_group()
    await rig.call(
        "PUT", "/enrollmentGroups/g1", group(attestation=symmetric(SECONDARY, OTHER_KEY)), if_match="*"
    )
    after = (await rig.call("POST", "/enrollmentGroups/g1/attestationmechanism")).json()
    assert after == symmetric(SECONDARY, OTHER_KEY)


@pytest.mark.parametrize(("path", "body", "code"), KINDS)
async def test_etags_guard_every_write(rig: Rig, path: str, body: Any, code: int) -> None:
    one = f"/{path}/one"
    missing = await rig.call("PUT", one, body("one"), if_match="*")
    assert (missing.status_code, missing.json()["errorCode"]) == (404, code)
    first = (await rig.call("PUT", one, body("one"))).json()["etag"]
    assert (await rig.call("PUT", one, body("one"))).status_code == 409
    second = await rig.call("PUT", one, body("one"), if_match=first)
    assert second.status_code == 200
    assert second.json()["etag"] != first
    assert (await rig.call("PUT", one, body("one"), if_match=first)).status_code == 412
    bare = second.json()["etag"].strip('"')
    assert (await rig.call("PUT", one, body("one"), if_match=bare)).status_code == 200
    assert (await rig.call("DELETE", one, if_match=bare)).status_code == 412
    gone = await rig.call("DELETE", one, if_match="*")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await rig.call("DELETE", one)).json()["errorCode"] == code
    assert (await rig.call("GET", one)).json()["errorCode"] == code


async def test_an_update_keeps_the_creation_time_and_moves_the_other(rig: Rig) -> None:
    first = (await rig.put_group()).json()
    await rig.clock.advance(60)
    second = (await rig.call("PUT", "/enrollmentGroups/g1", group(), if_match="*")).json()
    assert second["createdDateTimeUtc"] == first["createdDateTimeUtc"]
    assert second["lastUpdatedDateTimeUtc"] > first["lastUpdatedDateTimeUtc"]


async def test_unknown_members_stay_and_read_only_ones_are_ignored(rig: Rig) -> None:
    twin = {"additional_properties": {"x": None}, "tags": {"a": 1, "metadata": None}, "properties": None}
    made = await rig.put_enrollment(
        futureThing={"deep": [1]},
        initialTwin=twin,
        etag="mine",
        createdDateTimeUtc="long ago",
        registrationState={"status": "assigned"},
        iotHubs=None,
        deviceId=None,
    )
    read = (await rig.call("GET", "/enrollments/dev-1")).json()
    assert read["futureThing"] == {"deep": [1]}
    assert read["initialTwin"] == {"additional_properties": {"x": None}, "tags": {"a": 1}}
    assert read["etag"] == made.json()["etag"] != "mine"
    assert read["createdDateTimeUtc"].startswith("2026-")
    assert not {"registrationState", "iotHubs", "deviceId"} & read.keys()


LONG_TWIN = {"properties": {"desired": {"a": "x" * 33_000}}}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("no attestation", {"attestation": None}),
    ("unknown attestation", {"attestation": {"type": "password"}}),
    ("attestation type of a wrong type", {"attestation": {"type": ["symmetricKey"]}}),
    ("two kinds of attestation", {"attestation": {**symmetric(), "tpm": {"endorsementKey": "AAAA"}}}),
    ("short key", {"attestation": symmetric(base64.b64encode(b"a" * 15).decode())}),
    ("long key", {"attestation": symmetric(base64.b64encode(b"a" * 65).decode())}),
    ("key not in Base64", {"attestation": symmetric("*" * 44)}),
    ("key not in ASCII", {"attestation": symmetric("é" * 44)}),
    ("key of a wrong type", {"attestation": symmetric(17)}),  # type: ignore[arg-type]  # on purpose
    ("unknown policy", {"allocationPolicy": "random"}),
    ("unknown status", {"provisioningStatus": "off"}),
    ("hub that is not linked", {"iotHubs": ["hub-x.azure-devices.net"]}),
    ("hubs of a wrong type", {"iotHubs": {"a": 1}}),
    ("hub of a wrong type", {"iotHubs": [7]}),
    ("static without a hub", {"allocationPolicy": "static"}),
    ("static with two hubs", {"allocationPolicy": "static", "iotHubs": list(HUBS[:2])}),
    ("twin too large", {"initialTwin": LONG_TWIN}),
    ("tags too large", {"initialTwin": {"tags": {"a": "x" * 9_000}}}),
    ("twin of a wrong type", {"initialTwin": [1]}),
    ("flag of a wrong type", {"reprovisionPolicy": {"migrateDeviceData": "yes"}}),
    ("capabilities of a wrong type", {"capabilities": True}),
    (
        "bad webhook URL",
        custom(customAllocationDefinition={"webhookUrl": "ftp://x", "apiVersion": "2021-10-01"}),
    ),
    (
        "old webhook version",
        custom(customAllocationDefinition={"webhookUrl": WEBHOOK, "apiVersion": "2018-04-01"}),
    ),
    ("another id in the body", {"enrollmentGroupId": "g2"}),
    ("id of a wrong type", {"enrollmentGroupId": 1}),
]


@pytest.mark.parametrize("members", [each for _, each in REFUSED], ids=[name for name, _ in REFUSED])
async def test_bad_enrollment_is_refused_with_400(rig: Rig, members: dict[str, Any]) -> None:
    answer = await rig.put_group(**members)
    assert answer.status_code == 400, answer.text
    assert (await rig.call("GET", "/enrollmentGroups/g1")).status_code == 404


@pytest.mark.parametrize("definition", [None, {}, {"webhookUrl": WEBHOOK}, {"apiVersion": "2021-10-01"}])
async def test_custom_policy_needs_a_whole_definition(rig: Rig, definition: Any) -> None:
    answer = await rig.put_group(allocationPolicy="custom", customAllocationDefinition=definition)
    assert answer.json()["errorCode"] == 400004


@pytest.mark.parametrize("name", ["-a", "a.", "a_", "a b", "a/b", "é", "a" * 129])
async def test_bad_id_is_refused(rig: Rig, name: str) -> None:
    answer = await rig.call("PUT", f"/enrollmentGroups/{name.replace('/', '%2F')}", group(name))
    assert answer.status_code == 400


@pytest.mark.parametrize("name", ["a", "A-b.c_d:e", "9-", "a" * 128])
async def test_good_id_is_accepted_and_found_without_case(rig: Rig, name: str) -> None:
    made = await rig.put_group(name)
    assert made.json()["enrollmentGroupId"] == name
    assert (await rig.call("GET", f"/enrollmentgroups/{name.swapcase()}/")).json()[
        "enrollmentGroupId"
    ] == name


async def test_percent_encoded_ids_are_decoded(rig: Rig) -> None:
    await rig.put_group("a:b")
    assert (await rig.call("GET", "/enrollmentGroups/%61%3Ab")).status_code == 200


async def test_static_takes_the_hub_of_iot_hub_host_name_too(rig: Rig) -> None:
    assert (await rig.put_group(allocationPolicy="static", iotHubHostName=HUBS[0].upper())).status_code == 200


async def test_error_body_has_the_published_shape(rig: Rig) -> None:
    answer = await rig.call("GET", "/enrollmentGroups/nobody")
    body = answer.json()
    assert set(body) == {"errorCode", "trackingId", "message", "timestampUtc"}
    assert answer.headers["x-ms-error-code"] == "404204"
    assert answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nothing", 404),
        ("GET", "/enrollments", 405),
        ("GET", "/registrations", 405),
        ("PATCH", "/enrollments/a", 405),
        ("POST", "/enrollments/a", 405),
        ("GET", "/enrollments/query", 404),
        ("GET", "/enrollments/a/b/c", 404),
        ("GET", "/registrations/a", 404),
        ("GET", "/registrations/%ff", 400),
        ("GET", "/enrollments/a?api-version=2017-01-01", 400),
        ("GET", "/enrollments/a?x=y", 400),
    ],
)
async def test_paths_methods_and_versions(rig: Rig, method: str, path: str, status: int) -> None:
    answer = await rig.call(method, path)
    assert answer.status_code == status
    assert answer.json()["errorCode"] // 1000 == status


@pytest.mark.parametrize("version", ["2018-09-01-preview", "2019-03-31", "2021-06-01", "2021-10-01"])
async def test_known_versions_are_served(rig: Rig, version: str) -> None:
    await rig.put_group()
    assert (await rig.call("GET", f"/enrollmentGroups/g1?api-version={version}")).status_code == 200


async def test_a_get_may_carry_an_empty_object(rig: Rig) -> None:
    await rig.put_group()
    assert (await rig.call("GET", "/enrollmentGroups/g1", {})).status_code == 200


async def test_hundred_and_first_group_of_a_type_is_refused(rig: Rig) -> None:
    for number in range(100):
        assert (await rig.put_group(f"g{number}")).status_code == 200
    assert (await rig.put_group("one-more")).status_code == 403
    x509 = {"type": "x509", "x509": {"caReferences": {"primary": "ca"}}}
    assert (await rig.put_group("other-type", attestation=x509)).status_code == 200


@pytest.mark.parametrize(
    ("path", "attestation", "status"),
    [
        ("enrollments", {"type": "tpm", "tpm": {"endorsementKey": "AAAA"}}, 200),
        ("enrollments", {"type": "tpm", "tpm": {}}, 400),
        ("enrollments", {"type": "tpm"}, 400),
        ("enrollmentGroups", {"type": "tpm", "tpm": {"endorsementKey": "AAAA"}}, 400),
        ("enrollments", {"type": "x509", "x509": {"caReferences": {"primary": "ca"}}}, 200),
        ("enrollments", {"type": "x509", "x509": {"caReferences": {}}}, 400),
        ("enrollments", {"type": "x509", "x509": {"caReferences": ["ca"]}}, 400),
        ("enrollments", {"type": "x509"}, 400),
        (
            "enrollments",
            {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "x"}}}},
            400,
        ),
        ("enrollments", {"type": "x509", "x509": {"clientCertificates": {}}}, 400),
        ("enrollments", {"type": "x509", "x509": {"signingCertificates": {"primary": {}}}}, 400),
    ],
)
async def test_other_attestations_are_checked(rig: Rig, path: str, attestation: Any, status: int) -> None:
    body = {"enrollmentGroupId": "one", "registrationId": "one", "attestation": attestation}
    assert (await rig.call("PUT", f"/{path}/one", body)).status_code == status


@pytest.mark.parametrize("encoding", ["pem", "der"])
async def test_certificates_are_stored_with_what_they_say(rig: Rig, tmp_path: Path, encoding: str) -> None:
    pem = CertificateAuthority(tmp_path / "ca", name="fleet").ca_pem.read_text()
    text = pem if encoding == "pem" else "".join(pem.split("-----")[2].split())
    x509 = {"signingCertificates": {"primary": {"certificate": text}, "secondary": None}}
    made = await rig.put_group(attestation={"type": "x509", "x509": x509})
    assert made.status_code == 200, made.text
    shown = made.json()["attestation"]["x509"]["signingCertificates"]
    assert list(shown) == ["primary"]
    info = shown["primary"]["info"]
    assert (info["subjectName"], info["version"], len(info["sha256Thumbprint"])) == ("CN=fleet CA", 3, 64)


async def test_registration_is_inline_in_its_individual_enrollment_and_goes_with_it(rig: Rig) -> None:
    await rig.put_enrollment()
    state = await rig.state(key=PRIMARY)
    inline = (await rig.call("GET", "/enrollments/dev-1")).json()["registrationState"]
    assert inline == (await rig.call("GET", "/registrations/DEV-1")).json()
    assert inline["assignedHub"] == state["assignedHub"]
    await rig.call("DELETE", "/enrollments/dev-1")
    assert (await rig.call("GET", "/registrations/dev-1")).status_code == 404


async def test_deleting_a_record_honours_its_etag_and_leaves_the_hub_device(rig: Rig) -> None:
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]])
    await rig.register()
    record = (await rig.call("GET", "/registrations/dev-1")).json()
    assert base64.b64decode(record["etag"]).startswith(b'"')
    assert (await rig.call("DELETE", "/registrations/dev-1", if_match="other")).status_code == 412
    assert (
        await rig.call("DELETE", "/registrations/dev-1", if_match=f'"{record["etag"]}"')
    ).status_code == 204
    assert (await rig.call("DELETE", "/registrations/dev-1")).status_code == 404
    assert "dev-1" in rig.hub_a.devices


@pytest.mark.parametrize(("queryable", "status"), [(True, 200), (False, 404)])
async def test_records_outlive_their_group(queryable: bool, status: int) -> None:
    async with Rig(Behaviour(orphans_queryable=queryable)) as rig:
        await rig.put_group()
        await rig.register()
        assert len((await rig.call("POST", "/registrations/G1/query")).json()) == 1
        await rig.call("DELETE", "/enrollmentGroups/g1")
        assert (await rig.call("POST", "/registrations/g1/query")).status_code == status
        assert (await rig.call("GET", "/registrations/dev-1")).json()["status"] == "assigned"
        await rig.call("DELETE", "/registrations/dev-1")
        assert (await rig.call("POST", "/registrations/g1/query")).status_code == 404


async def test_a_group_without_registrations_lists_none(rig: Rig) -> None:
    await rig.put_group()
    answer = await rig.call("POST", "/registrations/g1/query")
    assert (answer.status_code, answer.json()) == (200, [])


class TestBulk:
    async def test_items_succeed_and_fail_for_themselves(self, rig: Rig) -> None:
        await rig.put_enrollment("old")
        items = [individual("new"), individual("old"), individual("bad", attestation={}), 7]
        answer = await rig.call("POST", "/enrollments/", {"enrollments": items, "mode": "create"})
        assert answer.status_code == 200
        assert answer.json()["isSuccessful"] is False
        failures = answer.json()["errors"]
        assert [each["registrationId"] for each in failures] == ["old", "bad", ""]
        assert [each["errorCode"] // 1000 for each in failures] == [409, 400, 400]
        assert (await rig.call("GET", "/enrollments/new")).status_code == 200

    async def test_update_replaces_only_what_exists(self, rig: Rig) -> None:
        await rig.put_group("g1")
        items = [group("g1", provisioningStatus="disabled"), group("g2")]
        answer = (
            await rig.call("POST", "/enrollmentGroups", {"enrollmentGroups": items, "mode": "update"})
        ).json()
        assert [(each["enrollmentGroupId"], each["errorCode"]) for each in answer["errors"]] == [
            ("g2", 404204)
        ]
        assert (await rig.call("GET", "/enrollmentGroups/g1")).json()["provisioningStatus"] == "disabled"

    async def test_update_if_match_looks_at_each_items_etag(self, rig: Rig) -> None:
        etags = {name: (await rig.put_group(name)).json()["etag"] for name in ("g1", "g2", "g3")}
        items = [group("g1", etag=etags["g1"]), group("g2", etag=etags["g1"]), group("g3")]
        body = {"enrollmentGroups": items, "mode": "updateIfMatchETag"}
        answer = (await rig.call("POST", "/enrollmentGroups", body)).json()
        assert [(each["enrollmentGroupId"], each["errorCode"] // 1000) for each in answer["errors"]] == [
            ("g2", 412),
            ("g3", 400),
        ]

    async def test_delete_needs_ids_only(self, rig: Rig) -> None:
        await rig.put_enrollment("a")
        body = {"enrollments": [{"registrationId": "a"}], "mode": "delete"}
        assert (await rig.call("POST", "/enrollments", body)).json() == {"isSuccessful": True, "errors": []}
        assert (await rig.call("GET", "/enrollments/a")).status_code == 404

    @pytest.mark.parametrize(
        "body",
        [
            {"enrollments": [], "mode": "create"},
            {"enrollments": [individual(f"d{number}") for number in range(11)], "mode": "create"},
            {"enrollments": {}, "mode": "create"},
            {"enrollments": [individual("a")]},
            {"enrollments": [individual("a")], "mode": ["create"]},
        ],
    )
    async def test_bad_bulk_is_refused_whole(self, rig: Rig, body: Any) -> None:
        assert (await rig.call("POST", "/enrollments", body)).status_code == 400


class TestPaging:
    async def fill(self, rig: Rig, count: int) -> list[str]:
        names = [f"dev-{number:02d}" for number in range(count)]
        for name in names:
            await rig.put_enrollment(name)
        return names

    async def page(
        self, rig: Rig, size: int | str | None, token: str | None = None
    ) -> tuple[list[str], str | None]:
        headers = {"x_ms_max_item_count": str(size)} if size is not None else {}
        if token:
            headers["x_ms_continuation"] = token
        query = {"query": "{'additional_properties': {}, 'query': 'SELECT *'}"}
        answer = await rig.call("POST", "/enrollments/query", query, **headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-ms-item-type"] == "enrollment"
        return [each["registrationId"] for each in answer.json()], answer.headers.get("x-ms-continuation")

    @pytest.mark.parametrize("size", [1, 3, 4, 12, 13, 1000])
    async def test_pages_of_any_size_hold_everything_once(self, rig: Rig, size: int) -> None:
        names = await self.fill(rig, 12)
        seen, token, pages = [], None, 0
        while pages == 0 or token:
            found, token = await self.page(rig, size, token)
            seen += found
            pages += 1
        assert seen == names
        assert pages == -(-12 // size)

    async def test_deleting_what_was_listed_breaks_no_continuation(self, rig: Rig) -> None:
        names = await self.fill(rig, 9)
        first, token = await self.page(rig, 3)
        for name in [*first, names[3]]:
            await rig.call("DELETE", f"/enrollments/{name}")
        await rig.put_enrollment(names[0])
        rest, end = await self.page(rig, 100, token)
        assert rest == [*names[4:], names[0]]
        assert end is None

    @pytest.mark.parametrize("size", [None, "-1", "0", "100000"])
    async def test_sizes_out_of_range_fall_back(self, size: Any) -> None:
        async with Rig(Behaviour(default_page_size=5, max_page_size=5)) as rig:
            await self.fill(rig, 6)
            found, token = await self.page(rig, size)
            assert (len(found), token is not None) == (5, True)

    @pytest.mark.parametrize("token", ["x", "AAAA", "Zm9vOmJhcjpiYXo=", "!!", "9" * 5000])
    async def test_foreign_continuation_is_refused(self, rig: Rig, token: str) -> None:
        answer = await rig.call("POST", "/enrollments/query", {"query": ""}, x_ms_continuation=token)
        assert answer.status_code == 400

    async def test_continuation_of_another_query_is_refused(self, rig: Rig) -> None:
        await self.fill(rig, 2)
        _, token = await self.page(rig, 1)
        assert token
        answer = await rig.call("POST", "/enrollmentGroups/query", {"query": ""}, x_ms_continuation=token)
        assert answer.status_code == 400

    async def test_continuation_expires_where_the_behaviour_says_so(self) -> None:
        async with Rig(Behaviour(continuation_lifetime=60)) as rig:
            await self.fill(rig, 2)
            _, token = await self.page(rig, 1)
            await rig.clock.advance(61)
            answer = await rig.call(
                "POST", "/enrollments/query", {"query": ""}, x_ms_continuation=token or ""
            )
            assert answer.status_code == 400

    @pytest.mark.parametrize("body", [None, {}, {"query": 5}, []])
    async def test_enrollment_query_needs_a_text(self, rig: Rig, body: Any) -> None:
        assert (await rig.call("POST", "/enrollments/query", body)).status_code == 400

    async def test_page_size_must_be_a_number(self, rig: Rig) -> None:
        answer = await rig.call("POST", "/enrollments/query", {"query": ""}, x_ms_max_item_count="many")
        assert answer.status_code == 400


@pytest.mark.parametrize("masked", [False, True])
async def test_webhook_url_on_get_is_as_the_behaviour_says(masked: bool) -> None:
    async with Rig(Behaviour(mask_webhook_url_on_get=masked)) as rig:
        await rig.put_group(**custom())
        read = (await rig.call("GET", "/enrollmentGroups/g1")).json()["customAllocationDefinition"]
        assert read["webhookUrl"] == ("https://app.example/api/allocate?****" if masked else WEBHOOK)
