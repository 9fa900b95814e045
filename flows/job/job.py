"""The job as a person writes it: read, checked and completed with defaults."""

from __future__ import annotations

import os
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
from tilewright.flows.job.areas.area import Area, AreaError, read_area
from tilewright.flows.job.mask import MaskOptions
from tilewright.flows.job.options import (
    MAX_LAYERS,
    MIN_GATE,
    AlignOptions,
    AugmentOptions,
    ClassifyOptions,
    CogOptions,
    EnsembleOptions,
    GridOptions,
    Limits,
    MaxError,
    PolygonOptions,
    SceneFilter,
    ScreenOptions,
    Texts,
    TileOptions,
    Tolerance,
    as_augment,
    as_classify,
    as_ensemble,
    as_polygons,
)
from tilewright.flows.job.period import JobPeriod, as_periods, checked_name, read_period
from tilewright.flows.job.places.columns import PlacesError
from tilewright.flows.job.places.places import JobPlaces, read_places
from tilewright.flows.job.refusals import NOT_SAID, OF_MAPS, refusal
from tilewright.tasks.notebook import card, words

JOBS = "jobs"
"""The key of a file that holds a chain of jobs in place of one (flows/chain)."""

MAX_JOB_BYTES = 16 * 2**20
"""Largest size of a job file, with an inline area; a larger file is no job."""

REMOTE = re.compile(r"^[a-z0-9+]+://")

NO_PIXELS = {"output", "base", "tolerance", "limits", "provider", "precision_gate", "verify", "area", "places"}
"""Keys of a job that are no part of its request, but for area and places, which are put into it in their own way."""


class JobError(ValueError):
    """A job that is refused: which field, what was given, what is expected."""


def _yes_or_no(given: Any) -> Any:
    """The word ``yes`` or ``no`` for a bool, since YAML reads these words as true and false; else the value itself."""
    return {True: "yes", False: "no"}[given] if isinstance(given, bool) else given


GIVE = "{sentinel-2-l2a: earth-search, prior: out/2024}"

MAX_PERIODS = 1000
"""Periods of a job, each of which is searched."""


class Job(BaseModel):
    """A checked job. Paths are absolute or URIs; ``output`` may still be missing (plan and search need none).

    A job over ``places`` has the boxes around them as its ``area``. ``source`` is empty where ``sources`` has a place
    for each collection.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    name: Annotated[str, AfterValidator(checked_name)]
    area: Annotated[Area, BeforeValidator(read_area)]
    places: InstanceOf[JobPlaces] | None = None
    period: Annotated[tuple[JobPeriod, ...], BeforeValidator(as_periods), Field(min_length=1, max_length=MAX_PERIODS)]
    source: str | dict[str, Any] = ""
    sources: dict[str, str | dict[str, Any]] = {}
    model: str
    output: str | None = Field(default=None, min_length=1)
    grid: GridOptions = GridOptions()
    tile: TileOptions = TileOptions()
    cog: CogOptions = CogOptions()
    filter: SceneFilter = SceneFilter()
    mask: MaskOptions = MaskOptions()
    screen: ScreenOptions | None = None
    align: AlignOptions | None = None
    gaps: Literal["leave", "carry", "interpolate"] | None = None
    engine: Literal["direct", "odc", "stackstac"] = "direct"
    radiometry: Literal["auto", "pixels", "metadata"] = "auto"
    layers: Texts = ()
    seams: bool = False
    polygons: Annotated[dict[str, PolygonOptions], BeforeValidator(as_polygons)] = {}
    loss: Annotated[dict[str, MaxError], Field(max_length=MAX_LAYERS)] = {}
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

    def __init__(self, **keys: Any) -> None:
        """Raises JobError, a sentence, in place of pydantic's."""
        try:
            super().__init__(**keys)
        except ValidationError as error:
            raise JobError(refusal(error, Job)) from None

    @model_validator(mode="after")
    def _one_place_or_several(self) -> Job:
        if self.source and self.sources:
            raise ValueError("sources: each collection has its own place in sources, so leave source out, or sources")
        alone = not self.source
        if alone and "sources" not in self.model_fields_set:
            raise ValueError(f"source: {NOT_SAID}")
        if (alone and not self.sources) or not all(key.strip() for key in self.sources):
            raise ValueError(f"sources: write collections, as the model's card names them, and where each is: {GIVE}")
        return self

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
            "grid.bounds": self.grid.bounds,
            "tile.block": self.tile.block,
            "cog.max_side": self.cog.max_side,
            "filter.clearest": self.filter.clearest,
            "precision": self.precision != "fp32",
            "classify.calibrated": self.classify.calibrated,
            **{key: getattr(self, key) for key in ("polygons", "seams", "loss", "screen", "align")},
        }
        for key, value in given.items():
            if self.places is not None and value:
                raise ValueError(f"{key}: a job over places makes a table, and {OF_MAPS[key]}: leave {key} out")
        return self

    @model_validator(mode="after")
    def _masks_seen_whole(self) -> Job:
        given = {"filter.clearest": self.filter.clearest is not None and self.filter.clearest.by == "pixels"}
        given["precision"] = self.precision != "fp32"
        given["classify.calibrated"] = self.classify.calibrated
        for key, value in given.items():
            if self.mask.kind == "model" and value:
                raise ValueError(
                    f"{key}: its windows are looked at before the masks of mask.kind 'model' are made: leave {key} out"
                )
            if self.align is not None and value:
                raise ValueError(f"{key}: its windows are looked at before dates are moved (align): leave {key} out")
        return self

    @property
    def output_uri(self) -> str:
        """The folder or URI of the product: ``output``, else a folder of the job's name under ``out``."""
        return self.output or f"out/{self.name}"

    def _repr_html_(self) -> str:
        """The job in a notebook: what it says, without the defaults of keys that it does not name."""
        always = ("area", "places", "period", "source", "sources", "model", "output")
        told = {key: value for key in always if (value := getattr(self, key))}
        told |= {key: getattr(self, key) for key in sorted(self.model_fields_set - {"name", "base", *always})}
        return card(f"Job {self.name}", [(key, words(value)) for key, value in told.items()])

    def request(self) -> dict[str, Any]:
        """Everything that decides the product's pixels, as JSON; a second run must have the same."""
        asked = {
            "ensemble": self.ensemble.models,
            "cog": self.cog.max_side is not None,
            "augment": self.augment.kind != "none",
            "classify": self.classify.words,
            "fuse": self.fuse != "auto",
            "precision": self.precision != "fp32",
            **{key: getattr(self, key) for key in ("gaps", "loss", "screen", "align", "seams", "polygons", "prompt")},
        }
        # Left out where they say nothing, since requests of older products do not have them.
        unsaid = {key for key, value in asked.items() if not value}
        plain = self.model_dump(mode="json", exclude=NO_PIXELS | unsaid | {"source" if self.sources else "sources"})
        if self.polygons:
            plain["polygons"] = {name: options.request() for name, options in self.polygons.items()}
        if self.filter.clearest is None:
            del plain["filter"]["clearest"]
        else:
            plain["filter"]["clearest"] = self.filter.clearest.request()
        places = {} if self.places is None else {"places": self.places.request()}
        return {**plain, "mask": self.mask.request(), "area": self.area.geojson(), **places}


def read_job(path: Path, *, changes: tuple[str, ...] = (), output: str | None = None) -> Job:
    """The job in a YAML or JSON file, with ``key=value`` changes applied.

    Paths in it (area, source, sources, model) are relative to the file; ``output`` to the working folder.

    Raises JobError naming the field, what was given and what is expected.
    """
    return make_job(read_plain(path), base=path.resolve().parent, changes=changes, output=output)


def make_job(plain: dict[str, Any], *, base: Path, changes: tuple[str, ...] = (), output: str | None = None) -> Job:
    """The job a mapping describes; see ``read_job``."""
    if JOBS in plain:
        raise JobError(f"{JOBS}: a chain of jobs is taken by plan, run and status, or tw.run_chain: give one job here.")
    plain = dict(plain)
    for change in changes:
        apply_change(plain, change)
    plain |= {} if output is None else {"output": output}
    plain.setdefault("name", "job")
    plain |= {key: _from_base(base, plain[key]) for key in ("mask", "screen") if key in plain}
    if strange := next((key for key in plain if not isinstance(key, str)), None):
        raise JobError(f"{strange}: no key of a job. Its keys are names such as area, period, source, model.")
    try:
        return Job(**{**plain, **_where(plain, base), "base": base})
    except PlacesError as error:
        raise JobError(str(error)) from error
    except AreaError as error:
        raise JobError(f"area: {error}") from error


def _from_base(base: Path, options: Any) -> Any:
    """The options with the full path of their model, where that is a file or folder."""
    model = options.get("model") if isinstance(options, dict) else None
    if not (isinstance(model, str) and model and model.isprintable() and os.path.exists(base / model)):  # noqa: PTH110
        return options
    return {**options, "model": str((base / model).resolve())}


def _where(plain: dict[str, Any], base: Path) -> dict[str, Any]:
    """The places of a mapping with the boxes around them as its area, or its area; neither where it has none."""
    if "places" not in plain:
        return {"area": read_area(plain["area"], base=base)} if "area" in plain else {}
    if "area" in plain:
        raise JobError("places: a job is over an area or over places, not both: leave one of them out.")
    places = read_places(plain["places"], base=base, read_period=_row_period)
    return {"places": places, "area": Area(geometry=places.footprint)}


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


def apply_change(plain: dict[str, Any], change: str) -> None:
    """Put the value of a change ``key=value`` into a job's mapping. Raises JobError for a text that is none."""
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
