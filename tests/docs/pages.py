"""The pages of docs/ and README: their fenced blocks, and what a comment before a block says of it.

    <!-- run
    register: line-a press-01
    -->

stands before commands that the tests run, with what has to be so first (`tests/docs/field.py` knows the
words). `<!-- azure -->` stands before those that need Azure and are not run, `<!-- stack -->` before the
start of the local stack, `<!-- file: NAME -->` before what is in a file that later commands read, and
`<!-- elsewhere: WHAT -->` before commands that something else runs. A `text` block right after
commands is what they print, with … for what is left out.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
README = ROOT / "README.md"

_BLOCK = re.compile(
    r"^(?: *<!-- (?P<mark>[^>]*?)-->\n+)?(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        mark: the first word of the comment before it; "" without one.
        needs: the lines of that comment after its first word, as (word, rest).
        shown: the `text` block right after it.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str
    needs: tuple[tuple[str, str], ...]
    shown: str | None = None

    @property
    def commands(self) -> list[str]:
        """Its lines, continued ones joined, comments left out."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        return [
            line.partition("  # ")[0].strip() for line in lines if line.strip() and not line.startswith("#")
        ]


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text()
    found: list[Block] = []
    end = 0
    for match in _BLOCK.finditer(text):
        language, mark = match["language"], (match["mark"] or "").strip()
        if (
            language == "text"
            and not mark
            and found
            and found[-1].mark == "run"
            and not text[end : match.start()].strip()
        ):
            found[-1] = Block(**{**vars(found[-1]), "shown": dedent(match["text"])})
        else:
            first, _, rest = mark.partition("\n") if "\n" in mark else (mark, "", "")
            word, _, inline = first.partition(": ")
            needs = [
                line.partition(": ")
                for line in ([f"{word}: {inline}"] if inline else []) + rest.splitlines()
                if line
            ]
            found.append(
                Block(
                    page.name,
                    text.count("\n", 0, match.start("language")) + 1,
                    language,
                    dedent(match["text"]),
                    word.strip(),
                    tuple((word.strip(), rest.strip()) for word, _, rest in needs),
                )
            )
        end = match.end()
    return found
