"""`tilewright run` with the card inside its graph: close to the plain path, however it is cut, and reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.graphs import Draft, pointwise, unet
from tests.support.worlds import World, area, layer, pixel_job, run, write_card
from tilewright.flows.cli.main import app
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.run.precision import PrecisionError
from tilewright.models.card.card import load_card
from tilewright.models.run import open as opening
from tilewright.models.run import providers
from tilewright.models.run import session as sessions
from tilewright.models.run.binding import BufferRing

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 192
ROWS, COLS = (17, 170), (23, 181)
BANDS = ("red", "nir")
ALL = ("class", "confidence", "probability_b", "entropy", "margin")
SCALING = [{"type": "z-score", "mean": 0.3, "stddev": 0.15}]
HEAD = {
    "name": "y",
    "classes": ["a", "b", "c"],
    "tw:activation": "softmax",
    "tw:layers": ["class", "confidence", "probabilities", "entropy", "margin"],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two bands of two days with a gap in each, whole numbers as Sentinel-2 has them."""
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(3)
    for day in ("2023-06-05", "2023-06-15"):
        for band in BANDS:
            stored = random.integers(100, 6000, (SIDE, SIDE)).astype(np.uint16)
            stored[40:70, 90:140] = 0
            made.add(stored, band, day=day, nodata=0, scale=0.0001, offset=0, unit="reflectance")
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    image = {"name": "x", "bands": list(BANDS), "value_scaling": SCALING}
    return write_card(tmp_path_factory.mktemp("card"), unet(2, 3, depth=2), inputs=[image], outputs=[HEAD])


def produce(world, card, output, workers=1, **changes):
    return run(pixel_job(world, card, output, rows=ROWS, cols=COLS, **changes), workers=workers)


@pytest.fixture(scope="module")
def plain(world, card, tmp_path_factory):
    return produce(world, card, tmp_path_factory.mktemp("plain") / "out", tile={"block": 128})


@pytest.fixture(scope="module")
def fused(world, card, tmp_path_factory):
    return produce(world, card, tmp_path_factory.mktemp("fused") / "out", tile={"block": 128}, fuse="yes")


def test_the_fused_path_agrees_with_the_plain_one(plain, fused):
    assert [plain.report[key] for key in ("fused", "precision")] == [False, "fp32"]
    assert [fused.report[key] for key in ("fused", "precision")] == [True, "fp32"]
    assert plain.report["key"] != fused.report["key"]
    pages = [(Path(made.output) / "report.html").read_text() for made in (plain, fused)]
    assert ["with the card inside its graph" in page for page in pages] == [False, True]
    for name in ALL:
        one, other = layer(plain.output, name), layer(fused.output, name)
        assert ((one == 255) == (other == 255)).all(), name
        assert (one != 255).any()
        if name == "class":
            # A median of two days lies on half a step of the stored numbers, which uint16 holds: only ties differ.
            assert (one == other).mean() > 0.9999
        else:
            assert np.abs(one.astype(int) - other).max() <= 1, name


@pytest.mark.parametrize("cut", [(256, 2, 1), (64, 1, 3)], ids=str)
def test_a_fused_pixel_does_not_depend_on_the_cut(world, card, fused, tmp_path, cut):
    block, workers, batch = cut
    again = produce(
        world, card, tmp_path / "out", workers, tile={"block": block, "batch": batch}, fuse="yes", layers=list(ALL)
    )
    for name in ALL:
        assert np.array_equal(layer(again.output, name), layer(fused.output, name)), name


def test_a_model_of_several_sizes_and_blended_windows_fuse_too(world, tmp_path):
    image = {"name": "x", "bands": list(BANDS), "resize_type": "interpolation-linear", "value_scaling": SCALING}
    resized = write_card(
        tmp_path / "resized", unet(2, 3, depth=1, size=(48, 48)), inputs=[image], outputs=[HEAD],
        tile={"window": 64, "step": 32, "trim": 16, "merge": "trim"},
    )  # fmt: skip
    blended = write_card(
        tmp_path / "blended", unet(2, 3, depth=1), inputs=[{**image, "resize_type": None}], outputs=[HEAD],
        tile={"step": 64, "trim": 32, "merge": "blend"},
    )  # fmt: skip
    for place in (resized, blended):
        one, other = (produce(world, place, tmp_path / f"{place.name}-{way}", fuse=way) for way in ("no", "yes"))
        assert other.report["fused"]
        for name in ALL:
            gap = np.abs(layer(one.output, name).astype(int) - layer(other.output, name))
            assert (gap == 0).mean() > 0.999 if name == "class" else gap.max() <= 1, name


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """The provider swapped: sessions called CUDA's, with bound buffers and batches, that compute on the CPU."""
    made = []

    def create(path, *, provider, threads):
        session, *_ = providers.create_session(path, provider="cpu", threads=threads)
        made.append(path)
        return session, "cuda" if provider in {"auto", "cuda"} else provider, ""

    monkeypatch.setattr(sessions, "create_session", create)
    monkeypatch.setattr(opening, "candidates", lambda asked, available: ("cuda", "cpu"))
    monkeypatch.setattr(sessions, "BufferRing", lambda session, device: BufferRing(session, device="cpu"))
    monkeypatch.setattr(sessions, "_sessions", {})
    return made


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_whole_run_through_a_gpus_buffers_gives_the_cpus_pixels(as_on_a_gpu, task, fused, tmp_path, precision):
    made = produce(*task, tmp_path / "out", workers=3, precision=precision)
    assert (made.report["provider"], made.report["fused"]) == ("cuda", True)
    assert any("fused-" in path.name for path in as_on_a_gpu)
    for name in ALL:
        one, other = layer(made.output, name), layer(fused.output, name)
        if precision == "fp32":
            assert np.array_equal(one, other), name
        else:
            assert (np.abs(one.astype(int) - other) <= (name != "class")).mean() > 0.99, name


@pytest.fixture(scope="module")
def task(world, card):
    return world, card


def test_a_card_that_cannot_be_fused_runs_plainly_on_a_gpu(as_on_a_gpu, world, card, tmp_path):
    assert not produce(world, card, tmp_path / "plain", fuse="no").report["fused"]
    old = pointwise(2, 3)
    old.opset_import[0].version = 12
    bare = write_card(tmp_path / "old", old, inputs=[{"name": "x", "bands": list(BANDS)}], outputs=[HEAD])
    assert not produce(world, bare, tmp_path / "old-out").report["fused"]
    with pytest.raises(JobError, match=r"fuse: yes cannot be: small uses opset 12"):
        produce(world, bare, tmp_path / "no", fuse="yes")


def test_a_provider_is_known_without_a_session_where_there_is_only_a_cpu(card):
    before = dict(sessions._sessions)
    assert opening.active_provider(load_card(card), provider="auto") == "cpu"
    assert sessions._sessions == before


def test_half_precision_agrees_on_the_jobs_own_windows_or_is_refused(as_on_a_gpu, world, card, plain, tmp_path):
    half = produce(world, card, tmp_path / "half", precision="fp16", tile={"block": 128})
    assert (half.report["fused"], half.report["precision"]) == (True, "fp16")
    assert (layer(half.output, "class") == layer(plain.output, "class")).mean() > 0.995
    assert not np.array_equal(layer(half.output, "margin"), layer(plain.output, "margin"))
    draft = Draft()
    # Numbers of eleven bits: in float16 1000.2 is 1000, and the second class no longer stands back.
    back = draft.constant(np.array([1000.0, 1000.2], np.float32).reshape(1, 2, 1, 1))
    fine = draft.node("Sub", draft.node("Add", "x", draft.constant([1000.0])), back)
    image = {"name": "x", "bands": list(BANDS), "value_scaling": SCALING}
    bad = write_card(tmp_path / "bad", draft.model(fine, n_in=2, n_out=2), inputs=[image],
                     outputs=[{**HEAD, "classes": ["a", "b"]}])  # fmt: skip
    with pytest.raises(PrecisionError, match=r"fp16 gives the \w+ of fp32 on .*% of the pixels .*precision: fp32"):
        produce(world, bad, tmp_path / "bad-out", precision="fp16")
    assert not (tmp_path / "bad-out").exists()


def test_half_precision_is_refused_where_nothing_computes_it(world, card, tmp_path, monkeypatch):
    """A CPU computes such a graph in single precision, which the product would not say."""
    monkeypatch.setattr(opening, "candidates", lambda asked, available: ("cpu",))
    for provider, words in (
        ("auto", "needs a GPU, and provider auto means cpu here"),
        ("cpu", "does not run"),
    ):
        with pytest.raises(JobError, match=f"precision: fp16 {words}"):
            produce(world, card, tmp_path / "out", precision="fp16", provider=provider)


def test_a_product_in_half_precision_does_not_go_on_elsewhere(as_on_a_gpu, world, card, tmp_path, monkeypatch):
    plan = plan_job(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, precision="fp16"))
    assert load_model(plan, load_card(card), provider="auto").session.provider == "cuda"
    monkeypatch.setattr(sessions, "create_session", providers.create_session)
    monkeypatch.setattr(sessions, "_sessions", {})
    with pytest.raises(JobError, match="begun in half precision on a GPU, and cpu computes in single"):
        load_model(plan, load_card(card), provider="cpu")


def test_what_contradicts_itself_is_refused_by_the_command(world, card, tmp_path):
    job = {"area": area(ROWS, COLS), "period": "2023-06", "source": world.source, "model": str(card)}
    (tmp_path / "job.json").write_text(json.dumps(job))
    base = ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / "out")]
    for changes, words in (
        (["fuse=no", "precision=fp16"], "precision fp16 runs the fused graph"),
        (["fuse=perhaps"], "fuse: expected 'auto', 'yes' or 'no'"),
        (["fuse=yes", "augment=flips"], "fuse: yes cannot be: small stands for several runs"),
    ):
        answer = CliRunner().invoke(app, [*base, *(part for change in changes for part in ("--set", change))])
        assert answer.exit_code == 2, answer.output
        assert words in answer.stderr
