"""Words find the ground that they mean, and map it: by a text model whose vectors are computable."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import tilewright as tw
from tests.support.embedders import BANDS, MEANINGS, VOCABULARY, WEIGHTS, pixel_encoder, window_encoder, with_text
from tests.support.places_cards import write_points
from tests.support.worlds import World, layer, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.plan.model_card import load_plan_card
from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.storage import open_storage

pytest.importorskip("tokenizers", reason="the extra `find` is not installed")
pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE, STEP = 128, 16
ROWS = COLS = (0, SIDE)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(2)
    made.bands = []
    for band in BANDS:
        fields = random.uniform(0.05, 1, (SIDE // STEP, SIDE // STEP)).repeat(STEP, axis=0).repeat(STEP, axis=1)
        values = (fields * random.uniform(0.2, 0.5, (SIDE, SIDE))).astype(np.float32)
        values[:16, :16] = np.nan
        made.add(values, band, unit="reflectance")
        made.bands.append(values)
    return made


def meaning(words):
    """The vector of words, as the text model gives it."""
    ids = [VOCABULARY["[CLS]"], *(VOCABULARY.get(word, 0) for word in words.lower().split())]
    return MEANINGS[ids].sum(axis=0)


def cosines(vectors, words):
    """(..., word) of vectors (..., number)."""
    targets = np.stack([meaning(each).astype(np.float16) for each in words]).astype(np.float64)
    products = vectors @ (targets / np.linalg.norm(targets, axis=1, keepdims=True)).T
    return products / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize(("padded", "mask"), [(0, True), (0, False), (8, True)])
def test_words_find_what_their_vector_finds(world, tmp_path, padded, mask):
    card = with_text(window_encoder(tmp_path / "card", step=STEP), padded=padded, mask=mask)
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    for words in ("red", "Blue green", "unheard red"):
        assert tw.find(tmp_path / "out", text=words, k=9) == tw.find(tmp_path / "out", vector=meaning(words), k=9)


@pytest.mark.parametrize("kind", ["window", "pixel"])
def test_words_map_classes_by_the_greatest_cosine(world, tmp_path, kind):
    words = ["blue", "green", "red", "green red"]
    card = window_encoder(tmp_path / "card", step=STEP) if kind == "window" else pixel_encoder(tmp_path / "card")
    with_text(card)
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=words)
    report = run_world(job).report
    bands = np.stack(world.bands)
    if kind == "window":
        bands = bands.reshape(3, SIDE // STEP, STEP, SIDE // STEP, STEP).mean(axis=(2, 4))
    vectors = np.moveaxis(np.tensordot(WEIGHTS, bands, axes=1), 0, -1).astype(np.float64)
    scores = cosines(vectors, words)
    expected = np.where(np.isnan(scores[..., 0]), 255, np.nan_to_num(scores).argmax(axis=-1))
    found = layer(tmp_path / "out", "class")
    near = np.diff(np.sort(scores, axis=-1)[..., -2:], axis=-1)[..., 0] < 1e-5
    assert (found == expected)[~near].all()
    assert len({*found.ravel()}) > 2
    assert [each["name"] for each in report["layers"][0]["classes"]] == words
    shares = np.exp(100 * (scores - scores.max(axis=-1, keepdims=True)))
    confidence = 100 * shares.max(axis=-1) / shares.sum(axis=-1)
    seen = found != 255
    assert np.abs(layer(tmp_path / "out", "confidence")[seen] - confidence[seen]).max() <= 1
    assert "embeddings" not in report
    again = run_world(pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, classify=words,
                                tile={"block": 64}), workers=4)  # fmt: skip
    assert np.array_equal(layer(again.output, "class"), found)
    job = pixel_job(world, card, tmp_path / "three", rows=ROWS, cols=COLS, classify=words)
    run_job(job, RunOptions(runner="dask", workers=2))
    assert np.array_equal(layer(tmp_path / "three", "class"), found)
    (tmp_path / "out/item.json").unlink()
    assert run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=words)).report[
        "blocks_made"
    ] == 0  # fmt: skip
    with pytest.raises(ValueError, match="--update"):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=words[:2]))


def test_below_the_least_confidence_there_is_no_class(world, tmp_path):
    words = ["blue", "green", "red"]
    card = with_text(pixel_encoder(tmp_path / "card"))
    plain = pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS, classify=words)
    sure = pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, classify={"words": words, "least": 0.905})
    report = [run_world(job).report for job in (plain, sure)][1]
    confidence = layer(tmp_path / "one", "confidence")
    assert np.array_equal(layer(tmp_path / "two", "confidence"), confidence)
    found = layer(tmp_path / "two", "class")
    assert ((found == 255) | (confidence >= 90)).all()
    assert np.array_equal(found[confidence > 91], layer(tmp_path / "one", "class")[confidence > 91])
    assert 0 < ((found == 255) & (confidence != 255)).sum() < (found != 255).sum()
    assert not [each for each in report["warnings"] if "have no class" in each]


@pytest.mark.parametrize("kind", ["window", "pixel"])
def test_calibrated_words_are_held_against_what_is_usual_for_each(world, tmp_path, kind):
    """The last word is the first and the second together: it is like everything, and wins everywhere without."""
    words = ["blue", "green", "red", "green red"]
    card = window_encoder(tmp_path / "card", step=STEP) if kind == "window" else pixel_encoder(tmp_path / "card")
    with_text(card)
    asked = {"words": words, "calibrated": True}
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=asked)
    report = run_world(job).report
    usual = np.array([report["usual_scores"][word] for word in words])
    bands = np.stack(world.bands)
    if kind == "window":
        bands = bands.reshape(3, SIDE // STEP, STEP, SIDE // STEP, STEP).mean(axis=(2, 4))
    vectors = np.moveaxis(np.tensordot(WEIGHTS, bands, axes=1), 0, -1).astype(np.float64)
    scores = 100 * cosines(vectors, words)
    # The windows of so small a world are all looked at.
    every = scores[np.isfinite(scores).all(axis=-1)]
    if kind == "window":
        assert usual == pytest.approx(np.stack([every.mean(axis=0), every.std(axis=0)], axis=1), rel=1e-4)
    standard = (scores - usual[:, 0]) / usual[:, 1]
    expected = np.where(np.isnan(scores[..., 0]), 255, np.nan_to_num(standard).argmax(axis=-1))
    near = np.diff(np.sort(standard, axis=-1)[..., -2:], axis=-1)[..., 0] < 1e-4
    found = layer(tmp_path / "out", "class")
    assert (found == expected)[~near].all()
    plain = run_world(pixel_job(world, card, tmp_path / "plain", rows=ROWS, cols=COLS, classify=words))
    assert "usual_scores" not in plain.report
    assert (layer(plain.output, "class") != found).mean() > 0.1
    shares = np.exp(standard - standard.max(axis=-1, keepdims=True))
    confidence = 100 * shares.max(axis=-1) / shares.sum(axis=-1)
    seen = found != 255
    assert np.abs(layer(tmp_path / "out", "confidence")[seen] - confidence[seen]).max() <= 1
    again = run_world(pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, classify=asked,
                                tile={"block": 64}), workers=4)  # fmt: skip
    assert np.array_equal(layer(again.output, "class"), found)
    job = pixel_job(world, card, tmp_path / "three", rows=ROWS, cols=COLS, classify=asked)
    run_job(job, RunOptions(runner="dask", workers=2))
    assert np.array_equal(layer(tmp_path / "three", "class"), found)
    (tmp_path / "out/item.json").unlink()
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=asked)
    assert run_world(job).report["blocks_made"] == 0
    with pytest.raises(ValueError, match="--update"):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=words))


def test_a_calibration_that_cannot_be_is_refused(world, tmp_path):
    card = with_text(window_encoder(tmp_path / "card", step=STEP))

    def refused(said, size=SIDE, **options):
        with pytest.raises(ValueError, match=said):
            run_world(pixel_job(world, card, tmp_path / "out", rows=(0, size), cols=(0, size), **options))
        assert not (tmp_path / "out").exists()

    refused("write classify", classify={"calibrated": True})
    refused("leave augment out", classify={"words": ["red", "blue"], "calibrated": True}, augment="flips")
    refused("a spread needs 8", size=2 * STEP, classify={"words": ["red", "blue"], "calibrated": True})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"places": "rows.parquet", "area": None, "grid": {}}, "what is usual for a word is seen over an area"),
        ({"mask": {"kind": "model", "model": "clouds", "drop": ["cloud"]}}, "before the masks .* are made"),
        ({"align": {"to": "before", "most": 30}}, "before dates are moved"),
    ],
)
def test_words_are_calibrated_on_the_pixels_that_are_mapped_or_not_at_all(world, tmp_path, more, said):
    card = with_text(pixel_encoder(tmp_path / "card"))
    write_points(tmp_path / "rows.parquet", [3.0], [4.0])
    asked = {"words": ["red", "blue"], "calibrated": True}
    plain = {
        "name": "world", "area": [13.6, 48.7, 13.7, 48.8], "period": "2023-06", "source": world.source,
        "model": str(card), "classify": asked, **more,
    }  # fmt: skip
    with pytest.raises(JobError, match=f"classify.calibrated: .*{said}.*leave classify.calibrated out"):
        make_job({key: value for key, value in plain.items() if value is not None}, base=tmp_path)


def test_calibrated_words_in_8_bits_are_held_against_calibrated_ones(world, tmp_path):
    card = with_text(pixel_encoder(tmp_path / "card"))
    asked = {"words": ["blue", "green", "green red"], "calibrated": True}
    given = [
        run_world(pixel_job(world, card, tmp_path / kind, rows=ROWS, cols=COLS, classify=asked, precision=kind))
        for kind in ("fp32", "int8")
    ]
    assert given[0].report["usual_scores"] == given[1].report["usual_scores"]
    assert (layer(given[0].output, "class") == layer(given[1].output, "class")).mean() > 0.99


def test_a_plan_whose_usual_scores_were_changed_is_refused(world, tmp_path):
    card = with_text(window_encoder(tmp_path / "card", step=STEP))
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS,
                    classify={"words": ["red", "blue"], "calibrated": True})  # fmt: skip
    run_world(job)
    plan = Plan.from_json(read_plan(open_storage(str(tmp_path / "out"))))
    whole = load_plan_card(plan)
    for usual in (
        {"red": [1, 0], "blue": [1, 1]},
        {"red": [1, -1], "blue": [1, 1]},
        {"red": [1, 1]},
        {"red": [1], "blue": [1, 1]},
        {"red": ["x", 1], "blue": [1, 1]},
        {"red": [1, 1], "blue": [1, 1], "sea": [1, 1]},
    ):
        bent = replace(plan, model=replace(plan.model, usual=usual))
        with pytest.raises(JobError, match="somebody changed it"):
            load_model(bent, whole, provider="cpu")
        assert bent.settings_key() != plan.settings_key()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["red"], "classify: give 2 to 254 words"),
        (["red", "red"], "classify: give 2 to 254 words"),
        (["red", ""], "classify: words are a line"),
        (["red", "a\nb"], "classify: words are a line"),
        (["red", "x" * 3000], "classify: words are a line"),
        (["red", "blue", " red"], "'red' and ' red' are the same to the text model"),
        (["red", "RED"], "'red' and 'RED' are the same"),
        # Neither is in its vocabulary.
        (["red", "r\u00e9d", "re\u0301d"], "or it knows neither"),
    ],
)
def test_words_that_cannot_be_are_refused(world, tmp_path, words, said):
    card = with_text(window_encoder(tmp_path / "card", step=STEP))
    with pytest.raises(ValueError, match=said):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=words))
    assert not (tmp_path / "out").exists()


def test_a_card_without_text_model_is_refused(world, tmp_path):
    card = window_encoder(tmp_path / "card", step=STEP)
    with pytest.raises(ValueError, match="classify: small has no text model"):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=["red", "blue"]))
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    with pytest.raises(ValueError, match="small has no text model"):
        tw.find(tmp_path / "out", text="red")


def test_more_tokens_than_the_graph_takes_are_refused(world, tmp_path):
    card = with_text(window_encoder(tmp_path / "card", step=STEP), padded=4)
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    with pytest.raises(ValueError, match="takes 4: give fewer words"):
        tw.find(tmp_path / "out", text="red red red red red")


def changed(card, change):
    plain = json.loads((card / "card.json").read_text())
    change(plain)
    (card / "card.json").write_text(json.dumps(plain))
    return card


WRONG = {
    "no such asset": (lambda plain: plain["properties"]["tw:text"].update(model="nothing"), "tw:text.model is"),
    "another role": (lambda plain: plain["assets"]["tokens"].update(roles=["data"]), "tw:text.tokenizer is"),
    "misspelt": (lambda plain: plain["properties"]["tw:text"].update(tokeniser="tokens"), "tw:text.tokeniser is not"),
    "another file": (
        lambda plain: plain["assets"]["words"].update({"file:checksum": "1220" + "0" * 64}), "words.file:checksum",
    ),
    "outside": (lambda plain: plain["assets"]["tokens"].update(href="../tokenizer.json"), "assets.tokens.href"),
    "no tokenizer": (lambda plain: plain["properties"]["tw:text"].pop("tokenizer"), "tw:text.tokenizer is missing"),
    "no embedding": (
        lambda plain: plain["properties"]["mlm:output"][0].update(
            {"tw:embedding": None, "tw:layers": [f"e{number}" for number in range(len(WEIGHTS))]}
        ),
        "tw:text is .*tw:embedding is missing",
    ),
    "pixels as tokens": (
        lambda plain: plain["properties"]["tw:text"].update(model="model"), "tw:text.model is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_card_is_refused_by_its_field(tmp_path, name):
    change, words = WRONG[name]
    card = changed(with_text(window_encoder(tmp_path / "card", step=STEP)), change)
    with pytest.raises(CardError, match=words):
        load_card(card)


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"version": "1.0"}'])
def test_a_damaged_tokenizer_is_refused(world, tmp_path, content):
    card = with_text(window_encoder(tmp_path / "card", step=STEP))
    (card / "tokenizer.json").write_bytes(content)
    import hashlib

    checksum = "1220" + hashlib.sha256(content).hexdigest()
    changed(card, lambda plain: plain["assets"]["tokens"].update({"file:checksum": checksum}))
    with pytest.raises(ValueError, match=r"tokenizer\.json of small cannot be read"):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, classify=["red", "blue"]))
