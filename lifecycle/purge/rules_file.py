"""The file of a purge's rules: YAML or JSON, the settings themselves or a document with a section `purge`.

One reading for the app's timer and for the commands, so that a file which one takes, the other takes too.
"""

from collections.abc import Mapping
from pathlib import Path

from allocation.errors import PolicyError
from allocation.policy.text import LARGEST, read_text
from lifecycle.errors import InvalidOption
from lifecycle.purge.policy import PurgePolicy


def read_rules(text: str) -> PurgePolicy:
    """The rules in a file's text.

    A file that says nothing is refused: it may once have had the list of what is to be left alone.

    Raises:
        InvalidOption: names the setting, or the place in the text, what is wrong and the fix.
    """
    try:
        document = read_text(text) if text.strip() else None
    except PolicyError as error:
        raise InvalidOption("rules", str(error).removeprefix("policy: "), "see `purge rules`") from None
    if isinstance(document, Mapping) and "purge" in document:
        document = document["purge"]
    if document is None:
        raise InvalidOption("purge", "the file has no settings", "write some, or do without the file")
    return PurgePolicy.read(document)


def load_rules(path: Path) -> PurgePolicy:
    """The rules in a file of the app's package.

    Raises:
        InvalidOption: it cannot be read, or is refused as `read_rules` says.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        return read_rules(raw.decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(
            "PURGE_RULES_FILE",
            f"{path.name!a} cannot be read ({type(error).__name__})",
            "deploy the file with the app, as UTF-8, and name it relative to the app",
        ) from None
