"""./run demo: start everything, run a chapter, judge it."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from local.azurite import NotInstalled
from local.demo.audit_chapter import HUBS as AUDIT_HUBS
from local.demo.audit_chapter import SETTINGS as AUDIT_SETTINGS
from local.demo.audit_chapter import audit_chapter
from local.demo.main_job import HUBS as MAIN_HUBS
from local.demo.main_job import main_job, policy_text
from local.demo.policy_chapter import HUBS as POLICY_HUBS
from local.demo.policy_chapter import SETTINGS, policy_chapter
from local.demo.purge_chapter import HUBS as PURGE_HUBS
from local.demo.purge_chapter import SETTINGS as PURGE_SETTINGS
from local.demo.purge_chapter import purge_chapter
from local.demo.rotation_chapter import HUBS as ROTATION_HUBS
from local.demo.rotation_chapter import SETTINGS as ROTATION_SETTINGS
from local.demo.rotation_chapter import rotation_chapter
from local.demo.screen import Screen
from local.host.files import write_private_json
from local.processes import ChildFailed
from local.stack import Options, Stack, run_stack

KEPT = Path("demo.state.json")


def _by_hand(state: Path) -> str:
    return f"""
It keeps running; Ctrl-C ends it. {state} (owner-only) says where everything is. In another shell:

  ask() {{ python3 -c "import json; s = json.load(open('{state}')); print($1)"; }}

  # the operators' commands
  ./run dps --state {state} hub list --output table

  # the webhook, called as DPS calls it
  curl -s "$(ask "s['functions']['allocate_url']")" -H 'content-type: application/json' \\
    -d '{{"deviceRuntimeContext":{{"registrationId":"dev-1"}},"linkedHubs":["hub-east.azure-devices.net"]}}'

  # the Azure CLI with its azure-iot extension, against the emulator
  REQUESTS_CA_BUNDLE="$(ask "s['ca']")" az iot dps enrollment-group list \\
    --login "$(ask "s['dps']['connection_string']")" -o table
"""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A story on a stack of its own."""

    about: str
    options: Options
    tell: Callable[[Stack, Screen], Awaitable[None]]


CHAPTERS = {
    "main": Chapter(
        "300 devices register, DPS calls the webhook, hubs fill; a hub is taken out, a device rejected",
        Options(hubs=dict.fromkeys(MAIN_HUBS, 1), policy=policy_text(), telemetry=True),
        main_job,
    ),
    "policy": Chapter(
        "weights, a region's fallback, a canary, capacity, a drain, an outage of storage, a draft simulated",
        Options(hubs=dict.fromkeys(POLICY_HUBS, 1), settings=SETTINGS),
        policy_chapter,
    ),
    "audit": Chapter(
        "twelve planted faults, the report that finds them, the fixes it names, a clean second run",
        Options(hubs=dict.fromkeys(AUDIT_HUBS, 1), settings=AUDIT_SETTINGS),
        audit_chapter,
    ),
    "purge": Chapter(
        "a group is deleted carelessly; its orphans are found, marked and purged, live look-alikes left",
        Options(hubs=dict.fromkeys(PURGE_HUBS, 1), settings=PURGE_SETTINGS),
        purge_chapter,
    ),
    "rotation": Chapter(
        "a group's key nears its expiry and is exchanged while devices register; then the webhook's own key",
        Options(hubs=dict.fromkeys(ROTATION_HUBS, 1), settings=ROTATION_SETTINGS),
        rotation_chapter,
    ),
}


async def _demo(chapter: Chapter, *, keep: bool) -> int:
    screen, started = Screen(), time.monotonic()
    screen.chapter("Starting Azurite, the DPS emulator and the Functions host")
    async with run_stack(chapter.options, screen.say) as stack:
        await chapter.tell(stack, screen)
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
        description="Chapters, each on a stack of its own on this machine.\n"
        "Exits 0 only if DPS's and the hubs' records show what the design promises.",
        epilog="chapters:\n" + "\n".join(f"  {name}: {each.about}" for name, each in CHAPTERS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("chapter", nargs="?", choices=CHAPTERS, default="main", help="(default: main)")
    parser.add_argument(
        "--keep", action="store_true", help="leave it running afterwards and say how to try it"
    )
    options = parser.parse_args()
    try:
        status = asyncio.run(_demo(CHAPTERS[options.chapter], keep=options.keep))
    except KeyboardInterrupt:
        return 130
    except (ChildFailed, NotInstalled) as error:
        print(f"./run demo: {error}", file=sys.stderr)
        return 1
    print("\nFurther chapters:")
    for name, chapter in CHAPTERS.items():
        if name != options.chapter:
            print(f"  ./run demo {name}: {chapter.about}")
    return status


if __name__ == "__main__":
    sys.exit(main())
