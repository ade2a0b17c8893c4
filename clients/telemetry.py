"""Telemetry over the standard library's logging, which the Functions worker forwards.

One event is one log line of JSON: Application Insights keeps it as a trace whose message parses. A line has
no secret, and of devices' ids what TELEMETRY_IDS allows.
"""

import json
import logging
from collections.abc import Mapping
from typing import Literal, NamedTuple

from clients.ports import Clock
from clients.telemetry_ids import Ids
from clients.wording import masked

EVENTS: Mapping[str, str] = {
    "allocation": "a device was placed, rejected or told to wait: the hub, the rule, every step of why",
    "allocation_refused": "a call was no allocation request that can be read: the field and what is wrong",
    "request_doubted": "a call from an address, or of an enrollment, on no list: only told of, or refused",
    "allocation_broken": "a fault in this app; DPS was told to try again",
    "policy_unavailable": "the policy did not load: the last good one decides; else devices stay or wait",
    "state_unavailable": "policy or hub states could not be read: the last ones decide, see `degraded`",
    "ledger_gap": "a device was answered and its row may be missing from the ledger",
    "hub_not_counted": "a hub did not say how many devices it has, and since when",
    "hubs_unknown": "the linked hubs could not be read, so no devices were counted",
    "pruned": "old rows of the ledger were deleted: how many, and whether all of it was gone through",
    "job_slice": "a slice of a job ended: the state it left the job in, progress, calls, seconds, problem",
    "job_ended": "a job is done or failed: its result",
    "job_blocked": "a job needs somebody: repair what its problem says, then `job resume`",
    "job_unreadable": "a job of another version of this app was left alone",
    "job_unswept": "parts of an ended job's checkpoint are left; they go with its history",
    "jobs_off": "jobs are due and the kill switch is set: by whom and why",
    "audit_finding": "a finding of an audit: how bad, new or recurring, who suppressed it, evidence, fix",
    "audit_finding_gone": "an earlier audit found it, this one not: resolved, or unclear if not all was read",
    "audit_told": "an audit ended: its findings, counted",
    "audit_untold": "an audit ended and could not be told of: its report is there all the same",
    "audit_notified": "a message of what an audit newly found was taken by the chat",
    "audit_not_notified": "the chat did not take the message: its status, or why there is no answer",
    "audit_began": "a run of the audit read the management plane and begins to list: how many hubs",
    "audits_forgotten": "audits beyond those that AUDIT_KEEP_RUNS keeps were deleted: how many",
    "webhook_key_used": "a key of the webhook was used: its fingerprint, how often, how many were placed",
    "webhook_key_uncounted": "uses of a key of the webhook were not written; they are with the next ones",
    "webhook_key_pass": "enrollments were given the webhook's key: how many had another or were refused",
    "webhook_key_old": "the webhook's key is older than WEBHOOK_KEY_MAX_AGE_DAYS: `rotate webhook-key start`",
    "webhook_key_unseen": "the webhook's key is not in the vault: `rotate webhook-key start` puts it there",
    "rotation_asked": "a rotation of a group's key was asked for: by whom, and the job",
    "rotation_begun": "a rotation began: the group, the version of the live secret that it replaces",
    "rotation_step": "a step of a rotation was done, and where it stands",
    "rotation_moved_on": "a rotation's row was changed by another worker, which goes on with it",
    "rotation_canary": "a canary registered with the new key, or was refused",
    "rotation_event_ignored": "an event of the vault set nothing going, and why",
    "rotation_blocked": "a rotation needs somebody: `rotate status` says what is asked",
    "rotation_waits": "a rotation waits for consent: `rotate promote` or `rotate retire`",
    "rotation_expired": "a live secret has expired; readers may refuse it",
    "rotation_unpublished": "a group in rotation has no live secret, or one without expiry",
    "rotation_unseen": "a group's secret could not be looked at",
    "rotation_gone": "a group in rotation is not at DPS any more, so nothing is begun: `rotate forget`",
    "purge_ended": "a run of the purge ended: planned, marked, deleted, left and why, archived, calls, 429s",
    "purge_not_begun": "a purge was due, and another has not ended yet: its state",
    "purge_rules_unusable": "the rules of the scheduled purge cannot be used, so none runs: what, and a fix",
    "device_deleted": "a hub says that a device was deleted: what became of its registration",
    "device_deleted_ignored": "an event that is none of a deleted device, and why",
    "decommission_ended": "a group's decommissioning ended: records, deleted, left, whether keys are kept",
    "measures": "count, sum, least and most of each metric over the past minute",
    "setting_ignored": "the app goes without a setting that cannot be used: its name, the problem, the fix",
    "telemetry_unavailable": "spans, logs and metrics are not exported: why; the log of the process has them",
}
"""Every event this app writes, and what it means."""


class Metric(NamedTuple):
    """What is measured, and whether values are added up or their spread counts."""

    kind: Literal["counter", "histogram"]
    unit: str
    meaning: str


METRICS: Mapping[str, Metric] = {
    "allocations": Metric("counter", "{answer}", "answers, by outcome, rule and hub"),
    "allocation_ms": Metric("histogram", "ms", "how long an answer took, by outcome and status"),
    "requests_doubted": Metric(
        "counter", "{request}", "requests on no list, by list and what became of them"
    ),
    "ledger_gaps": Metric("counter", "{row}", "rows that the ledger may lack"),
    "ledger_late": Metric("counter", "{row}", "rows written after their device was answered, by outcome"),
    "state_readings_failed": Metric("counter", "{reading}", "readings of policy and hub states that failed"),
    "purge.population": Metric("histogram", "{record}", "records that a run of the purge looked at"),
    "purge.planned": Metric("histogram", "{record}", "records that a run found stale"),
    "purge.due": Metric("histogram", "{record}", "those of them that have been marked for long enough"),
    "purge.marked": Metric("counter", "{record}", "records marked"),
    "purge.deleted": Metric("counter", "{record}", "registration records deleted"),
    "purge.left": Metric("counter", "{record}", "records about to be deleted and left by a guard"),
    "purge.archived": Metric("counter", "{record}", "records written to the archive"),
    "purge.dps_calls": Metric("counter", "{call}", "attempts at DPS by runs of the purge"),
    "purge.hub_calls": Metric("counter", "{call}", "the same at hubs"),
    "purge.throttled": Metric("counter", "{call}", "those of both that were answered 429"),
    "purge.passes": Metric("histogram", "{pass}", "passes over every record in one run"),
    "decommission.deleted": Metric("counter", "{record}", "the same, by decommissioning groups"),
    "audit_open_findings": Metric("histogram", "{finding}", "open findings of an audit, by severity"),
    "audit_new_findings": Metric("histogram", "{finding}", "findings that the audit before did not have"),
    "audit_resolved_findings": Metric("histogram", "{finding}", "findings of an earlier audit, now gone"),
    "audit_suppressed_findings": Metric("histogram", "{finding}", "findings that somebody suppressed"),
    "audit_not_evaluated": Metric("histogram", "{check}", "checks of an audit that could conclude nothing"),
    "telemetry_lost": Metric("counter", "{item}", "items that were not exported: too many waited"),
}
"""Every metric. One that is not named here is a histogram without a unit."""

SPANS: Mapping[str, str] = {
    "allocation": "one answer to DPS: rule, hub, policy version, outcome, status, degraded",
    "count_devices": "the devices of all hubs were counted: how many hubs",
    "job_slice": "a slice of a job: its kind, the job (the run), state, calls, throttled, problem",
}
"""Every span of the app's own."""

MOST_VALUES = 100
"""Values that one dimension of a metric may take in a process; later ones count as OTHER. Rules and hubs are
as many as the policy and the DPS have, but a caller with the webhook's key may name hubs as it likes."""

OTHER = "other"

_LEVELS: Mapping[str, int] = {
    "allocation_refused": logging.WARNING,
    "request_doubted": logging.WARNING,
    "allocation_broken": logging.ERROR,
    "policy_unavailable": logging.ERROR,
    "job_blocked": logging.ERROR,
    "job_unreadable": logging.ERROR,
    "jobs_off": logging.WARNING,
    "state_unavailable": logging.ERROR,
    "ledger_gap": logging.WARNING,
    "hub_not_counted": logging.WARNING,
    "hubs_unknown": logging.WARNING,
    "audit_finding": logging.WARNING,
    "webhook_key_uncounted": logging.WARNING,
    "webhook_key_old": logging.WARNING,
    "webhook_key_unseen": logging.WARNING,
    "rotation_blocked": logging.ERROR,
    "rotation_waits": logging.ERROR,
    "rotation_expired": logging.ERROR,
    "rotation_unpublished": logging.ERROR,
    "rotation_unseen": logging.ERROR,
    "device_deleted_ignored": logging.WARNING,
    "purge_not_begun": logging.WARNING,
    "purge_rules_unusable": logging.ERROR,
    "audit_untold": logging.ERROR,
    "audit_not_notified": logging.WARNING,
    "setting_ignored": logging.WARNING,
    "telemetry_unavailable": logging.ERROR,
}

FLUSH_SECONDS = 60.0
"""How often measures are written out, at most; they ride on the next measurement after that."""


class Bounded:
    """Keeps the values of dimensions few, whatever is measured."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._seen: dict[tuple[str, str], set[str]] = {}

    def few(self, name: str, dimensions: Mapping[str, str]) -> dict[str, str]:
        """The dimensions of a measurement, with OTHER for values that came too late."""
        told = {}
        for dimension, value in dimensions.items():
            seen = self._seen.setdefault((name, dimension), set())
            if value not in seen:
                if len(seen) >= self._most:
                    value = OTHER  # noqa: PLW2901 - what is told of it
                else:
                    seen.add(value)
            told[dimension] = value
        return told


class LogTelemetry:
    """Events as JSON log lines; measures folded per minute into one; no spans: events tell of the same."""

    def __init__(self, clock: Clock, logger: logging.Logger, ids: Ids) -> None:
        self._clock = clock
        self._logger = logger
        self._ids = ids
        self._encoder = json.JSONEncoder(separators=(",", ":"), default=str)
        self._bounded = Bounded()
        self._measures: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
        self._flushed = clock.monotonic()

    def event(self, name: str, **fields: object) -> None:
        """Write one event as a line of JSON; control characters in values are escaped."""
        level = _LEVELS.get(name, logging.INFO)
        if self._logger.isEnabledFor(level):
            text = masked(self._encoder.encode({"event": name, **self._ids.told(fields)}))
            # Not logger.log: it would walk the stack for a call site, which says nothing about an event.
            self._logger.handle(self._logger.makeRecord(self._logger.name, level, "", 0, text, (), None))

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        """Fold one value into its metric."""
        few = self._bounded.few(name, dimensions)
        folded = self._measures.setdefault((name, tuple(few.items())), [0, 0.0, value, value])
        folded[0] += 1
        folded[1] += value
        folded[2] = min(folded[2], value)
        folded[3] = max(folded[3], value)
        now = self._clock.monotonic()
        if now - self._flushed >= FLUSH_SECONDS:
            self._flushed = now
            self.flush()

    def span(self, name: str, seconds: float, **attributes: object) -> None:
        """Nothing: an event tells of the same."""

    def flush(self) -> None:
        """Write out what has been measured since the last time."""
        measures, self._measures = self._measures, {}
        self.event(
            "measures",
            measures=[
                {
                    "metric": name,
                    **dict(dimensions),
                    "count": count,
                    "sum": total,
                    "least": least,
                    "most": most,
                }
                for (name, dimensions), (count, total, least, most) in measures.items()
            ],
        )
