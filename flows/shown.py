"""Text of others as it is printed and logged: one line, without secrets, with control characters made visible."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.fields import UNSEEN, visible
from tilewright.catalogs.hrefs import json_without_secrets, without_secrets, without_words
from tilewright.flows.environment import own_secrets

if TYPE_CHECKING:
    import re

MAX_WIDTH = 100
"""Largest width in columns: longer lines of text are hard to read on a wide screen."""

LEAST_WIDTH = 20
"""Columns below which nothing is wrapped any narrower."""

LONGEST = 2000
"""Characters of the longest sentence that is printed: a document of others may hold a text of megabytes."""


CONSTRAINTS = "constraints.txt"

INSTALL = f"pip install -c {CONSTRAINTS}"
"""How every hint to install something begins."""


def shown(text: str) -> str:
    r"""The text in one line as a terminal may get it: an escape becomes \x1b, a newline \n, a secret of a URL goes."""
    return visible(without_words(without_secrets(text), own_secrets()))


def installable(text: str) -> str:
    """The text with commands that install something as they reach the environment that this program runs in.

    That is the pip beside its Python, unless a shell finds that one by itself, and the folder with its constraints.
    """
    beside = Path(sys.executable).with_name("pip")
    found = shutil.which("pip")
    if INSTALL not in text or not beside.exists() or (found is not None and Path(found) == beside):
        return text
    home = next((each for each in Path(__file__).resolve().parents[:3] if (each / CONSTRAINTS).is_file()), None)
    text = text.replace(INSTALL, f"{shlex.quote(str(beside))} {INSTALL.partition(' ')[2]}")
    return text if home is None else text.replace("in Tilewright's folder", f"in {home}")


def wrapped(text: str, width: int, *, hanging: int = 2) -> list[str]:
    """The lines of a text of one line on so many columns: those after the first stand ``hanging`` columns further in.

    No word is cut: a path or an id can be copied as a whole.
    """
    indent = " " * (len(text) - len(text.lstrip(" ")))
    lines = textwrap.wrap(
        text.strip(" "),
        max(width, LEAST_WIDTH),
        initial_indent=indent,
        subsequent_indent=indent + " " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [""]


def shortened(text: str, *, most: int = LONGEST) -> str:
    """The text in at most so many characters: of a longer one its beginning, which says what, and its end, which says
    what to do.
    """
    head = 3 * most // 4
    return text if len(text) <= most else f"{text[:head]} ... {text[head + 5 - most :]}"


def shown_lines(text: str) -> str:
    """The same for text of several lines that are ours."""
    return "\n".join(shown(line) for line in text.split("\n"))


def shown_json(plain: Any, **how: Any) -> str:
    r"""JSON without secrets; characters that a terminal would act on are escaped as JSON does it (\u001b)."""
    text = without_words(json.dumps(json_without_secrets(plain), ensure_ascii=False, **how), own_secrets())
    return UNSEEN.sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    # A newline between the lines of an indented document is ours; those in values are escaped already.
    return match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1]
