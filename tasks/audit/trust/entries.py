"""What an evaluation's document says of trust: its entries ``temperature`` and ``trust``, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.audit.design.table import sample_design
from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.audit.evaluate.pairs import label_values
from tilewright.tasks.audit.trust.conformal import held_out, held_out_json, labels_needed, least_scores, thresholds
from tilewright.tasks.audit.trust.labelled import FOLDS, labelled_scores
from tilewright.tasks.audit.trust.layer import FILES, KEYS, NAME
from tilewright.tasks.audit.trust.sureness import check_sureness, sureness_of
from tilewright.tasks.audit.trust.temperature import temperature_json
from tilewright.tasks.audit.trust.trusted import TrustMap, trusted_ground
from tilewright.tasks.progress import silent
from tilewright.tasks.report.fields import rows
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.fence import ITEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.audit.design.table import SampleDesign
    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation
    from tilewright.tasks.audit.evaluate.label_file import LabelTable
    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.audit.trust.conformal import HeldOut
    from tilewright.tasks.audit.trust.labelled import LabelledScores
    from tilewright.tasks.audit.trust.trusted import TrustedGround
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage

CHANCE = "The promise takes labels for drawn by chance, each by itself."
NO_LABEL = "Strata that hold {share:.1%} of the sample's pixels have no label that counts: nothing is promised there."
UNEQUAL = (
    "its labels stand for too unequal parts of the map, or for too small ones beside a pixel of the largest stratum"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What is told of trust, as JSON values, and the map of it."""

    told: dict[str, Any]
    map: TrustMap


def check_coverage(coverage: float) -> None:
    """Refuse a coverage that none can be. Raises LabelError."""
    if not isinstance(coverage, Real) or not 0 < coverage < 1:
        raise LabelError(f"--trust {coverage!r}: expected a share of each class above 0 and below 1, such as 0.9.")


def check_trust(storage: Storage, table: LabelTable | None, targets: Sequence[Target], coverage: float) -> None:
    """Check, before pixels are read, that trust can be told of the labels of a file and the layers they are held
    against: of one layer of classes that says how sure it is, by points, with enough labels of a class.

    Raises LabelError, and as `label_values` does.
    """
    if table is None or table.shapes is not None:
        kind = "a raster" if table is None else "polygons"
        raise LabelError(
            f"--trust needs points: pixels of {kind} are not independent, and no coverage can be promised from them. "
            "Draw points with tilewright sample, or leave --trust out."
        )
    if len(targets) > 1:
        names = ", ".join(target.layer.name for target in targets)
        raise LabelError(f"--trust is about one layer, and labels are held against {names}: say which with --layer.")
    target = targets[0]
    check_sureness(storage, target)
    assert target.classes is not None, "checked to be a layer of classes"
    codes, labelled, _ = label_values(table, target)
    known = codes[labelled & table.placed & (codes >= 0)]
    _check_enough(np.bincount(known, minlength=1), coverage, name=table.name)


def check_free(storage: Storage, *, elsewhere: str) -> None:
    """Refuse a product that has a layer, image or table called `trusted` of its own: the files would replace it."""
    told = rows(read_object(storage, "report.json") or {}, "layers")
    taken = NAME in {each.get(key) for each in told for key in ("name", "image", "file")}
    assets = (read_object(storage, ITEM) or {}).get("assets")
    for key, name in zip(KEYS, FILES, strict=True):
        asset = assets.get(key) if isinstance(assets, dict) else None
        taken |= isinstance(asset, dict) and str(asset.get("href")).removeprefix("./") != name
    if taken:
        raise StoreError(f"{storage.uri} has {NAME!r} already, of its own: {elsewhere}.")


def _check_enough(n_labels: np.ndarray, coverage: float, *, name: str) -> None:
    needed, most = labels_needed(coverage), int(n_labels.max(initial=0))
    if most < needed:
        raise LabelError(
            f"--trust {coverage:g} needs {needed:,} labels of a class, and {name} has {most:,} of one at most: label "
            "more places, or ask for less."
        )


def temperature_entry(evaluation: LayerEvaluation) -> dict[str, Any]:
    """The entry ``temperature`` of an evaluation's document (`temperature_json`); none for polygons, rasters, values,
    and a product that does not say how sure it is.

    Raises as `labelled_scores` does.
    """
    found = sureness_of(evaluation.storage, evaluation.target)
    if found is None or evaluation.pairs is None or not len(evaluation.pairs):
        return {}
    return {"temperature": temperature_json(labelled_scores(evaluation, found))}


def trust_of(evaluation: LayerEvaluation, coverage: float, listener: Listener = silent) -> Trust:
    """The thresholds of each class, the ground that is trusted by them, and what labels held out say of it.

    Raises LabelError where no class has labels enough; as `labelled_scores` and `trusted_ground` do.
    """
    # NumPy's numbers are none of JSON's.
    coverage, sureness = float(coverage), check_sureness(evaluation.storage, evaluation.target)
    found = labelled_scores(evaluation, sureness)
    assert evaluation.table is not None, "labels are points"
    assert evaluation.target.classes is not None, "a layer of classes"
    _check_enough(np.bincount(found.labels, minlength=1), coverage, name=evaluation.table.name)
    limits = thresholds(found, coverage)
    if all(each.value is None for each in limits):
        raise LabelError(f"--trust {coverage:g}: no class of {evaluation.table.name} can be promised it: {UNEQUAL}.")
    held = held_out(found, coverage)
    trust = TrustMap(
        storage=evaluation.storage,
        grid=evaluation.grid,
        target=evaluation.target,
        sureness=sureness,
        thresholds=limits,
        least=least_scores(found, held.alone, coverage),
    )
    ground = trusted_ground(trust, listener)
    told = _json(found, held, trust, ground, coverage)
    drawn = sample_design(evaluation.table.columns)
    if drawn is None:
        told["notes"].insert(0, CHANCE)
    elif (lacking := _unlabelled_share(evaluation, drawn)) > 0:
        told["notes"].insert(0, NO_LABEL.format(share=lacking))
    return Trust(told=told, map=trust)


def _unlabelled_share(evaluation: LayerEvaluation, drawn: SampleDesign) -> float:
    """The share of a sample's pixels that lies in strata without a label that was held against the product."""
    assert evaluation.pairs is not None, "labels are points"
    labelled, sizes = set(drawn.stratum[evaluation.pairs.owners].tolist()), drawn.all_strata()
    return sum(n for name, n in sizes.items() if name not in labelled) / sum(sizes.values())


def _json(
    found: LabelledScores, held: HeldOut, trust: TrustMap, ground: TrustedGround, coverage: float
) -> dict[str, Any]:
    assert trust.target.classes is not None, "a layer of classes"
    limits = zip(trust.target.classes.names, trust.thresholds, trust.least, strict=True)
    mapped, trusted = sum(ground.mapped_km2), sum(ground.trusted_km2)
    notes = []
    if found.n_untold:
        notes.append(f"{found.n_untold:,} labels lie where the product does not say how sure it is: none is trusted.")
    if found.n_repeated:
        notes.append(f"{found.n_repeated:,} labels are copies, of one pixel and class: each counts once for trust.")
    return {
        "coverage": coverage,
        "of": found.of,
        "full": found.full,
        "weighted": found.weighted,
        "n": len(found),
        "folds": FOLDS,
        "labels_needed": labels_needed(coverage),
        "mapped_km2": mapped,
        "trusted_km2": trusted,
        "trusted_share": _share(trusted, mapped),
        "held_out": held_out_json(found, held),
        "classes": {
            name: {
                "promised": limit.value is not None,
                "threshold": limit.value,
                "least_score": least,
                "n_labels": limit.n,
                "coverage_low": limit.low,
                "mapped_km2": ground.mapped_km2[number],
                "trusted_km2": ground.trusted_km2[number],
                "trusted_share": _share(ground.trusted_km2[number], ground.mapped_km2[number]),
                "held_out": held_out_json(found, held, number),
            }
            for number, (name, limit, least) in enumerate(limits)
        },
        "layer": None,
        "notes": notes,
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
