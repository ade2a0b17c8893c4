"""`enrollment-group registration`: records of devices that have registered."""

import pytest

from local.faults import Rule, dropped
from tests.cli.rig import Rig
from tests.cli.rig_clients import azure
from tests.local.dps.rig import OTHER_KEY, group, symmetric

RECORDS = ("enrollment-group", "registration")
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def fill(rig: Rig) -> None:
    """Two groups with two devices each."""
    await azure(rig, lambda client: client.enrollment_group.create_or_update("g1", group("g1")))
    other = group("g2", attestation=symmetric(OTHER_KEY))
    await azure(rig, lambda client: client.enrollment_group.create_or_update("g2", other))
    for device in ("one-1", "one-2"):
        await rig.register(device)
    for device in ("two-1", "two-2"):
        await rig.register(device, group_key=OTHER_KEY)


async def test_a_groups_records_are_listed_as_another_client_lists_them(rig: Rig) -> None:
    await fill(rig)
    listed = (await rig.run(*RECORDS, "list", "--gid", "g1")).json
    theirs = await azure(
        rig, lambda client: [dict(each) for each in client.device_registration_state.query("g1")]
    )
    assert listed == theirs
    assert [each["registrationId"] for each in listed] == ["one-1", "one-2"]


async def test_every_groups_records_are_listed_with_their_groups(rig: Rig) -> None:
    await fill(rig)
    listed = (await rig.run(*RECORDS, "list")).json
    assert [(each["enrollmentGroupId"], each["registrationId"]) for each in listed] == [
        ("g1", "one-1"),
        ("g1", "one-2"),
        ("g2", "two-1"),
        ("g2", "two-2"),
    ]


async def test_records_are_filtered_by_hub_status_and_age(rig: Rig) -> None:
    await fill(rig)
    listed = (await rig.run(*RECORDS, "list")).json
    hub = listed[0]["assignedHub"]
    at_hub = (await rig.run(*RECORDS, "list", "--hub", hub.upper())).json
    assert at_hub == [each for each in listed if each["assignedHub"] == hub]
    assert (await rig.run(*RECORDS, "list", "--hub", hub.partition(".")[0])).json == at_hub
    assert (await rig.run(*RECORDS, "list", "--status", "ASSIGNED")).json == listed
    assert (await rig.run(*RECORDS, "list", "--status", "failed")).json == []
    assert (await rig.run(*RECORDS, "list", "--older-than", "1h")).json == []
    assert (await rig.run(*RECORDS, "list", "--older-than", "0")).json == listed
    assert (await rig.run(*RECORDS, "list", "--top", "3")).json == listed[:3]


async def test_a_record_is_shown_and_deleted_under_its_etag(rig: Rig) -> None:
    await fill(rig)
    shown = (await rig.run(*RECORDS, "show", "--rid", "one-1")).json
    stale = await rig.run(*RECORDS, "delete", "--rid", "one-1", "--etag", "another", "--yes")
    assert stale.code == 5
    dry = await rig.run(*RECORDS, "delete", "--rid", "one-1", "--dry-run")
    assert (dry.code, "nothing was changed" in dry.err) == (0, True)
    words = (*RECORDS, "delete", "--registration-id", "one-1", "-e", shown["etag"], "--yes")
    assert (await rig.run(*words)).code == 0
    gone = await rig.run(*RECORDS, "show", "--rid", "one-1")
    assert (gone.code, "one-1" in gone.err) == (4, True)
    assert (await rig.run(*RECORDS, "delete", "--rid", "one-1", "--yes")).code == 4


async def test_a_delete_without_an_answer_is_exit_code_3(rig: Rig) -> None:
    await fill(rig)
    with rig.faults.during(Rule(dropped(after=True), service="dps", method="DELETE")):
        ran = await rig.run(*RECORDS, "delete", "--rid", "one-1", "--yes")
    assert (ran.code, "may have happened" in ran.err) == (3, True)


async def test_a_group_that_is_not_there_has_no_empty_list(rig: Rig) -> None:
    ran = await rig.run(*RECORDS, "list", "--eid", "nobody")
    assert ran.code == 4
