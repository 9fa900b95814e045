"""The sentence on a job that is refused: the key, what was given, what is expected, without words of a library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args, get_origin

from tilewright.models.fields import did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

EXPECTED = {
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "tuple_type": "a list, like [a, b]",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of at most {max_length}",
}
"""The types of errors of pydantic, and what a job has in place of the value."""

OF_MAPS = {
    "polygons": "polygons are of a map",
    "grid.bounds": "windows lie around the places",
    "tile.block": "the rows are cut into units, not the ground into blocks",
    "cog.max_side": "no raster is written",
    "filter.clearest": "the clearest passes are chosen over an area",
    "precision": "another precision is compared with fp32 on the windows of a map",
    "seams": "its windows have no seams",
    "classify.calibrated": "what is usual for a word is seen over an area",
    "screen": "each row is asked for",
    "align": "shifts are measured over an area",
    "loss": "its values take little room as they are",
}
"""Keys of a job that mean nothing for places, and why."""

NOT_SAID = "the job does not say it. A job needs area (or places), period, source and model"

OF_FIELD = {
    "source": "a name, a path, a URL, or a description with keys such as href",
    "sources": "collections with where each comes from, like {sentinel-2-l2a: earth-search, prior: out/2024}",
    "model": "one name, path or URL; further models stand under ensemble, like ensemble: [second]",
}
"""Keys of which more can be said than the type."""


def refusal(error: ValidationError, job: type[BaseModel]) -> str:
    """One sentence on the first thing to mend; a misspelt key comes before the one that is missing for it."""
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place = first["loc"][: {"source": 1, "sources": 2}.get(str(first["loc"][:1] and first["loc"][0]))]
    field = ".".join(str(part) for part in place) or "job"
    if first["type"] == "extra_forbidden":
        known = _known(job, place[:-1])
        return f"{field}: unknown key{did_you_mean(str(place[-1]), known)}. Known here: {', '.join(known)}."
    if first["type"] == "missing" and not isinstance(place[-1], int):
        return f"{field}: {NOT_SAID if len(place) == 1 else 'the job does not say it'}."
    words = _words(first, job)
    if not place:
        # The keys do not fit each other: the message names them, and the whole job would say nothing more.
        return f"{words}."
    if first["type"] == "missing":
        return f"{'.'.join(map(str, place[:-1]))}: {words}."
    given = json.dumps(first["input"], default=str)[:80]
    said = first["type"] == "value_error" and given in words
    return f"{field}: {words}." if said else f"{field}: {words} (given: {given})."


def _words(error: ErrorDetails, job: type[BaseModel]) -> str:
    kind, place = error["type"], error["loc"]
    if kind.endswith("_type") and place and place[0] in OF_FIELD:
        return f"expected {OF_FIELD['source' if place[0] == 'sources' and len(place) > 1 else str(place[0])]}"
    if kind == "missing":
        return "expected four numbers, [minx, miny, maxx, maxy]"
    if kind in {"dict_type", "model_type", "model_attributes_type"}:
        known = _known(job, place)[:3]
        return f"expected keys with values, such as {', '.join(known)}" if known else "expected names with their values"
    if kind == "literal_error":
        return f"expected {error['ctx']['expected']}{_similar(error)}"
    if kind in EXPECTED:
        quotes = ", in quotes" if kind == "string_type" and isinstance(error["input"], int | float) else ""
        bounds = {key: f"{bound:.9g}" for key, bound in error.get("ctx", {}).items() if isinstance(bound, int | float)}
        return f"expected {EXPECTED[kind].format(**bounds)}{quotes}"
    return error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")


def _similar(error: ErrorDetails) -> str:
    options = [option.strip("' ") for option in str(error["ctx"]["expected"]).replace(" or ", ",").split(",")]
    return did_you_mean(error["input"].lower(), options) if isinstance(error["input"], str) else ""


def _known(job: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    model: Any = job
    for part in place:
        model = _below(model, str(part))
    return [name for name in getattr(_options_in(model), "model_fields", {}) if name != "base"]


def _below(annotation: Any, part: str) -> Any:
    """The annotation of a key of options, or of what a list or a mapping of names holds; None if there is none."""
    if hasattr(annotation, "model_fields"):
        return annotation.model_fields[part].annotation if part in annotation.model_fields else None
    held = next((each for each in get_args(annotation) if _options_in(each) is not None), None)
    return held if get_origin(annotation) in {dict, list, tuple} or held is None else _below(held, part)


def _options_in(annotation: Any) -> Any:
    """The options that an annotation is, holds or maps names to; None if it has none."""
    if hasattr(annotation, "model_fields"):
        return annotation
    return next((found for each in get_args(annotation) if (found := _options_in(each)) is not None), None)
