"""Runs and findings to show: an archive in memory, and one of its runs with a bit of everything."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from lifecycle.audit.checks import CHECKS, check_of
from lifecycle.audit.finding import JSON, Check, Finding, NotEvaluated, Severity, Source
from lifecycle.audit.report import CertificateEnd, HubLoad, Quota, Run, Suppression, identity

NOW = datetime(2026, 3, 14, 2, 0, tzinfo=UTC)
EVERY = frozenset(Source)


def check(name: str) -> Check:
    found = check_of(name)
    assert found is not None
    return found


def finding(name: str, resource: str, *, severity: Severity | None = None, **evidence: JSON) -> Finding:
    of = check(name)
    fix = of.fix.replace("{id}", resource.partition(":")[2]).replace("{noun}", "enrollment-group")
    return Finding(name, resource, severity or of.severity, evidence, fix)


@dataclass
class MemoryArchive:
    """Runs and what they found."""

    kept: dict[str, Run] = field(default_factory=dict)
    found: dict[tuple[str, str], list[Finding]] = field(default_factory=dict)

    def add(self, run: Run, findings: Iterable[Finding]) -> Run:
        counts: dict[str, int] = {}
        for each in findings:
            self.found.setdefault((run.id, each.check), []).append(each)
            counts[each.check] = counts.get(each.check, 0) + 1
        self.kept[run.id] = replace(run, found={**counts, **run.found})
        return self.kept[run.id]

    async def runs(self, most: int = 50) -> Sequence[Run]:
        ended = [run for run in self.kept.values() if run.ended is not None]
        return sorted(ended, key=lambda run: run.started, reverse=True)[:most]

    async def run(self, run: str = "") -> Run | None:
        return next((each for each in await self.runs() if run in ("", each.id)), None)

    async def findings(self, run: str, check: str) -> AsyncIterator[Finding]:
        for each in sorted(self.found.get((run, check), ()), key=identity):
            yield each


def run_at(
    days: int = 0,
    *,
    sources: frozenset[Source] = EVERY,
    capped: frozenset[str] = frozenset(),
    found: Mapping[str, int] | None = None,
) -> Run:
    started = NOW + timedelta(days=days)
    return Run(
        id=f"audit-{started:%Y%m%d}",
        dps="plant-north",
        started=started,
        ended=started + timedelta(hours=1, minutes=52),
        sources=sources,
        capped=capped,
        found=found or {},
    )


def busy_archive() -> MemoryArchive:
    """Two nights of a service where much is wrong."""
    archive = MemoryArchive()
    archive.add(run_at(-1), [*_lasting(), *_mended()])
    archive.add(_tonight(), [*_lasting(), *_fresh()])
    return archive


def suppressions() -> tuple[Suppression, ...]:
    made = NOW - timedelta(days=20)
    return (
        Suppression(
            "DPS-CRED-009",
            "group:legacy-*",
            "the old line is scrapped in June",
            "jana",
            made,
            NOW + timedelta(days=60),
        ),
        Suppression(
            "DPS-ALLOC-003",
            "group:line-c",
            "waiting for the proxy's certificate",
            "tom",
            made,
            NOW - timedelta(days=3),
        ),
    )


def _tonight() -> Run:
    unread = EVERY - {Source.WEBHOOK, Source.VAULT}
    return replace(
        run_at(sources=unread),
        by="timer",
        reasons={
            Source.WEBHOOK: "only on request",
            Source.VAULT: "the vault answered 403: give the app's identity the role Key Vault Secrets User",
        },
        not_evaluated=(
            NotEvaluated("DPS-ALLOC-004", "webhooks are called only on request"),
            *(
                NotEvaluated(each.id, "the vault was not read: it answered 403")
                for each in CHECKS
                if Source.VAULT in each.needs | each.reads
            ),
        ),
        quotas=(
            Quota("registrations", 812_400, 1_000_000, 1_870.0),
            Quota("individual_enrollments", 41_200, 1_000_000, 40.0),
            Quota("x509_groups", 61, 100, 0.2),
            Quota("symmetric_groups", 18, 100),
            Quota("ca_certificates", 24, 25, 0.02),
            Quota("linked_hubs", 5, 50),
        ),
        hubs=(
            HubLoad("hub-north.azure-devices.net", 318_220, 1_000_000),
            HubLoad("hub-east.azure-devices.net", 211_904, 1_000_000),
            HubLoad("hub-south.azure-devices.net", 871_003, 1_000_000),
            HubLoad("hub-west.azure-devices.net", 120_511, 1_000_000, listed=False),
            HubLoad("hub-lab.azure-devices.net", None),
        ),
        certificates=tuple(
            CertificateEnd(f"ca:root-{number}", NOW + timedelta(days=days))
            for number, days in enumerate(
                (-12, 9, 24, 61, 88, 130, 150, 170, 300, 340, 900, 1500, 2000, 3000)
            )
        ),
        calls=11_482,
    )


def _lasting() -> list[Finding]:
    return [
        finding("DPS-ALLOC-001", "group:line-a", webhook="https://plant.example/api/allocate"),
        finding(
            "DPS-ALLOC-009",
            "group:line-b",
            named=("hub-old.azure-devices.net",),
            linked=("hub-north", "hub-east"),
        ),
        *(
            finding("DPS-CRED-009", f"group:legacy-{number}", slots=("primary", "secondary"))
            for number in range(1, 4)
        ),
        *(
            finding("DPS-REC-001", f"registration:press-{number:04}", error_code=400209, error="webhook: 401")
            for number in range(140)
        ),
    ]


def _mended() -> list[Finding]:
    return [
        finding("DPS-REC-005", "registration:press-0771", hub="hub-east.azure-devices.net"),
        finding("DPS-ALLOC-007", "group:line-d", reprovision="never"),
    ]


def _fresh() -> list[Finding]:
    return [
        finding(
            "DPS-CRED-001",
            "ca:root-0",
            subject="CN=Plant North Intermediate 3, O=Example GmbH",
            ended=(NOW - timedelta(days=12)).isoformat(),
        ),
        finding("DPS-CRED-002", "group:line-e", subject="CN=Line E", ends_in_days=9, slot="primary"),
        finding(
            "DPS-QUOTA-001", "service", severity=Severity.HIGH, used=812_400, limit=1_000_000, days_left=100
        ),
        finding(
            "DPS-REC-007",
            "device:hub-south.azure-devices.net/<img src=x onerror=alert(1)>\u202etxt.exe",
            note='=HYPERLINK("https://evil.example")|`x` @channel [a](javascript:alert(1))',
        ),
        finding("DPS-OPS-001", "service", gaps=12),
    ]
