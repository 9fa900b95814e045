"""The fenced blocks of a page: commands, jobs, Python and cards, each with what the page says about it.

A page is Markdown. Before a block may stand a comment, which readers see as a line below the block:
``<!-- not run: needs a cluster -->``. Everything else is run by ``tests/project/test_docs_site.py``.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

NOT_RUN: Final = re.compile(r"<!-- not run: (?P<reason>[^>]+?) -->\n")

EXIT: Final = re.compile(r"<!-- exit: (?P<code>\d+) -->\n")

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)

_ANY_FENCE: Final = re.compile(r"^ *(?:```|~~~)", re.MULTILINE)

_TITLE: Final = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One line after ``$``, and the lines that the page shows below it."""

    line: str
    shown: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """The line as a shell would split it, without what stands after ``#``."""
        return shlex.split(self.line, comments=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, the file that its title names, and why it is not run, if it is not."""

    kind: str
    text: str
    line: int
    title: str = ""
    not_run: str = ""
    code: int = 0
    commands: tuple[Command, ...] = field(default=())


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order.

    Raises AssertionError for a fence that begins or ends no block, which would hide what it holds.
    """
    words = page.read_text("utf-8")
    found: list[Block] = []
    for match in _FENCE.finditer(words):
        text = _dedented(match)
        before = _comments(words[: match.start()])
        refused = NOT_RUN.search(before)
        code = EXIT.search(before)
        title = _TITLE.search(match["rest"])
        found.append(
            Block(
                kind=match["kind"],
                text=text,
                line=words.count("\n", 0, match.start()) + 1,
                title=title[1] if title else "",
                not_run=refused["reason"] if refused else "",
                code=int(code["code"]) if code else 0,
                commands=tuple(_commands(text)) if match["kind"] == "console" else (),
            )
        )
    fences = len(_ANY_FENCE.findall(words))
    assert fences == 2 * len(found), f"{page.name}:1: {fences} fences make {len(found)} blocks: write ``` at both ends"
    return found


def _dedented(match: re.Match[str]) -> str:
    return "".join(line.removeprefix(match["indent"]) for line in match["text"].splitlines(keepends=True))


def _comments(before: str) -> str:
    """The comments that stand right before a block."""
    kept: list[str] = []
    for line in reversed(before.removesuffix("\n").split("\n")):
        if not line.strip().startswith("<!--"):
            break
        kept.insert(0, f"{line.strip()}\n")
    return "".join(kept)


def _commands(text: str) -> list[Command]:
    found: list[Command] = []
    joined = re.sub(r"\\\n\s*", "", text)
    for line in joined.splitlines():
        if line.startswith("$ "):
            found.append(Command(line=line[2:]))
        elif line.strip():
            assert found, f"a console block begins with a command after $, not {line!r}"
            found[-1] = Command(line=found[-1].line, shown=(*found[-1].shown, line))
    return found
