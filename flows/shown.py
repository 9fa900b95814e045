"""Text of others as it is printed and logged: one line, without secrets, with control characters made visible."""

from __future__ import annotations

import json
import re
from typing import Any

from tilewright.catalogs.hrefs import json_without_secrets, without_secrets

LONGEST = 2000
"""Characters of the longest sentence that is printed: a document of others may hold a text of megabytes."""

# Controls (C0, C1, DEL), marks that turn or hide text (bidirectional, zero width), line separators, lone surrogates.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)


def shown(text: str) -> str:
    r"""The text in one line as a terminal may get it: an escape becomes \x1b, a newline \n, a secret of a URL goes."""
    return visible(without_secrets(text))


def visible(text: str) -> str:
    r"""The text with every character that moves the cursor, turns the text or cannot be seen written as its escape."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


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
    text = json.dumps(json_without_secrets(plain), ensure_ascii=False, **how)
    return _UNSEEN.sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    # A newline between the lines of an indented document is ours; those in values are escaped already.
    return match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1]
