"""Windows: decided in one place from card, reach and memory; `models check` and `plan` say the same of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.graphs import Draft, conv_stack, unet
from tests.support.worlds import CRS, World, area, bounds, write_card
from tilewright.flows.cli.main import app
from tilewright.models.builtin.build import FOLDER
from tilewright.models.cache import write_kept
from tilewright.models.card.card import ModelCard, load_card
from tilewright.models.card.tile import TileSpec
from tilewright.models.errors import CardError
from tilewright.models.measure.memory import card_memory
from tilewright.models.measure.reach.field import ReceptiveField
from tilewright.models.measure.window import LARGER_STEPS, MOST_PASSES, WINDOW_BYTES, choose_window


def _field(trim: int | None, stride: int = 1) -> ReceptiveField:
    return ReceptiveField(radius=trim, trim=trim, stride=stride, verdict="bounded", reason="")


def _with_tile(**tile: Any) -> ModelCard:
    return replace(load_card(FOLDER / "ndwi-water"), tile=TileSpec(**tile))


@pytest.mark.parametrize(
    ("tile", "field", "expected"),
    [
        pytest.param({}, _field(0), (512, 512, 0, "trim"), id="pixel by pixel"),
        pytest.param({}, _field(48, 8), (608, 512, 48, "trim"), id="free, memory unknown"),
        pytest.param({"step": 100}, _field(5, 8), (120, 104, 8, "trim"), id="step and trim rounded up to the stride"),
        pytest.param({"window": 256}, _field(48, 8), (256, 160, 48, "trim"), id="fixed"),
        pytest.param({"window": 256, "step": 100}, _field(48, 8), (256, 96, 48, "trim"), id="fixed, closer steps"),
        pytest.param({"window": 250}, _field(10, 8), (250, 216, 16, "trim"), id="fixed, step rounded down"),
        pytest.param({"trim": 3}, _field(48), (518, 512, 3, "trim"), id="trim of the card"),
        pytest.param({}, _field(None, 16), (1024, 512, 256, "blend"), id="unbounded"),
        pytest.param({"window": 256}, _field(None, 16), (256, 128, 64, "blend"), id="unbounded and fixed"),
        pytest.param(
            {"merge": "trim"}, _field(None), (640, 512, 64, "trim"), id="unbounded, trimmed as the card wants"
        ),
    ],
)
def test_windows_follow_from_card_and_reach(
    tile: dict[str, Any], field: ReceptiveField, expected: tuple[int, int, int, str]
) -> None:
    chosen = choose_window(_with_tile(**tile), field)
    assert (chosen.window, chosen.step, chosen.trim, chosen.merge) == expected


def test_a_fixed_window_that_is_all_rim_is_refused() -> None:
    with pytest.raises(CardError, match="nothing would be left"):
        choose_window(_with_tile(window=96), _field(48, 8))


@pytest.mark.parametrize(
    ("radius", "per_pixel", "step"),
    [
        pytest.param(28, 600.0, 512, id="the default is good enough"),
        pytest.param(51, 600.0, 768, id="a longer reach, a larger step"),
        pytest.param(200, 100.0, 2048, id="the largest that is tried"),
        pytest.param(200, 600.0, 1024, id="the largest that fits"),
        pytest.param(200, 1e5, 512, id="none fits: the default"),
        pytest.param(200, None, 512, id="memory unknown"),
    ],
)
def test_larger_steps_are_weighed_against_memory(radius: int, per_pixel: float | None, step: int) -> None:
    chosen = choose_window(_with_tile(), _field(radius), per_pixel=lambda: per_pixel)
    assert chosen.step == step
    if step > 512 and per_pixel is not None:
        assert chosen.window**2 * per_pixel <= WINDOW_BYTES
        assert f"step {step}: {chosen.passes:.2f} passes" in chosen.why
        larger = (1536 + 2 * radius) ** 2 * per_pixel > WINDOW_BYTES
        assert chosen.passes <= MOST_PASSES or larger or step == max(LARGER_STEPS)


def test_memory_is_not_measured_where_nothing_hangs_on_it() -> None:
    def never() -> float:
        raise AssertionError("measured for nothing")

    for tile, field in (({}, _field(28)), ({"step": 512}, _field(200)), ({"window": 1024}, _field(200)),
                        ({}, _field(None))):  # fmt: skip
        choose_window(_with_tile(**tile), field, per_pixel=never)
    assert choose_window(_with_tile(), _field(200), step=640, per_pixel=never).step == 640


def test_memory_is_kept_by_the_cards_digest(tmp_path: Path) -> None:
    card = load_card(write_card(tmp_path / "card", unet(2, 3, depth=1), inputs=[IMAGE], outputs=[VALUES]))
    first = card_memory(card, stride=2, cache=tmp_path / "memory")
    assert first is not None
    # Two channels in, three out, and what lies between.
    assert 4 * (2 + 3) < first < 10_000
    (kept,) = (tmp_path / "memory").iterdir()
    write_kept(kept, {"bytes_per_pixel": 123})
    assert card_memory(card, stride=2, cache=tmp_path / "memory") == 123
    kept.write_text("broken")
    assert card_memory(card, stride=2, cache=tmp_path / "memory") == pytest.approx(first, rel=0.3)


IMAGE = {"name": "x", "bands": ["red", "nir"]}
VALUES = {"name": "y", "tw:layers": ["a", "b", "c"]}


@pytest.mark.parametrize("radius", [28, 51, 200])
def test_the_check_and_the_plan_say_the_same_windows(radius: int, tmp_path: Path, monkeypatch: Any) -> None:
    """Through the command, with models of that radius; the card asks only for a free window."""
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))
    model = conv_stack((radius - 1, 1), n_in=2, width=8)
    card = write_card(
        tmp_path / "card", model, inputs=[IMAGE], outputs=[{**VALUES, "tw:layers": ["a", "b"]}], tile={"step": None}
    )
    world = World(tmp_path / "world")
    for band in IMAGE["bands"]:
        world.add(np.full((64, 64), 0.2, np.float32), band, unit="reflectance")
    job = {
        "area": area((-2, 66), (-2, 66)), "period": "2023-06", "source": world.source, "model": str(card),
        "grid": {"crs": CRS, "bounds": bounds((0, 64), (0, 64))},
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    checked, planned = (_answer(*words, "--json") for words in (
        ("models", "check", str(card)), ("plan", str(tmp_path / "job.json"))))  # fmt: skip
    assert checked["receptive_field"]["radius"] == radius
    assert {key: checked["window"][key] for key in ("window", "step", "trim", "merge", "why")} == {
        key: planned["windows"][key] for key in ("window", "step", "trim", "merge", "why")
    }
    assert planned["windows"]["step"] == {28: 512, 51: 768}.get(radius, planned["windows"]["step"])
    assert ((planned["windows"]["window"] / planned["windows"]["step"]) ** 2 <= MOST_PASSES) or radius == 200
    assert planned["exact"]


def _answer(*words: str) -> dict[str, Any]:
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    return dict(json.loads(answer.stdout))


def test_a_step_the_card_asks_for_between_fixed_windows_is_kept(tmp_path: Path) -> None:
    draft = Draft()
    model = draft.model(draft.conv("x", 2, 3), n_in=2, n_out=3, size=(64, 64))
    card = load_card(write_card(tmp_path, model, inputs=[IMAGE], outputs=[VALUES], tile={"step": 16}))
    assert choose_window(card, _field(1)).step == 16
