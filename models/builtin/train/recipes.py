"""The recipes of the sample models: each fits a model to pictures of the training sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.builtin.train.loop import Training, fit
from tilewright.models.builtin.train.model_facts import (
    boosting_facts,
    change_facts,
    forest_facts,
    fusion_facts,
    landcover_facts,
)
from tilewright.models.builtin.train.pictures import Picture, load_composite, read_truth
from tilewright.models.export.export import draft_card
from tilewright.models.transforms.preprocess import prepare_input

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tilewright.models.builtin.train.pictures import Sample
    from tilewright.models.export.facts import ExportFacts
    from tilewright.models.spec.outputs import ClassSpec

    Log = Callable[[str], None]


SEED = 21

# The same season of two years, before and after the simulated changes; and the months of both.
SUMMERS = ("2021-06-10/2021-07-31", "2022-06-10/2022-07-31")

JUNES, JULYS = ("2021-06-01/2021-06-30", "2022-06-01/2022-06-30"), ("2021-07-01/2021-07-31", "2022-07-01/2022-07-31")

TRUTHS = ("landcover_start", "landcover_end")

ROWS_PER_CLASS = 12_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One model: its facts, its training, period and truth of its score. `truth_table` is the table of its classes.

    `words` say in a table what it takes, of which kind it is and what it gives.
    """

    words: tuple[str, str, str]
    facts: Callable[[tuple[ClassSpec, ...]], ExportFacts]
    truth_table: str
    train: Callable[[Sample, ExportFacts, Log], Any]
    period: str | Mapping[str, str]
    truth: str
    layer: str = "class"
    torch: bool = True


def train_landcover(sample: Sample, facts: ExportFacts, log: Log) -> Any:
    """A U-Net fitted to both summers."""
    from tilewright.models.builtin.train.networks import UNet

    (entry,) = facts.inputs
    pictures = [
        Picture(inputs={entry.name: load_composite(sample, entry, period)}, truth=read_truth(sample, name))
        for period, name in zip(SUMMERS, TRUTHS, strict=True)
    ]
    training = Training(seed=SEED, steps=350)
    return _fit_network(lambda: UNet(len(entry.bands), facts.outputs[0].n_channels), facts, pictures, training, log)


def train_change(sample: Sample, facts: ExportFacts, log: Log) -> Any:
    """A siamese U-Net fitted to pairs of the two years, and to pairs within a year, in which only crops changed."""
    from tilewright.models.builtin.train.networks import Siamese

    (entry,) = facts.inputs
    changed = read_truth(sample, "change")
    same = np.zeros_like(changed)
    pairs = [(*SUMMERS, changed), (JUNES[0], JUNES[1], changed), (JULYS[0], JULYS[1], changed)]
    pairs += [(JUNES[0], JULYS[1], changed), (JULYS[0], JUNES[1], changed)]
    pairs += [(JUNES[0], JULYS[0], same), (JULYS[1], JUNES[1], same)]
    pictures = [
        Picture(
            inputs={entry.name: np.concatenate([load_composite(sample, entry, period) for period in (first, second)])},
            truth=changed_classes,
        )
        for first, second, changed_classes in pairs
    ]
    training = Training(seed=SEED, steps=350, focus=0.6)
    return _fit_network(lambda: Siamese(len(entry.bands), facts.outputs[0].n_channels), facts, pictures, training, log)


def train_fusion(sample: Sample, facts: ExportFacts, log: Log) -> Any:
    """A network of two encoders fitted to both summers; a quarter of the crops have no radar."""
    from tilewright.models.builtin.train.networks import Fusion

    optical, radar = facts.inputs
    pictures = [
        Picture(
            inputs={entry.name: load_composite(sample, entry, period) for entry in (optical, radar)},
            truth=read_truth(sample, name),
        )
        for period, name in zip(SUMMERS, TRUTHS, strict=True)
    ]
    sizes = len(optical.bands), len(radar.bands), facts.outputs[0].n_channels
    training = Training(seed=SEED, steps=350)
    return _fit_network(lambda: Fusion(*sizes), facts, pictures, training, log)


def train_forest(sample: Sample, facts: ExportFacts, log: Log) -> Any:
    """A random forest fitted to pixels of both summers."""
    from sklearn.ensemble import RandomForestClassifier

    features, class_values = _training_rows(sample, facts, [(period,) for period in SUMMERS])
    log(f"{len(features)} pixels of {features.shape[1]} features")
    make: Any = RandomForestClassifier
    forest = make(16, max_leaf_nodes=250, min_samples_leaf=10, random_state=SEED, n_jobs=1)
    return forest.fit(features, class_values)


def train_boosting(sample: Sample, facts: ExportFacts, log: Log) -> Any:
    """Gradient boosting fitted to June and July of both years."""
    from lightgbm import LGBMClassifier

    features, class_values = _training_rows(sample, facts, list(zip(JUNES, JULYS, strict=True)))
    log(f"{len(features)} pixels of {features.shape[1]} features")
    boosting = LGBMClassifier(
        n_estimators=15,
        num_leaves=20,
        learning_rate=0.3,
        random_state=SEED,
        n_jobs=1,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )
    return boosting.fit(features, class_values)


RECIPES: Mapping[str, Recipe] = {
    "sample-landcover": Recipe(
        words=("composite of six bands", "U-Net", "seven covers"),
        facts=landcover_facts,
        truth_table="landcover",
        train=train_landcover,
        period=SUMMERS[1],
        truth="landcover_end",
    ),
    "sample-change": Recipe(
        words=("pair of six bands", "siamese U-Net", "none, reservoir, clear-cut, houses"),
        facts=change_facts,
        truth_table="change",
        train=train_change,
        period={"before": SUMMERS[0], "after": SUMMERS[1]},
        truth="change",
        layer="change",
    ),
    "sample-fusion": Recipe(
        words=("four bands at 10 m, radar at 20 m (optional)", "U-Net, two encoders", "seven covers"),
        facts=fusion_facts,
        truth_table="landcover",
        train=train_fusion,
        period=SUMMERS[1],
        truth="landcover_end",
    ),
    "sample-forest": Recipe(
        words=("six bands and two indices of a pixel", "random forest", "seven covers"),
        facts=forest_facts,
        truth_table="landcover",
        train=train_forest,
        period=SUMMERS[1],
        truth="landcover_end",
        torch=False,
    ),
    "sample-boosting": Recipe(
        words=("six bands of June and July of a pixel", "LightGBM", "seven covers"),
        facts=boosting_facts,
        truth_table="landcover",
        train=train_boosting,
        period="2022-06-01/2022-07-31",
        truth="landcover_end",
        torch=False,
    ),
}


def _fit_network(
    make: Callable[[], Any], facts: ExportFacts, pictures: list[Picture], training: Training, log: Log
) -> Any:
    import torch

    torch.manual_seed(training.seed)
    network = make()
    fit(network, draft_card(facts), pictures, training, log=log)
    return network


def _training_rows(
    sample: Sample, facts: ExportFacts, steps: list[tuple[str, ...]]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (pixel, feature) as the card prepares them, and class values (pixel); equally many pixels per class."""
    card = draft_card(facts)
    (spec,) = card.inputs
    entry = type(facts.inputs[0])(name=spec.name, bands=spec.source_bands)
    random = np.random.default_rng(SEED)
    features, class_values = [], []
    for periods, name in zip(steps, TRUTHS, strict=True):
        pixels = np.concatenate([load_composite(sample, entry, period) for period in periods])
        rows = prepare_input(spec, pixels[None])
        labels = read_truth(sample, name).ravel()
        for each in card.outputs[0].classes:
            candidates = np.flatnonzero(labels == each.value)
            chosen = random.choice(candidates, min(ROWS_PER_CLASS, len(candidates)), replace=False)
            features.append(rows[chosen])
            class_values.append(np.full(len(chosen), each.value, dtype=np.int64))
    return np.concatenate(features), np.concatenate(class_values)
