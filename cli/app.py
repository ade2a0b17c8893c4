"""`dps`: the root of the commands, and the one place where a command's end becomes an exit code."""

import asyncio
import os
import sys
import traceback
from collections.abc import MutableMapping, Sequence
from inspect import isawaitable
from typing import Annotated, Any, cast

from cyclopts import App, CycloptsError, Parameter

from cli import (
    audit,
    certificates,
    completion,
    decommission,
    device,
    documents,
    enrollment,
    enrollment_group,
    escrow,
    hub,
    job,
    policy,
    purge,
    rotate,
    webhook,
)
from cli.confirm import OnlyShown
from cli.connect import Session
from cli.errors import ExitCode, Usage, exit_code, paragraph
from cli.explain import explain
from cli.options import Everywhere, any_case, told_default
from cli.output import Format, Output
from cli.simulate import simulate
from cli.terminal import Terminal
from cli.values import text_or_file
from clients.dps import API_VERSION
from clients.wording import plain

NAME = "dps"
VERSION = f"{NAME} of dps-fleet 0.1.0, service API {API_VERSION}"
HELP = """Operate a Device Provisioning Service and this app.

Each change is shown and asked for. With --state FILE a command works on the stack that
`./run local --state FILE` started. docs/commands.md has every command and exit code."""
HELP_WIDTH = 100
"""Columns of the help where there is no terminal to ask."""

_EVERYWHERE = Everywhere()


def application() -> App:
    """All commands. The options of every command are those of `meta`, and may stand anywhere."""
    root = App(
        name=NAME,
        help=HELP,
        version=VERSION,
        config=any_case,
        default_parameter=Parameter(show_default=told_default),
        help_format="plaintext",
    )
    groups, individuals = enrollment_group.app(), enrollment.app()
    certificates.register(groups, individuals)
    root.command(groups)
    root.command(individuals)
    root.command(device.app())
    root.command(webhook.app())
    root.command(escrow.app())
    documents.register(root)
    root.command(policy.app())
    root.command(audit.app())
    root.command(hub.app())
    root.command(job.app())
    root.command(purge.app())
    root.command(decommission.app())
    root.command(rotate.app())
    root.command(explain)
    root.command(simulate)
    root.command(completion.app(root))

    @root.meta.default
    def dps(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        everywhere: Everywhere = _EVERYWHERE,
    ) -> tuple[tuple[str, ...], Everywhere]:
        """The options of every command, and what is left: the command."""
        return tokens, everywhere

    return root


def main(
    arguments: Sequence[str] | None = None,
    *,
    terminal: Terminal | None = None,
    environment: MutableMapping[str, str] | None = None,
) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None: those of the process.
        terminal: where to read and write; None: the process's streams.
        environment: the settings; None: the process's.

    Returns:
        An ExitCode.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    terminal = terminal or Terminal()
    try:
        return _run(words, terminal, os.environ if environment is None else environment)
    except BrokenPipeError:
        # What is left in the buffer has nobody to go to, and Python would complain of it at its end.
        terminal.drop_output()
        return ExitCode.READER_GONE


def _run(words: list[str], terminal: Terminal, environment: MutableMapping[str, str]) -> int:
    debug = "--debug" in words
    try:
        _command(words, terminal, environment)
        terminal.stdout.flush()
    except OnlyShown as shown:
        terminal.note(str(shown))
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:  # noqa: BLE001 - each end has its code
        terminal.stdout.flush()
        if debug and not isinstance(error, CycloptsError):  # the parser's own text repeats the command line
            terminal.stderr.write(terminal.scrub("".join(traceback.format_exception(error))))
        ended = KeyboardInterrupt() if isinstance(error, asyncio.CancelledError) else error
        if isinstance(ended, CycloptsError):
            ended = _as_usage(ended)
        terminal.error(paragraph(ended))
        return exit_code(ended)
    return ExitCode.DONE


def _command(words: list[str], terminal: Terminal, environment: MutableMapping[str, str]) -> None:
    root = application()
    parsing: Any = {"exit_on_error": False, "print_error": False, "help_on_error": False}
    console = terminal.out(width=None if terminal.stdout.isatty() else HELP_WIDTH)
    launch, bound, _ = root.meta.parse_args(words, console=console, **parsing)
    if launch is not root.meta.default_command:  # --help, --version
        launch(*bound.args, **bound.kwargs)
        return
    tokens, everywhere = launch(*bound.args, **bound.kwargs)
    command, bound, handed = root.parse_args(tokens, console=console, **parsing)
    if not handed:
        command(*bound.args, **bound.kwargs)
        return
    terminal.quiet = everywhere.only_show_errors
    login = text_or_file(everywhere.login, "login")
    output = Output(terminal, cast("Format", everywhere.output), everywhere.query)
    session = Session(everywhere.connection(login), terminal, output, environment, verbose=everywhere.verbose)
    asyncio.run(_within(command, bound, session))


async def _within(command: Any, bound: Any, session: Session) -> None:
    """One event loop for one command, and everything closed at its end."""
    async with session:
        result = command(*bound.args, **bound.kwargs, session=session)
        if isawaitable(result):
            await result


def _as_usage(error: CycloptsError) -> Usage:
    """The parser's words on one line, what looks like a secret in them masked."""
    error.verbose = False
    return Usage(f"{plain(str(error))} Add --help to see what there is.")
