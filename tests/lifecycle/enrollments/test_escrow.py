"""No symmetric keys go before they are in the vault, and what is in the vault makes the enrollment anew."""

import json
import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.vault_shapes import SecretVersion
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import create, delete, with_keys
from lifecycle.enrollments.escrow import escrow, escrowed_keys, kept_keys, kept_versions, secret_name
from lifecycle.errors import InvalidOption, NoSuchEnrollment, NotEscrowed
from local.explore import Life, Run, explore
from local.switches import Switches
from tests.lifecycle.enrollments.cloud import CloudRig
from tests.lifecycle.enrollments.rig import KEYS, group

HOST = "rig.azure-devices-provisioning.net"
NAME = secret_name(HOST, "group", "line-a")
IDS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9\-._:]{0,126}[A-Za-z0-9])?", fullmatch=True)


@given(IDS, st.sampled_from(["group", "individual"]))
def test_every_enrollment_has_a_name_that_a_vault_takes(enrollment_id: str, kind: str) -> None:
    assert re.fullmatch(r"[0-9a-zA-Z-]{1,127}", secret_name(HOST, kind, enrollment_id))  # type: ignore[arg-type]


@given(IDS, IDS)
def test_names_are_told_apart_as_ids_are_and_not_by_case(one: str, other: str) -> None:
    same = one.lower() == other.lower()
    assert (secret_name(HOST, "group", one) == secret_name(HOST, "group", other)) is same
    assert secret_name(HOST, "group", one) != secret_name(HOST, "individual", one)
    assert secret_name(HOST, "group", one.upper()) == secret_name(HOST, "group", one.lower())


@pytest.mark.parametrize(("one", "other"), [("a.b", "a-b"), ("a:b", "a_b"), ("x" * 128, "x" * 127)])
def test_names_of_ids_that_look_alike_differ(one: str, other: str) -> None:
    assert secret_name(HOST, "group", one) != secret_name(HOST, "group", other)


async def test_deletion_under_every_switch_and_crash_loses_no_key() -> None:
    async def scenario(run: Run) -> None:
        rig = CloudRig(Switches(run))
        await create(rig.groups(), group())

        async def work(life: Life) -> None:
            transport = life.transport(rig.transport())

            async def keep(document: Document) -> None:
                await escrow(rig.vault_client(transport), HOST, "group", document)

            try:
                await delete(rig.groups(transport), "line-a", before_delete=keep)
            except NoSuchEnrollment:
                pass  # the life before deleted it
            finally:
                if rig.service.group("line-a") is None:
                    check_kept(rig)

        await run.live(work)
        assert rig.service.group("line-a") is None
        check_kept(rig)
        await rig.aclose()

    report = await explore(scenario)
    report.check()
    assert report.runs > 10


def check_kept(rig: CloudRig) -> None:
    versions = rig.vault.peek(NAME)
    assert versions
    assert all(json.loads(each.value) == KEYS for each in versions)


async def test_what_is_kept_makes_the_group_anew_with_the_same_device_keys() -> None:
    rig = CloudRig()
    await create(rig.groups(), group())
    document = await with_keys(rig.groups(), "line-a")
    assert document is not None
    vault = rig.vault_client()
    kept = await escrow(vault, HOST, "group", document)
    assert kept is not None
    again = await escrow(vault, HOST, "group", document)
    assert again == kept, "the same keys are not kept twice"
    assert await escrowed_keys(vault, HOST, "group", "LINE-A") == KEYS
    [version] = await kept_versions(vault, HOST, "group", "line-a")
    assert isinstance(version, SecretVersion)
    assert version.tags["enrollment"] == "line-a"
    assert version.tags["etag"] == document["etag"]
    assert version.tags["dps"] == HOST
    assert KEYS["primaryKey"] not in repr((kept, version))
    await rig.aclose()


async def test_other_keys_of_one_id_are_another_version_and_the_older_ones_stay() -> None:
    rig = CloudRig()
    vault = rig.vault_client()
    first = await escrow(vault, HOST, "group", group())
    other = group(attestation={"type": "symmetricKey", "symmetricKey": {"primaryKey": KEYS["secondaryKey"]}})
    await escrow(vault, HOST, "group", other)
    assert first is not None
    assert await escrowed_keys(vault, HOST, "group", "line-a", first.version) == KEYS
    assert await escrowed_keys(vault, HOST, "group", "line-a") == {"primaryKey": KEYS["secondaryKey"]}
    await rig.aclose()


async def test_keys_that_were_not_read_stop_the_deletion() -> None:
    rig = CloudRig()
    document = group(attestation={"type": "symmetricKey", "symmetricKey": {}})
    with pytest.raises(NotEscrowed, match="not deleted"):
        await escrow(rig.vault_client(), HOST, "group", document)
    assert await escrow(rig.vault_client(), HOST, "group", group(attestation={"type": "tpm"})) is None
    await rig.aclose()


async def test_keys_that_the_vault_did_not_keep_stop_the_deletion() -> None:
    rig = CloudRig()

    class Losing(httpx.AsyncBaseTransport):
        inner = rig.transport()

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT":
                raise httpx.ReadError("gone", request=request)
            return await self.inner.handle_async_request(request)

    with pytest.raises(NotEscrowed, match="does not hold"):
        await escrow(rig.vault_client(Losing()), HOST, "group", group())
    await rig.aclose()


async def test_deleted_secret_in_the_way_stops_the_deletion_and_says_how_to_go_on() -> None:
    rig = CloudRig()
    vault = rig.vault_client()
    await escrow(vault, HOST, "group", group())
    await vault.delete(NAME)
    await rig.clock.advance(10)
    with pytest.raises(NotEscrowed, match="recover or purge"):
        await escrow(vault, HOST, "group", group())
    await rig.aclose()


@pytest.mark.parametrize(
    "text", ["{}", '{"primaryKey": 7}', "no key at all", "[1]", '{"primaryKey": "QQ=="}']
)
async def test_secret_that_holds_no_keys_is_refused_and_not_quoted(text: str) -> None:
    rig = CloudRig()
    rig.vault.put("mine", text)
    with pytest.raises(InvalidOption, match="holds no symmetric keys") as caught:
        await kept_keys(rig.vault_client(), "mine")
    assert text == "{}" or text not in str(caught.value) + repr(caught.value.__cause__)
    assert await kept_keys(rig.vault_client(), "nothing") is None
    await rig.aclose()
