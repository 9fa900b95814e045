"""The reference of ``import tilewright``, made from the names that it hands on."""

from __future__ import annotations

from typing import Final

import tilewright

HEAD: Final = """# Python

`import tilewright as tw` hands on these names; all is loaded when it is first used. A job is the path of its file, a
mapping with its keys, or a `tw.Job`. Bad input raises a `ValueError` whose sentence says what to do.

"""

ORDER: Final = ("search", "cube", "plan", "run", "run_chain", "open", "Product")
"""The names that come first; all others follow by the alphabet."""

MADE: Final = frozenset({"RunOptions"})
"""Classes that people make by their words."""


def python_page() -> str:
    """The page, Markdown: a directive of mkdocstrings for each name, under the name by which it is called."""
    names = [*ORDER, *sorted(set(tilewright.__all__) - set(ORDER), key=str.lower)]
    return HEAD + "\n".join(_section(name) for name in names)


def _section(name: str) -> str:
    thing = getattr(tilewright, name)
    options = {"heading": f"tilewright.{name}", "toc_label": name, "merge_init_into_class": str(name in MADE).lower()}
    lines = "".join(f"      {option}: {value}\n" for option, value in options.items())
    return f"::: {thing.__module__}.{thing.__qualname__}\n    options:\n{lines}"
