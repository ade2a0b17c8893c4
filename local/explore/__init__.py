"""Every reachable combination of choices, and every crash between two calls, of one scenario.

A scenario is run again and again. Whatever it leaves open it asks its `Run`: positions of switches
(`Run.choose`, which makes a Run the `Choices` of `local.switches`), and, at each call that goes out of a
process under `Run.live`, whether the process dies before it, after it, or not. The first run takes the
first option everywhere; the walk then goes back to the latest choice with an untried option, takes it, and
runs on from the start. So only choices that a scenario really asks for are walked, each combination once.

A crash is not an exception: the call never returns, every later call of that process fails at once, and its
task is cancelled, so that no `finally` can tidy up what a dead process could not. What comes after is a
process built anew against the same world.

Most deaths leave a world that another death left too: around a read, or before a write. With `merge` the
walk tells the state that each death leaves, without a run of its own, and follows each state once; what was
told is compared with what is left wherever a death is followed. With `shard` a walk is split by its first
crash, so that several processes share it.
"""

from local.explore.paths import (
    Failure,
    Hung,
    NotRepeatable,
    NotThisPath,
    Opaque,
    Path,
    Report,
    Taken,
    TooLong,
)
from local.explore.run import Life, Run
from local.explore.state import View
from local.explore.walk import Scenario, explore, replay

__all__ = [
    "Failure",
    "Hung",
    "Life",
    "NotRepeatable",
    "NotThisPath",
    "Opaque",
    "Path",
    "Report",
    "Run",
    "Scenario",
    "Taken",
    "TooLong",
    "View",
    "explore",
    "replay",
]
