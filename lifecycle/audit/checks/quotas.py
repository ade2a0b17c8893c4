"""Checks of what DPS and its hubs hold at most: how full they are, and when they will be."""

from collections.abc import Iterable, Iterator
from math import isfinite

from clients.arm import Unknown
from lifecycle.audit.checks.outcomes import Asked, found, sources, unknown
from lifecycle.audit.evidence import Around, Counts
from lifecycle.audit.finding import JSON, Check, Outcome, Severity, Source

Outcomes = Iterable[Outcome]

REGISTRATIONS = INDIVIDUAL_ENROLLMENTS = 1_000_000
SYMMETRIC_GROUPS = X509_GROUPS = 100
CA_CERTIFICATES = 25
LINKED_HUBS = 50
HUB_DEVICES = 1_000_000
"""What one DPS and one hub hold at most (documented: iot-dps-limits, iot-hub-devguide-quotas-throttling)."""

_NEARLY_SHARE, _NEARLY_DAYS = 0.95, 7
_HALF, _TREND = 0.5, 3.0
"""Below that share, growth counts from so many a day on."""
_DPS_LIMITS = "azure-docs includes/iot-dps-limits; architecture-center scale-iot-solution-azure"

FULL_REGISTRATIONS = Check(
    id="DPS-QUOTA-001",
    title="Registration records are running out",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS, Source.HISTORY),
    why="a DPS holds a million; from then on no new device registers",
    fix="./run dps purge plan",
    source=_DPS_LIMITS,
)
FULL_INDIVIDUALS = Check(
    id="DPS-QUOTA-002",
    title="Individual enrollments are running out",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.HISTORY),
    why="a DPS holds a million; from then on no device can be enrolled by itself, nor revoked",
    fix="./run dps enrollment list, then enrol devices by group or at a further DPS",
    source=_DPS_LIMITS,
)
FULL_SYMMETRIC = Check(
    id="DPS-QUOTA-003",
    title="Enrollment groups with symmetric keys are running out",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.HISTORY),
    why="a DPS holds a hundred",
    fix="./run dps decommission plan GROUP",
    source=_DPS_LIMITS,
)
FULL_X509 = Check(
    id="DPS-QUOTA-004",
    title="Enrollment groups with certificates are running out",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.HISTORY),
    why="a DPS holds a hundred",
    fix="./run dps decommission plan GROUP",
    source=_DPS_LIMITS,
)
FULL_CAS = Check(
    id="DPS-QUOTA-005",
    title="CA certificates are running out",
    severity=Severity.MEDIUM,
    needs=sources(Source.CERTIFICATES),
    reads=sources(Source.HISTORY),
    why="a DPS holds 25, and rolling one needs a free place",
    fix="az iot dps certificate delete --dps-name {dps} --certificate-name NAME --etag ETAG",
    source=_DPS_LIMITS,
)
FULL_HUBS = Check(
    id="DPS-QUOTA-006",
    title="Linked hubs are running out",
    severity=Severity.MEDIUM,
    needs=sources(Source.ARM),
    reads=sources(Source.HISTORY),
    why="a DPS links 50",
    fix="./run dps hub drain HUB, then az iot dps linked-hub delete --dps-name {dps} --linked-hub HUB",
    source=_DPS_LIMITS,
)
FULL_HUB = Check(
    id="DPS-QUOTA-007",
    title="A hub is running full",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.HUBS, Source.HISTORY),
    why="a hub holds a million devices and modules, or what the policy gives it, and no device beyond",
    fix="./run dps hub cordon {hub}",
    source="azure-docs iot-hub/iot-hub-devguide-quotas-throttling",
)


def registrations(counts: Counts, around: Around) -> Outcomes:
    """At least: the records of deleted groups count too, and no listing shows them."""
    return _quota(
        FULL_REGISTRATIONS, counts.registrations, REGISTRATIONS, counts.growth.get("registrations"), around
    )


def individuals(counts: Counts, around: Around) -> Outcomes:
    """As listed."""
    growth = counts.growth.get("individual_enrollments")
    return _quota(FULL_INDIVIDUALS, counts.individual_enrollments, INDIVIDUAL_ENROLLMENTS, growth, around)


def symmetric(counts: Counts, around: Around) -> Outcomes:
    """As listed."""
    growth = counts.growth.get("symmetric_groups")
    return _quota(FULL_SYMMETRIC, counts.symmetric_groups, SYMMETRIC_GROUPS, growth, around)


def x509(counts: Counts, around: Around) -> Outcomes:
    """As listed."""
    growth = counts.growth.get("x509_groups")
    return _quota(FULL_X509, counts.x509_groups, X509_GROUPS, growth, around)


def authorities(counts: Counts, around: Around) -> Outcomes:
    """As the management plane shows them."""
    if isinstance(around.certificates, Unknown):
        return ()
    growth = counts.growth.get("ca_certificates")
    return _quota(FULL_CAS, len(around.certificates), CA_CERTIFICATES, growth, around)


def linked_hubs(counts: Counts, around: Around) -> Outcomes:
    """As the management plane shows them."""
    growth = counts.growth.get("linked_hubs")
    return _quota(FULL_HUBS, len(around.linked or ()), LINKED_HUBS, growth, around)


def hubs(counts: Counts, around: Around) -> Iterator[Outcome]:
    """By a hub's listing; what it says of itself need not fall after deletes, and proves nothing."""
    for hub in sorted(counts.by_hub.keys() | counts.listed.keys()):
        own = around.policy.limits.get(hub, 0) if around.policy is not None else 0
        limit = min(own, HUB_DEVICES) if own > 0 else HUB_DEVICES
        says = counts.by_hub[hub].total if hub in counts.by_hub else None
        listed = counts.listed.get(hub)
        growth = counts.growth.get(f"hub:{hub}")
        if listed is not None:
            yield from _quota(FULL_HUB, listed, limit, growth, around, resource=f"hub:{hub}", hub=hub)
        elif says is not None and tuple(_quota(FULL_HUB, says, limit, growth, around)):
            reason = f"it says {says:,} of {limit:,}, but its listing did not end and that count may not fall"
            yield from unknown(FULL_HUB, f"hub:{hub}", reason)


SERVICE: tuple[Asked[Counts], ...] = (
    Asked(FULL_REGISTRATIONS, registrations),
    Asked(FULL_INDIVIDUALS, individuals),
    Asked(FULL_SYMMETRIC, symmetric),
    Asked(FULL_X509, x509),
    Asked(FULL_CAS, authorities),
    Asked(FULL_HUBS, linked_hubs),
    Asked(FULL_HUB, hubs),
)


def days_to_full(used: int, limit: int, growth: float | None) -> int | None:
    """Whole days until the limit at the recent rate; None where it is not known, or nothing is added."""
    if growth is None or not isfinite(growth) or growth <= 0:
        return None
    left = max(limit - used, 0) / growth
    return int(left) if left < 1_000_000 else None


def _quota(
    check: Check,
    used: int,
    limit: int,
    growth: float | None,
    around: Around,
    *,
    resource: str = "service",
    hub: str = "",
) -> Outcomes:
    share, left = used / limit, days_to_full(used, limit, growth)
    # One or two more since yesterday are no trend: of 25 CA certificates that would be "full in three weeks".
    trend = growth is not None and (growth >= _TREND or share >= _HALF)
    soon = trend and left is not None and left <= around.thresholds.quota_days
    if share < around.thresholds.quota_share and not soon:
        return
    severity = None
    if used >= limit:
        severity = Severity.CRITICAL
    elif share >= _NEARLY_SHARE or (left is not None and left <= _NEARLY_DAYS):
        severity = Severity.HIGH
    told: dict[str, JSON] = {
        "used": used,
        "limit": limit,
        "headroom": max(limit - used, 0),
        "share": round(share, 4),
        "days_to_full": left,
    }
    yield from found(check, resource, told, severity=severity, dps=around.dps, hub=hub)
