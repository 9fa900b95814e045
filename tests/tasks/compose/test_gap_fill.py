from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
from onnx import TensorProto

from tests.support.graphs import Draft
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.tasks.compose.gap_fill import fill_gaps

MIDDLES = [datetime(2023, 1, day, tzinfo=UTC) for day in (1, 2, 4, 8)]
NAN = np.nan


def filled(rule: str, *values: float) -> list[float]:
    steps = np.array(values, np.float32).reshape(-1, 1, 1, 1)
    return fill_gaps(steps, MIDDLES, rule=rule)[:, 0, 0, 0].tolist()


def test_leave_leaves() -> None:
    assert np.array_equal(filled("leave", 1, NAN, NAN, 8), [1, NAN, NAN, 8], equal_nan=True)


def test_carry_takes_the_nearest_date_and_the_earlier_of_two_alike() -> None:
    assert filled("carry", 1, NAN, NAN, 8) == [1, 1, 1, 8]
    assert filled("carry", 1, NAN, 4, NAN) == [1, 1, 4, 4]
    assert filled("carry", NAN, NAN, 4, 8) == [4, 4, 4, 8]


def test_interpolation_follows_the_days_between() -> None:
    assert filled("interpolate", 1, NAN, NAN, 8) == [1, 2, 4, 8]
    assert filled("interpolate", NAN, 2, NAN, NAN) == [2, 2, 2, 2]


def test_a_pixel_never_seen_stays_missing() -> None:
    for rule in ("leave", "carry", "interpolate"):
        assert np.isnan(filled(rule, NAN, NAN, NAN, NAN)).all()


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="gap rule 'guess' is not known"):
        filled("guess", 1, 2, 3, 4)


def test_the_order_of_the_steps_is_that_of_their_dates() -> None:
    steps = np.array([8, NAN, 1], np.float32).reshape(-1, 1, 1, 1)
    middles = [date(2023, 1, 8), date(2023, 1, 2), date(2023, 1, 1)]
    assert fill_gaps(steps, middles, rule="interpolate")[:, 0, 0, 0].tolist() == [8, 2, 1]
    assert fill_gaps(steps, middles, rule="carry")[:, 0, 0, 0].tolist() == [8, 1, 1]


def test_bands_are_filled_apart_and_what_was_seen_keeps_its_bits() -> None:
    steps = np.array([[-10.1, NAN], [NAN, 3], [-20.3, 5]], np.float32).reshape(3, 2, 1, 1)
    made = fill_gaps(steps, [*MIDDLES[:2], datetime(2023, 1, 3, tzinfo=UTC)], rule="interpolate", unit="db")
    power = (10**-1.01 + 10**-2.03) / 2
    assert made[1, 0, 0, 0] == pytest.approx(10 * np.log10(power), abs=1e-5)
    assert made[0, 1, 0, 0] == pytest.approx(3, abs=1e-5)
    assert np.array_equal(made[~np.isnan(steps)], steps[~np.isnan(steps)])


SIDE, ROWS, COLS = 112, (9, 100), (13, 103)
HERE = slice(*ROWS), slice(*COLS)
MONTHS = ("may", "june", "july", "august")
DAYS = ("2023-05-04", "2023-06-15", "2023-07-02", "2023-08-30")
SUMMER = {"period": "2023-05-01/2023-08-31"}
NEVER = -9.0
pictures = pytest.mark.usefixtures("small_pictures")


def series(folder, *, bands=("red",), **missing):
    """A card whose layers are the four steps of its first band as the model was given them."""
    draft = Draft()
    first = draft.node("Slice", "x", *(draft.constant(np.array([number])) for number in (0, 1, 2)))
    made = draft.node("Squeeze", first, draft.constant(np.array([2])))
    model = draft.model_many(
        [("x", TensorProto.FLOAT, ["batch", 4, len(bands), "h", "w"])],
        [(made, "y", TensorProto.FLOAT, ["batch", 4, "oh", "ow"])],
    )
    entry = {
        "name": "x",
        "bands": bands,
        "dims": ("batch", "time", "bands", "height", "width"),
        "tw:dates": {"kind": "series", "steps": 4, "every": "month"},
        "tw:missing": {"fill": NEVER, **missing},
    }
    return write_card(folder, model, inputs=[entry], outputs=[{"name": "y", "tw:layers": list(MONTHS)}])


@pytest.fixture
def clouded(tmp_path):
    """A world of four dates, each with holes of its own, and its pixels (4, SIDE, SIDE)."""
    random = np.random.default_rng(5)
    pixels = random.uniform(0, 1, (4, SIDE, SIDE)).astype(np.float32)
    pixels[random.random(pixels.shape) < 0.4] = np.nan
    pixels[:, 60:70, 60:70] = np.nan
    world = World(tmp_path / "world")
    for values, day in zip(pixels, DAYS, strict=True):
        world.add(values, "red", day=day, unit="reflectance")
    return world, pixels


def by_hand(pixels, rule):
    """The steps a pixel at a time, by numpy."""
    days = np.array([date.fromisoformat(day).toordinal() for day in DAYS])
    made = np.full(pixels.shape, np.float32(NEVER))
    for row, col in np.ndindex(pixels.shape[1:]):
        seen = ~np.isnan(pixels[:, row, col])
        if not seen.any():
            continue
        known, values = days[seen], pixels[seen, row, col].astype(np.float64)
        if rule == "interpolate":
            made[:, row, col] = np.interp(days, known, values)
        else:
            made[:, row, col] = [values[np.argmin(np.abs(known - day))] for day in days]
    return made


@pictures
@pytest.mark.parametrize(("rule", "said_by"), [("carry", "job"), ("interpolate", "card")])
def test_a_run_fills_gaps_as_the_job_or_the_card_says_whatever_the_blocks(clouded, tmp_path, rule, said_by):
    world, pixels = clouded
    card = series(tmp_path / "card", **({"gaps": rule} if said_by == "card" else {}))
    changes = {**SUMMER, **({"gaps": rule} if said_by == "job" else {})}
    whole = run(pixel_job(world, card, tmp_path / "whole", rows=ROWS, cols=COLS, **changes)).output
    cut = run(pixel_job(world, card, tmp_path / "cut", rows=ROWS, cols=COLS, tile={"block": 64}, **changes)).output
    expected = by_hand(pixels, rule)
    seen = (~np.isnan(pixels)).sum(axis=0)[HERE]
    for number, month in enumerate(MONTHS):
        found = layer(whole, month)
        assert np.array_equal(found, layer(cut, month), equal_nan=True)
        assert np.array_equal(np.isnan(found), seen == 0)
        assert np.nanmax(np.abs(found - expected[number][HERE])) < 1e-6


@pictures
def test_a_run_that_says_nothing_leaves_gaps_to_the_fill(clouded, tmp_path):
    world, pixels = clouded
    card = series(tmp_path / "card")
    made = run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **SUMMER)).output
    seen = (~np.isnan(pixels)).any(axis=0)[HERE]
    june = np.where(np.isnan(pixels[1]), np.float32(NEVER), pixels[1])[HERE]
    assert np.array_equal(layer(made, "june")[seen], june[seen])


@pictures
def test_another_rule_is_another_request_and_every_block_is_made_anew(clouded, tmp_path):
    world, pixels = clouded
    card = series(tmp_path / "card")
    where = {"rows": ROWS, "cols": COLS, **SUMMER}
    run(pixel_job(world, card, tmp_path / "out", gaps="carry", **where))
    with pytest.raises(ValueError, match="gaps differ"):
        run(pixel_job(world, card, tmp_path / "out", gaps="interpolate", **where))
    run_job(pixel_job(world, card, tmp_path / "out", gaps="interpolate", **where), RunOptions(update=True))
    assert np.nanmax(np.abs(layer(tmp_path / "out", "june") - by_hand(pixels, "interpolate")[1][HERE])) < 1e-6


def test_what_cannot_be_filled_so_is_refused(clouded, tmp_path):
    world, _ = clouded
    where = {"rows": ROWS, "cols": COLS, **SUMMER}

    def refused(card, sentence, **changes):
        with pytest.raises(JobError, match=sentence):
            run(pixel_job(world, card, tmp_path / "out", **where, **changes))

    refused(series(tmp_path / "own", gaps="leave"), "takes 'leave' .tw:missing.gaps.: leave gaps out", gaps="carry")
    refused(series(tmp_path / "word"), "gaps: expected 'leave', 'carry' or 'interpolate'", gaps="guess")
    draft = Draft()
    model = draft.model(draft.node("Identity", "x"), n_in=1, n_out=1)
    one = write_card(
        tmp_path / "one", model, inputs=[{"name": "x", "bands": ["red"]}], outputs=[{"name": "y", "tw:layers": ["red"]}]
    )
    refused(one, "no input of small has several steps", gaps="carry")
    for day in DAYS:
        world.add(np.ones((SIDE, SIDE), np.uint8), "kind", day=day, unit="class", nodata=0)
    mixed = series(tmp_path / "mixed", bands=("red", "kind"), gaps="interpolate")
    refused(mixed, "band kind holds classes, and nothing lies between two classes")
    with pytest.raises(CardError, match=r"tw:missing\.gaps"):
        load_card(series(tmp_path / "typo", gaps="linear"))
