"""What MkDocs calls while it builds: pages made from the code, and a line below each block that no test runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

from deploy.site.blocks import EXIT, NOT_RUN
from deploy.site.commands_page import commands_page
from deploy.site.documents import OWN, PAGES, document_page, with_links, with_lists_apart
from deploy.site.job_page import job_page
from deploy.site.pictures import NOT_MADE, PRODUCTS, picture
from deploy.site.python_page import python_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

PYTHON = "reference/python.md"

_BLOCK_NOT_RUN = re.compile(
    "^ *" + NOT_RUN.pattern + r"(?P<block>(?P<indent> *)```.*?^(?P=indent)```\n)", re.MULTILINE | re.DOTALL
)

_PICTURE = re.compile(r"<!-- picture: (?P<name>[\w-]+), (?P<words>.+?) -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site, with the pages that are made from the code and the pictures of the gallery."""
    root = Path(config.config_file_path).parent
    pages = {
        "reference/job.md": job_page(),
        "reference/commands.md": commands_page(),
        PYTHON: python_page(),
        **{page: document_page(root, document) for document, (page, _) in PAGES.items()},
    }
    for name, words in pages.items():
        files.append(File.generated(config, name, content=words))
    for name in PRODUCTS:
        if made := picture(root / config.extra["gallery"], name):
            files.append(File.generated(config, f"gallery/{name}.webp", content=made))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """The page, with the reason below each block that is not run by the tests, and the gallery's pictures.

    Links from pages to documents of the repository lead to their pages.
    """
    own = page.file.src_uri
    if own not in {made for made, _ in PAGES.values()}:
        markdown = with_links(markdown, f"{OWN}{own}", own)

    def shown(match: re.Match[str]) -> str:
        there = files.get_file_from_path(f"gallery/{match['name']}.webp")
        return f"![{match['words']}](gallery/{match['name']}.webp)" if there else NOT_MADE

    told = _BLOCK_NOT_RUN.sub(_with_reason, with_lists_apart(markdown))
    return EXIT.sub("", _PICTURE.sub(shown, told))


def _with_reason(match: re.Match[str]) -> str:
    block, indent = match["block"], match["indent"]
    return f"{block}\n{indent}Not run by the tests: {match['reason']}.\n{indent}{{: .not-run }}\n"


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """The page, functions of the reference of Python under the names by which they are called."""
    return html.replace(">open_product<", ">open<") if page.file.src_uri == PYTHON else html
