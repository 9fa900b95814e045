"""Random worlds, run whole, against the slow reference: no pixel of any layer may differ.

`TILEWRIGHT_WORLDS=200 pytest tests/reference` sweeps so many worlds; `TILEWRIGHT_WORLDS=1 TILEWRIGHT_SEED=37` one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.reference.by_hand import observations
from tests.reference.compare import differences
from tests.reference.rasters import SIGNS
from tests.reference.reference import answer
from tests.reference.world import RandomWorld, layer_names, make_world
from tests.support.worlds import layer, run
from tilewright.flows.errors import ErrorClass, classify

N_WORLDS = int(os.environ.get("TILEWRIGHT_WORLDS", "12"))
FIRST_SEED = int(os.environ.get("TILEWRIGHT_SEED", "0"))


def compare(folder: Path, seed: int, oddity: Mapping[str, Any] | None = None) -> None:
    world = make_world(folder / "world", seed, oddity)
    expected = answer(world.question)
    said = refusal(world, folder / "out")
    assert bool(said) == bool(expected.refused), f"{world.told()}\nrefused: {said!r}, expected {expected.refused!r}"
    if said is None:
        layers = {name: layer(folder / "out", name) for name in layer_names(world.traits)}
        found = differences(expected, layers, observations(folder / "out", world.question.bounds))
        assert not found, f"{world.told()}\n{found}"


def refusal(world: RandomWorld, output: Path) -> str | None:
    """What the run says where it refuses the world's job; any other failure is one."""
    try:
        run(world.job(output))
    except Exception as error:
        if classify(error) == ErrorClass.BAD_REQUEST:
            return str(error)
        raise AssertionError(f"{world.told()}\nfailed with {type(error).__name__}: {error}") from error
    return None


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
    "without mask": {"no_mask": 0.6, "n_passes": 4},
    "unlike resolutions": {"fine_nir": False, "bands": ("red", "nir", "swir16")},
    "bands absent": {"absent": 0.4, "n_passes": 4},
    "several scenes a pass": {"n_scenes": 3},
    "no names": {"unnamed": True},
    "30 m": {"resolution": 30, "shape": (70, 80), "n_passes": 2},
    "rule": {"mask": "rule", "dilation": 25, "n_passes": 3, "no_mask": 0.3},
    "probability": {"mask": "probability", "dilation": 50, "n_passes": 3, "no_mask": 0.3},
    "classes that grow": {"dilation": 25, "drop": (0, 1, 3, 8, 9, 10), "n_passes": 3},
    "interval": {"n_intervals": 1, "reducer": "mean", "n_passes": 3},
    "equal area": {"place": "18 E, equal area", "other_zone": 0.5, "n_passes": 3},
    "degrees": {"place": "18 E, degrees", "other_zone": 0.5, "n_passes": 3},
    "overviews": {"overviews": True, "resolution": 30, "shape": (70, 80)},
    "overviews, another zone": {"overviews": True, "resolution": 30, "shape": (70, 80), "other_zone": 1.0},
    "a month's edge": {"clock": "edge"},
}


@pytest.mark.slow(reason="a whole run for each of fifty oddities: half a minute")
@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_tame_world_with_one_oddity_is_mapped_as_the_reference_says(tmp_path, oddity):
    for seed in range(FIRST_SEED + 1000, FIRST_SEED + 1000 + max(1, N_WORLDS // 40)):
        compare(tmp_path / str(seed), seed, ODDITIES[oddity])
