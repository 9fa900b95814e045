"""Whether what scenes hold can be brought to the unit a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalogs.sentinel import band_facts
from flows.job import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalogs.scene import BandAsset, Scene
    from models.inputs import InputSpec

BACKSCATTER = frozenset({"linear", "db"})
"""Units that are turned into each other."""


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
