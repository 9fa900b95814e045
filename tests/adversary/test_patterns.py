"""No pattern of the project takes long on a text that was written to make it try again and again."""

# ruff: noqa: E501 -- tables of hostile values read better in long lines
from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

FUNCTIONS = {"match", "fullmatch", "search", "sub", "split", "findall", "finditer", "subn"}

SHORT, LONG = 1000, 16_000
"""Characters of a text; the long one is tried where the short one took more than a moment."""

MOMENT, SECONDS = 0.002, 0.5
"""A pattern that looks at every pair of places of a long text takes seconds; a straight one a hundredth of this."""

PIECES = (
    " ", "\n", "\t ", "a", "A", "0", "1", "_", "-", ".", "/", "\\", ":", "@", "%", "=", "?", "#", ";", ",", "(", ")", "'", "x/", "a.", "a_",
    "_1", "0.", "1-", "://", "a:", "a@", ":@", "=a", "%3d", " ,", ", ", "date", "time", "day", "http://", "s3://a@", "&a=", ".zarr", "/.zarr",
    "POLYGON", "SRID=", "SRID=1;", "P", "T", "1D", "Bearer ", "\u0661", "Z", "]", "[", "}", "{a", "m", "_1m", "N05", "S2A_", "HTTP/1.1",
)  # fmt: skip

HEADS = (
    "", "x", "POLYGON", "SRID=1;", "SRID=1;POLYGON Z", "POLYGON(", "http://", "s3://", "http://a", "http://a:", "2023-06-01T10", "2023-06-01",
    "P", "PT", "percentile:", "bearer ", "/a.zarr", "a.zarr/", "1", "S2A_", "_N", "MGRS-", "1220", "start", "http://a?b", "key=", "nir_", "_T33UUP",
    "Load model from ", "threshold=", "IR version: ", "response code", "1e", "+1.", "{", "item_r", "%",
)  # fmt: skip


def used_patterns() -> Iterator[tuple[str, str, int, str]]:
    """(place, pattern, flags, function) of every pattern in the sources."""
    for package in ("flows", "models", "catalogs", "tasks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            named = dict(_named(tree))
            for node in ast.walk(tree):
                if not (
                    isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS
                ):
                    continue
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id == "re":
                    found = _pattern(node)
                else:
                    found = named.get(owner.id) if isinstance(owner, ast.Name) else None
                if found:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", *found, node.func.attr


def _named(tree: ast.Module) -> Iterator[tuple[str, tuple[str, int]]]:
    for node in tree.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        call = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(call, ast.Call) and ast.unparse(call.func) == "re.compile":
            found = _pattern(call)
            if found:
                yield target.id, found


def _pattern(call: ast.Call) -> tuple[str, int] | None:
    """(pattern, flags) of a call whose first argument is text, as far as it can be known without running it."""
    first = call.args[0]
    text = first.value if isinstance(first, ast.Constant) else None
    if isinstance(first, ast.JoinedStr):
        text = "".join(
            str(part.value) if isinstance(part, ast.Constant) else r"(\d{1,2})([C-X][A-Z]{2})" for part in first.values
        )
    if not isinstance(text, str):
        return None
    words = " ".join(ast.unparse(each) for each in (*call.args[1:], *(keyword.value for keyword in call.keywords)))
    flags = sum(getattr(re, name) for name in set(re.findall(r"re\.([A-Z]+)", words)))
    return text, int(flags)


PATTERNS = sorted(set(used_patterns()))


def test_the_patterns_are_found():
    assert len(PATTERNS) > 50


@pytest.mark.parametrize(("place", "pattern", "flags", "function"), PATTERNS)
def test_a_pattern_takes_no_longer_than_its_text(place, pattern, flags, function):
    compiled = re.compile(pattern, flags)
    run = (
        compiled.finditer
        if function in {"sub", "subn", "split", "findall", "finditer"}
        else getattr(compiled, function)
    )
    slowest = (0.0, "")
    for head in HEADS:
        for piece in PIECES:
            if _seconds(run, head, piece, SHORT) > MOMENT:
                slowest = max(slowest, (_seconds(run, head, piece, LONG), f"{head} {piece}"))
        assert slowest[0] < SECONDS, f"{place}: {function} of {pattern} took {slowest[0]:.1f} s on {slowest[1]!r} ..."


def _seconds(run, head, piece, length):
    text = head + piece * (length // len(piece)) + "\0"
    began = time.thread_time()
    found = run(text)
    if found is not None and not isinstance(found, re.Match):
        list(found)
    return time.thread_time() - began
