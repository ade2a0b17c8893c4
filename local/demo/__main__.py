"""./run demo: start everything, run a chapter, judge it."""

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

from local.azurite import NotInstalled
from local.demo.main_job import HUBS, main_job, policy_text
from local.demo.screen import Screen
from local.host.files import write_private_json
from local.processes import ChildFailed
from local.stack import Options, Stack, run_stack

KEPT = Path("demo.state.json")


def _by_hand(state: Path) -> str:
    return f"""
It keeps running; Ctrl-C ends it. {state} (owner-only) says where everything is. In another shell:

  ask() {{ python3 -c "import json; s = json.load(open('{state}')); print($1)"; }}

  # the webhook, called as DPS calls it
  curl -s "$(ask "s['functions']['allocate_url']")" -H 'content-type: application/json' \\
    -d '{{"deviceRuntimeContext":{{"registrationId":"dev-1"}},"linkedHubs":["hub-east.azure-devices.net"]}}'

  # the Azure CLI with its azure-iot extension, against the emulator
  REQUESTS_CA_BUNDLE="$(ask "s['ca']")" az iot dps enrollment-group list \\
    --login "$(ask "s['dps']['connection_string']")" -o table
"""


async def _demo(*, keep: bool) -> int:
    screen, started = Screen(), time.monotonic()
    screen.chapter("Starting Azurite, the DPS emulator and the Functions host")
    async with run_stack(Options(hubs=dict.fromkeys(HUBS, 1), policy=policy_text()), screen.say) as stack:
        await main_job(stack, screen)
        kept = screen.verdict(time.monotonic() - started)
        if keep:
            await _stay(stack, screen)
    return 0 if kept else 1


async def _stay(stack: Stack, screen: Screen) -> None:
    write_private_json(KEPT, stack.state())
    try:
        screen.say(_by_hand(KEPT))
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()
    finally:
        KEPT.unlink(missing_ok=True)


def main() -> int:
    """Run the demo; 0 only if every check held."""
    parser = argparse.ArgumentParser(
        prog="./run demo",
        description="The main job on this machine: 300 devices register, DPS calls the webhook, hubs fill. "
        "Exits 0 only if DPS's and the hubs' records show what the design promises.",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave it running afterwards and say how to try it"
    )
    options = parser.parse_args()
    try:
        return asyncio.run(_demo(keep=options.keep))
    except KeyboardInterrupt:
        return 130
    except (ChildFailed, NotInstalled) as error:
        print(f"./run demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
