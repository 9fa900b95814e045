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

OWN: Final = "docs/"

_LINK: Final = re.compile(r"(?<!!)\[(?P<words>[^\]]+)\]\((?P<target>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


def document_page(root: Path, document: str) -> str:
    """The page of a document, Markdown: its links lead to pages, or are plain words where there is no page."""
    page, title = PAGES[document]
    words = (root / document).read_text("utf-8")
    linked = _LINK.sub(lambda match: _link(match, document, page), words)
    return f"---\ntitle: {title!r}\n---\n{linked}"


def _link(match: re.Match[str], document: str, page: str) -> str:
    target, words = match["target"], match["words"]
    if not target or "://" in target:
        return match[0]
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(document), target))
    if meant.startswith(OWN):
        there = meant.removeprefix(OWN)
    elif meant in PAGES:
        there = PAGES[meant][0]
    elif f"{meant}/README.md" in PAGES:
        there = PAGES[f"{meant}/README.md"][0]
    else:
        return words if words.startswith("`") or words.endswith(".md") else f"{words} (`{meant}`)"
    return f"[{words}]({posixpath.relpath(there, posixpath.dirname(page))}{match['anchor'] or ''})"
