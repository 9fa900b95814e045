"""Hostile documents grown from valid ones: wrong types, huge numbers, deep nests, double keys, other encodings."""

# ruff: noqa: E501, ISC004, PLR0911 -- tables of hostile values read better in long lines
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Place = tuple[str | int, ...]

UNREACHABLE = "http://127.0.0.1:9/x"
"""An address where nothing answers, and at once."""


class Raw(str):
    """Text that is written into a document as it stands."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object with the same key several times."""


NUMBERS: tuple[Any, ...] = (
    0, -0.0, 1, -1, 2, 0.5, -1.5, 255, 256, 65536, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 1e-9, 1e-300, 5e-324,
    1e9, 1e12, 1e18, 1e38, 1e300, 180, -180, 181, 360, 91, 10**19, 10**400, -(10**400),
    float("nan"), float("inf"), -float("inf"), Raw("1e400"), Raw("1" * 5000), Raw("-1e-400"), True, False, None,
)  # fmt: skip

TEXTS: tuple[str, ...] = (
    "", " ", "\0", "\n", "\x1b[2J\x1b[1;1H", "a\nb", "\ud800", "\u202eabc\u2066", "\u200b\ufeff", "\x9b2K", "%s%n{0}{x}",
    "x" * 70_000, "(" * 3000, "[" * 3000, "-" * 3000, "a," * 20_000, "1e5", "0x10", "NaN", "inf", "-0", "1_000", "\u0661\u0662",
    "yes", "null", "~", "..", "../..", "/", "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", "//", ".", "a/../b",
    "file:///dev/zero", "/vsizip//x", "s3://b/k", UNREACHABLE, "http://[::1", "http://\\@127.0.0.1/", "data:,x", "C:\\x",
    "EPSG:0", "EPSG:4326", "EPSG:3857", "EPSG:27700", "EPSG:999999", "EPSG:4979", "EPSG:5773", "EPSG:32661", "epsg:32633+5773",
    "IAU_2015:49900", "OGC:CRS84", "utm", "+proj=tmerc", "+proj=longlat +R=1", "+proj=ob_tran", "+init=epsg:4326", "PROJCS[",
    "9999-12-31", "0000-00-00", "2023-02-30", "1899-12-31", "2200-01-01", "2023-06-01/..", "../..", "P1M/P1M", "2023-06-01/P9999Y",
    "2023-06-01/P99999999999999D", "2023-W99", "2023-06-10T10:00:00.9999999999Z", "2023-06-10T24:00:01Z", "-2023-01-01",
    "2023-06-10T10:00:60+99:99", "1" * 400, "POLYGON((0 0,1 1))", "POLYGON EMPTY", "POINT(0 0)", "nir + 1", "a" * 129, "CON", "\U0001f4a3",
    "{name}", "__class__", "a\\", "'", '"', "<script>alert(1)</script>", "</pre><img src=x onerror=alert(1)>", "red", "nir", "scl",
)  # fmt: skip


def _deep(opening: str, closing: str, n: int) -> Raw:
    return Raw(opening * n + closing * n)


NESTS: tuple[Any, ...] = (
    [], {}, [[]], {"": {}}, [None], [[], {}], {"a": [1, "b", None]}, [0] * 5000, {str(i): i for i in range(3000)},
    _deep("[", "]", 90), _deep("[", "]", 2000), _deep("[", "]", 100_000), _deep('{"a":', "}", 20_000).replace(":}", ":1}"),
    Raw("[" * 300), Raw("{"), Pairs([("a", 1), ("a", 2)]), [float("nan")] * 4, [0, 0, 10**400, 1], [180, -90, -180, 90],
    [-180, -90, 180, 90], [1, 2, 3], [[0, 0], [0, 1], [1, 0], [0, 0]],
)  # fmt: skip

HOSTILE = st.sampled_from((*NUMBERS, *TEXTS, *NESTS)).map(deepcopy)


def places(document: Any, at: Place = ()) -> list[Place]:
    """Where in a document a value stands, the whole document first."""
    listed = enumerate(document) if isinstance(document, list) and not isinstance(document, Pairs) else ()
    inner = document.items() if isinstance(document, dict) else listed
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


def at(document: Any, place: Place) -> Any:
    for key in place:
        document = document[key]
    return document


def replaced(document: Any, place: Place, value: Any) -> Any:
    if not place:
        return value
    at(document, place[:-1])[place[-1]] = value
    return document


HOWS = ("replace",) * 5 + ("bend",) * 5 + ("drop", "double", "move", "wrap", "rename", "add")


@st.composite
def mutated(draw: Callable[..., Any], valid: Any) -> Any:
    """A document with one to three values replaced, dropped, doubled, moved, wrapped or bent."""
    document = deepcopy(valid)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        if not isinstance(document, dict | list):
            return document
        # A branch first: a long list of corners would otherwise take every turn.
        branches = [place for place in places(document) if len(place) == 1] or [()]
        branch = draw(st.sampled_from(branches))
        place = draw(st.sampled_from(places(at(document, branch), branch)))
        document = _bent(draw, document, place)
    return document


def _bent(draw: Callable[..., Any], document: Any, place: Place) -> Any:
    value = at(document, place)
    how = draw(st.sampled_from(HOWS))
    if how == "drop" and place:
        del at(document, place[:-1])[place[-1]]
        return document
    if how == "double" and isinstance(value, dict) and value:
        # A reader that keeps the last of two equal keys sees the hostile one.
        key = draw(st.sampled_from(sorted(value)))
        return replaced(document, place, Pairs([*value.items(), (key, draw(HOSTILE))]))
    if how == "double" and isinstance(value, list) and not isinstance(value, Pairs):
        return replaced(document, place, value * draw(st.sampled_from((2, 3, 300))))
    if how == "move":
        return replaced(document, place, deepcopy(at(document, draw(st.sampled_from(places(document))))))
    if how == "wrap":
        return replaced(document, place, draw(st.sampled_from(([value], {"value": value}, [value, value], [[value]]))))
    if how in {"rename", "add"} and isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value)))
        new = draw(st.sampled_from([*TEXTS, key.upper(), f"{key} ", key[:-1]]))
        value[new] = value.pop(key) if how == "rename" else draw(HOSTILE)
        return document
    if how == "bend":
        return replaced(document, place, _bend(draw, value))
    return replaced(document, place, draw(HOSTILE))


def _bend(draw: Callable[..., Any], value: Any) -> Any:
    """The same kind of value, a little or much off."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        value = max(min(value, 10**300), -(10**300)) if isinstance(value, int) else value
        factor = draw(st.sampled_from((-1, 0, 1 + 1e-9, 1e-9, 10, 1000, 1e6, 1e12, 1e300, 0.1)))
        return draw(st.sampled_from((value * factor, str(value), [value], value + 1, value - 0.5)))
    if isinstance(value, str):
        cut, inserted = draw(st.integers(0, len(value))), draw(st.sampled_from(TEXTS))
        return draw(st.sampled_from((value[:cut] + inserted + value[cut:], value[:cut], value * 50, value.swapcase())))
    if isinstance(value, list) and not isinstance(value, Pairs):
        return draw(st.sampled_from((value[::-1], value[:-1], [*value, *value[:1]], tuple_as_object(value))))
    return list(value) if isinstance(value, dict) else value


def tuple_as_object(value: list[Any]) -> dict[str, Any]:
    return {str(number): entry for number, entry in enumerate(value)}


def written(value: Any) -> str:
    """A document as JSON, with the tokens that JSON's own writers would not write."""
    if isinstance(value, Raw):
        return str.__str__(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(str(key))}:{written(inner)}" for key, inner in value) + "}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(written(inner) for inner in value) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        return _digits(value)
    return json.dumps(value)


def _digits(value: int) -> str:
    """The digits of a whole number, of any length."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return str(value)
    finally:
        sys.set_int_max_str_digits(before)


CUTS = st.sampled_from(
    ("whole",) * 14 + ("cut", "tail", "bom", "utf-16", "utf-32", "latin", "nul", "twice", "empty", "blanks", "bytes")
)


@st.composite
def spelled(draw: Callable[..., Any], text: str) -> bytes:
    """The bytes of a text: mostly UTF-8 and whole, at times cut, doubled, or in another encoding."""
    how = draw(CUTS)
    plain = text.encode("utf-8", "surrogatepass")
    cut = draw(st.integers(0, len(plain))) if how in {"cut", "tail", "nul", "bytes"} else 0
    return {
        "whole": lambda: plain,
        "cut": lambda: plain[:cut],
        "tail": lambda: plain + b"\n%YAML 9.9\n--- !!x\n\x00",
        "bom": lambda: b"\xef\xbb\xbf" + plain,
        "utf-16": lambda: text.encode("utf-16", "surrogatepass"),
        "utf-32": lambda: text.encode("utf-32", "surrogatepass"),
        "latin": lambda: plain + "é\xff".encode("latin-1"),
        "nul": lambda: plain[:cut] + b"\0" + plain[cut:],
        "twice": lambda: plain + b"\n" + plain,
        "empty": lambda: b"",
        "blanks": lambda: b" " * 100_000,
        "bytes": lambda: plain[:cut] + draw(st.binary(min_size=1, max_size=40)) + plain[cut + 7 :],
    }[how]()


@st.composite
def json_documents(draw: Callable[..., Any], valid: Any) -> bytes:
    """A hostile JSON document grown from a valid one."""
    return draw(spelled(written(draw(mutated(valid)))))


YAML_TRICKS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
    "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\nperiod: *h\n",
    "area: &x [*x, *x]\n",
    "source: &x {files: *x}\n",
    "? &k {a: *k}\n: 1\n",
    "? [1, 2]\n: 1\n",
    "? {a: 1}\n: 1\n",
    "<<: &m {<<: *m}\n",
    "<<: [{a: 1}, {a: 1}]\n",
    "name: !!python/object/apply:os.system ['true']\n",
    "name: !!binary ////\n",
    "tile: !!set {a, b}\n",
    "period: !!omap [a: 1]\n",
    "seed: 1:2:3:4\n",
    "seed: 0b" + "1" * 5000 + "\n",
    "seed: 0x" + "f" * 50_000 + "\n",
    "seed: 1" + "_" * 5000 + "1\n",
    "seed: 1" + ":59" * 3000 + "\n",
    "seed: " + "9" * 5000 + "\n",
    "- a\n- b\n",
    "*missing\n",
    "a: b: c\n",
    "\tname: x\n",
    "name: |9\n x\n",
    "name: '" + "\\" * 5000 + "\n",
    "---\n---\n",
    "{" * 5000,
    "[" * 5000,
    "- " * 3000 + "\n",
    "? " * 3000 + "\n",
    "a: " + "&x " * 3 + "1\n",
    "&a\n" * 2000,
    "!" * 3000 + "\n",
    "name: \"\\UFFFFFFFF\"\n",
    "name: \"\\ud800\"\n",
    "0: 1\n1.5: 2\nnull: 3\n~: 4\ntrue: 5\n",
    "\x85\u2028\u2029",
)  # fmt: skip


@st.composite
def yaml_documents(draw: Callable[..., Any], valid: dict[str, Any]) -> bytes:
    """A hostile YAML document: a hostile JSON value per key, with one of YAML's own tricks at times."""
    document = draw(mutated(valid))
    if not isinstance(document, dict):
        return draw(spelled(written(document)))
    lines = [f"{written(str(key))}: {written(value)}\n" for key, value in document.items()]
    if draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(YAML_TRICKS)))
    return draw(spelled("".join(lines)))


@st.composite
def bent_bytes(draw: Callable[..., Any], valid: bytes) -> bytes:
    """A binary file with some of its bytes changed, cut out, doubled or overwritten by extreme numbers."""
    content = bytearray(valid)
    for _ in range(draw(st.sampled_from((1, 1, 2, 5)))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        how = draw(st.sampled_from(("byte", "number", "cut", "double", "drop")))
        if how == "byte" and content:
            content[place] = draw(st.integers(0, 255))
        elif how == "number":
            extreme = draw(
                st.sampled_from((b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, b"\xff\xff\xff\x7f"))
            )
            content[place : place + len(extreme)] = extreme
        elif how == "cut":
            del content[place:]
        elif how == "double":
            content[place:place] = content[place : place + 64]
        else:
            del content[place : place + draw(st.integers(1, 64))]
    return bytes(content)


@st.composite
def expressions(draw: Callable[..., Any], valid: str) -> str:
    """Arithmetic, near-arithmetic and worse."""
    if draw(st.booleans()):
        return draw(st.sampled_from(TEXTS))
    words = ("nir", "red", "1", "1e38", "1e999", "9" * 400, "1j", "0x1f", "'a'", "None", "nir.x", "nir[0]", "lambda: 0", "(", ")",
             "+", "-", "*", "/", "**", "//", "%", "@", "~", "<", ",", "abs(", "min(", "sqrt(", "f'{nir}'", "[x for x in nir]", "\\",
             "\n", "\0", "#", "nir:=1", "...", "*nir", "**nir", "\x0c", "\u00aa", "and", "if", "else", "\r", ";", "\ud800")  # fmt: skip
    parts = draw(st.lists(st.sampled_from(words), min_size=1, max_size=60))
    repeated = draw(st.sampled_from((1, 1, 1, 5, 50, 3000)))
    return draw(st.sampled_from((valid + " + ", "", "-"))) + draw(st.sampled_from(("", " "))).join(parts) * repeated
