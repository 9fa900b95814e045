"""What a report and a plan say of how far the inputs lie from the card's statistics: rows, and sentences of warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.tasks.audit.drift.measure import apart_bands, band_drift, scale_of, swapped_bands
from tilewright.tasks.audit.drift.sums import BandSums, add_sums

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tilewright.models.spec.inputs import InputSpec
    from tilewright.tasks.audit.drift.measure import BandDrift
    from tilewright.tasks.audit.drift.sums import InputSums


NAMED: Final = 3
"""Bands that a sentence names."""

LEAST_TOLD: Final = 1e-3
"""Times of what is expected that are told as a number: smaller values are counted in too large steps."""

ADVICE: Final = (
    "Another season, region or processing than the model was trained on, or clouds that no mask drops: look at the map "
    "before you trust it."
)


def drift_rows(inputs: Sequence[InputSpec], parts: Iterable[InputSums]) -> list[dict[str, Any]]:
    """One row for each input whose card tells statistics, of the sums of all parts; none for one of which nothing was
    seen.

    Keys: ``input``, ``unit``, ``parts`` that counted, ``bands`` (``BandDrift.to_json``), the ``scale`` of values in
    another unit, ``swapped`` bands [as named, as they look], and ``warning``, empty if no band is far. ``parts`` of an
    older version counted nothing.
    """
    known = list(parts)
    found = []
    for spec in inputs:
        if spec.told:
            counted = [each[spec.name] for each in known if _fits(each.get(spec.name), spec)]
            total = add_sums({spec.name: bands} for bands in counted).get(spec.name, [])
            bands = [
                drift
                for name, statistics, sums in zip(spec.bands, spec.statistics, total, strict=bool(total))
                if statistics is not None
                and (drift := band_drift(name, statistics, BandSums.from_json(sums), unit=spec.unit))
            ]
            if bands:
                found.append(_row(spec, bands, n_parts=len(counted)))
    return found


def drift_warnings(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The sentences of warning in rows."""
    return [row["warning"] for row in rows if row["warning"]]


def drift_json(inputs: Sequence[InputSpec], parts: Iterable[InputSums]) -> dict[str, Any]:
    """The key ``drift`` of a report; nothing where the card tells no statistics, or nothing was counted."""
    rows = drift_rows(inputs, parts)
    return {"drift": rows} if rows else {}


def _fits(bands: Sequence[Sequence[int]] | None, spec: InputSpec) -> bool:
    """True for the sums of this input's bands: an entry may be older, or somebody else's."""
    return bands is not None and [bool(band) for band in bands] == [each is not None for each in spec.statistics]


def _row(spec: InputSpec, bands: Sequence[BandDrift], *, n_parts: int) -> dict[str, Any]:
    apart = apart_bands(bands) or ()
    far = [band for band in bands if band.far or band in apart]
    swapped, scale = swapped_bands(bands), scale_of(bands) if far else None
    return {
        "input": spec.name,
        "unit": spec.unit,
        "parts": n_parts,
        "bands": [{**band.to_json(), **({"far": band.far or "apart"} if band in far else {})} for band in bands],
        "scale": scale,
        "swapped": [list(pair) for pair in swapped],
        "warning": _warning(spec, bands, far, scale=scale, swapped=swapped),
    }


def _warning(
    spec: InputSpec,
    bands: Sequence[BandDrift],
    far: Sequence[BandDrift],
    *,
    scale: float | None,
    swapped: Sequence[tuple[str, str]],
) -> str:
    if scale is not None:
        first, times = bands[0], f"about {scale:,.0f}" if scale > 1 else f"about 1/{1 / scale:,.0f}"
        times = times if scale >= LEAST_TOLD else f"less than 1/{1 / LEAST_TOLD:,.0f}"
        return (
            f"Input {spec.name}: its values are {times} times those that the model was trained on (band "
            f"{first.name} has mean {first.mean:.4g}, expected is {first.statistics.mean:.4g}): they look like another "
            "unit, as DN do for reflectance. Check the scale and offset that the source states."
        )
    if swapped:
        pairs = "; ".join(f"{name} looks like {other}" for name, other in swapped[:NAMED])
        return (
            f"Input {spec.name}: its bands look swapped ({pairs}), by the statistics of the model's card. Check which "
            "bands of the source stand for which."
        )
    if not far:
        return ""
    worst = sorted(far, key=_farness, reverse=True)[:NAMED]
    told = "; ".join(f"{band.name} {_found(band)}" for band in worst)
    if any(band.far for band in far):
        head = f"{len(far)} of {len(bands)} bands {'is' if len(far) == 1 else 'are'} far from"
    else:
        head = f"{far[0].name} and {far[1].name} lie far apart beside"
    return f"Input {spec.name}: {head} what the model was trained on: {told}. {ADVICE}"


def _farness(band: BandDrift) -> float:
    return max(abs(band.difference or 0.0), band.ratio or 0.0, 2 * (band.outside or 0.0))


def _found(band: BandDrift) -> str:
    """A band's values and what was expected of them, as a clause."""
    told, place = band.statistics, band.far
    if place == "outside":
        return f"has {100 * (band.outside or 0.0):.3g} % of its values outside {told.minimum:.4g} to {told.maximum:.4g}"
    if told.mean is None or told.stddev is None:
        span = f"{told.minimum:.4g} to {told.maximum:.4g}"
        return f"has mean {band.mean:.4g} and deviation {band.stddev:.3g} in a range of {span}"
    expected = f"{told.mean:.4g} ± {told.stddev:.3g}"
    if place in {"wide", "narrow"}:
        return f"has deviation {band.stddev:.3g} where {expected} is expected"
    difference = band.difference or 0.0
    side = "above" if difference > 0 else "below"
    return f"has mean {band.mean:.4g}, {abs(difference):.3g} deviations {side} {expected}"
