"""Rules of each input that depend on its scenes: mask, gap filling and unit."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from tilewright.catalogs.sensors import band_facts, canonical_collection
from tilewright.flows.job.job import JobError
from tilewright.flows.served.mask_model import mask_card, model_rule
from tilewright.models.fields import did_you_mean
from tilewright.tasks.compose.mask_rule import DEFAULT_BAND, QA_PIXEL_DROPPED, MaskRule
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.flows.job.job import Job
    from tilewright.flows.job.mask import MaskOptions
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.plan.inputs import InputPlan, LackingBand


LANDSAT = "landsat-c2-l2"
"""The collection whose ``qa_pixel`` bits are known."""

MOST_FINER = 2.0
"""How many times finer than the finest band that is read pixels may be before it is said that nothing is gained."""

STORED_EXACTLY = {
    "class": "its numbers are classes",
    "id": "its numbers are ids of objects",
    "percent": "its numbers are whole percents",
}
"""Why a layer of a kind takes no loss."""

YEAR_DAYS, SEASON_DAYS = 365, 45
"""Days of a year, and those by which two dates may lie apart in it before their seasons count as unlike."""

STEPS_NAMED = 6
"""Steps that a warning names; the others are counted."""

BACKSCATTER = frozenset({"linear", "db"})
"""Units that are converted into each other."""


def mask_rule(options: MaskOptions, scenes: Sequence[Scene]) -> MaskRule:
    """The mask rule of one input; kind ``none`` if no scene has the bands of the rule.

    ``auto`` is SCL where a scene has it, else Landsat's quality bits where a scene has them.

    Raises JobError where a band of classes or bits is stored as a measurement.
    """
    rule = _requested_rule(options, scenes)
    if not all(any(scene.asset(band) for scene in scenes) for band in rule.bands):
        return MaskRule(kind="none")
    _check_classes(rule, scenes)
    if rule.kind == "model":
        (spec,) = mask_card(options.model).inputs
        if not any(scene.collection == canonical_collection(spec.collection) for scene in scenes):
            return MaskRule(kind="none")
        check_units(spec, scenes)
    return rule


def asked_mask_bands(options: MaskOptions) -> tuple[str, ...]:
    """The bands of the mask that a job asks for; none for ``auto``, whose classes and bits need no calibration."""
    return () if options.kind == "auto" else _requested_rule(options, ()).bands


def check_masks(options: MaskOptions, inputs: Sequence[InputPlan]) -> None:
    """Refuse a requested mask that no input has the bands for."""
    if options.kind in {"auto", "none"} or any(entry.mask.kind != "none" for entry in inputs):
        return
    if not any(entry.scenes for entry in inputs):
        return
    rule = _requested_rule(options, ())
    field = {"rule": "mask.rule", "model": "mask.model"}.get(options.kind, "mask.band" if options.band else "mask.kind")
    present = sorted({asset.band for entry in inputs for scene in entry.scenes for asset in scene.assets})
    hint = next((near for band in rule.bands if band not in present and (near := did_you_mean(band, present))), "")
    raise JobError(
        f"{field}: no input's scenes have {' and '.join(rule.bands)}{hint}, by which mask.kind {options.kind!r} tells. "
        f"They have {', '.join(present)}. Name one of these, choose another source, or write mask.kind: none."
    )


def mask_warning(entry: InputPlan, options: MaskOptions) -> str | None:
    """The warning for an input with scenes that cannot be masked; None if all can be."""
    if options.kind == "none" or entry.unit != "reflectance":
        return None
    bands = entry.mask.bands or ("scl",)
    seen = [scene for scene in entry.scenes if not scene.made]
    unmasked = [scene.id for scene in seen if not all(scene.asset(band) for band in bands)]
    if not unmasked:
        return None
    share = f"{len(unmasked)} of {plural(len(seen), 'scene')}"
    lacking = (
        "cloud classification (SCL)" if bands == ("scl",) else f"band {', '.join(bands)}, by which clouds are told"
    )
    return f"Input {entry.name}: {share} without {lacking}; clouds there are not removed."


def check_loss(job: Job, card: ModelCard, layers: Sequence[str]) -> None:
    """Refuse a loss of a layer that is not written, of one that holds no measured values, and one that leaves none."""
    for name, most in job.loss.items():
        found = [(spec, output) for output in card.outputs for spec in output.layer_specs() if spec.name == name]
        kind = found[0][0].kind if found else None
        values = sorted(spec.name for spec in card.layer_specs() if spec.kind == "value" and spec.name in layers)
        choice = f"those that can are {', '.join(values)}" if values else f"{card.name} writes none that can"
        if name not in layers:
            raise JobError(f"loss: {name!r} is no layer of this job's product{did_you_mean(name, layers)}; {choice}.")
        if kind != "value":
            raise JobError(
                f"loss.{name}: {STORED_EXACTLY.get(kind or '', 'its numbers are stored exactly')}, and no error may be "
                f"made in them; only values with a fraction may have one: {choice}."
            )
        valid_range = found[0][1].valid_range
        if valid_range is not None and most >= valid_range[1] - valid_range[0]:
            raise JobError(
                f"loss.{name}: an error of {most:g} leaves nothing of values from {valid_range[0]:g} to "
                f"{valid_range[1]:g}: allow a smaller one."
            )


def lacking_band_warnings(entry: InputPlan) -> Iterable[str]:
    """One warning for each band that some scenes of an input do not have, with the steps and platforms."""
    found: dict[str, list[tuple[str, LackingBand]]] = {}
    for step in entry.steps:
        for lacking in entry.lacking_bands(step):
            found.setdefault(lacking.band, []).append((step.label, lacking))
    for band, cases in found.items():
        n_scenes, n_all = (sum(getattr(case, key) for _, case in cases) for key in ("n_scenes", "n_all"))
        labels = [label for label, _ in cases]
        more = f" and {len(labels) - STEPS_NAMED} more" if len(labels) > STEPS_NAMED else ""
        place = f" of step {', '.join(labels[:STEPS_NAMED])}{more}" if len(entry.steps) > 1 else ""
        platforms = ", ".join(sorted({platform for _, case in cases for platform in case.platforms}))
        have = "has" if n_scenes == 1 else "have"
        yield (
            f"Input {entry.name}: {n_scenes} of {plural(n_all, 'scene')}{place} {have} no {band} ({platforms}): "
            "observations counts those that have every band."
        )


def season_warnings(entry: InputPlan) -> Iterable[str]:
    """A warning where the days before and after that are compared lie apart in the year."""
    steps = {step.label: sorted(step.days) for step in entry.steps}
    if set(steps) != {"before", "after"} or not all(steps.values()):
        return
    before, after = (date.fromisoformat(steps[name][len(steps[name]) // 2]) for name in ("before", "after"))
    apart = abs(before.timetuple().tm_yday - after.timetuple().tm_yday)
    apart = min(apart, YEAR_DAYS - apart)
    if apart > SEASON_DAYS:
        yield (
            f"Input {entry.name}: its scenes before ({before}) and after ({after}) lie {apart} days apart in the year: "
            "what changes with the seasons is mapped as change too."
        )


def fine_pixels(card: ModelCard, pixels: Mapping[str, float], whose: str) -> str | None:
    """The warning for pixels much finer than all bands read; None for others, and where no band's size is known.

    ``pixels``: metres of those of each input, by its name; ``whose`` they are, in words.
    """
    known = []
    for spec in card.inputs:
        collection = canonical_collection(spec.collection)
        facts = [band_facts(collection, band) for band in spec.source_bands]
        sizes = [each.resolution for each in facts if each is not None]
        if pixels.get(spec.name) and len(sizes) == len(facts):
            known.append((min(sizes) / pixels[spec.name], collection, min(sizes), pixels[spec.name]))
    if len(known) < len(card.inputs) or not known or min(known)[0] <= MOST_FINER:
        return None
    times, collection, size, pixel = min(known)
    more = plural(round(times**2), "time")
    return f"{collection} has {size:g} m pixels and {whose} {pixel:g} m: {more} the pixels and nothing more to see."


def _requested_rule(options: MaskOptions, scenes: Sequence[Scene]) -> MaskRule:
    match options.kind:
        case "none":
            return MaskRule(kind="none")
        case "auto":
            return _auto_rule(options, scenes)
        case "rule":
            return MaskRule(kind="rule", conditions=options.rule, drop=(), dilation=options.dilation)
        case "probability":
            return MaskRule(
                kind="probability", band=options.band, drop=(), threshold=options.threshold, dilation=options.dilation
            )
        case "model":
            return model_rule(options)
        case kind:
            return MaskRule(kind=kind, band=options.band, drop=options.numbers, dilation=options.dilation)


def _auto_rule(options: MaskOptions, scenes: Sequence[Scene]) -> MaskRule:
    if any(scene.asset(DEFAULT_BAND["scl"]) for scene in scenes):
        return MaskRule(kind="scl", drop=options.numbers, dilation=options.dilation)
    if any(scene.collection == LANDSAT and scene.asset(DEFAULT_BAND["bits"]) for scene in scenes):
        return MaskRule(kind="bits", drop=QA_PIXEL_DROPPED, dilation=options.dilation)
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
    """Refuse a job's ``gaps`` for a model without an input of several steps: it would have no effect."""
    if job.gaps is not None and not any(_has_steps(spec) for spec in card.inputs):
        raise JobError(
            f"gaps is {job.gaps!r}, but no input of {card.name} has several steps between which to fill: leave it out."
        )


def gap_rule(job: Job, spec: InputSpec, scenes: Sequence[Scene]) -> str:
    """The gap rule of one input: the card's, else the job's, else ``leave``.

    Raises JobError where job and card have different rules, and where classes would be interpolated.
    """
    card_rule, job_rule = spec.missing.gaps, job.gaps if _has_steps(spec) else None
    if card_rule is not None and job_rule is not None and card_rule != job_rule:
        raise JobError(
            f"gaps is {job_rule!r}, but input {spec.name} of the model takes {card_rule!r} (tw:missing.gaps): "
            "leave gaps out."
        )
    rule = card_rule or job_rule or "leave"
    classes = sorted(band for band in spec.source_bands if _is_class(band, spec, scenes)) if _has_steps(spec) else []
    if rule == "interpolate" and classes:
        raise JobError(
            f"Input {spec.name}: band {', '.join(classes)} holds classes, and nothing lies between two classes: "
            "write carry or leave instead of interpolate (gaps in the job, tw:missing.gaps in the card)."
        )
    return rule


def check_classes(spec: InputSpec, scenes: Sequence[Scene], steps: Sequence[StepPlan]) -> None:
    """Refuse to average the classes of several products into one step: the mean of two classes is a third one.

    Raises JobError naming the band and the step.
    """
    averages = spec.dates.reducer in {"mean", "median"} or spec.dates.reducer.startswith("percentile:")
    made = [scene for scene in scenes if scene.made]
    bands = [band for band in spec.source_bands if _is_class(band, spec, made)] if made and averages else []
    step = next((step for step in steps if len(step.passes) > 1), None)
    if bands and step is not None:
        raise JobError(
            f"Input {spec.name}: band {', '.join(bands)} holds classes, and step {step.label} would be the "
            f"{spec.dates.reducer} of {len(step.passes)} products: give a period that holds one of them, or write "
            "reducer first or last, or kind static, in the card (tw:dates)."
        )


def _has_steps(spec: InputSpec) -> bool:
    return spec.dates.steps != 1


def _is_class(band: str, spec: InputSpec, scenes: Sequence[Scene]) -> bool:
    return spec.unit == "class" or any(asset.unit == "class" for scene in scenes if (asset := scene.asset(band)))


def check_units(spec: InputSpec, scenes: Sequence[Scene]) -> None:
    """Check that every band of an input can be converted to the card's unit.

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
        # Scene classes are never converted; a card of unit 1 takes numbers as they are.
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
