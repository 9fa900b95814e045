"""The plain values in a YAML or JSON text, bounded before they are made: nests, aliases, numbers and sheer size."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import ReaderError

from tilewright.catalogs.fields import TwiceError, load_json, twice

MAX_NODES: Final = 100_000
"""Values of a YAML text. Its parser takes about 10 microseconds for each; JSON, which is parsed in C, has no bound."""

MAX_EXPANDED: Final = 200_000
"""Values of a YAML text whose aliases are written out."""

MAX_DEPTH: Final = 50
"""Nests of lists and mappings within each other; an area's rings lie at the seventh."""

MAX_BITS: Final = 1100
"""Bits of a whole number: a few more than the largest float has."""


LIKELY: Final = (
    ("scanning a quoted scalar", "close the quote that line {line} opens"),
    ("scanning an alias|scanning an anchor|undefined alias", "put a text that begins with * or & in quotes"),
    ("expected ',' or", "close the bracket that line {line} opens, and put a comma between its values"),
    ("mapping values", "put a text that holds ': ' in quotes, and indent the keys of one level alike"),
    ("find expected key", "indent the keys of one level alike, and close a quote at the end of its text"),
    ("expected ':'", "write each key as key: value, and close its quote"),
    ("'-' indicator", "write every entry of a list after a dash, indented alike"),
    ("constructor for the tag", "leave the tag that begins with ! out, or put the text in quotes"),
    ("another document", "keep one of the documents that --- divides"),
    ("escape character", "put a text with a backslash in single quotes"),
    ("unhashable key", "put a key that begins with a bracket or brace in quotes"),
    ("expected node content", "take a comma too many out"),
)
"""What a parser's complaint is mostly caused by, as advice; `line` is where the part it complains of begins."""


class _PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without dates of its own: a day stays the text that a person wrote, and the period says what is wrong."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_plain(content: bytes | str) -> Any:
    """The value that a YAML or JSON text holds; None for an empty one.

    Raises ValueError for a text that is neither, has a key twice, nests too deep, refers to itself, or is too large
    written out. The message names the lines.
    """
    try:
        plain = _json_object(content)
        if plain is None:
            plain = _yaml(content)
    except yaml.YAMLError as error:
        raise ValueError(_fault(error, content)) from error
    except (RecursionError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error
    _check_values(plain)
    return plain


def _fault(error: yaml.YAMLError, content: bytes | str) -> str:
    """Where a YAML text is at fault, with the parser's words and what to do about it."""
    if isinstance(error, ReaderError):
        return "it holds a byte or character that no text has: save it as plain text in UTF-8"
    mark = getattr(error, "problem_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return " ".join(str(error).split())[:300]
    begun = (error.context_mark or mark).line + 1
    words = f"{error.context or ''} {error.problem or ''}"
    advice = next((likely.format(line=begun) for part, likely in LIKELY if re.search(part, words)), "")
    if "cannot start any token" in words:
        character = _character(content, mark)
        begins = f"put a text that begins with {character} in quotes"
        advice = "indent with spaces, not tabs" if character == "\t" else begins
    problem = " ".join(str(error.problem).split()).removeprefix("but ")[:120]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem} ({advice or 'look at the line before, too'})"


def _character(content: bytes | str, mark: Any) -> str:
    text = content if isinstance(content, str) else content.decode(errors="replace")
    # Not splitlines, which takes more characters for ends of lines than YAML does.
    line = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)[mark.line : mark.line + 1]
    return line[0][mark.column : mark.column + 1] if line else ""


def _json_object(content: bytes | str) -> dict[str, Any] | None:
    """The object of a JSON text, None for any other text, which may still be YAML."""
    try:
        plain = load_json(content) if content[:4].strip()[:1] in {b"{", "{"} else None
    except TwiceError:
        raise
    except (ValueError, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None


def _yaml(content: bytes | str) -> Any:
    _check_events(content)
    loader = _PlainLoader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded(node, {}, frozenset())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_events(content: bytes | str) -> None:
    """Raise ValueError for a text of too many or too deep values: composing them would take long, or all the stack."""
    depth = 0
    for number, event in enumerate(yaml.parse(content, Loader=_PlainLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        _check_depth(depth)
        if number > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES} values; write a large area into a file of its own")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"it nests values more than {MAX_DEPTH} deep")


def _expanded(node: yaml.Node, known: dict[int, int], around: frozenset[int]) -> int:
    """The number of values of a node with its aliases written out.

    Raises ValueError for too many, for a node that holds itself, and TwiceError for one that has a key twice.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in around:
        raise ValueError("a value of it holds itself by an alias")
    if id(node) not in known:
        _check_keys(node)
        pairs = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
        inner = around | {id(node)}
        _check_depth(len(inner))
        known[id(node)] = 1 + sum(_expanded(each, known, inner) for each in pairs)
        if known[id(node)] > MAX_EXPANDED:
            raise ValueError(f"with its aliases written out it has more than {MAX_EXPANDED} values")
    return known[id(node)]


def _check_keys(node: yaml.Node) -> None:
    """Raise TwiceError for a mapping with a key twice; keys that a merge (<<) brings may be overwritten."""
    lines: dict[Any, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        # By its value: 1 and 0x1, yes and true are one key.
        line, value = key.start_mark.line + 1, SafeConstructor().construct_object(key)
        if value in lines:
            raise TwiceError(twice(key.value, [lines[value], line]))
        lines[value] = line


def _check_values(plain: Any) -> None:
    """Raise ValueError for a value nested too deep or a whole number that nothing can compute with."""
    pending = [(plain, 0)]
    while pending:
        value, depth = pending.pop()
        _check_depth(depth)
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ValueError(f"it has a whole number of {value.bit_length() * 3 // 10} digits")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        pending.extend((each, depth + 1) for each in inner)
