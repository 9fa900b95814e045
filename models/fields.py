"""Reads the values of one JSON object of a card; every error names the full path of the field to change."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


LONGEST_TEXT: Final = 4096
"""Characters of the longest text that a card's fields may hold."""

LARGEST_WHOLE: Final = 2**31 - 1
"""Largest whole number that a card may hold; none counts more than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardField:
    """A JSON object of the card together with its path in the card (`mlm:input[0].tw:dates`)."""

    path: str
    content: Mapping[str, Any]

    def at(self, key: str) -> str:
        """The full path of one of this object's keys, for messages."""
        return f"{self.path}.{key}" if self.path else key

    def refuse(self, key: str, expected: str) -> CardError:
        """The error for a key of this object: its path, its value and the expected value."""
        current = shorten(self.content[key]) if key in self.content else "missing"
        return CardError(f"{self.at(key)} is {current}; {expected}")

    def has(self, key: str) -> bool:
        """Whether the key is present with a value other than null."""
        return self.content.get(key) is not None

    def child(self, key: str) -> CardField:
        """The object under `key`, empty when absent. Raises CardError when the value is no object."""
        value = self.content.get(key)
        if value is None:
            return CardField(path=self.at(key), content={})
        if not isinstance(value, dict):
            raise self.refuse(key, "write an object {...}")
        return CardField(path=self.at(key), content=value)

    def children(self, key: str) -> tuple[CardField, ...]:
        """The objects of the list under `key`, empty when absent."""
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self.refuse(key, "write a list of objects [{...}, ...]")
        return tuple(CardField(path=f"{self.at(key)}[{i}]", content=entry) for i, entry in enumerate(value))

    def text(self, key: str, default: str | None = None) -> str:
        """The text under `key`, or the default. Raises CardError when neither exists or the value is no text."""
        value = self.content.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            raise self.refuse(key, "write a text")
        if len(value) > LONGEST_TEXT:
            raise self.refuse(key, f"write at most {LONGEST_TEXT} characters")
        return value

    def choice(self, key: str, options: Sequence[str], default: str | None = None) -> str:
        """One of the options under `key`."""
        value = self.text(key, default)
        if value not in options:
            raise self.refuse(key, f"write one of {', '.join(options)}{did_you_mean(value, options)}")
        return value

    def number(self, key: str, default: float | None = None, *, positive: bool = False) -> float:
        """The finite number under `key`."""
        value: Any = default if self.content.get(key) is None else self.content[key]
        if not is_number(value) or (positive and value <= 0):
            raise self.refuse(key, f"write a {'positive ' if positive else ''}number")
        return float(value)

    def integer(self, key: str, default: int | None = None, *, minimum: int = 1) -> int:
        """The whole number under `key`, at least `minimum`."""
        value = self.content.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= LARGEST_WHOLE:
            most = f" and at most {LARGEST_WHOLE}" if is_number(value) and value > LARGEST_WHOLE else ""
            raise self.refuse(key, f"write a whole number of at least {minimum}{most}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """The truth value under `key`."""
        value = self.content.get(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, "write true or false")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """The list of finite numbers under `key`; a single number is a list of one."""
        value = self.content.get(key)
        entries: list[Any] = value if isinstance(value, list) else [value]
        if not all(is_number(entry) for entry in entries):
            raise self.refuse(key, "write a number or a list of numbers")
        return tuple(float(entry) for entry in entries)

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts under `key`, empty when absent."""
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) and entry for entry in value):
            raise self.refuse(key, "write a list of texts")
        if max(map(len, value), default=0) > LONGEST_TEXT:
            raise self.refuse(key, f"write at most {LONGEST_TEXT} characters for each")
        return tuple(value)

    def only(self, known: Iterable[str], *, prefix: str = "") -> None:
        """Refuse unknown keys that start with `prefix`: a misspelt field must not silently become a default."""
        names = sorted(known)
        for key in self.content:
            if key.startswith(prefix) and key not in names:
                hint = did_you_mean(key, names)
                raise CardError(f"{self.at(key)} is not a field Tilewright knows{hint}; known here: {', '.join(names)}")


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number (true and false are not)."""
    # Compared before it becomes a float, which a huge whole number cannot.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def shorten(value: object) -> str:
    """A JSON value as text for a message, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def did_you_mean(value: str, options: Iterable[str]) -> str:
    """` (did you mean 'x'?)` if an option resembles `value`, else an empty text."""
    known = list(options)
    extensions = [option for option in known if value and option.startswith(value)]
    similar = extensions or difflib.get_close_matches(value, known)
    return f" (did you mean {similar[0]!r}?)" if similar else ""
