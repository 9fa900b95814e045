from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds
from rasterio.windows import Window, from_bounds

from tests.support.danube import DANUBE, SCENE
from tilewright.models.builtin.build import FOLDER, MODELS, build, differing_files, write
from tilewright.models.builtin.graphs import CVA_SLOPE, CVA_THRESHOLD
from tilewright.models.card.card import ModelCard, load_card
from tilewright.models.measure.receptive import measure_receptive_field
from tilewright.models.run.open import open_session
from tilewright.models.transforms.postprocess import layers_from_scores, scores
from tilewright.models.transforms.preprocess import prepare_input

JUNE, SEPTEMBER = SCENE, "S2B_33UUP_20210925_1_L2A"


def _card(name: str) -> ModelCard:
    return load_card(FOLDER / name)


def _layers(card: ModelCard, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Layers of one window for physical values (time, band, height, width)."""
    (spec,) = card.inputs
    raw = open_session(card, provider="cpu").run({spec.name: prepare_input(spec, steps[None].astype(np.float32))})
    return {
        name: layer
        for output in card.outputs
        for name, layer in layers_from_scores(output, scores(output, raw[output.name])[0]).items()
    }


def _reflectance(real: Path, item: str, bands: tuple[str, ...]) -> np.ndarray:
    planes = []
    for band in bands:
        with rasterio.open(real / "sentinel-2-l2a" / item / f"{band}.tif") as file:
            bounds = transform_bounds("EPSG:4326", file.crs, *DANUBE)
            inside = from_bounds(*bounds, file.transform).round_offsets().round_lengths()
            planes.append(file.read(1, window=inside.intersection(Window(0, 0, file.width, file.height))))
    numbers = np.stack(planes).astype(np.float32)
    return np.where(numbers > 0, numbers / 10000, np.nan)


def test_the_committed_models_equal_the_built_ones() -> None:
    assert differing_files() == ()


def test_the_script_builds_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tilewright.models.builtin.build import write;"
        "write(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    for name in MODELS:
        for file, content in build(name).items():
            assert (tmp_path / name / file).read_bytes() == content


def test_a_changed_file_is_reported(tmp_path: Path) -> None:
    write(tmp_path)
    assert differing_files(tmp_path) == ()
    (tmp_path / "cva-change/model.onnx").write_bytes(b"")
    assert differing_files(tmp_path) == ("cva-change/model.onnx",)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_card_holds_the_hash_of_its_graph(name: str) -> None:
    card = _card(name)
    assert card.sha256 == hashlib.sha256((FOLDER / name / "model.onnx").read_bytes()).hexdigest()
    assert card.name == name


def test_the_layers_are_named_as_people_will_find_them() -> None:
    assert [spec.name for spec in _card("ndwi-water").layer_specs()] == ["class", "confidence"]
    assert [(spec.name, spec.kind) for spec in _card("cva-change").layer_specs()] == [
        ("change", "class"),
        ("magnitude", "value"),
    ]


@pytest.mark.parametrize(("name", "radius"), [("ndwi-water", 0), ("cva-change", 1)])
def test_their_reach_is_that_of_their_arithmetic(name: str, radius: int) -> None:
    field = measure_receptive_field(_card(name))
    assert (field.verdict, field.radius, field.trim, field.stride) == ("bounded", radius, radius, 1)


def test_ndwi_is_water_above_zero_and_surer_farther_from_it() -> None:
    green = np.array([[0.08, 0.06, 0.051, 0.049, 0.05]])
    nir = np.array([[0.02, 0.04, 0.05, 0.05, 0.30]])
    layers = _layers(_card("ndwi-water"), np.stack([green, nir])[None])
    assert layers["class"].tolist() == [[1, 1, 1, 0, 0]]
    confidence = layers["confidence"][0].tolist()
    ndwi = (green - nir) / (green + nir)
    likely = 1 / (1 + np.exp(-20 * np.abs(ndwi[0])))
    assert confidence == pytest.approx(100 * likely, abs=0.6)


def test_ndwi_of_nothing_or_of_negative_reflectance_stays_finite() -> None:
    green = np.array([[0.0, -0.01, 1.0]])
    nir = np.array([[0.0, 0.005, -0.9999]])
    layers = _layers(_card("ndwi-water"), np.stack([green, nir])[None])
    assert layers["class"].tolist() == [[0, 0, 1]]


def test_water_of_the_danube_in_june_is_14_to_20_percent(real: Path) -> None:
    pixels = _reflectance(real, JUNE, ("green", "nir"))
    valid = np.isfinite(pixels).all(axis=0)
    water = _layers(_card("ndwi-water"), pixels[None])["class"] == 1
    assert 0.14 <= water[valid].mean() <= 0.20


def test_magnitude_is_the_length_of_the_change_vector_and_the_mask_the_vote_around_it() -> None:
    random = np.random.default_rng(1)
    pair = random.uniform(0, 0.18, (2, 4, 24, 24)).astype(np.float32)
    layers = _layers(_card("cva-change"), pair)
    length = np.sqrt(((pair[1] - pair[0]) ** 2).sum(axis=0))
    assert layers["magnitude"] == pytest.approx(length, abs=1e-6)
    alone = 1 / (1 + np.exp(-CVA_SLOPE * (length - CVA_THRESHOLD)))
    vote = np.lib.stride_tricks.sliding_window_view(alone, (3, 3)).mean(axis=(2, 3))
    clear = np.abs(vote - 0.5) > 1e-4
    found = (layers["change"] == 1)[1:-1, 1:-1]
    assert np.array_equal(found[clear], (vote > 0.5)[clear])
    assert 0.1 < found.mean() < 0.9


def test_no_change_is_no_change_and_noise_of_the_sensor_neither() -> None:
    random = np.random.default_rng(2)
    before = random.uniform(0.02, 0.3, (4, 64, 64))
    after = before + random.normal(0, 0.01, before.shape)
    assert (_layers(_card("cva-change"), np.stack([before, before]))["change"] == 0).all()
    assert (_layers(_card("cva-change"), np.stack([before, after]))["change"] == 0).mean() > 0.999


# Blue, green, red, nir of typical Sentinel-2 L2A surfaces.
FOREST, SOIL, GRASS, LAKE = (
    (0.02, 0.04, 0.03, 0.30),
    (0.09, 0.12, 0.16, 0.25),
    (0.03, 0.07, 0.05, 0.38),
    (0.04, 0.05, 0.03, 0.02),
)


@pytest.mark.parametrize(
    ("before", "after"), [pytest.param(GRASS, LAKE, id="reservoir"), pytest.param(FOREST, SOIL, id="clear-cut")]
)
def test_a_filled_reservoir_and_a_clear_cut_are_found(before: tuple[float, ...], after: tuple[float, ...]) -> None:
    random = np.random.default_rng(3)
    truth = np.zeros((64, 64), bool)
    truth[20:44, 16:48] = True
    first = np.broadcast_to(np.reshape(before, (4, 1, 1)), (4, 64, 64)) + random.normal(0, 0.01, (4, 64, 64))
    second = np.where(truth, np.reshape(after, (4, 1, 1)), np.reshape(before, (4, 1, 1)))
    second = second + random.normal(0, 0.01, (4, 64, 64))
    found = _layers(_card("cva-change"), np.stack([first, second]))["change"] == 1
    assert found[truth].mean() >= 0.9
    assert found[~truth].mean() <= 0.1


def test_harvested_fields_change_between_june_and_september_and_the_river_less(real: Path) -> None:
    june, september = (_reflectance(real, item, ("blue", "green", "red", "nir")) for item in (JUNE, SEPTEMBER))
    changed = _layers(_card("cva-change"), np.stack([june, september]))["change"] == 1
    greenness = [(each[3] - each[2]) / (each[3] + each[2]) for each in (june, september)]
    harvested = (greenness[0] > 0.6) & (greenness[1] < 0.4)
    river = (greenness[0] < -0.1) & (greenness[1] < -0.1)
    assert changed[harvested].mean() > 0.9
    assert changed[river].mean() < 0.7
    assert 0.2 < changed.mean() < 0.6
