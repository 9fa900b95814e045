"""A field model on the embedded sample: how many parcels it finds, how well their areas are met, and no seam in them.

`python -m tests.benchmarks.parcels FOLDER [--steps 700]` (torch is needed) trains a U-Net of three classes
(background, field, edge) on the sample of one seed, maps the whole sample of another with it, in two cuts, and prints
one JSON line. `truth` are the arable parcels of the landscape: pixels of one parcel joined by their edges, without the
one pixel in width along which it meets another or ends, as the model was taught. A parcel is found if an object
overlaps it by half of their union; the area error is that of the object's area relative to the parcel's. `cut` counts
objects that differ from the parts of the layer of ids labelled whole by SciPy: 0 if no field is cut at a seam.
FOLDER is reused.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from tests.support.fields import INSTANCES
from tilewright.catalogs.sample.landscape.landscape import Landscape, build_landscape
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job
from tilewright.models.builtin.train.loop import Training, fit
from tilewright.models.builtin.train.model_facts import landcover_facts
from tilewright.models.builtin.train.pictures import Picture, Sample, load_composite, open_sample, read_layer
from tilewright.models.export.export import draft_card, export_torch
from tilewright.models.export.facts import ExportFacts
from tilewright.models.spec.outputs import ClassSpec

TRAINED_ON, SCORED_ON = 21, 7
PERIOD = "2022-06-10/2022-07-31"
ARABLE = 4
LEAST = 20
"""Pixels (0.2 ha) below which neither a parcel nor an object is counted."""

CLASSES = tuple(
    ClassSpec(value=value, name=name, color=color)
    for value, name, color in ((0, "background", "D9D4C7"), (1, "field", "F0D66C"), (2, "edge", "B8722F"))
)


def taught(landscape: Landscape) -> NDArray[np.uint8]:
    """The classes (y, x) that the model is taught: arable land, and the pixels along which two parcels of it meet."""
    arable = landscape.cover(end=True) == ARABLE
    parts = np.where(arable, landscape.parcel + 1, 0)
    edge = np.zeros(parts.shape, bool)
    edge[:-1] |= parts[:-1] != parts[1:]
    edge[:, :-1] |= parts[:, :-1] != parts[:, 1:]
    return np.where(arable, np.where(edge, 2, 1), 0).astype(np.uint8)


def parcels(landscape: Landscape) -> NDArray[np.int32]:
    """The number (y, x) of each true parcel, 0 = none: one index of the landscape may have several parts."""
    field = taught(landscape) == 1
    labelled: NDArray[np.int32] = ndimage.label(field)[0]
    return labelled


def train(work: Path, steps: int) -> Path:
    """The folder of the card, trained once for these steps."""
    folder = work / f"model-{steps}"
    if (folder / "card.json").exists():
        return folder
    import torch

    from tilewright.models.builtin.train.networks import UNet

    sample = open_sample(work, TRAINED_ON)
    facts: ExportFacts = landcover_facts(CLASSES)
    (entry,) = facts.inputs
    picture = Picture(
        inputs={entry.name: load_composite(sample, entry, PERIOD)}, truth=taught(build_landscape(TRAINED_ON))
    )
    torch.manual_seed(TRAINED_ON)
    network = UNet(len(entry.bands), len(CLASSES))
    fit(network, draft_card(facts), [picture], Training(seed=TRAINED_ON, steps=steps, focus=0.0), log=print)
    export_torch(network, facts, folder)
    card = json.loads((folder / "card.json").read_text())
    (output,) = card["properties"]["mlm:output"]
    output["tasks"] = ["instance-segmentation"]
    output |= {"tw:layers": ["fields", "class"], "tw:instances": INSTANCES}
    (folder / "card.json").write_text(json.dumps(card, indent=2))
    return folder


def mapped(sample: Sample, card: Path, block: int) -> Path:
    """The product of the whole sample in blocks of so many pixels."""
    with rasterio.open(sample.folder / "truth" / "change.tif") as file:
        bounds, crs = list(file.bounds), str(file.crs)
    output = sample.jobs / f"{card.name}-{block}"
    job = {
        "name": "parcels",
        "area": [14.8, 48.6, 15.2, 48.8],
        "period": PERIOD,
        "source": str(sample.catalog.resolve()),
        "model": str(card.resolve()),
        "grid": {"crs": crs, "bounds": bounds},
        "tile": {"block": block, "step": 128},
    }
    run_job(make_job(job, base=Path(), output=str(output)))
    return output


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How objects meet true parcels: of each of these, its pixels, the best object's, and their overlap."""

    true: NDArray[np.int64]
    best: NDArray[np.int64]
    overlap: NDArray[np.int64]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether an object overlaps the parcel by half of their union."""
        return self.overlap * 2 >= self.true + self.best - self.overlap


def meet(truth: NDArray[np.int32], ids: NDArray[np.int32]) -> Found:
    """Each true parcel of LEAST pixels and the object that covers most of it."""
    wide = int(ids.max()) + 1
    pairs, counts = np.unique(
        truth[truth > 0].astype(np.int64) * wide + np.maximum(ids, 0)[truth > 0], return_counts=True
    )
    parcel, objects = np.divmod(pairs, wide)
    counts = np.where(objects > 0, counts, 0)
    order = np.lexsort((counts, parcel))
    last = order[np.r_[parcel[order][1:] != parcel[order][:-1], True]]
    true, sizes = np.bincount(truth.ravel())[parcel[last]], np.bincount(np.maximum(ids, 0).ravel())
    best = np.where(counts[last] > 0, sizes[objects[last]], 0)
    counted = true >= LEAST
    return Found(true=true[counted], best=best[counted], overlap=counts[last][counted])


def differing(ids: NDArray[np.int32], whole: NDArray[np.int32]) -> int:
    """Objects of one labelling that are not exactly one object of the other."""
    pairs = np.unique(np.stack([np.maximum(ids, 0).ravel(), whole.ravel()]), axis=1)
    both = [np.unique(side, return_counts=True)[1] for side in pairs]
    return int(sum((counts - 1).sum() for counts in both))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=700)
    options = parser.parse_args()
    card, sample = train(options.folder, options.steps), open_sample(options.folder, SCORED_ON)
    products = [mapped(sample, card, block) for block in (256, 1024)]
    tables = [(product / "fields.parquet").read_bytes() for product in products]
    ids = read_layer(products[0], "fields")
    met = meet(parcels(build_landscape(SCORED_ON)), ids)
    errors = (met.best - met.true)[met.found] / met.true[met.found]
    rows = geopandas.read_parquet(products[0] / "fields.parquet")
    result: dict[str, Any] = {
        "benchmark": "parcels",
        "steps": options.steps,
        "parcels": len(met.true),
        "objects": int((rows.area_m2 >= LEAST * 100).sum()),
        "found": int(met.found.sum()),
        "area_error": {
            "median": round(float(np.median(errors)), 4),
            "median_absolute": round(float(np.median(np.abs(errors))), 4),
            "p90_absolute": round(float(np.quantile(np.abs(errors), 0.9)), 4),
        },
        "area_of_all": round(float(rows.area_m2.sum() / (met.true.sum() * 100)), 4),
        "cuts_equal": tables[0] == tables[1],
        "cut": differing(ids, ndimage.label(ids > 0)[0]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
