"""The classes that are scored: those of a layer, some of them joined, and the class that a label means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.parquet import pyarrow
from tilewright.models.fields import did_you_mean
from tilewright.tasks.audit.evaluate.label_file import LabelError, encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

UNKNOWN, UNLABELLED = -1, -2
"""Codes of a label that is no class of the layer, and of a row without a label."""

LISTED = 8
"""Names in a sentence, at most."""

WHOLE = re.compile(r"-?[0-9]{1,18}")
"""A word of a mapping that means whole numbers of a column too."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula at the start of a text."""

MOST_LABELS = 100_000
"""Different labels of a column, at most: more are no classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredClasses:
    """The ``names`` that are scored, in the order of the layer's classes, and what is counted as which.

    ``of_value`` gives the index of a name by a stored value, ``of_label`` by the text of a label, ``of_number`` by a
    label that is a whole number: "1" as a name and 1 as a value stay apart.
    """

    names: tuple[str, ...]
    of_value: Mapping[int, int]
    of_label: Mapping[str, int]
    of_number: Mapping[int, int]

    @property
    def other(self) -> int:
        """The index of stored values that are no class of the layer."""
        return len(self.names)

    def product_codes(self, values: np.ndarray) -> np.ndarray:
        """The indices of stored values, any shape, int64."""
        table = np.full(2**16, self.other, dtype=np.int64)
        for value, index in self.of_value.items():
            table[value] = index
        if values.dtype == np.uint8:
            few: np.ndarray = table[:256][values]
            return few
        inside = (values >= 0) & (values < len(table))
        return np.where(inside, table[np.where(inside, values, 0).astype(np.int64)], self.other)

    def code_of(self, label: object) -> int:
        """The index of a label: a whole number is a stored value, a text is a name; `UNKNOWN` for any other."""
        if label is None or (isinstance(label, float) and np.isnan(label)):
            return UNLABELLED
        if isinstance(label, str):
            return self._code_of_text(label.strip()) if label.strip() else UNLABELLED
        try:
            value = int(label)  # type: ignore[call-overload]
            if value != label:
                return UNKNOWN
        except (TypeError, ValueError, OverflowError):
            return UNKNOWN
        return self.of_number.get(value, UNKNOWN)

    def _code_of_text(self, label: str) -> int:
        # The CSV of the labelling page has an apostrophe before a name that begins like a formula.
        plain = label[1:] if label[:1] == "'" and label[1:].startswith(FORMULA) else label
        return self.of_label.get(label, self.of_label.get(plain, UNKNOWN))

    def column_codes(self, column: Any, *, where: str) -> tuple[np.ndarray, Counter[str]]:
        """The codes of a pyarrow column of labels (row,), and how often each unknown label stands there.

        Raises LabelError for a column of which no label is known, or of too many.
        """
        labels, places = encoded(column, where=where)
        if len(labels) > MOST_LABELS:
            raise LabelError(f"The column {where} has {len(labels):,} different labels: these are no classes.")
        codes = np.array([*(self.code_of(label) for label in labels), UNLABELLED], dtype=np.int64)
        found: np.ndarray = codes[places]
        often = np.bincount(places, minlength=len(codes))
        unknown = Counter(
            {str(label): int(often[n]) for n, label in enumerate(labels) if codes[n] == UNKNOWN and often[n]}
        )
        return found, unknown

    def refusal(self, layer: str, unknown: Counter[str], *, where: str) -> LabelError:
        """What is said where no label is a class of the layer."""
        shown = ", ".join(repr(_short(label)) for label, _ in unknown.most_common(LISTED))
        near = next((hint for label in unknown if (hint := did_you_mean(label, self.of_label))), "")
        names = ", ".join(_short(name) for name in self.names[:20])
        first, label = self.names[0], next(iter(unknown))
        return LabelError(
            f"No label in {where} is a class of the layer {layer}: {shown}{near}. Its classes are {names}; names are "
            f"texts, stored values whole numbers; say what others mean with --map {_short(first)}={_short(label)}."
        )


def scored_classes(
    layer: str, classes: Sequence[tuple[int, str]], maps: Mapping[str, Sequence[str]] | None = None
) -> ScoredClasses:
    """The classes of a layer, (value, name), as they are scored under mappings.

    ``maps`` gives a class of the layer and the labels that mean it; or a name of its own and the classes of the layer
    that are joined under it. Raises LabelError for a mapping that is neither.
    """
    joined, meant = _mappings(layer, classes, maps or {})
    names: list[str] = []
    of_value: dict[int, int] = {}
    for value, name in classes:
        told = joined.get(value, name)
        if told not in names:
            names.append(told)
        of_value[value] = names.index(told)
    of_label = {name: of_value[value] for value, name in classes}
    of_label |= {name: number for number, name in enumerate(names)}
    of_number = dict(of_value)
    for word, target in meant.items():
        of_label[word] = of_label[target]
        if WHOLE.fullmatch(word):
            of_number[int(word)] = of_label[target]
    return ScoredClasses(names=tuple(names), of_value=of_value, of_label=of_label, of_number=of_number)


def _mappings(
    layer: str, classes: Sequence[tuple[int, str]], maps: Mapping[str, Sequence[str]]
) -> tuple[dict[int, str], dict[str, str]]:
    """The names under which stored values are joined, and the class that each label means, by its text."""
    joined: dict[int, str] = {}
    meant: dict[str, str] = {}
    by_word = {**{str(value): value for value, _ in classes}, **{name: value for value, name in classes}}
    for name, words in maps.items():
        lacking = [word for word in words if word not in by_word]
        if name not in by_word and lacking:
            listed = ", ".join(_short(each) for _, each in classes[:20])
            raise LabelError(
                f"--map {name}={','.join(words)}: neither {name!r} nor {lacking[0]!r} is a class of the layer {layer}"
                f"{did_you_mean(name, by_word)}; its classes are {listed}."
            )
        for word in words:
            told = dict(classes)[by_word[name]] if name in by_word else name
            before = meant.setdefault(word, told) if name in by_word else joined.setdefault(by_word[word], told)
            if before != told:
                raise LabelError(f"--map takes {word!r} for {before!r} and for {told!r}: give it once.")
    return joined, meant


def given_maps(given: Sequence[str] | Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """The labels that mean each class, as texts: from words of a command, or a mapping. Raises as `parse_maps` does."""
    if not isinstance(given, Mapping):
        return parse_maps(given)
    single = (str, int, float)
    return {
        str(name): (str(words),) if isinstance(words, single) else tuple(map(str, words))  # type: ignore[call-overload]
        for name, words in given.items()
    }


def parse_maps(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Mappings as they are given, ``forest=tree,shrub``. Raises LabelError for other texts."""
    maps: dict[str, tuple[str, ...]] = {}
    for text in given:
        name, sign, rest = text.partition("=")
        words = tuple(word.strip() for word in rest.split(",") if word.strip())
        if not sign or not name.strip() or not words:
            raise LabelError(f"--map {text!r}: expected a class and the labels that mean it, forest=tree,shrub.")
        maps[name.strip()] = (*maps.get(name.strip(), ()), *words)
    return maps


def is_text(column: Any) -> bool:
    """True for a pyarrow column of texts."""
    pa = pyarrow()
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 40 else f"{plain[:37]}..."
