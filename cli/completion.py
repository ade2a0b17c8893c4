"""`completion`: what makes a shell complete the commands and their options."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from cli.connect import Session
from cli.errors import Usage
from cli.options import Injected

Shell = Annotated[
    Literal["bash", "zsh", "fish", "powershell"],
    Parameter(help="The shell to complete in."),
]


def app(root: App) -> App:
    """The noun with its commands, for this program."""
    noun = App(name="completion", help="Shell completion of commands and options.")

    @noun.command(name="print")
    def print_script(*, shell: Shell = "bash", session: Injected[Session]) -> None:
        """Print the completion script: eval "$(dps completion print --shell bash)"."""
        session.terminal.stdout.write(root.generate_completion(shell=shell))

    @noun.command
    def install(
        *,
        shell: Shell = "bash",
        to: Annotated[Path | None, Parameter(help="The file to write; else where the shell looks.")] = None,
        session: Injected[Session],
    ) -> None:
        """Write the completion script to its place; a shell's start-up file is left as it is."""
        try:
            path = root.install_completion(shell=shell, output=to, add_to_startup=False)
        except OSError as error:
            raise Usage(f"--to: the script cannot be written ({error.strerror}); name another file") from None
        session.terminal.note(f"written to {path}; a new shell completes")

    return noun
