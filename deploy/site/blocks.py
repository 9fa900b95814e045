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

_TITLE: Final = re.compile(r'title="([^"]+)"')

_SNIPPET: Final = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)


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


def blocks_of(page: Path, snippets: Path) -> list[Block]:
    """The blocks of a page in their order, with what they take from files below ``snippets`` in place."""
    words = page.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(words):
        text = _SNIPPET.sub(lambda each: (snippets / each[1]).read_text("utf-8").rstrip("\n"), _dedented(match))
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
