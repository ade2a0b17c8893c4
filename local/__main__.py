"""./run local: the stack, empty, until it is told to stop."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from local.azurite import NotInstalled
from local.dps.authorities import CA_LIMIT, Authorities, CaCertificate
from local.dps.limits import UNTHROTTLED, Limits
from local.host.files import write_private_json
from local.issuer import Role
from local.issuer.roles import EVERYTHING, UnknownRole, role
from local.kept import Damaged, InUse, Store
from local.processes import ChildFailed
from local.stack import DEFAULT_HUBS, Options, OtherName, Stack, run_stack


def _hub(text: str) -> tuple[str, int]:
    """NAME or NAME:WEIGHT; a name without a dot is one under azure-devices.net."""
    name, colon, weight = text.partition(":")
    if not name or (colon and not (weight.isascii() and weight.isdigit() and 1 <= int(weight) <= 1000)):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME or NAME:WEIGHT with a weight of 1 to 1000")
    return (name if "." in name else f"{name}.azure-devices.net"), int(weight or 1)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 to 1000000, DPS's quota")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535; 0 takes any free one)")
    return int(text)


def _ca(text: str) -> CaCertificate:
    """NAME=FILE; what is in the file must be a certificate in PEM."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    try:
        certificate = CaCertificate(name, Path(path).read_bytes())
        Authorities([certificate])
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path} holds no certificate in PEM: {error}") from None
    return certificate


def _role(text: str) -> Role:
    try:
        return role(text)
    except UnknownRole as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run local",
        description="Azurite, a DPS emulator and the Functions app on 127.0.0.1, until SIGTERM or Ctrl-C.",
    )
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="where to write addresses and keys (owner-only JSON)"
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="load what an earlier run left there, and save to it when stopped (owner-only)",
    )
    parser.add_argument(
        "--hub",
        type=_hub,
        action="append",
        metavar="NAME[:WEIGHT]",
        help="a linked hub; its weight counts at DPS (hashed policy) and in the webhook's policy; repeatable "
        f"(default: {', '.join(name.split('.')[0] for name in DEFAULT_HUBS)})",
    )
    parser.add_argument(
        "--ca",
        type=_ca,
        action="append",
        metavar="NAME=FILE",
        help="a verified CA certificate of the DPS (PEM), for X.509 enrollment groups; repeatable, up to 25",
    )
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="the webhook's policy while none is activated (YAML or JSON)",
    )
    parser.add_argument("--dps-name", metavar="NAME", help="(default: that of the store, or local-dps)")
    parser.add_argument(
        "--role",
        type=_role,
        action="append",
        metavar="NAME",
        help="what the app's managed identity may do: a built-in role's name, or a data action; repeatable "
        "(default: everything)",
    )
    parser.add_argument(
        "--unthrottled",
        action="store_true",
        help="lift DPS's rates (1000 operations, 1000 registrations a minute; 5 polls of a device in 10 s)",
    )
    for what in ("registrations", "enrollments"):
        parser.add_argument(
            f"--seed-{what}", type=_count, default=0, metavar="N", help=f"{what} there are from the start"
        )
    for part in ("dps", "mqtt", "functions", "tables", "admin"):
        parser.add_argument(
            f"--{part}-port",
            type=_port,
            default=0,
            metavar="N",
            help="(default: that of the store, or any free one)",
        )
    return parser


def _options(parser: argparse.ArgumentParser, arguments: list[str] | None) -> tuple[Options, Path | None]:
    given = parser.parse_args(arguments)
    names = [name.lower() for name, _ in given.hub or []]
    if len(set(names)) != len(names):
        parser.error("argument --hub: the same hub is named twice")
    if len({certificate.name.lower() for certificate in given.ca or []}) > CA_LIMIT:
        parser.error(f"argument --ca: a DPS takes {CA_LIMIT} CA certificates")
    try:
        policy = given.policy.read_text("utf-8") if given.policy else None
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"argument --policy: {given.policy} cannot be read: {error}")
    options = Options(
        hubs=dict(given.hub) if given.hub else None,
        dps_name=given.dps_name,
        dps_port=given.dps_port,
        mqtt_port=given.mqtt_port,
        functions_port=given.functions_port,
        tables_port=given.tables_port,
        admin_port=given.admin_port,
        policy=policy,
        policy_by_weights=True,
        ca_certificates=tuple(given.ca or ()),
        registrations=given.seed_registrations,
        enrollments=given.seed_enrollments,
        limits=UNTHROTTLED if given.unthrottled else Limits(),
        roles=tuple(given.role or EVERYTHING),
        store=Store(given.store) if given.store else None,
    )
    return options, given.state


async def _run(options: Options, state: Path | None) -> int:
    running = asyncio.current_task()
    assert running is not None
    stopped = asyncio.Event()

    def stop() -> None:
        if not stopped.is_set():  # a second signal must not cut the clean-up short
            stopped.set()
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        return await _serve(options, state)
    except asyncio.CancelledError:
        if stopped.is_set():
            return 0
        raise


async def _serve(options: Options, state: Path | None) -> int:
    """Run the stack until it is cancelled, or until a child ends by itself."""
    async with run_stack(options, _tell) as stack:
        try:
            if state:
                write_private_json(state, stack.state())
            _tell(_ready(stack, state))
            return await _first_end(stack)
        finally:
            if state:
                state.unlink(missing_ok=True)


async def _first_end(stack: Stack) -> int:
    ends = [asyncio.create_task(child.ended()) for child in stack.children()]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
    for child in stack.children():
        if not child.running:
            _tell(f"{child.name} ended by itself (status {child.returncode}). It wrote:\n{child.output()}")
    return 1


def _ready(stack: Stack, state: Path | None) -> str:
    where = f"addresses and keys are in {state}" if state else "give --state FILE to learn the keys"
    return f"ready: {', '.join(hub.host_name for hub in stack.hubs)}; {where}; Ctrl-C stops"


def _tell(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the stack; 0 after a stop that was asked for."""
    options, state = _options(_parser(), arguments)
    try:
        return asyncio.run(_run(options, state))
    except (ChildFailed, Damaged, InUse, NotInstalled, OSError, OtherName) as error:
        print(f"./run local: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
