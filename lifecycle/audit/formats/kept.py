"""Of many findings the worst, up to a number."""

from lifecycle.audit.report import RANK, Judged, Novelty

MOST_OF_A_CHECK = 50
"""Findings of one check that people are shown; the rest is counted."""

_ORDER = {Novelty.NEW: 0, Novelty.UNCLEAR: 1, Novelty.RECURRING: 2, Novelty.RESOLVED: 3}


class Kept:
    """Per check: open before suppressed, worse before better, new before known, then by resource."""

    def __init__(self, most: int = MOST_OF_A_CHECK) -> None:
        self._most = most
        self._found: dict[str, list[Judged]] = {}
        self._gone: list[Judged] = []

    def add(self, judged: Judged) -> None:
        """One more. At most twice the number are held."""
        kept = self._found.setdefault(judged.finding.check, []) if judged.found else self._gone
        kept.append(judged)
        if len(kept) >= 2 * self._most:
            kept.sort(key=_order)
            del kept[self._most :]

    def found(self, check: str) -> list[Judged]:
        """Of a check, what this run found."""
        return sorted(self._found.get(check, ()), key=_order)[: self._most]

    @property
    def gone(self) -> list[Judged]:
        """What only earlier runs found."""
        return sorted(self._gone, key=_order)[: self._most]


def _order(judged: Judged) -> tuple[bool, int, int, str]:
    finding = judged.finding
    return judged.suppression is not None, RANK[finding.severity], _ORDER[judged.novelty], finding.resource
