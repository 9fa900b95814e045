"""The job as a person writes it: read, checked and completed with defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    model_validator,
)

from tilewright.catalogs.sources.plain import load_plain
from tilewright.flows.job.area import Area, AreaError, read_area
from tilewright.flows.job.mask import MaskOptions
from tilewright.flows.job.options import (
    MIN_GATE,
    CogOptions,
    GridOptions,
    Limits,
    PolygonOptions,
    SceneFilter,
    Texts,
    TileOptions,
    Tolerance,
    as_polygons,
)
from tilewright.flows.job.period import JobPeriod, as_periods, checked_name, read_period
from tilewright.flows.job.places.columns import PlacesError
from tilewright.flows.job.places.places import JobPlaces, read_places
from tilewright.flows.job.refusals import refusal

MAX_JOB_BYTES = 16 * 2**20
"""Largest size of a job file, with an inline area; a larger file is no job."""

REMOTE = re.compile(r"^[a-z0-9+]+://")

NO_PIXELS = {"output", "base", "tolerance", "limits", "provider", "precision_gate", "verify", "area", "places"}
"""Keys of a job that are no part of its request, but for area and places, which are put into it in their own way."""


OF_MAPS = {
    "polygons": "polygons are of a map",
    "grid.bounds": "windows lie around the places",
    "tile.block": "the rows are cut into units, not the ground into blocks",
    "cog.max_side": "no raster is written",
    "filter.clearest": "the clearest passes are chosen over an area",
    "precision": "another precision is compared with fp32 on the windows of a map",
}
"""Keys of a job that mean nothing for places, and why."""


class JobError(ValueError):
    """A job that is refused: which field, what was given, what is expected."""


def _yes_or_no(given: Any) -> Any:
    """The word ``yes`` or ``no`` for a bool, since YAML reads these words as true and false; else the value itself."""
    return {True: "yes", False: "no"}[given] if isinstance(given, bool) else given


class AugmentOptions(BaseModel):
    """Flips and turns of each window that the model is run on: ``flips`` are four, ``d4`` with quarter turns eight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["none", "flips", "d4"] = "none"
    spread: bool = False

    @model_validator(mode="after")
    def _spread_of_something(self) -> AugmentOptions:
        if self.spread and self.kind == "none":
            raise ValueError("spread needs a kind: write flips or d4")
        return self


MAX_MODELS = 64
"""Models of an ensemble beside the job's own; each is loaded and run for every window."""

MAX_PERIODS = 1000
"""Periods of a job, each of which is searched."""


class EnsembleOptions(BaseModel):
    """Further models of an ensemble with the job's own, and how their outputs are combined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Annotated[Texts, Field(max_length=MAX_MODELS)] = ()
    combine: Literal["mean", "vote"] = "mean"
    disagreement: bool = False

    @model_validator(mode="after")
    def _partners_named(self) -> EnsembleOptions:
        if not self.models and (self.disagreement or self.combine == "vote"):
            raise ValueError("models: name the models that answer beside the job's own")
        return self


class ClassifyOptions(BaseModel):
    """Words by which a model's vectors become classes, and the confidence below which a pixel has none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    words: Texts = ()
    least: float = Field(default=0.0, ge=0, lt=1)


def as_classify(value: object) -> object:
    """``classify: [one, two]`` as ``{words: [one, two]}``."""
    return {"words": value} if isinstance(value, (str, list, tuple)) else value


def as_augment(value: object) -> object:
    """``augment: d4`` as ``{kind: d4}``."""
    return {"kind": value} if isinstance(value, str) else value


def as_ensemble(value: object) -> object:
    """``ensemble: [one, two]`` as ``{models: [one, two]}``, and one model alone likewise."""
    return {"models": value} if isinstance(value, (str, list, tuple)) else value


class Job(BaseModel):
    """A checked job. Paths are absolute or URIs; ``output`` may still be missing (plan and search need none).

    A job over ``places`` has the boxes around them as its ``area``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    name: Annotated[str, AfterValidator(checked_name)]
    area: Annotated[Area, BeforeValidator(read_area)]
    places: InstanceOf[JobPlaces] | None = None
    period: Annotated[tuple[JobPeriod, ...], BeforeValidator(as_periods), Field(min_length=1, max_length=MAX_PERIODS)]
    source: str | dict[str, Any]
    model: str
    output: str | None = Field(default=None, min_length=1)
    grid: GridOptions = GridOptions()
    tile: TileOptions = TileOptions()
    cog: CogOptions = CogOptions()
    filter: SceneFilter = SceneFilter()
    mask: MaskOptions = MaskOptions()
    gaps: Literal["leave", "carry", "interpolate"] | None = None
    engine: Literal["direct", "odc", "stackstac"] = "direct"
    radiometry: Literal["auto", "pixels", "metadata"] = "auto"
    layers: Texts = ()
    polygons: Annotated[dict[str, PolygonOptions], BeforeValidator(as_polygons)] = {}
    augment: Annotated[AugmentOptions, BeforeValidator(as_augment)] = AugmentOptions()
    ensemble: Annotated[EnsembleOptions, BeforeValidator(as_ensemble)] = EnsembleOptions()
    classify: Annotated[ClassifyOptions, BeforeValidator(as_classify)] = ClassifyOptions()
    prompt: Texts = ()
    tolerance: Tolerance = Tolerance()
    limits: Limits = Limits()
    provider: Literal["auto", "cpu", "cuda", "tensorrt", "openvino"] = "auto"
    fuse: Annotated[Literal["auto", "yes", "no"], BeforeValidator(_yes_or_no)] = "auto"
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    precision_gate: float = Field(default=MIN_GATE, ge=MIN_GATE, le=1)
    zarr_format: Literal[2, 3] = 3
    seed: int = 0
    verify: Literal["identity", "checksums"] = "identity"
    base: Path = Field(default_factory=Path, exclude=True)

    @model_validator(mode="after")
    def _periods_named_once(self) -> Job:
        names = [period.name for period in self.period]
        if len(set(names)) != len(names):
            raise ValueError(f"period: the names {names} must differ")
        return self

    @model_validator(mode="after")
    def _before_comes_first(self) -> Job:
        named = {period.name: period for period in self.period}
        before, after = named.get("before"), named.get("after")
        if before is not None and after is not None and after.start <= before.end:
            raise ValueError(
                f"period: before ({before.text}) must end before after ({after.text}) starts: they are reversed, "
                "overlap or are the same period"
            )
        return self

    @model_validator(mode="after")
    def _places_alone(self) -> Job:
        given = {
            "polygons": self.polygons,
            "grid.bounds": self.grid.bounds,
            "tile.block": self.tile.block,
            "cog.max_side": self.cog.max_side,
            "filter.clearest": self.filter.clearest,
            "precision": self.precision != "fp32",
        }
        for key, value in given.items():
            if self.places is not None and value:
                raise ValueError(f"{key}: a job over places makes a table, and {OF_MAPS[key]}: leave {key} out")
        return self

    @property
    def output_uri(self) -> str:
        """The folder or URI of the product: ``output``, else a folder of the job's name under ``out``."""
        return self.output or f"out/{self.name}"

    def request(self) -> dict[str, Any]:
        """Everything that decides the product's pixels, as JSON; a second run must have the same."""
        plain = self.model_dump(mode="json", exclude=NO_PIXELS)
        asked = {
            "ensemble": self.ensemble.models,
            "cog": self.cog.max_side is not None,
            "augment": self.augment.kind != "none",
            "gaps": self.gaps is not None,
            "classify": self.classify.words,
            "prompt": self.prompt,
        }
        for key in (key for key, value in asked.items() if not value):
            del plain[key]
        for key, default in (("fuse", "auto"), ("precision", "fp32")):
            if plain[key] == default:
                del plain[key]
        if self.polygons:
            plain["polygons"] = {name: options.request() for name, options in self.polygons.items()}
        else:
            del plain["polygons"]
        if self.filter.clearest is None:
            del plain["filter"]["clearest"]
        else:
            plain["filter"]["clearest"] = self.filter.clearest.request()
        places = {} if self.places is None else {"places": self.places.request()}
        return {**plain, "mask": self.mask.request(), "area": self.area.geojson(), **places}


def read_job(path: Path, *, changes: tuple[str, ...] = (), output: str | None = None) -> Job:
    """The job in a YAML or JSON file, with ``key=value`` changes applied.

    Paths in it (area, source, model) are relative to the file; ``output`` to the working folder.

    Raises JobError naming the field, what was given and what is expected.
    """
    return make_job(read_plain(path), base=path.resolve().parent, changes=changes, output=output)


def make_job(plain: dict[str, Any], *, base: Path, changes: tuple[str, ...] = (), output: str | None = None) -> Job:
    """The job a mapping describes; see ``read_job``."""
    plain = dict(plain)
    for change in changes:
        _apply_change(plain, change)
    if output is not None:
        plain["output"] = output
    plain.setdefault("name", "job")
    if strange := next((key for key in plain if not isinstance(key, str)), None):
        raise JobError(f"{strange}: no key of a job. Its keys are names such as area, period, source, model.")
    try:
        if "places" in plain:
            if "area" in plain:
                raise JobError("places: a job is over an area or over places, not both: leave one of them out.")
            plain["places"] = read_places(plain["places"], base=base, read_period=_row_period)
            plain["area"] = Area(geometry=plain["places"].footprint)
        elif "area" in plain:
            plain["area"] = read_area(plain["area"], base=base)
        return Job(**{**plain, "base": base})
    except PlacesError as error:
        raise JobError(str(error)) from error
    except AreaError as error:
        raise JobError(f"area: {error}") from error
    except ValidationError as error:
        raise JobError(refusal(error, Job)) from error


def _row_period(text: str) -> JobPeriod:
    """The period of a row. Raises ValueError for a text that is none, and for an open end."""
    period = read_period(text)
    if period.is_open:
        raise ValueError(f"{text!r} has an open end: write both ends")
    return period


def read_plain(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file, unchecked. Raises JobError where it cannot be read or is no mapping."""
    try:
        if path.stat().st_size > MAX_JOB_BYTES:
            raise JobError(f"{path} is larger than {MAX_JOB_BYTES // 2**20} MiB: a job is a short YAML file.")
        if not path.is_file():
            raise JobError(f"The job {path} is no file: give the path of a YAML or JSON file.")
        plain = load_plain(path.read_bytes())
    except OSError as error:
        raise JobError(f"The job {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        if isinstance(error, JobError):
            raise
        raise JobError(f"The job {path} is not valid YAML: {str(error)[:300]}.") from error
    if not isinstance(plain, dict):
        raise JobError(f"The job {path} holds no mapping: expected keys such as area, period, source, model.")
    return plain


def _apply_change(plain: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip() or not text.strip():
        raise JobError(f"--set {change!r}: expected key=value, e.g. --set grid.resolution=20.")
    *parents, last = key.strip().split(".")
    target = plain
    for parent in parents:
        inner = target.get(parent)
        target[parent] = dict(inner) if isinstance(inner, dict) else {}
        target = target[parent]
    try:
        target[last] = load_plain(text)
    except ValueError as error:
        raise JobError(f"--set {change!r}: the value is not valid YAML: {error}.") from error
