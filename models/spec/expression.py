"""Arithmetic over bands: parsed into a tree of allowed operations, never evaluated as code."""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Values = NDArray[np.float32] | np.float32


BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}

UNARY: Final[dict[type[ast.unaryop], Callable[[Any], Any]]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

FUNCTIONS: Final[dict[str, tuple[int, Callable[..., Any]]]] = {
    "abs": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "log10": (1, np.log10),
    "sin": (1, np.sin),
    "cos": (1, np.cos),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
}
"""Function name -> (number of arguments, float32 ufunc)."""

MAX_CHARACTERS: Final = 1000

MAX_DEPTH: Final = 40

LARGEST: Final = float(np.finfo(np.float32).max)
"""The largest number of an expression, which is computed in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A checked expression: its text, and the names of the bands it needs, in the order of first use."""

    text: str
    names: tuple[str, ...]

    def __call__(self, bands: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The value per pixel, float32, in the shape of the bands; NaN or infinite where it is undefined."""
        with np.errstate(all="ignore"):
            value = _evaluate(_parse(self.text), bands)
        shape = np.broadcast_shapes(*(np.shape(bands[name]) for name in self.names))
        return np.broadcast_to(np.asarray(value, dtype=np.float32), shape)


def parse_expression(text: str, *, field: str) -> Expression:
    """The expression in `text`: names, numbers, + - * / **, parentheses and the functions in FUNCTIONS.

    Raises CardError naming `field` for anything else (attributes, indices, comparisons, strings, other calls).
    """
    if len(text) > MAX_CHARACTERS:
        raise CardError(f"{field} has {len(text)} characters; write an expression of at most {MAX_CHARACTERS}")
    try:
        tree = _parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CardError(f"{field} is {text!r}, which does not parse; write arithmetic over band names") from error
    names: list[str] = []
    _check(tree, names, field=field, depth=0)
    if not names:
        raise CardError(f"{field} is {text!r}, which names no band; write arithmetic over band names")
    return Expression(text=text, names=tuple(dict.fromkeys(names)))


@lru_cache(maxsize=256)
def _parse(text: str) -> ast.expr:
    return ast.parse(text.strip(), mode="eval").body


def _check(node: ast.expr, names: list[str], *, field: str, depth: int) -> None:
    """Walk the tree, collect band names, and refuse every node that is not plain arithmetic."""
    children = _operands(node)
    if children is None or depth > MAX_DEPTH:
        allowed = f"+ - * / **, numbers, band names and {', '.join(FUNCTIONS)}"
        if depth > MAX_DEPTH:
            raise CardError(f"{field} is nested more than {MAX_DEPTH} deep; write several derived bands")
        raise CardError(f"{field} holds {_written(node)!r}, which is not allowed there; use {allowed}")
    if isinstance(node, ast.Name):
        names.append(node.id)
    for child in children:
        _check(child, names, field=field, depth=depth + 1)


def _written(node: ast.expr) -> str:
    try:
        return ast.unparse(node)[:60]
    except RecursionError:
        return "..."


def _operands(node: ast.expr) -> tuple[ast.expr, ...] | None:
    """The sub-expressions of an allowed node, None for a node that is not allowed."""
    match node:
        case ast.Name():
            return ()
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            # Larger numbers are infinite as float32, and a large whole number is an error there.
            return () if abs(value) <= LARGEST else None
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return (left, right)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            return (operand,)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return tuple(args) if len(args) == FUNCTIONS[name][0] else None
    return None


def _evaluate(node: ast.expr, bands: Mapping[str, NDArray[np.float32]]) -> Values:
    match node:
        case ast.Name(id=name):
            return bands[name]
        case ast.Constant(value=int() | float() as number):
            return np.float32(number)
        case ast.BinOp(left=left, op=op, right=right):
            return BINARY[type(op)](_evaluate(left, bands), _evaluate(right, bands))
        case ast.UnaryOp(op=op, operand=operand):
            return UNARY[type(op)](_evaluate(operand, bands))
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name][1](*(_evaluate(arg, bands) for arg in args))
    raise AssertionError(f"{ast.dump(node)[:80]} passed the check of expressions but has no meaning")
