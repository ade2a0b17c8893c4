"""Webhooks of individual enrollments: each URL is called once, few are called, no key of theirs gets out."""

import json
import logging
from dataclasses import replace

import pytest

from lifecycle.audit.job import Audit
from lifecycle.audit.ports import Limits
from tests.clients.stage import leaks
from tests.lifecycle.audit.cloud_rig import APP, WEBHOOK, CloudRig, strong
from tests.lifecycle.audit.engine_rig import Report
from tests.lifecycle.audit.faults_at_service import custom, keyed
from tests.lifecycle.audit.test_engine_secrets import readable

FAILING, ANONYMOUS, NOT_OURS = "DPS-ALLOC-006", "DPS-ALLOC-004", "DPS-ALLOC-002"


async def world(urls: list[str], *, group: str = "") -> CloudRig:
    """Individual enrollments that name these URLs in turn, thirty in all, and perhaps a group."""
    rig = CloudRig()
    for number in range(30):
        name = f"press-{number:02}"
        await rig.put_individual(name, **keyed(name), **custom(urls[number % len(urls)]))
    if group:
        await rig.put_group("line-a", **keyed("line-a"), **custom(group))
        await rig.adopt("line-a")
    return rig


def called(rig: CloudRig) -> list[str]:
    return [url for url in rig.internet.called if "?" in url]


def about(report: Report, check: str) -> list[str]:
    return [resource for of, resource in report.about if of == check]


async def test_each_url_is_called_once_for_the_first_enrollment_that_names_it() -> None:
    old = f"{WEBHOOK}-of-last-year"
    rig = await world([WEBHOOK, old, f"{old}-and-more"])
    report = await rig.audit()
    assert sorted(called(rig)) == sorted([WEBHOOK, old, f"{old}-and-more"])
    assert about(report, FAILING) == ["individual:press-01", "individual:press-02"]
    # The page, the CA certificates, and once for all webhooks which hubs DPS would offer.
    assert len([call for call in rig.service.world.journal if call.service == "arm"]) == 3
    await rig.aclose()


async def test_url_of_a_group_is_called_for_the_group_alone() -> None:
    old = f"{WEBHOOK}-of-last-year"
    rig = await world([old], group=old)
    report = await rig.audit()
    assert called(rig) == [old]
    assert about(report, FAILING) == ["group:line-a"]
    await rig.aclose()


async def test_without_being_asked_to_a_run_calls_none() -> None:
    rig = await world([f"{WEBHOOK}-of-last-year"])
    report = await rig.audit(webhooks=False)
    assert rig.internet.called == []
    assert report.about == []
    await rig.aclose()


async def test_webhooks_beyond_the_limit_are_said_not_to_be_evaluated() -> None:
    rig = await world([f"{WEBHOOK}{number}" for number in range(10)])
    rig.audited = replace(rig.audited, limits=Limits(webhooks=4))
    report = await rig.audit()
    assert len(called(rig)) == 4
    told = {each.check: each.reason for each in report.run.not_evaluated}
    assert told[FAILING] == told[ANONYMOUS] == "more webhooks than this run calls for individual enrollments"
    await rig.aclose()


async def test_slow_webhooks_of_one_page_stop_before_the_lease_ends() -> None:
    rig = await world([f"{WEBHOOK}{number}" for number in range(10)])
    rig.internet.seconds = 8
    report = await rig.audit()
    assert 1 <= len(called(rig)) <= 2
    reasons = {each.reason for each in report.run.not_evaluated if each.check == FAILING}
    assert reasons == {"the webhooks called before took too long"}
    await rig.aclose()


async def test_disabled_and_not_custom_enrollments_are_not_called() -> None:
    rig = CloudRig()
    await rig.put_individual("off", **keyed("off"), **custom(f"{WEBHOOK}1", provisioningStatus="disabled"))
    await rig.put_individual("plain", **keyed("plain"), allocationPolicy="hashed")
    await rig.audit()
    assert rig.internet.called == []
    await rig.aclose()


async def test_no_row_log_or_finding_holds_a_key_of_a_webhook(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)  # of httpx, which logs whole URLs, the app keeps the warnings alone
    foreign = "https://other.example/canary-path-key/place?sig=canary-foreign-key"
    secrets = ["canary-function-key", "canary-foreign-key", "canary-path-key", strong("press-00")]
    rig = await world([f"{APP}?code=canary-function-key", foreign, WEBHOOK])
    report = await rig.audit()
    assert len(called(rig)) == 3
    assert about(report, FAILING)
    assert about(report, NOT_OURS)
    rows = "\n".join([await readable(rig.table(name)) for name in ("audit", "jobs")])
    assert "press-01" in rows, "the rows are readable here"
    told = json.dumps([fields for _, fields in rig.heard.events], default=str)
    shown = [rows, told, repr(Audit(rig.ports, rig.audited)), repr(report), repr(rig.ports)]
    assert leaks(secrets, caplog, *shown) == []
    await rig.aclose()
