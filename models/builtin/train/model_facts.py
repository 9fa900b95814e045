"""The facts of the sample models: inputs and outputs of each."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from tilewright.models.export.facts import ExportFacts, InputFacts, OutputFacts
from tilewright.models.spec.inputs import DatesSpec
from tilewright.models.spec.outputs import ClassSpec

if TYPE_CHECKING:
    from tilewright.models.builtin.train.pictures import Sample


SIMULATED = (
    "Trained on a simulated landscape, never on a real pixel: it shows how a model is made and run, and is not meant "
    "for maps of real places."
)

SIX = ("blue", "green", "red", "nir", "swir16", "swir22")

FOUR = ("blue", "green", "red", "nir")

# A pale colour for pixels without change, so that the picture under the map is visible.
UNCHANGED_COLOUR = "D9D4C7"

# Rounded mean and deviation over the training pictures; six bands in their order.
MEANS = (0.046, 0.073, 0.066, 0.316, 0.196, 0.119)

DEVIATIONS = (0.034, 0.034, 0.051, 0.116, 0.085, 0.071)

DECIBELS = ((-11.6, 3.1), (-18.1, 3.1))


def read_classes(sample: Sample, name: str) -> tuple[ClassSpec, ...]:
    """The classes of a truth raster (`landcover` or `change`) from the sample's class table."""
    table = json.loads((sample.folder / "truth" / "classes.json").read_text())[name]
    return tuple(
        ClassSpec(value=each["value"], name=each["name"], description=each["description"], color=each["color"].upper())
        for each in table
    )


def landcover_facts(classes: tuple[ClassSpec, ...]) -> ExportFacts:
    """`sample-landcover`: six bands of one summer -> land cover, by a U-Net."""
    return ExportFacts(
        name="sample-landcover",
        title="Land cover of the sample by a U-Net",
        description=SIMULATED,
        architecture="U-Net",
        inputs=(InputFacts(bands=SIX, scaling=_z_scores(SIX)),),
        outputs=(OutputFacts(name="logits", classes=classes, activation="softmax"),),
    )


def change_facts(classes: tuple[ClassSpec, ...]) -> ExportFacts:
    """`sample-change`: six bands of two summers -> class of the change between them, by a siamese U-Net."""
    classes = tuple(replace(each, color=UNCHANGED_COLOUR) if each.value == 0 else each for each in classes)
    pair = InputFacts(name="pair", bands=SIX, scaling=_z_scores(SIX), dates=DatesSpec(kind="pair", steps=2))
    return ExportFacts(
        name="sample-change",
        title="Change of the sample by a siamese U-Net",
        description=SIMULATED,
        architecture="siamese U-Net",
        inputs=(pair,),
        outputs=(OutputFacts(name="logits", classes=classes, activation="softmax", layers=("change", "confidence")),),
    )


def fusion_facts(classes: tuple[ClassSpec, ...]) -> ExportFacts:
    """`sample-fusion`: four optical bands at 10 m and, if available, radar at 20 m -> land cover at 10 m."""
    radar = InputFacts(
        name="radar",
        bands=("vv", "vh"),
        collection="sentinel-1-rtc",
        unit="db",
        resolution=20.0,
        resampling="average",
        dates=DatesSpec(reducer="mean"),
        scaling=tuple({"type": "z-score", "mean": mean, "stddev": deviation} for mean, deviation in DECIBELS),
        optional=True,
    )
    return ExportFacts(
        name="sample-fusion",
        title="Land cover of the sample by optical and radar together",
        description=SIMULATED,
        architecture="U-Net with two encoders",
        inputs=(InputFacts(name="optical", bands=FOUR, scaling=_z_scores(FOUR)), radar),
        outputs=(OutputFacts(name="logits", classes=classes, activation="softmax"),),
    )


def forest_facts(classes: tuple[ClassSpec, ...]) -> ExportFacts:
    """`sample-forest`: six bands and two indices of one pixel -> land cover, by a random forest."""
    return ExportFacts(
        name="sample-forest",
        title="Land cover of the sample by a random forest",
        description=SIMULATED,
        architecture="random forest",
        rows=True,
        inputs=(InputFacts(name="features", bands=(*SIX, "ndvi", "ndwi")),),
        outputs=(OutputFacts(name="probabilities", classes=classes),),
    )


def boosting_facts(classes: tuple[ClassSpec, ...]) -> ExportFacts:
    """`sample-boosting`: six bands of June and of July of one pixel -> land cover, by gradient boosting."""
    months = DatesSpec(kind="series", steps=2, every="month")
    return ExportFacts(
        name="sample-boosting",
        title="Land cover of the sample by gradient boosting over two months",
        description=SIMULATED,
        architecture="gradient boosting",
        rows=True,
        inputs=(InputFacts(name="features", bands=SIX, dates=months, fold="time-major"),),
        outputs=(OutputFacts(name="probabilities", classes=classes),),
    )


def _z_scores(bands: tuple[str, ...]) -> tuple[dict[str, object], ...]:
    indices = [SIX.index(band) for band in bands]
    return tuple({"type": "z-score", "mean": MEANS[index], "stddev": DEVIATIONS[index]} for index in indices)
