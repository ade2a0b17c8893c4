"""Checks of symmetric keys, of their secrets in the vault, and of the webhook's key."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from clients.arm import Unknown
from lifecycle.audit import key_quality
from lifecycle.audit.checks.outcomes import NOTHING, Asked, date, days, found, on, sources, unknown
from lifecycle.audit.evidence import Around, Counts, EnrollmentEvidence, VaultSecret
from lifecycle.audit.finding import JSON, Check, Outcome, Severity, Source
from provisioning.attestation import SYMMETRIC_KEY
from provisioning.keys import SymmetricKey
from provisioning.registrations import registration_key

Outcomes = Iterable[Outcome]

_ROTATE = "./run dps rotate start {id}"
_BREACH = "./run dps rotate breach {id}"

EQUAL = Check(
    id="DPS-CRED-012",
    title="Both symmetric keys are the same",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.KEYS),
    why="there is no second key to move to: who loses one has lost both",
    fix=_ROTATE,
    source="azure-docs iot-dps/concepts-symmetric-key-attestation",
)
SHORT = Check(
    id="DPS-CRED-013",
    title="A symmetric key is short",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.KEYS),
    why="DPS takes 16 bytes and makes 64; HMAC-SHA256 is as strong as 32",
    fix=_ROTATE,
    source="azure-docs iot-dps/concepts-symmetric-key-attestation; RFC 2104 §3",
)
SHARED = Check(
    id="DPS-CRED-014",
    title="A group's key is another group's too",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.KEYS),
    why="a device of one group can register as any device of the other, and a leak opens both",
    fix=_ROTATE,
    source="azure-docs iot-dps/concepts-symmetric-key-attestation; AWS Device Defender: certificate shared",
)
PREDICTABLE = Check(
    id="DPS-CRED-015",
    title="A symmetric key was not drawn at random",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.KEYS),
    why="such a key can be guessed, and with a group's key every device of the group can be played",
    fix=_BREACH,
    source="NIST SP 800-133",
)
SAMPLE = Check(
    id="DPS-CRED-016",
    title="A symmetric key is printed in public documentation",
    severity=Severity.CRITICAL,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.KEYS),
    why="everybody has it, and can register devices with it",
    fix=_BREACH,
    source="azure-docs iot-dps/how-to-legacy-device-symm-key, iot-dps/tutorial-custom-allocation-policies",
)
OLD_KEY = Check(
    id="DPS-CRED-017",
    title="A group's keys are old",
    severity=Severity.LOW,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.VAULT),
    why="the longer a key is used, the more factories, backups and people have had it",
    fix=_ROTATE,
    source="AWS Device Defender: certificate age",
)
SECRET_MISSING = Check(
    id="DPS-CRED-018",
    title="A group's keys are not in the vault",
    severity=Severity.MEDIUM,
    needs=sources(Source.VAULT),
    reads=sources(Source.ENROLLMENTS),
    why="DPS alone has the root of every device key of the group; no expiry reminds anybody to rotate it",
    fix="./run dps rotate adopt {id} --active primary --other in-use",
    source="Azure Key Vault tutorial-rotation-dual",
)
SECRET_EXPIRED = Check(
    id="DPS-CRED-019",
    title="A group's secret in the vault has expired or is disabled",
    severity=Severity.HIGH,
    needs=sources(Source.VAULT),
    reads=sources(Source.ENROLLMENTS),
    why="the rotation that its expiry should have started did not end, and a disabled secret cannot be read",
    fix="./run dps rotate status {id}",
    source="Azure Key Vault about-secrets (exp, enabled)",
)
SECRET_DIFFERS = Check(
    id="DPS-CRED-020",
    title="The vault's secret is neither of the group's keys",
    severity=Severity.HIGH,
    needs=sources(Source.VAULT),
    reads=sources(Source.ENROLLMENTS),
    why="who derives device keys from the secret makes devices that cannot register",
    fix="./run dps rotate status {id}",
    source="azure-docs iot-dps/concepts-symmetric-key-attestation",
)
OLD_WEBHOOK_KEY = Check(
    id="DPS-CRED-021",
    title="The webhook's key in the enrollment is old",
    severity=Severity.LOW,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="it stands in every enrollment, and in whatever was exported or logged with its URL",
    fix="./run dps rotate webhook-key start",
    source="azure-docs azure-functions/function-keys-how-to",
)


def equal(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """Compared in constant time."""
    keys = evidence.keys
    if keys is None:
        return _not_read(EQUAL, evidence)
    if keys.secondary is None or not keys.primary.same_as(keys.secondary):
        return NOTHING
    return on(EQUAL, evidence, {"slots": ("primary", "secondary")})


def short(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Bytes once decoded."""
    least = around.thresholds.key_bytes
    if evidence.keys is None:
        return _not_read(SHORT, evidence)
    lengths: dict[str, JSON] = {
        slot: key_quality.length(key) for slot, key in _slots(evidence) if key_quality.length(key) < least
    }
    return on(SHORT, evidence, {"bytes": lengths, "least": least}) if lengths else NOTHING


def predictable(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """Says why, and nothing of the key."""
    if evidence.keys is None:
        return _not_read(PREDICTABLE, evidence)
    why: dict[str, JSON] = {
        slot: reason for slot, key in _slots(evidence) if (reason := key_quality.predictable(key))
    }
    return on(PREDICTABLE, evidence, why) if why else NOTHING


def sample(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """By digest."""
    if evidence.keys is None:
        return _not_read(SAMPLE, evidence)
    slots = tuple(slot for slot, key in _slots(evidence) if key_quality.is_sample(key))
    return on(SAMPLE, evidence, {"slots": slots}) if slots else NOTHING


def old_key(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """At least as old as the enrollment's last change, or as the secret's version that holds one of them.

    An enrollment that was changed since may have got new keys then, or not: that is not told.
    """
    if not _symmetric_group(evidence):
        return NOTHING
    enrollment, secret = evidence.enrollment, evidence.secret
    since = [enrollment.updated or enrollment.created]
    published = None
    if isinstance(secret, VaultSecret) and secret.holds in ("primary", "secondary"):
        published = secret.updated
        since.append(published)
    return _age(OLD_KEY, evidence, around, since, around.thresholds.key_age_days, published)


def secret_missing(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """Only where the vault was asked."""
    if not _symmetric_group(evidence) or isinstance(evidence.secret, VaultSecret):
        return NOTHING
    if isinstance(evidence.secret, Unknown):
        return unknown(SECRET_MISSING, evidence.resource, evidence.secret.reason)
    return on(SECRET_MISSING, evidence, {})


def secret_expired(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """As the vault says of its current version."""
    secret = evidence.secret
    if not _symmetric_group(evidence) or secret is None:
        return NOTHING
    if isinstance(secret, Unknown):
        return unknown(SECRET_EXPIRED, evidence.resource, secret.reason)
    gone = secret.expires is not None and secret.expires <= around.now
    if not gone and secret.enabled:
        return NOTHING
    told: dict[str, JSON] = {
        "group": evidence.enrollment.id,
        "expires": date(secret.expires),
        "enabled": secret.enabled,
    }
    return found(SECRET_EXPIRED, f"secret:{secret.name}", told, id=evidence.enrollment.id)


def secret_differs(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Only where neither was changed while the run read first one and then the other."""
    secret = evidence.secret
    if not _symmetric_group(evidence) or not isinstance(secret, VaultSecret):
        return NOTHING
    if not secret.holds:
        return unknown(SECRET_DIFFERS, evidence.resource, "the secret's value was not read")
    if secret.holds != "neither":
        return NOTHING
    changed = [evidence.enrollment.updated or evidence.enrollment.created, secret.updated]
    if any(moment is None or moment >= around.now for moment in changed):
        return unknown(SECRET_DIFFERS, evidence.resource, "one of them may have changed during the run")
    return on(SECRET_DIFFERS, evidence, {"secret": secret.name, "updated": date(secret.updated)})


def old_webhook_key(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """At least as old as the enrollment's last change; masked or not, there is a key."""
    address = evidence.address
    if address is None or not (address.key or address.masked):
        return NOTHING
    since = [evidence.enrollment.updated or evidence.enrollment.created]
    return _age(OLD_WEBHOOK_KEY, evidence, around, since, around.thresholds.webhook_key_age_days, None)


def shared(counts: Counts, _: Around) -> Outcomes:
    """One finding for each group that has a key of another's."""
    others: defaultdict[str, set[str]] = defaultdict(set)
    for slots in counts.key_digests.values():
        groups = {slot.rpartition("/")[0] for slot in slots}
        for group in groups:
            others[group] |= groups - {group}
    for group, with_ in sorted(others.items()):
        if with_:
            named = sorted(with_)
            told: dict[str, JSON] = {"groups": tuple(named[:10]), "number": len(named)}
            yield from found(SHARED, f"group:{registration_key(group)}", told, id=group)


ENROLLMENT: tuple[Asked[EnrollmentEvidence], ...] = (
    Asked(EQUAL, equal),
    Asked(SHORT, short),
    Asked(PREDICTABLE, predictable),
    Asked(SAMPLE, sample),
    Asked(OLD_KEY, old_key),
    Asked(SECRET_MISSING, secret_missing),
    Asked(SECRET_EXPIRED, secret_expired),
    Asked(SECRET_DIFFERS, secret_differs),
    Asked(OLD_WEBHOOK_KEY, old_webhook_key),
)
SERVICE: tuple[Asked[Counts], ...] = (Asked(SHARED, shared),)


def _age(
    check: Check,
    evidence: EnrollmentEvidence,
    around: Around,
    since: Iterable[datetime | None],
    most: int,
    published: datetime | None,
) -> Outcomes:
    """At least as old as the earliest of these; certainly young if it was made or published lately."""
    dates = [moment for moment in since if moment is not None]
    if not dates:
        return unknown(check, evidence.resource, "when it was last changed is not told")
    age = max(days(moment, around.now) for moment in dates)
    if age >= most:
        return on(check, evidence, {"unchanged_since": date(min(dates)), "days": age, "most": most})
    made = published or evidence.enrollment.created
    if made is not None and days(made, around.now) < most:
        return NOTHING
    return unknown(check, evidence.resource, "it was changed lately, and whether the key was is not told")


def _not_read(check: Check, evidence: EnrollmentEvidence) -> Outcomes:
    """Groups' keys are all read; those of individual enrollments by sample, and the rest is no news."""
    if not _symmetric_group(evidence):
        return NOTHING
    return unknown(check, evidence.resource, "its keys were not read")


def _slots(evidence: EnrollmentEvidence) -> tuple[tuple[str, SymmetricKey], ...]:
    keys = evidence.keys
    if keys is None:
        return ()
    both = (("primary", keys.primary), ("secondary", keys.secondary))
    return tuple((slot, key) for slot, key in both if key is not None)


def _symmetric_group(evidence: EnrollmentEvidence) -> bool:
    return evidence.group and evidence.enrollment.attestation.kind == SYMMETRIC_KEY
