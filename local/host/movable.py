"""The date of the whole process, moved on request.

time-machine replaces what Python code asks for the time (datetime, time.time and the like), so the app, its
libraries, the timers and the log see one date without knowing. What measures durations stays real:
time.monotonic, the event loop's timers, sockets' timeouts; and so does what asks the system itself, as
OpenSSL does for the validity of certificates.
"""

from __future__ import annotations

from datetime import timedelta

import time_machine


class MovableClock:
    """Moves the process's date ahead of the machine's; one at a time in a process."""

    def __init__(self, ahead: float = 0.0) -> None:
        """Start.

        Args:
            ahead: seconds.

        Raises:
            ValueError: below 0.
        """
        _check(ahead, 0.0)
        self._ahead = ahead
        self._travel = time_machine.travel(timedelta(seconds=ahead), tick=True)
        self._traveller = self._travel.start()

    @property
    def ahead(self) -> float:
        """Seconds by which the process is ahead of the machine."""
        return self._ahead

    def move(self, ahead: float) -> None:
        """Be so many seconds ahead of the machine from now on.

        Raises:
            ValueError: less than now: time does not go back.
        """
        _check(ahead, self._ahead)
        self._traveller.shift(timedelta(seconds=ahead - self._ahead))
        self._ahead = ahead

    def close(self) -> None:
        """Give the process the machine's date again."""
        self._travel.stop()


def _check(ahead: float, least: float) -> None:
    if not least <= ahead <= _MOST:
        raise ValueError(
            f"ahead is {ahead}; it must be {least:g} to {_MOST:g} seconds: time does not go back"
        )


_MOST = 3_000_000_000.0
"""Just under a century, which every date format in use survives."""
