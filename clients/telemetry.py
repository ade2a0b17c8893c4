"""Telemetry over the standard library's logging, which the Functions worker forwards.

One event is one log line of JSON: Application Insights keeps it as a trace whose message parses.
"""

import json
import logging
from collections.abc import Mapping

from clients.ports import Clock

EVENTS: Mapping[str, str] = {
    "allocation": "a device was placed, rejected or told to wait: the hub, the rule, every step of why",
    "allocation_refused": "a call was no allocation request that can be read: the field and what is wrong",
    "allocation_broken": "a fault in this app; DPS was told to try again",
    "policy_unavailable": "the policy did not load: the last good one decides; else devices stay or wait",
    "state_unavailable": "policy or hub states could not be read: the last ones decide, see `degraded`",
    "ledger_gap": "a device was answered and its row may be missing from the ledger",
    "hub_not_counted": "a hub did not say how many devices it has, and since when",
    "hubs_unknown": "the linked hubs could not be read, so no devices were counted",
    "pruned": "old rows of the ledger were deleted: how many, and whether all of it was gone through",
    "job_slice": "a slice of a job ended: the state it left the job in, progress, seconds, problem",
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
    "device_deleted": "a hub says that a device was deleted: what became of its registration",
    "device_deleted_ignored": "an event that is none of a deleted device, and why",
    "measures": "count, sum, least and most of each metric over the past minute",
}
"""Every event this app writes, and what it means."""

_LEVELS: Mapping[str, int] = {
    "allocation_refused": logging.WARNING,
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
    "rotation_blocked": logging.ERROR,
    "rotation_waits": logging.ERROR,
    "rotation_expired": logging.ERROR,
    "rotation_unpublished": logging.ERROR,
    "rotation_unseen": logging.ERROR,
    "device_deleted_ignored": logging.WARNING,
    "audit_untold": logging.ERROR,
    "audit_not_notified": logging.WARNING,
}

FLUSH_SECONDS = 60.0
"""How often measures are written out, at most; they ride on the next measurement after that."""


class LogTelemetry:
    """Events as JSON log lines; measures folded per minute into one."""

    def __init__(self, clock: Clock, logger: logging.Logger) -> None:
        self._clock = clock
        self._logger = logger
        self._encoder = json.JSONEncoder(separators=(",", ":"), default=str)
        self._measures: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
        self._flushed = clock.monotonic()

    def event(self, name: str, **fields: object) -> None:
        """Write one event as a line of JSON; control characters in values are escaped."""
        level = _LEVELS.get(name, logging.INFO)
        if self._logger.isEnabledFor(level):
            text = self._encoder.encode({"event": name, **fields})
            # Not logger.log: it would walk the stack for a call site, which says nothing about an event.
            self._logger.handle(self._logger.makeRecord(self._logger.name, level, "", 0, text, (), None))

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        """Fold one value into its metric."""
        folded = self._measures.setdefault((name, tuple(dimensions.items())), [0, 0.0, value, value])
        folded[0] += 1
        folded[1] += value
        folded[2] = min(folded[2], value)
        folded[3] = max(folded[3], value)
        now = self._clock.monotonic()
        if now - self._flushed >= FLUSH_SECONDS:
            self._flushed = now
            self.flush()

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
