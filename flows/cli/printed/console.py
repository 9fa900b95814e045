"""Lines, facts and columns on the terminal, readable at 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tilewright.flows.shown import MAX_WIDTH, shown, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


MOST_ROWS = 20
"""Rows of a table that are shown."""


def shown_console() -> Console:
    """The terminal, as wide as text is readable."""
    console = Console(highlight=False)
    console.width = min(console.width, MAX_WIDTH)
    return console


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Print (label, text) in two columns, the text wrapped in its column."""
    rows = [(shown(label), shown(words)) for label, words in facts]
    indent = max(len(label) for label, _ in rows) + 2
    for label, words in rows:
        lines = wrapped(words.lstrip(" "), console.width - indent, hanging=0)
        line = Text(label.ljust(indent), style="dim") + Text(lines[0], style="none")
        console.print(line, soft_wrap=True)
        for more in lines[1:]:
            print_line(console, " " * indent + more)


def print_columns(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] | set[int]
) -> None:
    """Print aligned columns, those in ``right`` flush right; the last column is never wrapped."""
    headings, rows = [shown(cell) for cell in headings], [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    console.print(Text(line(headings), style="dim"), soft_wrap=True)
    for row in rows:
        print_line(console, line(row))


def print_words(console: Console, words: str) -> None:
    """Print words of any length, wrapped."""
    for line in wrapped(shown(words), console.width):
        console.print(Text(line), soft_wrap=True)


def print_line(console: Console, words: str) -> None:
    """Print a line as it is."""
    # Text of catalogs and cards is never markup, and a path or an id must be copyable as a whole.
    console.print(Text(shown(words)), soft_wrap=True)
