"""Cards of loops that cannot be honoured are refused by the field to change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.denoisers import ALPHAS, DDIM, EULER, HEUN, INT64, SIGMAS, denoiser
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError

AVERAGE = {"window": 16, "step": 8}


def loop(kind: dict[str, Any] = EULER, /, **changes: Any) -> Callable[[dict[str, Any]], None]:
    """Writes a loop with these changes; None leaves a key out."""

    def change(properties: dict[str, Any]) -> None:
        told = {**kind, **changes}
        properties["tw:sampler"] = {key: value for key, value in told.items() if value is not None}

    return change


def entry(part: str, index: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    """Changes fields of an input or output."""

    def change(properties: dict[str, Any]) -> None:
        properties[f"mlm:{part}"][index].update(changes)

    return change


def array(part: str, index: int, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Changes the array of an input or output."""

    def change(properties: dict[str, Any]) -> None:
        properties[f"mlm:{part}"][index]["input" if part == "input" else "result"][key] = value

    return change


def without(index: int) -> Callable[[dict[str, Any]], None]:
    def change(properties: dict[str, Any]) -> None:
        del properties["mlm:input"][index]

    return change


def no_loop(properties: dict[str, Any]) -> None:
    del properties["tw:sampler"]


def twice(properties: dict[str, Any]) -> None:
    properties["mlm:output"].append({**properties["mlm:output"][0], "name": "f"})


def boxes(properties: dict[str, Any]) -> None:
    other = {**properties["mlm:output"][0], "name": "f", "tasks": ["object-detection"], "tw:layers": ["things"]}
    other["classification:classes"] = CLASSES
    other["tw:boxes"] = {"channels": ["x1", "y1", "x2", "y2", "score:a", "score:b"]}
    other["result"] = {"shape": [9, 6], "dim_order": ["box", "channel"], "data_type": "float32"}
    properties["mlm:output"].append(other)


CLASSES = [{"value": 0, "name": "a"}, {"value": 1, "name": "b"}]

WRONG = {
    "no loop": (no_loop, "properties.tw:sampler is missing; input 'x' is the state of a loop"),
    "an unknown key": (loop(eta=0.5), "properties.tw:sampler.eta is not a field Tilewright knows"),
    "a misspelt key": (loop(step=5), r"tw:sampler.step is not .*did you mean 'steps'"),
    "an unknown kind": (loop(kind="dpm"), "tw:sampler.kind is 'dpm'; write one of ddim, euler, heun"),
    "no kind": (loop(kind=None), "tw:sampler.kind is missing"),
    "an unknown prediction": (loop(prediction="v"), "tw:sampler.prediction is 'v'; write one of epsilon, velocity"),
    "no steps": (loop(steps=None), "tw:sampler.steps is missing; write a whole number"),
    "no step at all": (loop(steps=0), "tw:sampler.steps is 0"),
    "half a step": (loop(steps=2.5), "tw:sampler.steps is 2.5"),
    "too many steps": (loop(steps=1001), "tw:sampler.steps is 1001; write at most 1000"),
    "a number too few": (loop(sigmas=SIGMAS[1:]), r"tw:sampler.sigmas is .*write steps \+ 1 = 6 numbers"),
    "no numbers": (loop(sigmas=None), "tw:sampler.sigmas is missing"),
    "sigmas that rise": (loop(sigmas=SIGMAS[::-1]), "tw:sampler.sigmas is .*write sigmas that fall"),
    "sigmas that stay": (loop(sigmas=[1, 0.8, 0.8, 0.2, 0.1, 0]), "tw:sampler.sigmas is .*write sigmas that fall"),
    "sigmas below 0": (loop(sigmas=[*SIGMAS[:-1], -0.1]), "tw:sampler.sigmas is .*to 0 or above"),
    "sigmas too large": (loop(sigmas=[1e7, *SIGMAS[1:]]), r"tw:sampler.sigmas is .*from at most 1e\+06"),
    "alphas for euler": (loop(alphas=ALPHAS), "tw:sampler.alphas is .*euler goes by sigmas"),
    "sigmas for ddim": (loop(DDIM, sigmas=SIGMAS), "tw:sampler.sigmas is .*ddim goes by alphas"),
    "alphas of 0": (loop(DDIM, alphas=[0, *ALPHAS[1:]]), "tw:sampler.alphas is .*write alpha-bars that rise, above 0"),
    "alphas above 1": (loop(DDIM, alphas=[*ALPHAS[:-1], 1.01]), "tw:sampler.alphas is .*up to 1"),
    "alphas that fall": (loop(DDIM, alphas=ALPHAS[::-1]), "tw:sampler.alphas is .*that rise"),
    "words for numbers": (loop(DDIM, alphas=["a"] * 6), "tw:sampler.alphas is .*write a number or a list of numbers"),
    "no times": (loop(DDIM, times=None), "tw:sampler.times is missing"),
    "times too few": (loop(DDIM, times=[9, 7, 5, 3]), "tw:sampler.times is .*write 5 numbers, one for each step$"),
    "a time too many": (loop(HEUN, times=[9, 7, 5, 3, 1, 0]), "tw:sampler.times is .*write 5 numbers"),
    "no time to correct at": (
        loop(HEUN, sigmas=[*SIGMAS[:-1], 0.01], times=[9, 7, 5, 3, 1]),
        "tw:sampler.times is .*write 6 numbers, .*one for the last sigma",
    ),
    "a seed below 0": (loop(seed=-1), "tw:sampler.seed is -1"),
    "a seed of a word": (loop(seed="a"), "tw:sampler.seed is 'a'"),
    "averaged by a word": (loop(average="inside"), "tw:sampler.average is 'inside'; write an object"),
    "averaged without a step": (loop(average={"window": 16}), "tw:sampler.average.step is missing"),
    "windows that do not overlap": (loop(average={"window": 16, "step": 16}), "average.step is 16; .*windows overlap"),
    "a step that does not divide": (loop(average={"window": 16, "step": 6}), "average.step is 6; .*divides it"),
    "a window too large": (loop(average={"window": 20_000, "step": 10_000}), "average.window is 20000; write at most"),
    "a key of averages": (loop(average={**AVERAGE, "weights": 1}), "average.weights is not a field"),
    "no state": (without(1), r"mlm:input .*tw:sampler needs one input with tw:extra {'kind': 'state'}; there are 0"),
    "no time": (without(2), r"mlm:input .*tw:sampler needs one input with tw:extra {'kind': 'time'}; there are 0"),
    "a state in another order": (
        array("input", 1, "dim_order", ["batch", "height", "width", "channel"]),
        "mlm:input.1..input.dim_order is .*a state has batch, channel, height, width, in this order",
    ),
    "a state without a place": (
        array("input", 1, "dim_order", ["batch", "channel", "time", "width"]), "mlm:input.1..input.dim_order"
    ),
    "a state that is scaled": (
        entry("input", 1, value_scaling=[{"type": "scale", "value": 2}]), "mlm:input.1..value_scaling is .*leave it out"
    ),
    "a time over the window": (array("input", 2, "dim_order", ["height"]), "mlm:input.2..input.dim_order is"),
    "a resized picture": (
        lambda properties: (
            entry("input", 0, resize_type="interpolation-linear")(properties),
            array("input", 0, "shape", [-1, 1, 32, 32])(properties),
            properties["tw:tile"].update(window=64),
        ),
        "mlm:input is .*'picture' is resized, and tw:sampler needs its pixels",
    ),
    "two outputs": (twice, "mlm:output is .*tw:sampler takes one output, the prediction"),
    "boxes": (boxes, "mlm:output is .*tw:sampler takes one output, the prediction"),
    "classes": (
        entry("output", 0, **{"classification:classes": CLASSES, "tw:layers": ["class"]}), "tw:sampler gives values"
    ),
    "vectors": (
        lambda properties: (
            array("input", 1, "shape", [-1, 3, -1, -1])(properties),
            array("output", 0, "shape", [-1, 3, -1, -1])(properties),
            entry("output", 0, **{"tasks": ["similarity-search"], "tw:embedding": {"metric": "cosine"}})(properties),
        ),
        "tw:embedding is .*tw:sampler gives values: name each channel in tw:layers",
    ),
    "a prediction in another order": (
        array("output", 0, "dim_order", ["batch", "height", "width", "channel"]), "mlm:output.0..result.dim_order is"
    ),
    "a prediction of whole numbers": (array("output", 0, "data_type", "int32"), "result.data_type is .*is float"),
    "a prediction of other channels": (
        array("input", 1, "shape", [-1, 2, -1, -1]), "its channel must be that of the state 'x', which is 2"
    ),
    "a prediction of another size": (
        array("input", 1, "shape", [-1, 1, 48, 48]), "its height must be that of the state 'x', which is 48"
    ),
    "a prediction that is cropped": (entry("output", 0, **{"tw:crop": 2}), "tw:crop is 2; tw:sampler needs a predict"),
}  # fmt: skip


def changed(folder: Path, change: Callable[[dict[str, Any]], Any], **made: Any) -> Path:
    card = denoiser(folder, EULER, **made)
    plain = json.loads((card / "card.json").read_text())
    change(plain["properties"])
    (card / "card.json").write_text(json.dumps(plain))
    return card


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_loop_is_refused_by_its_field(tmp_path: Path, name: str) -> None:
    change, words = WRONG[name]
    with pytest.raises(CardError, match=words):
        load_card(changed(tmp_path, change))


def test_times_that_are_no_whole_numbers_do_not_go_into_a_graph_of_whole_numbers(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"tw:sampler.times is missing; write whole numbers: .*'t' is int64"):
        load_card(denoiser(tmp_path / "a", EULER, time=INT64))
    card = load_card(denoiser(tmp_path / "b", {**EULER, "times": [1000, 800, 500, 200, 50]}, time=INT64))
    assert card.sampler is not None
    assert card.sampler.times == (1000, 800, 500, 200, 50)


def test_windows_of_another_size_than_the_graphs_are_not_averaged(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"tw:sampler.average.window is 16; .* is fixed to 32 px, and not to the 16 px"):
        load_card(changed(tmp_path, loop(average=AVERAGE), side=32))


def test_a_coarser_picture_has_whole_pixels_in_every_step(tmp_path: Path) -> None:
    change = loop(average={"window": 18, "step": 9})

    def other(properties: dict[str, Any]) -> None:
        change(properties)
        properties["mlm:output"][0]["tw:scale"] = 0.5

    with pytest.raises(
        CardError, match=r"average.step is 9; 'e' has 0.5 px for one of the grid: write a multiple of 2"
    ):
        load_card(changed(tmp_path, other))


def test_what_a_right_card_says(tmp_path: Path) -> None:
    card = load_card(changed(tmp_path, loop(HEUN, average=AVERAGE, seed=12), side=16))
    assert card.sampler is not None
    assert card.sampler.average is not None
    assert (card.sampler.steps, card.sampler.evaluations, card.sampler.seed) == (5, 9, 12)
    assert card.tile.window is None
    assert card.one_call.tile.window == 16
    assert card.one_call.sampler is None
    assert [spec.shape for spec in card.inputs] == [(-1, 1, -1, -1)]
    assert [spec.shape for spec in card.as_exported.inputs] == [(-1, 1, 16, 16)]
    assert card.loops == (card.sampler,)
