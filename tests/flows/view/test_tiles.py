"""Tiles: each pixel has the colour of the raster's pixel that holds its centre, in any CRS and on both sides of 180."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer

from tests.support.viewed import COLOURS, UTM, expected_tile, page_of, patches, put_layer, put_product, tile_of
from tilewright.tasks.cog.spec import CogSpec
from tilewright.tasks.cog.write import write_cog

BEST_BORDER = 1e-3
"""Parts of a pixel: where a centre is nearer to a border, rounding decides."""

PLACES = {
    "utm": ("EPSG:32633", UTM),
    "degrees": ("EPSG:4326", Affine(0.0001, 0, 13.4, 0, -0.0001, 48.7)),
    "polar": ("EPSG:3995", Affine(60, 0, -1_000_000, 0, -60, 2_000_000)),
    "laea": ("EPSG:3035", Affine(100, 0, 4_500_000, 0, -100, 2_900_000)),
    "mercator": ("EPSG:3857", Affine(20, 0, 1_500_000, 0, -20, 6_200_000)),
    "across 180": ("EPSG:32601", Affine(20, 0, 295_000, 0, -20, 6_000_000)),
    "across 180 from the west": ("EPSG:32660", Affine(20, 0, 690_000, 0, -20, 6_000_000)),
    "south": ("EPSG:32733", Affine(10, 0, 400_000, 0, -10, 7_000_000)),
}


def colours(values: np.ndarray) -> np.ndarray:
    """RGBA of classes; 255 is transparent."""
    shown = np.zeros((*values.shape, 4), dtype=np.uint8)
    for value, colour in COLOURS.items():
        shown[values == value] = (*colour, 255)
    return shown


@pytest.mark.parametrize("where", PLACES)
def test_a_tile_has_the_colours_of_the_pixels_that_hold_its_centres(tmp_path, where):
    crs, transform = PLACES[where]
    row = put_layer(tmp_path, "class", patches((700, 900)), crs=crs, transform=transform)
    put_product(tmp_path, [row])
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    checked = seen = 0
    with page_of(tmp_path) as page:
        for across, down in ((0, 0), (350, 300), (899, 699)):
            lon, lat = to_degrees.transform(*(transform * (across + 0.5, down + 0.5)))
            zoom = 17 if abs(transform.a) <= 10 else 15
            col, tile_row = tile_of(lon, lat, zoom)
            drawn = page.tile(0, 0, zoom, col, tile_row)
            values, border = expected_tile(tmp_path / "class.tif", zoom, col, tile_row)
            certain = border > BEST_BORDER
            assert np.array_equal(drawn[certain], colours(values)[certain]), (across, down)
            checked += int(certain.sum())
            seen += int((drawn[..., 3] > 0).sum())
    assert checked > 150_000
    assert seen > 15_000


def test_the_area_of_a_product_across_180_degrees_is_one_piece(tmp_path):
    crs, transform = PLACES["across 180 from the west"]
    put_product(tmp_path, [put_layer(tmp_path, "class", patches((700, 900)), crs=crs, transform=transform)])
    with page_of(tmp_path) as page:
        west, south, east, north = page.json("products.json")[0]["layers"][0]["area"]
        assert west < 180 < east < 181
        assert 53 < south < north < 55
        both = [page.tile(0, 0, 15, *tile_of(lon, 54.1, 15))[..., 3].max() for lon in (179.999, -179.999)]
    assert both == [255, 255]


def test_a_layer_of_larger_pixels_and_one_of_values_are_drawn_in_their_place(tmp_path):
    coarse = put_layer(tmp_path, "class", patches((8, 9)), transform=UTM * Affine.scale(64))
    values = np.linspace(0, 100, 500 * 600, dtype=np.float32).reshape(500, 600)
    values[:50] = np.nan
    put_product(tmp_path, [coarse, put_layer(tmp_path, "height", values)])
    lon, lat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(403_000, 5_397_000)
    tile = tile_of(lon, lat, 16)
    with page_of(tmp_path) as page:
        drawn, ramp = page.tile(0, 0, 16, *tile), page.tile(0, 1, 16, *tile)
    found, border = expected_tile(tmp_path / "class.tif", 16, *tile)
    assert np.array_equal(drawn[border > BEST_BORDER], colours(found)[border > BEST_BORDER])
    assert (ramp[..., 3] == 255).all()
    assert len(np.unique(ramp.reshape(-1, 4), axis=0)) > 1


def test_far_out_and_far_in_the_classes_stay_classes(tmp_path):
    put_product(tmp_path, [put_layer(tmp_path, "class", patches((1500, 1500)))])
    lon, lat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(408_000, 5_393_000)
    known = {(0, 0, 0, 0), *((*colour, 255) for colour in COLOURS.values())}
    with page_of(tmp_path) as page:
        for zoom in (0, 5, 9, 11, 13, 22, 24):
            drawn = page.tile(0, 0, zoom, *tile_of(lon, lat, zoom))
            assert {tuple(each) for each in np.unique(drawn.reshape(-1, 4), axis=0).tolist()} <= known


def test_the_parts_of_a_large_layer_are_one_layer(tmp_path):
    whole = patches((600, 800))
    row = put_layer(tmp_path, "class_r00c00", whole[:, :400])
    put_layer(tmp_path, "class_r00c01", whole[:, 400:], transform=UTM * Affine.translation(400, 0))
    row = {**row, "name": "class", "href": "class.vrt", "parts": ["class_r00c00.tif", "class_r00c01.tif"]}
    (tmp_path / "class.vrt").write_text("<VRTDataset/>")
    put_product(tmp_path, [row])
    put_layer(tmp_path / "one", "class", whole)
    to_degrees = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*(UTM * (400, 300)))
    with page_of(tmp_path) as page:
        col, row_of_tile = tile_of(lon, lat, 17)
        drawn = page.tile(0, 0, 17, col, row_of_tile)
        for across in (399, 400):
            told = page.values(*to_degrees.transform(*(UTM * (across + 0.5, 300.5))))[0][0]
            assert (told.get("value", 255)) == whole[300, across]
    found, border = expected_tile(tmp_path / "one" / "class.tif", 17, col, row_of_tile)
    assert np.array_equal(drawn[border > BEST_BORDER], colours(found)[border > BEST_BORDER])


def test_a_file_that_is_written_anew_is_drawn_anew(tmp_path):
    put_product(tmp_path, [put_layer(tmp_path, "class", np.zeros((300, 300), dtype=np.uint8))])
    lon, lat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(402_000, 5_399_000)
    tile = tile_of(lon, lat, 16)
    with page_of(tmp_path) as page:
        before = page.tile(0, 0, 16, *tile)
        put_layer(tmp_path, "class", np.ones((300, 300), dtype=np.uint8))
        after = page.tile(0, 0, 16, *tile)
    assert tuple(before[128, 128]) == (*COLOURS[0], 255)
    assert tuple(after[128, 128]) == (*COLOURS[1], 255)


def test_an_image_is_drawn_in_red_green_and_blue_before_its_bands(tmp_path):
    random = np.random.default_rng(4)
    bands = random.uniform(0, 0.5, (3, 200, 200)).astype(np.float32)
    bands[:, :20] = np.nan
    names = ("blue", "green", "red")
    plain = {"dtype": "float32", "nodata": float("nan"), "kind": "value", "unit": "reflectance"}
    specs = [CogSpec(name=name, **plain) for name in names]
    write_cog(
        tmp_path / "clear.tif",
        rows=lambda first, stop: bands[:, first:stop],
        shape=(200, 200),
        transform=UTM,
        crs="EPSG:32633",
        spec=specs[0],
        more=specs[1:],
    )
    told = {"kind": "value", "href": "clear.tif", "unit": "reflectance", "display": [0.0, 0.4]}
    put_product(tmp_path, [{**told, "name": name, "band": number} for number, name in enumerate(names, start=1)])
    lon, lat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(*(UTM * (100.5, 60.5)))
    tile = tile_of(lon, lat, 17)
    with page_of(tmp_path) as page:
        layers = page.json("products.json")[0]["layers"]
        assert [layer["name"] for layer in layers] == ["clear: true colour", *names]
        drawn, values = page.tile(0, 0, 17, *tile), page.values(lon, lat)[0]
    assert [each["name"] for each in values] == [*names]
    assert [np.float32(each["value"]) for each in values] == [*bands[:, 60, 100]]
    shown = np.rint(255 * np.clip(np.nan_to_num(bands[::-1]) / 0.4, 0, 1)).astype(np.uint8)
    for channel in range(3):
        of_band = tmp_path / f"{channel}.tif"
        with (
            rasterio.open(tmp_path / "clear.tif") as dataset,
            rasterio.open(of_band, "w", **{**dataset.profile, "count": 1, "dtype": "uint8", "nodata": None}) as target,
        ):
            target.write(shown[channel], 1)
        found, border = expected_tile(of_band, 17, *tile)
        sure = (border > BEST_BORDER) & (drawn[..., 3] > 0)
        assert np.array_equal(drawn[..., channel][sure], found[sure])
        assert sure.sum() > 20_000
