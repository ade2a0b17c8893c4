"""Whose share of the rates a run calls under, and what its calls are counted by."""

from clients.ports import RateShare, SlowingShare

KIND = "purge"
"""Of the jobs, and so of their shares."""

THROTTLED = "throttled"
"""Attempts that were answered 429."""


class CountedShare:
    """A share that counts its calls, and those that were too many."""

    def __init__(self, share: RateShare, calls: dict[str, int], name: str) -> None:
        """Make it.

        Args:
            share: that the calls are made under.
            calls: of the run, by name; written to.
            name: under which these calls are counted.
        """
        self._share = share
        self._calls = calls
        self._name = name

    async def call(self) -> None:
        """Wait for the share; then the call counts as made."""
        await self._share.call()
        self._calls[self._name] = self._calls.get(self._name, 0) + 1

    def slow(self, retry_after: float | None) -> None:
        """An attempt was answered 429."""
        self._calls[THROTTLED] = self._calls.get(THROTTLED, 0) + 1
        if isinstance(self._share, SlowingShare):
            self._share.slow(retry_after)
