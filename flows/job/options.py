"""The options of a job under a key of their own: grid, tiles, files, scenes, tolerance and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

MAX_CRS = 20_000
"""Characters of the longest CRS; the longest of EPSG's in WKT has 8,000."""

MAX_NESTS = 200
"""Braces of a CRS in JSON, more than any of EPSG's: its parser's stack is as deep as they nest."""

MIN_GATE = 0.995
"""Share of each layer's pixels that another precision than single must give alike; a job may ask for more."""

Coordinate = Annotated[float, Field(ge=-1e9, le=1e9)]
"""A coordinate of a grid: no CRS of the Earth in metres or feet has larger ones."""


def _number(given: Any) -> Any:
    """The value itself. Raises ValueError for true and false, which would be taken for 1 and 0."""
    if isinstance(given, bool) or (isinstance(given, (list, tuple)) and any(isinstance(each, bool) for each in given)):
        raise ValueError("expected a number, not true or false")
    return given


class Options(BaseModel):
    """Options of which none is true or false."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _numbers = field_validator("*", mode="before")(_number)


def _crs_text(crs: str) -> str:
    """The text itself. Raises ValueError for one that no CRS has: as long as no WKT, or with characters of no code."""
    if len(crs) > MAX_CRS or crs.count("{") > MAX_NESTS or (not crs.isprintable() and not crs.isascii()):
        raise ValueError("expected utm, a code such as EPSG:3035, or WKT")
    return crs


def _extent(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The bounds themselves. Raises ValueError where they hold nothing."""
    minx, miny, maxx, maxy = bounds
    if minx >= maxx or miny >= maxy:
        raise ValueError(f"grid.bounds {bounds} are empty: give minx, miny, maxx, maxy in the units of grid.crs")
    return bounds


class GridOptions(Options):
    """Options of the grid; None: as the card says."""

    crs: Annotated[str, AfterValidator(_crs_text)] = "utm"
    resolution: float | None = Field(default=None, gt=0)
    bounds: Annotated[tuple[Coordinate, Coordinate, Coordinate, Coordinate], AfterValidator(_extent)] | None = None


class TileOptions(Options):
    """Options of blocks and windows; None: as planned from the model and the area."""

    block: int | None = Field(default=None, gt=0, le=32768)
    step: int | None = Field(default=None, gt=0, le=8192)
    batch: int | None = Field(default=None, gt=0, le=1024)


class CogOptions(Options):
    """Options of the layers' files; ``max_side`` None: as `tilewright.tasks.cog.parts` says."""

    max_side: int | None = Field(default=None, ge=512, le=131_072, multiple_of=512)


def as_list(value: object) -> object:
    """A text or number alone as a list of one."""
    return (value,) if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(as_list)]
"""Texts in a list; one alone needs none."""


MAX_LAYERS = 1000
"""Layers that a job may name, more than any card has."""

MaxError = Annotated[float, BeforeValidator(_number), Field(gt=0, ge=1e-30, le=1e30)]
"""The greatest error of stored values, in the layer's unit."""

POLYGONS_EXAMPLE = "{class: {classes: [water], simplify: 10}}"


class PolygonOptions(BaseModel):
    """The polygons of a class layer: of which classes (empty: of all), joined by edges alone (4) or by corners too (8).

    ``least_area`` in square metres: smaller ones are left out. ``simplify``: how far an outline may move, in units of
    the grid's CRS; neighbours keep their common borders. ``columns``: ours, or those of fiboa for fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    classes: Texts = ()
    least_area: float = Field(default=0, ge=0)
    connectivity: Literal[4, 8] = 4
    simplify: float = Field(default=0, ge=0)
    columns: Literal["tilewright", "fiboa"] = "tilewright"

    _numbers = field_validator("least_area", "connectivity", "simplify", mode="before")(_number)

    def request(self) -> dict[str, Any]:
        """What decides the table, as JSON; its columns only if they are not ours."""
        return self.model_dump(mode="json", exclude={"columns"} if self.columns == "tilewright" else None)


def as_polygons(value: object) -> object:
    """``polygons: class`` as ``{class: {}}``, several in a list likewise, and a layer without options; null is none.

    Raises ValueError for what names no layer.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
        return {each: {} for each in value}
    if isinstance(value, Mapping):
        plain = [key for key in PolygonOptions.model_fields if key in value and not isinstance(value[key], Mapping)]
        if plain:
            raise ValueError(f"{plain[0]} stands where a class layer is named; write {POLYGONS_EXAMPLE}")
        return {key: options or {} for key, options in value.items()}
    raise ValueError(f"expected the name of a class layer, or names with options, such as {POLYGONS_EXAMPLE}")


PASSES = 8
"""Times that a window is run with noise where the job does not say it."""


def _deviation(given: Any) -> Any:
    """The deviation, or those by band, themselves. Raises ValueError for what is none: one sentence for both forms."""
    for value in given.values() if isinstance(given, Mapping) else [given]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e6:
            raise ValueError(f"expected a number greater than 0 and at most 1000000, not {value!r:.40}")
    return given


class _ModelOptions(BaseModel):
    """Options of how models are run. What older jobs could not say is dumped only where it is said."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _said(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unsaid = {"split": False, "sigma": None, "passes": None, "seed": 0, "calibrated": False}
        return {key: value for key, value in dump(self).items() if key not in unsaid or value != unsaid[key]}


class AugmentOptions(_ModelOptions):
    """The runs of each window whose mean is mapped: ``flips`` of it, four, ``d4`` with quarter turns eight; or with
    ``noise`` on the bands, of deviation ``sigma`` in their units, anew in each of ``passes``.
    """

    kind: Literal["none", "flips", "d4", "noise"] = "none"
    spread: bool = False
    split: bool = False
    sigma: Annotated[float | dict[str, float], BeforeValidator(_deviation)] | None = None
    passes: Annotated[int, Field(ge=2, le=64)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    _numbers = field_validator("passes", "seed", mode="before")(_number)

    @model_validator(mode="after")
    def _fitting_kind(self) -> AugmentOptions:
        for key in ("spread", "split"):
            if getattr(self, key) and self.kind == "none":
                raise ValueError(f"{key} needs a kind: write flips, d4 or noise")
        if self.kind == "noise" and not self.sigma:
            raise ValueError(
                "sigma: write the deviation of the noise in the unit of the bands, as 0.01 or {red: 0.01, nir: 0.02}"
            )
        for key in ("sigma", "passes", "seed"):
            if getattr(self, key) and self.kind != "noise":
                raise ValueError(f"{key} belongs to kind noise: leave it out, or write kind: noise")
        return self

    @property
    def n_runs(self) -> int:
        """How often a window is run."""
        return {"none": 1, "flips": 4, "d4": 8, "noise": self.passes or PASSES}[self.kind]


MAX_MODELS = 64
"""Models of an ensemble beside the job's own; each is loaded and run for every window."""


class EnsembleOptions(_ModelOptions):
    """Further models of an ensemble with the job's own, and how their outputs are combined."""

    models: Annotated[Texts, Field(max_length=MAX_MODELS)] = ()
    combine: Literal["mean", "vote"] = "mean"
    disagreement: bool = False
    split: bool = False

    @model_validator(mode="after")
    def _partners_named(self) -> EnsembleOptions:
        if not self.models and (self.disagreement or self.split or self.combine == "vote"):
            raise ValueError("models: name the models that answer beside the job's own")
        if self.split and self.combine == "vote":
            raise ValueError("split: votes are sure of themselves; write combine: mean")
        return self


def as_augment(value: object) -> object:
    """``augment: d4`` as ``{kind: d4}``."""
    return {"kind": value} if isinstance(value, str) else value


def as_ensemble(value: object) -> object:
    """``ensemble: [one, two]`` as ``{models: [one, two]}``, and one model alone likewise."""
    return {"models": value} if isinstance(value, (str, list, tuple)) else value


class ClassifyOptions(_ModelOptions):
    """Words by which a model's vectors become classes, and the confidence below which a pixel has none. ``calibrated``:
    each word's scores are compared with how that word scores over the area.
    """

    words: Texts = ()
    least: float = Field(default=0.0, ge=0, lt=1)
    calibrated: bool = False


def as_classify(value: object) -> object:
    """``classify: [one, two]`` as ``{words: [one, two]}``."""
    return {"words": value} if isinstance(value, (str, list, tuple)) else value


class ScreenOptions(Options):
    """A cheap model that says where the job's own looks: in windows with ``least_share`` of pixels of ``classes``.

    ``resolution`` in units of the grid's CRS, None: as the card says. Elsewhere layers of classes are ``otherwise``,
    None: nothing. Classes are named, or given by their values.
    """

    model: str = Field(min_length=1)
    resolution: float | None = Field(default=None, gt=0)
    classes: Annotated[tuple[int | str, ...], BeforeValidator(as_list), Field(min_length=1)]
    least_share: float = Field(default=0.001, gt=0, le=1)
    otherwise: int | str | None = None


class AlignOptions(Options):
    """Dates moved onto one of them, ``to`` (a step's label, or "first"), by at most ``most`` metres.

    ``band`` is that in which shifts are measured; "": red, near infrared, green or the first that there is.
    """

    to: str = "first"
    most: float = Field(gt=0, le=100_000)
    band: str = ""


class Clearest(Options):
    """The clearest passes of each step: by what scenes state, over the whole area, or by a look at their masks' pixels,
    cell by cell. ``holes``: pixels of a cell that none of its ``most`` passes sees get further ones, or are left.
    """

    most: int = Field(gt=0)
    by: Literal["statement", "pixels"] = "statement"
    holes: Literal["fill", "leave"] = "fill"

    @model_validator(mode="after")
    def _check_holes(self) -> Clearest:
        if self.by == "statement" and "holes" in self.model_fields_set:
            raise ValueError("holes means nothing by statement, which looks at no pixel: write by: pixels")
        return self

    def request(self) -> int | dict[str, Any]:
        """What decides pixels, as JSON; by statement the number alone."""
        return self.most if self.by == "statement" else self.model_dump(mode="json")


def _as_most(value: object) -> object:
    """A number alone as that of the clearest passes."""
    return value if value is None or isinstance(value, (dict, Clearest)) else {"most": value}


class SceneFilter(Options):
    """Conditions on the scenes that are used."""

    max_cloud: float | None = Field(default=None, ge=0, le=100)
    clearest: Annotated[Clearest | None, BeforeValidator(_as_most)] = None
    orbit_state: Literal["ascending", "descending"] | None = None
    relative_orbit: int | None = None
    mode: str | None = None
    platforms: Texts = ()


class Tolerance(Options):
    """Failures that are tolerated before the job fails."""

    failed_reads: int = Field(default=0, ge=0)
    items_left_out: float = Field(default=1.0, ge=0, le=1)


class Limits(Options):
    """Limits that a job may not exceed."""

    blocks: int = Field(default=100_000, gt=0, le=1_000_000)
    items: int = Field(default=10_000, gt=0)
    memory_mb: float | None = Field(default=None, gt=0)
