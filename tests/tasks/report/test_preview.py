from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tilewright.models.spec.outputs import ClassSpec, LayerSpec
from tilewright.tasks.colours import CLASS_COLOURS, UNSEEN, class_colours, ramp_table, rgb
from tilewright.tasks.report import preview
from tilewright.tasks.report.picture import Legend, Swatch, legend, picture, true_colour, value_ends
from tilewright.tasks.report.preview import SHADING, WIDTH, Frame, nice_length, write_preview

if TYPE_CHECKING:
    from pathlib import Path

LAND, WATER = (216, 210, 194, 255), (31, 111, 181, 255)
CLEAR = (0, 0, 0, 0)
UTM = Frame(crs="EPSG:32633", bounds=(359130.0, 5348550.0, 364910.0, 5352340.0), resolution=10.0)


def class_spec(*colours: str | None) -> LayerSpec:
    names = ("land", "water", "ice")
    classes = tuple(ClassSpec(value=at, name=names[at], color=colour) for at, colour in enumerate(colours))
    return LayerSpec(name="class", kind="class", source="scores", classes=classes)


def value_spec(unit: str = "m") -> LayerSpec:
    return LayerSpec(name="canopy_height", kind="value", source="height", unit=unit)


def test_classes_have_the_colours_of_the_card_and_nodata_has_none() -> None:
    layer = np.array([[0, 1], [255, 7]], dtype=np.uint8)
    shown = picture(layer, class_spec("D8D2C2", "#1F6FB5"))
    assert [tuple(shown[0, 0]), tuple(shown[0, 1])] == [LAND, WATER]
    assert tuple(shown[1, 0]) == CLEAR
    assert tuple(shown[1, 1]) == (127, 127, 127, 255), "a class that the card does not list is grey, not invisible"


def test_a_class_without_a_usable_colour_gets_the_default_one_in_picture_and_legend() -> None:
    spec = class_spec(None, "url(evil)", "FF0000")
    shown = picture(np.array([[0, 1, 2]], dtype=np.uint8), spec)
    assert [tuple(pixel[:3]) for pixel in shown[0]] == [rgb(CLASS_COLOURS[0]), rgb(CLASS_COLOURS[1]), (255, 0, 0)]
    assert [swatch.colour for swatch in legend(np.zeros((1, 1), np.uint8), spec).swatches] == [
        CLASS_COLOURS[0],
        CLASS_COLOURS[1],
        "#ff0000",
    ]


def test_a_default_colour_is_never_one_the_card_already_uses() -> None:
    assert class_colours([CLASS_COLOURS[0][1:].upper(), None]) == (CLASS_COLOURS[0], CLASS_COLOURS[1])


def test_as_many_colours_as_a_class_layer_can_hold_are_all_different() -> None:
    assert len(set(class_colours([None] * 255))) == 255


def test_percent_runs_from_0_to_100_whatever_is_in_the_layer() -> None:
    spec = LayerSpec(name="confidence", kind="percent", source="scores")
    layer = np.array([[0, 100, 255]], dtype=np.uint8)
    shown, ramp = picture(layer, spec), ramp_table()
    assert tuple(shown[0, 0, :3]) == tuple(ramp[0])
    assert tuple(shown[0, 1, :3]) == tuple(ramp[255])
    assert tuple(shown[0, 2]) == CLEAR
    assert value_ends(np.array([[60, 70]], dtype=np.uint8), spec) == (0.0, 100.0)


def test_one_outlier_does_not_flatten_the_ramp() -> None:
    layer = np.arange(1000, dtype=np.float32).reshape(25, 40)
    layer[0, 0] = 1e9
    low, high = value_ends(layer, value_spec()) or (0.0, 0.0)
    assert 0 < low < 30
    assert 970 < high < 1000
    assert tuple(picture(layer, value_spec())[0, 0, :3]) == tuple(ramp_table()[255])


def test_values_that_are_nan_or_infinite_are_transparent_and_do_not_stretch() -> None:
    layer = np.array([[1, 2, np.nan, np.inf]], dtype=np.float32)
    shown = picture(layer, value_spec())
    assert [int(alpha) for alpha in shown[0, :, 3]] == [255, 255, 0, 0]
    assert value_ends(np.full((2, 2), np.nan, np.float32), value_spec()) is None
    assert value_ends(np.full((2, 2), 5, np.float32), value_spec()) == (5.0, 5.0)


def test_a_legend_names_the_ends_in_the_unit_and_hides_the_unit_1() -> None:
    layer = np.array([[3.0]], dtype=np.float32)
    assert legend(layer, value_spec("m")) == Legend(title="canopy height", ends=(3.0, 3.0), unit="m")
    assert legend(layer, value_spec("1")).unit == ""


def test_true_colour_is_black_only_where_a_band_is_missing() -> None:
    red = np.array([[0.0, 0.3, 0.9, np.nan]], dtype=np.float32)
    shown = true_colour(red, np.zeros_like(red), np.zeros_like(red))
    assert [tuple(int(band) for band in pixel) for pixel in shown[0]] == [
        (1, 1, 1),
        (255, 1, 1),
        (255, 1, 1),
        (0, 0, 0),
    ]


@pytest.mark.parametrize(("longest", "nice"), [(190, 100), (499, 200), (500, 500), (1, 1), (0.3, 0.2)])
def test_a_scale_bar_is_one_two_or_five(longest: float, nice: float) -> None:
    assert nice_length(longest) == pytest.approx(nice)


def test_metres_per_unit_follows_the_crs() -> None:
    degrees = Frame(crs="EPSG:4326", bounds=(0, 59.9, 1, 60.1), resolution=0.1)
    feet = Frame(crs="EPSG:2225", bounds=(0, 0, 1, 1), resolution=1)
    assert UTM.metres_per_unit() == 1.0
    assert degrees.metres_per_unit() == pytest.approx(111_320 / 2, rel=1e-3)
    assert feet.metres_per_unit() == pytest.approx(0.3048, rel=1e-4)
    assert Frame(crs="<script>", bounds=(0, 0, 1, 1), resolution=1).metres_per_unit() == 1.0


def test_the_preview_puts_each_pixel_where_it_lies(tmp_path: Path) -> None:
    layer = np.zeros((20, 40, 4), dtype=np.uint8)
    layer[:10, :20], layer[10:, 20:] = LAND, WATER
    key = Legend(
        title="class", swatches=(Swatch(label="land", colour="#d8d2c2"), Swatch(label="water", colour="#1f6fb5"))
    )
    write_preview(tmp_path / "preview.png", layer=layer, legend=key, frame=UTM, title="quarters")
    shown = Image.open(tmp_path / "preview.png")
    assert shown.width == WIDTH
    left, top, width = 114, 118, WIDTH - 80 - 74 - 250
    quarter, half = width // 4, width // 8
    assert shown.getpixel((left + quarter, top + half)) == LAND[:3]
    assert shown.getpixel((left + 3 * quarter, top + 3 * half)) == WATER[:3]
    assert shown.getpixel((left + 3 * quarter, top + half)) not in {LAND[:3], WATER[:3]}


def test_the_scene_shows_through_where_the_layer_is_transparent(tmp_path: Path) -> None:
    layer = np.zeros((4, 4, 4), dtype=np.uint8)
    scene = np.full((4, 4, 3), (10, 90, 20), dtype=np.uint8)
    write_preview(tmp_path / "p.png", layer=layer, legend=Legend(title=""), frame=UTM, title="", background=scene)
    shown = np.asarray(Image.open(tmp_path / "p.png"))[300:600, 300:600].reshape(-1, 3)
    assert {tuple(pixel) for pixel in shown.tolist()} == {(10, 90, 20), rgb(UNSEEN)}, "under lines: no class is so"


@pytest.mark.parametrize("background", [None, np.full((20, 40, 3), 200, np.uint8)], ids=["no picture", "a picture"])
def test_what_has_no_value_is_neither_a_class_nor_without_a_word(tmp_path: Path, background: np.ndarray | None) -> None:
    whole = np.full((20, 40, 4), LAND, dtype=np.uint8)
    lacking = whole.copy()
    lacking[:, 20:] = CLEAR
    key = Legend(title="class", swatches=(Swatch(label="land", colour="#d8d2c2"),))
    shown = {}
    for name, layer in (("whole", whole), ("lacking", lacking)):
        write_preview(tmp_path / name, layer=layer, legend=key, frame=UTM, title="", background=background)
        shown[name] = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    is_line = {name: (picture == rgb(UNSEEN)).all(axis=-1) for name, picture in shown.items()}
    assert not is_line["whole"].any()
    left, legend_left = 114, WIDTH - 40 - 250
    assert not is_line["lacking"][150:400, left : left + 390].any(), "land has no lines"
    assert 0.1 < is_line["lacking"][150:400, left + 410 : left + 700].mean() < 0.4
    assert is_line["lacking"][:, legend_left:].any(), "the legend says what the lines are"


def test_the_ground_never_makes_a_class_look_like_another_colour_than_in_the_legend(tmp_path: Path) -> None:
    layer = np.full((40, 40, 4), WATER, dtype=np.uint8)
    ground = np.random.default_rng(1).integers(1, 256, (40, 40, 3)).astype(np.uint8)
    key = Legend(title="class", swatches=(Swatch(label="water", colour="#1f6fb5"),))
    write_preview(tmp_path / "p.png", layer=layer, legend=key, frame=UTM, title="", background=ground)
    shown = np.asarray(Image.open(tmp_path / "p.png"))[150:500, 200:500].reshape(-1, 3).astype(float)
    factors = shown / np.array(WATER[:3])
    assert factors.min() > 1 - SHADING - 0.03
    assert factors.max() < 1 + SHADING + 0.03
    assert len({tuple(pixel) for pixel in shown.tolist()}) > 3, "the ground is seen"


def test_a_value_has_the_colour_of_the_ramp_whatever_the_ground(tmp_path: Path) -> None:
    layer = np.full((40, 40, 4), (*ramp_table()[100].tolist(), 255), dtype=np.uint8)
    ground = np.random.default_rng(1).integers(1, 256, (40, 40, 3)).astype(np.uint8)
    key = Legend(title="height", ends=(0.0, 1.0), unit="m")
    write_preview(tmp_path / "p.png", layer=layer, legend=key, frame=UTM, title="", background=ground)
    shown = np.asarray(Image.open(tmp_path / "p.png"))[150:500, 200:500].reshape(-1, 3)
    assert {tuple(pixel) for pixel in shown.tolist()} == {tuple(ramp_table()[100].tolist())}


def test_a_unit_is_written_as_everywhere_else_and_without_boxes(tmp_path: Path) -> None:
    pictures = []
    for words in ("21.9 km² mapped", "21.9 km\ue000 mapped"):
        layer = np.full((4, 4, 4), LAND, dtype=np.uint8)
        write_preview(tmp_path / "p.png", layer=layer, legend=Legend(title=""), frame=UTM, title="t", subtitle=words)
        pictures.append(np.asarray(Image.open(tmp_path / "p.png").convert("L"))[70:100, 40:300])
    assert (pictures[0] != pictures[1]).any(), "a character that the font lacks is a box"
    assert "sq km" not in inspect.getsource(preview)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3000, 40)])
def test_a_picture_of_any_shape_and_any_names_fits_its_page(tmp_path: Path, shape: tuple[int, int]) -> None:
    swatches = tuple(Swatch(label=f"{number}\n" * 90, colour="#010203") for number in range(60))
    layer = np.full((*shape, 4), 255, dtype=np.uint8)
    key = Legend(title="x" * 400, swatches=swatches)
    frame = Frame(crs="EPSG:4326", bounds=(10.0, 50.0, 10.001, 50.3), resolution=1e-4)
    write_preview(tmp_path / "p.png", layer=layer, legend=key, frame=frame, title="a\nb" * 200, attribution="©" * 500)
    shown = Image.open(tmp_path / "p.png")
    assert shown.width == WIDTH
    assert shown.height < 1600


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    layer = picture(np.arange(64, dtype=np.float32).reshape(8, 8), value_spec())
    for name in ("a.png", "b.png"):
        write_preview(
            tmp_path / name, layer=layer, legend=Legend(title="v", ends=(0, 63), unit="m"), frame=UTM, title="t"
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
