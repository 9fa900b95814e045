"""Random worlds, run whole, against the slow reference: no pixel of any layer may differ.

`TILEWRIGHT_WORLDS=200 pytest tests/reference` sweeps so many worlds; `TILEWRIGHT_WORLDS=1 TILEWRIGHT_SEED=37` one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.reference.compare import differences
from tests.reference.rasters import SIGNS
from tests.reference.reference import answer
from tests.reference.world import layer_names, make_world
from tests.support.worlds import layer, run
from tilewright.flows.errors import ErrorClass, classify

N_WORLDS = int(os.environ.get("TILEWRIGHT_WORLDS", "12"))
FIRST_SEED = int(os.environ.get("TILEWRIGHT_SEED", "0"))


def observations(output: Path, bounds: tuple[float, float, float, float], size: float = 10.0) -> np.ndarray:
    """The layer `observations`, cut to the bounds."""
    group = zarr.open_group(str(output / "data.zarr"), mode="r")
    x, y = np.asarray(group["x"]), np.asarray(group["y"])
    cols = np.flatnonzero((x > bounds[0]) & (x < bounds[2]))
    rows = np.flatnonzero((y > bounds[1]) & (y < bounds[3]))
    assert len(cols) == round((bounds[2] - bounds[0]) / size)
    return np.asarray(group["observations"])[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]


def compare(folder: Path, seed: int, oddity: Mapping[str, Any] | None = None) -> None:
    world = make_world(folder / "world", seed, oddity)
    expected = answer(world.question)
    output = folder / "out"
    try:
        run(world.job(output))
    except Exception as error:
        refused = classify(error) == ErrorClass.BAD_REQUEST
        assert refused, f"{world.told()}\nfailed with {type(error).__name__}: {error}"
        assert expected.refused, f"{world.told()}\nwas refused, and has an answer: {error}"
        return
    assert not expected.refused, f"{world.told()}\nhad to be refused: {expected.refused}"
    layers = [layer(output, name) for name in layer_names(world.traits)]
    found = differences(world, expected, layers, observations(output, world.question.bounds))
    assert not found, found


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + N_WORLDS))
def test_a_random_world_is_mapped_as_the_reference_says(tmp_path, seed):
    compare(tmp_path, seed)


ODDITIES: dict[str, dict[str, Any]] = {
    "none": {},
    **{sign: {"signs": (sign,)} for sign in SIGNS},
    "another zone": {"other_zone": 1.0},
    "both zones": {"other_zone": 0.5, "n_passes": 4},
    "180, south": {"place": "180, south", "other_zone": 0.5, "n_passes": 3},
    "180, north": {"place": "180, north", "other_zone": 0.5, "n_passes": 3},
    "off the lattice": {"aligned": False},
    "midnight": {"clock": "midnight"},
    "local midnight": {"clock": "local midnight"},
    "without classes": {"no_classes": 0.6, "n_passes": 4},
    "unlike resolutions": {"fine_nir": False, "bands": ("red", "nir", "swir16")},
    "bands absent": {"absent": 0.4, "n_passes": 4},
    "several scenes a pass": {"n_scenes": 3},
    "no names": {"unnamed": True},
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_tame_world_with_one_oddity_is_mapped_as_the_reference_says(tmp_path, oddity):
    for seed in range(FIRST_SEED + 1000, FIRST_SEED + 1000 + max(1, N_WORLDS // 40)):
        compare(tmp_path / str(seed), seed, ODDITIES[oddity])
