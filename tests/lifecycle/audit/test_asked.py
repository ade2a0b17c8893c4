"""What a run is asked for stands in its job's row: whoever works on it goes by the same thresholds."""

import json

import pytest

from job_ports import audited, thresholds_of
from lifecycle.audit import asked
from lifecycle.audit.evidence import Thresholds
from settings import Settings
from tests.lifecycle.audit.cloud_rig import DPS, HOST, CloudRig
from tests.lifecycle.audit.faults_at_service import signed
from tests.lifecycle.audit.made import NOW, certificate
from tests.lifecycle.audit.planted import within

NAMED = {
    "AUDIT_SAMPLE_KEYS": "7",
    "AUDIT_CERTIFICATE_DAYS": "10",
    "AUDIT_KEY_AGE_DAYS": "11",
    "AUDIT_WEBHOOK_KEY_AGE_DAYS": "12",
    "AUDIT_NEVER_REGISTERED_DAYS": "13",
    "AUDIT_QUOTA_PERCENT": "62.5",
}


def test_settings_become_thresholds_and_the_defaults_are_those_of_the_checks() -> None:
    assert thresholds_of(Settings.read({})) == Thresholds()
    assert thresholds_of(Settings.read(NAMED)) == Thresholds(
        sample_keys=7,
        certificate_days=10,
        renewal_days=30,
        together_days=60,
        key_age_days=11,
        webhook_key_age_days=12,
        never_registered_days=13,
        quota_share=0.625,
    )


def test_params_carry_the_thresholds_to_any_worker() -> None:
    meant = thresholds_of(Settings.read(NAMED))
    params = json.loads(json.dumps(asked.params(meant, webhook=True)))
    assert params["webhook"] is True
    assert asked.thresholds(params, Thresholds()) == meant
    assert "webhook" not in asked.params(meant)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"thresholds": None},
        {"thresholds": {"certificate_days": "soon", "quota_share": True, "of_another_version": 5}},
    ],
)
def test_what_is_no_threshold_in_the_params_is_as_the_worker_has_it(told: dict[str, object]) -> None:
    assert asked.thresholds(told, Thresholds(certificate_days=4)) == Thresholds(certificate_days=4)


async def test_run_goes_by_its_params_and_not_by_the_workers_settings() -> None:
    rig = CloudRig(AUDIT_CERTIFICATE_DAYS="1")
    await rig.clock.advance((NOW - rig.clock.now()).total_seconds())
    await rig.put_group("ending", **signed(certificate(), within(20)))
    assert (await rig.audit("audit:1")).about == []
    report = await rig.audit("audit:2", params=asked.params(Thresholds()))
    assert report.about == [("DPS-CRED-002", "group:ending")]
    await rig.aclose()


@pytest.mark.parametrize(
    ("schedule", "days"), [("0 17 2 * * *", 1), ("0 17 2 * * 1", 7), ("0 17 2 1 * *", 62), ("0 0 2 1 1 *", 0)]
)
def test_an_audit_is_late_by_its_own_schedule_and_by_none_that_promises_nothing(
    schedule: str, days: int
) -> None:
    settings = Settings.read({"AUDIT_SCHEDULE": schedule})
    promised = audited(settings, DPS, host=HOST, scheduled=True).schedules
    assert [gap.days for gap in promised.values()] == ([days] if days else [])
    assert audited(settings, DPS, host=HOST, scheduled=False).schedules == {}
