"""Values as rich text in notebooks: facts in a table under a title. All text is escaped, whoever wrote it.

Styles are written into the elements, since viewers of notebooks drop style sheets and scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from tilewright.catalogs.fields import visible
from tilewright.catalogs.hrefs import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


LONGEST = 300
"""Characters of the longest text in a cell: a document of others may hold one of megabytes."""

MOST_ROWS = 40
"""Rows of a table that are shown; how many are left out is said."""

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")

_PICTURE = re.compile(r"data:image/(png|webp|jpeg);base64,[A-Za-z0-9+/=]*")

_LEFT = "text-align:left;vertical-align:top"


def clean(value: object) -> Markup:
    """The text of a cell in one line: without secrets of URLs, hidden characters seen, markup escaped."""
    text = str(value)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
    return escape(visible(without_secrets(text)))


def card(
    title: object, facts: Iterable[tuple[str, object]], *, subtitle: object = "", pieces: Iterable[Markup] = ()
) -> str:
    """A title with facts (name, value) below it, and further pieces that functions of this file made."""
    head = Markup("<div><strong>{}</strong></div>").format(clean(title))
    below = Markup("<div>{}</div>").format(clean(subtitle)) if subtitle else Markup()
    rows = Markup().join(_row(name, value) for name, value in facts)
    body = Markup('<table style="margin:0.4em 0">{}</table>').format(rows) if rows else Markup()
    return str(Markup("<div>{}{}{}{}</div>").format(head, below, body, Markup().join(pieces)))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A table of rows, the first of them; cells that functions of this file made stay as they are."""
    columns = Markup().join(Markup('<th style="{}">{}</th>').format(_LEFT, clean(name)) for name in head)
    shown = Markup().join(
        Markup("<tr>{}</tr>").format(Markup().join(Markup('<td style="{}">{}</td>').format(_LEFT, _cell(c)) for c in r))
        for r in rows[:MOST_ROWS]
    )
    n_more = len(rows) - MOST_ROWS
    more = Markup("<div>and {} more</div>").format(f"{n_more:,}") if n_more > 0 else Markup()
    return Markup('<table style="margin:0.4em 0"><tr>{}</tr>{}</table>{}').format(columns, shown, more)


def swatch(colour: str) -> Markup:
    """A square of a colour "#rrggbb"; nothing for any other text."""
    if not _COLOUR.fullmatch(colour):
        return Markup()
    style = f"display:inline-block;width:0.9em;height:0.9em;background:{colour};border:1px solid #8888"
    return Markup('<span style="{}"></span>&nbsp;').format(style)


def joined(*parts: object) -> Markup:
    """Parts as one cell, those that are text escaped."""
    return Markup().join(map(_cell, parts))


def lines(parts: Iterable[object]) -> Markup:
    """Parts as one cell, each on a line of its own."""
    return Markup("<br>").join(map(_cell, parts))


def figure(uri: str, words: str) -> Markup:
    """A picture in the page from a data: URI; nothing for any other address."""
    if not _PICTURE.fullmatch(uri):
        return Markup()
    return Markup('<img src="{}" alt="{}" style="max-width:100%;height:auto">').format(uri, clean(words))


def plain_words(value: object, most: int) -> str:
    """A text for a drawing: short, hidden characters seen, and no mark of mathematics, which matplotlib would set."""
    told = visible(without_secrets(str(value)[:LONGEST]))
    return (told if len(told) <= most else f"{told[: most - 1]}…").replace("$", r"\$")


def words(value: object) -> str:
    """A value of a job in words: its ``text`` if it has one, its parts if it has several.

    Of a mapping that describes a source only its ``href`` is told, since it may hold keys of access beside.
    """
    if isinstance(value, Mapping) and "href" in value:
        return str(value["href"])
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {words(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        described = [each for each in value if isinstance(each, Mapping)]
        return f"{len(described)} described" if described else ", ".join(map(words, value))
    told = getattr(value, "text", None)
    return told if isinstance(told, str) else str(value)


def _row(name: str, value: object) -> Markup:
    return Markup('<tr><th style="{0}">{1}</th><td style="{0}">{2}</td></tr>').format(_LEFT, clean(name), _cell(value))


def _cell(value: object) -> Markup:
    return value if isinstance(value, Markup) else clean(value)
