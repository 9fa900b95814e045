"""Random worlds, run whole, against the slow reference: no pixel of any layer may differ.

`TILEWRIGHT_WORLDS=200 pytest tests/reference` sweeps so many worlds; `TILEWRIGHT_WORLDS=1 TILEWRIGHT_SEED=37` one.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.reference.compare import differences
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


def compare(folder: Path, seed: int, *, tame: bool) -> None:
    world = make_world(folder / "world", seed, tame=tame)
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
    compare(tmp_path, seed, tame=False)


@pytest.mark.parametrize("seed", range(1000, 1000 + max(3, N_WORLDS // 10)))
def test_a_tame_world_is_mapped_as_the_reference_says(tmp_path, seed):
    compare(tmp_path, seed, tame=True)
