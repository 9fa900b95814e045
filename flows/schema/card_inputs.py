"""What Tilewright asks of an entry of `mlm:input` beside STAC and the MLM extension."""

from __future__ import annotations

from tilewright.flows.schema.forms import (
    FLAG,
    NULL,
    NUMBER,
    POSITIVE,
    TEXT,
    TEXTS,
    Schema,
    array,
    given,
    integer,
    known,
    maybe,
    names,
    numbers,
    one_of,
    options,
    pattern,
    some_axis,
    square,
    when,
)
from tilewright.models.card.parse_extras import ALLOWED_AXES, KINDS, OWN_KEYS
from tilewright.models.card.parse_inputs import (
    DATES,
    EVERY,
    FILLS,
    FILTERS,
    GAPS,
    PERCENTILE,
    PIXEL_FIELDS,
    RESAMPLING,
    RESIZES,
    UNITS,
)
from tilewright.models.card.schema import MOST_ENTRIES
from tilewright.models.spec.arrays import AXES, DATA_TYPES, LARGEST_SIDE
from tilewright.models.spec.inputs import PARTS, REDUCERS
from tilewright.models.spec.scaling import FORMAT
from tilewright.models.spec.scaling import KINDS as SCALINGS
from tilewright.models.spec.statistics import FIELDS as STATISTICS
from tilewright.models.spec.words import KINDS as TOKENS
from tilewright.models.spec.words import LONGEST_PROMPT


def _scaling() -> Schema:
    """One entry of `value_scaling`, which may hold more keys than are read."""
    forms = {
        "min-max": {"minimum": NUMBER, "maximum": NUMBER},
        "clip": {"minimum": NUMBER, "maximum": NUMBER},
        "z-score": {"mean": NUMBER, "stddev": POSITIVE},
        "clip-min": {"minimum": NUMBER},
        "clip-max": {"maximum": NUMBER},
        "offset": {"value": NUMBER},
        "scale": {"value": {"type": "number", "not": {"const": 0}}},
        "processing": {"format": {"const": FORMAT}, "expression": TEXT},
    }
    rules = [
        when({"properties": {"type": {"const": kind}}}, {"required": [*form], "properties": form})
        for kind, form in forms.items()
    ]
    return {"type": "object", "required": ["type"], "properties": {"type": {"enum": [*SCALINGS]}}, "allOf": rules}


def _extra() -> Schema:
    """An input that is computed: its kind, alone or with what belongs to it."""
    entries, others = {kind for kind in KINDS if kind not in OWN_KEYS}, {"constant", "wavelengths"}
    common = {"kind", "of"}
    rules = [
        when(_kind(each), known(common | ({*OWN_KEYS[each]} if each in OWN_KEYS else {"parts", "values"})))
        for each in KINDS
    ]
    for each in entries:
        named = {"items": {"enum": [*PARTS[each]]}} if each in PARTS else {"maxItems": 0}
        rules.append(when(_kind(each), {"properties": {"parts": {"type": "array", **named}}}))
    rules += [when(_kind(each), {"required": ["values"], "properties": {"values": numbers(NUMBER)}}) for each in others]
    told = {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"enum": [*KINDS]},
            "of": maybe(TEXT),
            "tokenizer": TEXT,
            "prompt": maybe({"type": "string", "maxLength": LONGEST_PROMPT}),
        },
        "allOf": rules,
    }
    return {"anyOf": [{"enum": [kind for kind in KINDS if kind not in others]}, told]}


def _kind(name: str) -> Schema:
    return {"properties": {"kind": {"const": name}}}


def _computed() -> Schema:
    """An entry of `mlm:input` with `tw:extra`."""
    rules: list[Schema] = []
    for kind in KINDS:
        named = {"anyOf": [{"const": kind}, {"type": "object", **_kind(kind), "required": ["kind"]}]}
        whole = [each for each in DATA_TYPES if each.startswith("int")] if kind in TOKENS else DATA_TYPES
        filled = array("input", {"items": {"enum": names(*ALLOWED_AXES[kind])}, **square()}, data_types=whole)
        rules.append(when({"properties": {"tw:extra": named}}, filled))
    scaling = {"type": "array", "maxItems": 1, "items": _scaling()}
    return {
        **known(["tw:extra"], prefix="tw:"),
        "properties": {"tw:extra": _extra(), "value_scaling": scaling},
        "allOf": rules,
    }


def _band() -> Schema:
    """A band by its name, or one that is derived from others."""
    told = {"anyOf": [given("expression"), given("format")]}
    derived: Schema = {"required": ["name", "format", "expression"], "properties": {"format": {"const": FORMAT}}}
    derived["properties"] |= {"name": TEXT, "expression": TEXT}
    plain = {"required": ["name"], "properties": {"name": TEXT}}
    return {"anyOf": [{"type": "string"}, {"type": "object", **when(told, derived, plain)}]}


def _dates() -> Schema:
    """When the dates of an input are."""
    keys = {
        "kind": one_of(DATES),
        "reducer": {"anyOf": [one_of(REDUCERS), {"type": "string", "pattern": pattern(PERCENTILE.pattern)}]},
        "steps": maybe(integer(1, LARGEST_SIDE)),
        "every": maybe({"type": "string", "pattern": pattern(EVERY.pattern)}),
    }
    of_one = {"properties": {"kind": {"enum": ["composite", "static", None]}}}
    rules = [
        when(of_one, {"properties": {"steps": one_of([1])}}),
        when({"required": ["kind"], **_kind("pair")}, {"properties": {"steps": one_of([2])}}),
        when(given("every"), {"required": ["kind"], **_kind("series")}),
    ]
    return options(keys, allOf=rules)


def _missing() -> Schema:
    """What stands where a value is missing."""
    rule = {"anyOf": [NUMBER, {"enum": [*FILLS]}]}
    keys = {
        "fill": {"anyOf": [*rule["anyOf"], {"type": "array", "minItems": 1, "items": rule}]},
        "pad": one_of(["mirror", "fill"]),
        "steps": one_of(["fill", "refuse"]),
        "gaps": one_of(GAPS),
    }
    return options(keys)


def _filter() -> Schema:
    """Which scenes an input takes."""
    forms = [NUMBER, {"enum": ["ascending", "descending"]}, integer(), TEXT, TEXTS]
    return options(dict(zip(FILTERS, forms, strict=True)))


def _pixels() -> Schema:
    """An entry of `mlm:input` that is filled with pixels."""
    statistics = options({**dict.fromkeys(STATISTICS[:4], maybe(NUMBER)), STATISTICS[4]: {}, STATISTICS[5]: {}})
    pairs = [("mean", "stddev"), ("stddev", "mean"), ("minimum", "maximum"), ("maximum", "minimum")]
    statistics["properties"]["stddev"] = maybe(POSITIVE)
    statistics["allOf"] = [when(given(one), given(other)) for one, other in pairs]
    keys = {
        "bands": {"type": "array", "minItems": 1, "maxItems": MOST_ENTRIES, "items": _band()},
        "pre_processing_function": NULL,
        "value_scaling": {"anyOf": [NULL, {"type": "array", "maxItems": MOST_ENTRIES, "items": _scaling()}]},
        "resize_type": one_of(RESIZES),
        "tw:extra": NULL,
        "tw:collection": TEXT,
        "tw:unit": one_of(UNITS),
        "tw:resolution": maybe(POSITIVE),
        "tw:resampling": one_of(RESAMPLING),
        "tw:dates": maybe(_dates()),
        "tw:missing": maybe(_missing()),
        "tw:optional": FLAG,
        "tw:fold": one_of(["time-major", "band-major"]),
        "tw:filter": maybe(_filter()),
        "tw:statistics": maybe({"type": "array", "items": statistics}),
    }
    axes = [axis for axis in set(AXES.values()) if axis != "token"]
    dimensions = {"items": {"enum": names(*axes)}, "allOf": [some_axis("batch"), square()]}
    return {
        **known([*PIXEL_FIELDS, "tw:extra"], prefix="tw:"),
        "required": ["bands", "tw:collection"],
        "properties": keys,
        "allOf": [array("input", dimensions)],
    }


def card_input() -> Schema:
    """An entry of `mlm:input`."""
    common = {"type": "object", "required": ["name"], "properties": {"name": TEXT}}
    return {**common, **when(given("tw:extra"), _computed(), _pixels())}
