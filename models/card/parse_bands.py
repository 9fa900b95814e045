"""The bands that a card declares, and those of one input: names, expressions of derived bands, bands to read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.errors import CardError
from tilewright.models.fields import CardField, did_you_mean
from tilewright.models.spec.expression import Expression, parse_expression
from tilewright.models.spec.scaling import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


INDICES: Final = {
    "ndvi": "(nir - red) / (nir + red)",
    "ndwi": "(green - nir) / (green + nir)",
    "mndwi": "(green - swir16) / (green + swir16)",
    "ndmi": "(nir - swir16) / (nir + swir16)",
    "nbr": "(nir - swir22) / (nir + swir22)",
}
"""Derived bands that a card can request by name.

Source: Rouse 1974 (NDVI), McFeeters 1996 (NDWI), Xu 2006 (MNDWI), Gao 1996 as used with Sentinel-2 (NDMI),
Key and Benson 2006 (NBR).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandList:
    """Bands in the card's order, the expressions of the derived ones by name, and the bands to read."""

    names: tuple[str, ...]
    expressions: dict[str, Expression]
    source: tuple[str, ...]


def read_bands(field: CardField, declared: Sequence[str]) -> BandList:
    """The bands of one `mlm:input` entry; `declared` are the names in the Item's `bands`.

    A text names a declared band or a known index; an object {name, format, expression} defines a derived band.
    Raises CardError naming the entry if a band is not declared or an expression cannot be honoured.
    """
    entries = field.content.get("bands")
    if not isinstance(entries, list) or not entries:
        raise field.refuse("bands", "list at least one band (an input without bands needs tw:extra)")
    names: list[str] = []
    expressions: dict[str, Expression] = {}
    for i, entry in enumerate(entries):
        name, expression = _band(entry, f"{field.at('bands')}[{i}]", declared)
        names.append(name)
        if expression is not None:
            expressions[name] = expression
    source: list[str] = []
    for i, name in enumerate(names):
        required = expressions[name].names if name in expressions else (name,)
        _refuse_undeclared(required, declared, f"{field.at('bands')}[{i}]")
        source.extend(required)
    return BandList(names=tuple(names), expressions=expressions, source=tuple(dict.fromkeys(source)))


def _band(entry: object, path: str, declared: Sequence[str]) -> tuple[str, Expression | None]:
    """The name of one entry and its expression, None for a band that is not derived."""
    if isinstance(entry, str):
        if entry in INDICES and entry not in declared:
            return entry, parse_expression(INDICES[entry], field=path)
        return entry, None
    if not isinstance(entry, dict):
        raise CardError(f"{path} is {entry!r}; write a band's name or an object with name, format and expression")
    band = CardField(path=path, content=entry)
    if not (band.has("expression") or band.has("format")):
        return band.text("name"), None
    if band.text("format") != FORMAT:
        raise band.refuse("format", f"write {FORMAT!r}: no other expression language is run")
    return band.text("name"), parse_expression(band.text("expression"), field=band.at("expression"))


def _refuse_undeclared(names: Sequence[str], declared: Sequence[str], path: str) -> None:
    for name in names:
        if name not in declared:
            hint = did_you_mean(name, declared)
            raise CardError(
                f"{path} needs the band {name!r}, which properties.bands does not declare{hint}; add it there"
            )


def declared_bands(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in the Item's `bands` and of its assets, then the common names that belong to one of these bands alone."""
    owners = [raw["properties"], *raw["assets"].values()]
    entries = [band for owner in owners for band in owner.get("bands") or owner.get("eo:bands") or []]
    named = {str(band["name"]): band for band in entries if isinstance(band, dict) and "name" in band}
    commons = Counter(common for band in named.values() if (common := _common_name(band)))
    return (*named, *(common for common, n_bands in commons.items() if n_bands == 1 and common not in named))


def _common_name(band: Mapping[str, Any]) -> str | None:
    stated = next((band[key] for key in ("eo:common_name", "common_name") if band.get(key)), None)
    return str(stated) if stated is not None else None
