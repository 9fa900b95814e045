"""Which mask each input gets: what the job asks, among the bands its scenes have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.job import JobError
from tasks.mask_rule import DEFAULT_BAND, QA_PIXEL_DROPPED, MaskRule
from tasks.report_words import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalogs.scene import Scene
    from flows.job_mask import MaskWish
    from tasks.plan import InputPlan

LANDSAT = "landsat-c2-l2"
"""The collection whose ``qa_pixel`` is known bit by bit."""


def mask_rule(wish: MaskWish, scenes: Sequence[Scene]) -> MaskRule:
    """The rule of one input: none where no scene of it has the bands that tell.

    ``auto`` is SCL where scenes have it, Landsat's quality bits where they have these.

    Raises JobError where a band that tells by its classes or bits is stored as a measurement.
    """
    rule = _wished(wish, scenes)
    if not all(any(scene.asset(band) for scene in scenes) for band in rule.bands):
        return MaskRule(kind="none")
    _check_classes(rule, scenes)
    return rule


def check_masks(wish: MaskWish, inputs: Sequence[InputPlan]) -> None:
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


def mask_warning(entry: InputPlan, wish: MaskWish) -> str | None:
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


def _wished(wish: MaskWish, scenes: Sequence[Scene]) -> MaskRule:
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


def _usual(wish: MaskWish, scenes: Sequence[Scene]) -> MaskRule:
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
