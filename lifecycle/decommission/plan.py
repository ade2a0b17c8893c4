"""What a decommissioning would do, counted before it does anything: pure."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lifecycle.decommission.rules import REFUSING
from lifecycle.decommission.state import State
from lifecycle.decommission.told import Told
from lifecycle.purge.plan import Pace
from lifecycle.purge.rules import Why

STEPS = 25
"""Calls of DPS that the group itself takes: it is read, disabled, read back, its keys read, deleted."""

OVER = "over-most"
"""Why a record stays at the end: as many as may go went before."""

PER_SLICE = 3
"""Calls of DPS that a slice begins with: the group, the page that it is at, individual enrollments."""

EXPERIENCE = (
    "devices that are connected stay so: their identities at the hubs are left; disable them there",
    "a device that registers is told `disabled` at first, and is refused once the group is gone",
    "another enrollment that lets a device in places it as a new one",
    "a device that loses its hub's address cannot come back through this group",
)
"""What devices notice."""

_FIXES = {
    Why.ACTIVE: "in use: connected, heard of or registered lately; wait until they are quiet, or say "
    "--even-active",
    Why.EDGE: "of IoT Edge, or behind such a device: a hub need not hear of them while they live; see that "
    "they are not in use, and say --even-active",
    Why.UNKNOWN: "of which no hub could say whether they are in use; see to the hubs, or say --even-active",
    Why.EXCLUDED: "kept by purge.exclude; take them out of the rules, if they may go",
    Why.TAGGED: "kept by a tag of their twin (purge.keep_tags); take it off, or say --even-active",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do now.

    Attributes:
        state: with what the survey counted.
        told: what was asked for.
        pace: calls a minute.
        settle: how long a registration may be under way.
        vault: whether there is one.
    """

    state: State
    told: Told
    pace: Pace
    settle: timedelta
    vault: bool = True

    @property
    def goes(self) -> int:
        """Records that would go."""
        return self.state.survey.records - sum(self.state.survey.kept.values())

    @property
    def dps_calls(self) -> int:
        """Of the run, the survey counted in: each one operation that is billed."""
        return self._own_calls + PER_SLICE * max(self._minutes_of_dps(self._own_calls), self._minutes_of_hubs)

    @property
    def hub_calls(self) -> int:
        """Of the run, at all hubs: query pages, for tags once more, and a read before each delete."""
        queries = self.state.queries * (1 + bool(self.told.policy.keep_tags))
        return 0 if self.told.even_active else queries + self.goes

    @property
    def minutes(self) -> int:
        """That the run takes at its share of the rates, at least."""
        waits = math.ceil(self.settle.total_seconds() / 60)
        return max(self._minutes_of_dps(self.dps_calls), self._minutes_of_hubs, waits)

    @property
    def _homeless(self) -> bool:
        """Whether there are keys to keep, and no vault."""
        return self.state.symmetric and self.told.escrow and not self.vault

    @property
    def _own_calls(self) -> int:
        pages = max(1, self.state.pages)
        lookups = 0 if self.state.individuals else self.goes
        # Listed by the survey, to count again, by the pass that deletes (these two with a look at the group)
        # and by one that finds nothing more; each record is deleted once and looked for by its id at the end.
        return STEPS + 4 * pages + 3 + lookups + 2 * self.goes

    @property
    def _minutes_of_hubs(self) -> int:
        if self.told.even_active:
            return 0
        named = {hub: count for hub, count in self.state.survey.hubs.items() if hub}
        return sum(self.pace.minutes(named, self.state.queries))

    def _minutes_of_dps(self, calls: int) -> int:
        return math.ceil(calls / self.pace.dps)

    def problem(self) -> str:
        """Why it would not begin; "" where it would."""
        survey, policy = self.state.survey, self.told.policy
        if self._homeless:
            return "its symmetric keys have nowhere to go: set VAULT_URL, or say --no-escrow"
        for why in (Why.EXCLUDED, Why.TAGGED, Why.UNKNOWN, Why.ACTIVE, Why.EDGE):
            if survey.kept.get(why):
                return refused(why, survey.kept[why], survey.samples[why])
        if self.goes > policy.most:
            return (
                f"{self.goes:,} records would go, of at most {policy.most:,}: look at the plan; if it is "
                f"right, say --most {self.goes}"
            )
        return ""

    def document(self) -> dict[str, Any]:
        """JSON, for a job's result and for people."""
        survey, told = self.state.survey, self.told
        if not self.state.symmetric:
            keys = "it has no symmetric keys"
        elif self._homeless:
            keys = "nowhere to go: VAULT_URL is not set"
        else:
            keys = (
                "into the vault" if told.escrow else "discarded: all device keys derived from them are lost"
            )
        return {
            "group": told.group,
            "status": self.state.was,
            "keys": keys,
            "records": survey.records,
            "statuses": dict(survey.statuses),
            "hubs": {hub or "(none)": count for hub, count in survey.hubs.items()},
            "goes": self.goes,
            "stays": dict(survey.kept),
            "samples": {why: list(ids) for why, ids in survey.samples.items()},
            "dpsCalls": self.dps_calls,
            "hubCalls": self.hub_calls,
            "minutes": self.minutes,
            "price": round(self.dps_calls * told.policy.price / 1000, 4),
            "devices": list(EXPERIENCE),
            "problem": self.problem(),
        }


def grown(state: State, told: Told, counted: int) -> str:
    """Why nothing is deleted, in words: the group grew since the survey."""
    return (
        f"{counted:,} records would go, of at most {told.policy.most:,}: the survey counted "
        f"{state.survey.records:,}, and more came. None was deleted; the group is disabled. "
        f"{_goes_on(told, counted)}"
    )


def more(state: State, told: Told, *, gone: int, there: int) -> str:
    """Why it deletes no more, in words: as many went as may.

    Args:
        state: of the run.
        told: what was asked for.
        gone: registrations that lost their records.
        there: those that were listed and did not.
    """
    samples = state.left.samples[OVER]
    return (
        f"{gone:,} registrations lost their records, of at most {told.policy.most:,}, and there are more "
        f"({', '.join(ascii(each[:128]) for each in samples)}): they came after {state.counted:,} were "
        f"counted. The group is disabled and was not deleted. {_goes_on(told, there)}"
    )


def left_over(state: State, told: Told) -> str:
    """What came while the group went and is left, in words: as many went as may."""
    count, samples = state.ended.kept[OVER], state.ended.samples[OVER]
    return (
        f"group {told.group!a} was deleted; left {'are' if count != 1 else 'is'} {count:,} that came "
        f"meanwhile ({', '.join(ascii(each[:128]) for each in samples)}): as many registrations as may, "
        f"{told.policy.most:,}, lost their records. `purge plan` finds what the audit listed; else delete "
        "each with `enrollment-group registration delete --registration-id ID`"
    )


def _goes_on(told: Told, count: int) -> str:
    go = f"decommission run {told.group} --execute --most {count}"
    return f"See `decommission plan {told.group}`; if it is right: `{go}`"


def refused(why: str, count: int, samples: list[str]) -> str:
    """Why it does not go on, in words, with some of the records' ids escaped."""
    assert why in REFUSING
    ids = ", ".join(ascii(each[:128]) for each in samples)
    return f"{count:,} device{'s' if count != 1 else ''} ({ids}) {_FIXES[Why(why)]}"
