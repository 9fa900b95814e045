"""The description of a layer inside its file: type, nodata, classes with names and colours, unit, scale."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.tasks.colours import class_colours

KINDS = ("class", "percent", "value", "id")


MAX_PARALLEL_FILES = 4
"""COGs written at the same time at most, for any number of cores: each holds its rows and its staged copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogClass:
    """One class of a class layer; `color` is "#rrggbb" or "rrggbb", None for a default."""

    value: int
    name: str
    description: str = ""
    color: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CogSpec:
    """The description of a layer in its file.

    `kind` is class, percent, value or id and decides overviews and encoding; `nodata` is None, a number of `dtype` or
    NaN.
    `scale` and `offset` belong to quantised layers: physical = stored * scale + offset.
    """

    name: str
    dtype: str
    nodata: float | None
    kind: str
    classes: tuple[CogClass, ...] = ()
    unit: str = ""
    description: str = ""
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        assert self.kind in KINDS, f"layer {self.name} is of kind {self.kind!r}, not one of {KINDS}"
        assert self.kind != "class" or self.dtype == "uint8", f"class layer {self.name} is {self.dtype}, not uint8"
        assert self.kind == "class" or not self.classes, f"layer {self.name} has classes but is of kind {self.kind!r}"

    @property
    def colours(self) -> tuple[str, ...]:
        """One "#rrggbb" per class, in the order of `classes`."""
        return class_colours([entry.color for entry in self.classes])
