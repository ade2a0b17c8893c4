"""Runs a module as `python -m` does, in a process whose date is so many seconds ahead of the machine's.

python -m local.demo.dated SECONDS MODULE [ARGUMENT…]
"""

import runpy
import sys

from local.host.movable import MovableClock

if __name__ == "__main__":
    ahead = float(sys.argv[1])
    if ahead:
        MovableClock(ahead)
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
