"""`./run local` whose jobs need no minutes: hubs of many units, no audit or purge but those asked for.

Takes its arguments. Without this, each month that passes in a page would take the test half a minute.
"""

import asyncio
import sys
from dataclasses import replace

from local.__main__ import _options, _parser, _run
from local.stack import DEFAULT_HUBS

NEVER = "0 0 0 29 2 *"
SETTINGS = {
    "HUB_UNITS": ",".join(f"{hub}=200" for hub in DEFAULT_HUBS),
    "AUDIT_SCHEDULE": NEVER,
    "PURGE_SCHEDULE": NEVER,
}
"""Of the app, and HUB_UNITS of the operator too."""

if __name__ == "__main__":
    options, state = _options(_parser(), [*sys.argv[1:], "--unthrottled"])
    sys.exit(asyncio.run(_run(replace(options, settings={**options.settings, **SETTINGS}), state)))
