"""Documents of the repository as pages of the site: the READMEs of its folders, unchanged but for their links."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PAGES: Final = {
    "flows/README.md": ("reference/jobs.md", "Jobs in depth"),
    "models/README.md": ("reference/cards.md", "Cards: every field"),
    "catalogs/README.md": ("reference/sources.md", "Sources in depth"),
    "tasks/README.md": ("reference/steps.md", "Steps from Python"),
    "deploy/README.md": ("reference/deploy.md", "Deploying in depth"),
    "CHANGELOG.md": ("reference/changelog.md", "Changelog"),
}
"""Documents by their path in the repository: the page and its title."""

BEGINS: Final = {"flows/README.md": "## The keys of a job"}
"""Where the page of a document begins, whose first part is for those who work on the program."""

OWN: Final = "docs/"

_ENTRY: Final = re.compile(r"([-*]|\d+\.) ")

_LINK: Final = re.compile(r"(?<![!\w])\[(?P<words>[^\]]+)\]\((?P<target>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
"""A link that is no picture, nor a call of what an index names in code."""


def document_page(root: Path, document: str) -> str:
    """The page of a document, Markdown: its links lead to pages, or are plain words where there is no page."""
    page, title = PAGES[document]
    words = (root / document).read_text("utf-8")
    if begin := BEGINS.get(document):
        words = f"# {title}\n\n{begin}{words.split(begin, 1)[1]}"
    return f"---\ntitle: {title!r}\n---\n{with_links(words, document, page)}"


def with_links(words: str, document: str, page: str) -> str:
    """The words of a document, its links leading to pages of the site as seen from its own page."""
    return _LINK.sub(lambda match: _link(match, document, page), words)


def with_lists_apart(words: str) -> str:
    """The page with a blank line before each list that stands right below a line of words.

    GitHub takes such a list for one, and MkDocs for more words.
    """
    kept: list[str] = []
    fenced = False
    for line in words.splitlines(keepends=True):
        above = kept[-1] if kept else "\n"
        begins = _ENTRY.match(line) and above.strip() and not _ENTRY.match(above) and not above.startswith(" ")
        if begins and not fenced:
            kept.append("\n")
        fenced ^= line.lstrip().startswith("```")
        kept.append(line)
    return "".join(kept)


def _link(match: re.Match[str], document: str, page: str) -> str:
    target, words = match["target"], match["words"]
    if not target or "://" in target:
        return match[0]
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(document), target))
    named = meant if meant in PAGES else f"{meant}/README.md"
    if meant.startswith(OWN):
        there = meant.removeprefix(OWN)
    elif named in PAGES:
        there, title = PAGES[named]
        words = title if words.endswith("README.md") else words
    else:
        return words if words.startswith("`") or words.endswith(".md") else f"{words} (`{meant}`)"
    return f"[{words}]({posixpath.relpath(there, posixpath.dirname(page))}{match['anchor'] or ''})"
