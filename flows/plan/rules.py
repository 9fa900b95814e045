"""Which mask each input gets: what the job asks, among the bands its scenes have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.catalogs.sensors import band_facts
from tilewright.flows.job.job import JobError
from tilewright.tasks.compose.mask_rule import DEFAULT_BAND, QA_PIXEL_DROPPED, MaskRule
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.flows.job.job import Job
    from tilewright.flows.job.mask import MaskOptions
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.tasks.plan.inputs import InputPlan


LANDSAT = "landsat-c2-l2"
"""The collection whose ``qa_pixel`` is known bit by bit."""

BACKSCATTER = frozenset({"linear", "db"})
"""Units that are turned into each other."""


def mask_rule(wish: MaskOptions, scenes: Sequence[Scene]) -> MaskRule:
    """The rule of one input: none where no scene of it has the bands that tell.

    ``auto`` is SCL where scenes have it, Landsat's quality bits where they have these.

    Raises JobError where a band that tells by its classes or bits is stored as a measurement.
    """
    rule = _wished(wish, scenes)
    if not all(any(scene.asset(band) for scene in scenes) for band in rule.bands):
        return MaskRule(kind="none")
    _check_classes(rule, scenes)
    return rule


def check_masks(wish: MaskOptions, inputs: Sequence[InputPlan]) -> None:
    """Refuse a mask that was asked for and that no input can have."""
    if wish.kind in {"auto", "none"} or any(entry.mask.kind != "none" for entry in inputs):
        return
    if not any(entry.scenes for entry in inputs):
        return
    rule = _wished(wish, ())
    field = "mask.rule" if wish.kind == "rule" else "mask.band" if wish.band else "mask.kind"
    have = sorted({asset.band for entry in inputs for scene in entry.scenes for asset in scene.assets})
    raise JobError(
        f"{field}: no input's scenes have {' and '.join(rule.bands)}, by which mask.kind {wish.kind!r} tells. "
        f"They have {', '.join(have)}. Name one of these, choose another source, or write mask.kind: none."
    )


def mask_warning(entry: InputPlan, wish: MaskOptions) -> str | None:
    """What to say of an input some of whose scenes cannot be masked; None where there is nothing to say."""
    if wish.kind == "none" or entry.unit != "reflectance":
        return None
    bands = entry.mask.bands or ("scl",)
    bare = [scene.id for scene in entry.scenes if not all(scene.asset(band) for band in bands)]
    if not bare:
        return None
    share = f"{len(bare)} of {plural(len(entry.scenes), 'scene')}"
    told = "cloud classification (SCL)" if bands == ("scl",) else f"band {', '.join(bands)}, by which clouds are told"
    return f"Input {entry.name}: {share} without {told}; clouds there are not removed."


def _wished(wish: MaskOptions, scenes: Sequence[Scene]) -> MaskRule:
    match wish.kind:
        case "none":
            return MaskRule(kind="none")
        case "auto":
            return _usual(wish, scenes)
        case "rule":
            return MaskRule(kind="rule", conditions=wish.rule, drop=(), dilation=wish.dilation)
        case "probability":
            return MaskRule(
                kind="probability", band=wish.band, drop=(), threshold=wish.threshold, dilation=wish.dilation
            )
        case kind:
            return MaskRule(kind=kind, band=wish.band, drop=wish.drop, dilation=wish.dilation)


def _usual(wish: MaskOptions, scenes: Sequence[Scene]) -> MaskRule:
    if any(scene.asset(DEFAULT_BAND["scl"]) for scene in scenes):
        return MaskRule(kind="scl", drop=wish.drop, dilation=wish.dilation)
    if any(scene.collection == LANDSAT and scene.asset(DEFAULT_BAND["bits"]) for scene in scenes):
        return MaskRule(kind="bits", drop=QA_PIXEL_DROPPED, dilation=wish.dilation)
    return MaskRule(kind="none")


def _check_classes(rule: MaskRule, scenes: Sequence[Scene]) -> None:
    if rule.kind not in {"scl", "bits", "values"}:
        return
    for scene in scenes:
        asset = scene.asset(rule.bands[0])
        if asset is not None and asset.unit != "class":
            raise JobError(
                f"mask.band: {asset.band} of scene {scene.id} is a measurement in {asset.unit!r}, and mask.kind "
                f"{rule.kind!r} needs whole numbers that are never averaged. Say unit: class for it in the source, or "
                "use mask.kind probability or rule."
            )


def check_gaps(job: Job, card: ModelCard) -> None:
    """Refuse a job's ``gaps`` for a model none of whose inputs has several steps: it would do nothing."""
    if job.gaps is not None and not any(_has_steps(spec) for spec in card.inputs):
        raise JobError(
            f"gaps is {job.gaps!r}, but no input of {card.name} has several steps between which to fill: leave it out."
        )


def gap_rule(job: Job, spec: InputSpec, scenes: Sequence[Scene]) -> str:
    """The rule of one input: the card's, else the job's, else ``leave``.

    Raises JobError where job and card ask for different things, and where classes would be interpolated.
    """
    own, wish = spec.missing.gaps, job.gaps if _has_steps(spec) else None
    if own is not None and wish is not None and own != wish:
        raise JobError(
            f"gaps is {wish!r}, but input {spec.name} of the model takes {own!r} (tw:missing.gaps): leave gaps out."
        )
    rule = own or wish or "leave"
    classes = sorted(band for band in spec.source_bands if _is_class(band, spec, scenes)) if _has_steps(spec) else []
    if rule == "interpolate" and classes:
        raise JobError(
            f"Input {spec.name}: band {', '.join(classes)} holds classes, and nothing lies between two classes: "
            "write carry or leave instead of interpolate (gaps in the job, tw:missing.gaps in the card)."
        )
    return rule


def _has_steps(spec: InputSpec) -> bool:
    return spec.dates.steps != 1


def _is_class(band: str, spec: InputSpec, scenes: Sequence[Scene]) -> bool:
    return spec.unit == "class" or any(asset.unit == "class" for scene in scenes if (asset := scene.asset(band)))


def check_units(spec: InputSpec, scenes: Sequence[Scene]) -> None:
    """Do nothing where every band of an input can be had in the card's unit.

    Raises JobError naming the first scene and band that cannot.
    """
    for scene in scenes:
        for band in spec.source_bands:
            asset = scene.asset(band)
            if asset is not None and not _fits(asset, scene.collection, wanted=spec.unit):
                raise JobError(_refusal(spec, scene, asset))


def _fits(asset: BandAsset, collection: str, *, wanted: str) -> bool:
    given = asset.unit
    if given == wanted or {given, wanted} <= BACKSCATTER:
        return True
    if given in BACKSCATTER or wanted in BACKSCATTER:
        return False
    if given == "class" or wanted == "1":
        # Scene classes stand beside measured bands as they are; a card of unit 1 takes numbers as they are.
        return True
    facts = band_facts(collection, asset.band)
    return given == "1" and facts is not None and facts.unit == "1"


def _refusal(spec: InputSpec, scene: Scene, asset: BandAsset) -> str:
    said = (
        f"Input {spec.name}: the model takes {asset.band} in {spec.unit} (tw:unit), "
        f"scene {scene.id} of {scene.source} has it in {asset.unit}"
    )
    if asset.unit == "1" and spec.unit in BACKSCATTER:
        return (
            f"{said}, that is uncalibrated or unsaid. Choose a calibrated collection such as sentinel-1-rtc, "
            f"or say what it is in the source: units: {{{scene.collection}: linear}}."
        )
    if asset.unit == "1":
        return f"{said}, that is unsaid. Say it in the source (unit: {spec.unit}), or choose another source."
    return f"{said}, and there is no way from one to the other. Choose another source, or correct the card."
