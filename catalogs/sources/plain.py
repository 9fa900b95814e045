"""The plain values in a YAML or JSON text, bounded before they are made: nests, aliases, numbers and sheer size."""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

MAX_NODES: Final = 100_000
"""Values of a YAML text. Its parser takes about 10 microseconds for each; JSON, which is parsed in C, has no bound."""

MAX_EXPANDED: Final = 200_000
"""Values of a YAML text whose aliases are written out."""

MAX_DEPTH: Final = 50
"""Nests of lists and mappings within each other; an area's rings lie at the seventh."""

MAX_BITS: Final = 1100
"""Bits of a whole number: a few more than the largest float has."""


class _PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without dates of its own: a day stays the text that a person wrote, and the period says what is wrong."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_plain(content: bytes | str) -> Any:
    """The value that a YAML or JSON text holds; None for an empty one.

    Raises ValueError for a text that is neither, nests too deep, refers to itself, or is too large written out.
    """
    try:
        plain = _json_object(content)
        if plain is None:
            plain = _yaml(content)
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error
    _check_values(plain)
    return plain


def _json_object(content: bytes | str) -> dict[str, Any] | None:
    """The object of a JSON text, None for any other text, which may still be YAML."""
    try:
        plain = json.loads(content) if content[:4].strip()[:1] in {b"{", "{"} else None
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

    Raises ValueError for too many, and for a node that holds itself.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in around:
        raise ValueError("a value of it holds itself by an alias")
    if id(node) not in known:
        pairs = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
        inner = around | {id(node)}
        _check_depth(len(inner))
        known[id(node)] = 1 + sum(_expanded(each, known, inner) for each in pairs)
        if known[id(node)] > MAX_EXPANDED:
            raise ValueError(f"with its aliases written out it has more than {MAX_EXPANDED} values")
    return known[id(node)]


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
