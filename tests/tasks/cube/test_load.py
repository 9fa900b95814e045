from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from tests.support.scenes import UTM, asset_of, real_scenes, scene_of, write_raster
from tilewright.catalogs.scene import Scene
from tilewright.tasks.cube.load import load_cube
from tilewright.tasks.read.access import Access
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.failures import FailureLog, ReadError
from tilewright.tasks.read.resample.pixels import Conversion, Pixels, to_physical

ENGINES = ("direct", "odc", "stackstac")
RANDOM = np.random.default_rng(5)


def grid(height: int, width: int, *, size: float = 10.0) -> GeoBox:
    return GeoBox((height, width), Affine(size, 0, 400_000, 0, -size, 5_400_000), UTM)


def raster(folder: Path, name: str, values: np.ndarray, **options: object) -> Path:
    return write_raster(folder / f"{name}.tif", values, **options)


def full(value: int, *, shape: tuple[int, int] = (4, 4), dtype: str = "uint16") -> np.ndarray:
    return np.full(shape, value, dtype=dtype)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=True)


def test_nothing_is_read_before_it_is_computed(tmp_path: Path) -> None:
    path = raster(tmp_path, "soon-gone", full(3))
    scene = scene_of(asset_of(path))
    path.unlink()
    cube = load_cube([scene], grid(4, 4), ["red"])
    assert cube.red.shape == (1, 4, 4)
    with pytest.raises(ReadError, match="item scene-2023-06-01, band red could not be read"):
        cube.compute(scheduler="synchronous")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_cube_is_what_a_notebook_expects(tmp_path: Path, engine: str) -> None:
    path = raster(tmp_path, "dn", np.array([[0, 1000], [2000, 3000]], np.uint16))
    classes = raster(tmp_path, "scl", np.array([[0, 4], [8, 11]], np.uint8))
    scene = scene_of(asset_of(path, scale=1e-4, offset=-0.1), asset_of(classes, "scl", unit="class"))
    cube = load_cube([scene], grid(2, 2), ["red", "scl"], engine=engine)
    assert cube.red.dims == ("time", "y", "x")
    assert str(cube.time.values[0])[:10] == "2023-06-01"
    assert cube.x.values.tolist() == [400_005.0, 400_015.0]
    assert cube.y.values.tolist() == [5_399_995.0, 5_399_985.0]
    assert cube.rio.crs.to_epsg() == 32633
    assert cube.red.rio.transform() == grid(2, 2).affine
    assert np.isnan(cube.red.rio.nodata)
    assert cube.red.attrs["units"] == "reflectance"
    assert (cube.red.dtype, cube.scl.dtype, cube.scl.rio.nodata) == (np.float32, np.uint8, 0)
    assert same(cube.red.values[0], np.array([[np.nan, 0.0], [0.1, 0.2]], np.float32))
    assert cube.scl.values[0].tolist() == [[0, 4], [8, 11]]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_scene_of_a_pass_wins_where_it_has_a_value(tmp_path: Path, engine: str) -> None:
    left, right = full(1), full(2)
    left[:, 2:] = 0
    right[0] = 0
    scenes = [
        scene_of(asset_of(raster(tmp_path, name, values)), name=name) for name, values in (("a", left), ("b", right))
    ]
    other = scene_of(asset_of(raster(tmp_path, "c", full(9))), day="2023-05-30")
    cube = load_cube([*scenes, other], grid(4, 4), ["red"], engine=engine)
    assert [str(day)[:10] for day in cube.time.values] == ["2023-05-30", "2023-06-01"]
    joined = cube.red.values[1]
    assert (joined[:, :2] == 1).all()
    assert (joined[1:, 2:] == 2).all()
    assert np.isnan(joined[0, 2:]).all()
    assert (cube.red.values[0] == 9).all()


def test_a_later_scene_is_read_only_where_there_are_holes(tmp_path: Path) -> None:
    whole = raster(tmp_path, "whole", full(1, shape=(256, 256)))
    holed = full(1, shape=(256, 256))
    holed[:64, :64] = 0
    paths = [raster(tmp_path, "holed", holed), whole]
    for first, needed in ((whole, 16), (paths[0], 17)):
        stats = ReadStats()
        scenes = [scene_of(asset_of(first), name="a"), scene_of(asset_of(paths[first == paths[0]]), name="b")]
        load_cube(scenes, grid(256, 256), ["red"], access=Access(stats=stats)).compute(scheduler="synchronous")
        assert stats.needed_pixels == needed * 64 * 64


def state(dn: np.ndarray, folder: Path, *, shifted: bool, name: str, day: str) -> Scene:
    """The same ground as ESA serves it before (plain) and after baseline 04.00 (1000 added to the DN)."""
    stored = np.where(dn > 0, dn + 1000, 0).astype(np.uint16) if shifted else dn
    path = raster(folder, name, stored)
    return scene_of(asset_of(path, scale=1e-4, offset=-0.1 if shifted else 0.0), day=day, name=name)


@pytest.mark.parametrize("engine", ENGINES)
def test_mixed_radiometric_states_give_the_cube_of_one_state(tmp_path: Path, engine: str) -> None:
    grounds = [RANDOM.integers(0, 9000, (4, 4), dtype=np.uint16) for _ in range(4)]
    grounds[0][0], grounds[1][:, 0] = 0, 0
    days = ["2023-06-01", "2023-06-01", "2023-06-01", "2023-06-11"]
    cubes = []
    for pattern in ((False,) * 4, (True,) * 4, (True, False, True, False)):
        scenes = [
            state(ground, tmp_path, shifted=shifted, name=f"{number}{shifted}", day=day)
            for number, (ground, shifted, day) in enumerate(zip(grounds, pattern, days, strict=True))
        ]
        cubes.append(load_cube(scenes, grid(4, 4), ["red"], engine=engine).red.values)
    assert same(cubes[0], cubes[1])
    assert same(cubes[0], cubes[2])


def test_an_offset_in_whole_dn_is_exact_for_every_number() -> None:
    numbers = np.arange(1001, 65536, dtype=np.uint16)[None]
    shifted = Pixels(values=numbers, nodata=0, valid=None)
    plain = Pixels(values=(numbers - 1000).astype(np.uint16), nodata=None, valid=np.ones(numbers.shape, bool))
    one, other = Conversion(scale=1e-4, offset=-0.1), Conversion(scale=1e-4, offset=0.0)
    assert np.array_equal(to_physical(shifted, one), to_physical(plain, other))


def test_reflectance_below_zero_stays_below_zero() -> None:
    pixels = Pixels(values=np.array([[1, 999, 1000]], np.uint16), nodata=0, valid=None)
    physical = to_physical(pixels, Conversion(scale=1e-4, offset=-0.1))
    assert np.allclose(physical, [-0.0999, -0.0001, 0.0], atol=1e-9)


def test_decibels_and_power_of_one_band_meet_as_power(tmp_path: Path) -> None:
    power = raster(tmp_path, "power", full(1, dtype="float32") * np.float32(0.1), nodata=-9999)
    decibels = raster(tmp_path, "db", full(-10, dtype="float32"), nodata=-9999)
    scenes = [
        scene_of(asset_of(power, "vv", unit="linear"), day="2023-06-01"),
        scene_of(asset_of(decibels, "vv", unit="db"), day="2023-06-02"),
    ]
    cube = load_cube(scenes, grid(4, 4), ["vv"])
    assert cube.vv.attrs["units"] == "linear"
    assert np.allclose(cube.vv.values, 0.1)


def test_bands_that_disagree_in_unit_are_refused(tmp_path: Path) -> None:
    path = raster(tmp_path, "x", full(1))
    scenes = [scene_of(asset_of(path, unit="reflectance")), scene_of(asset_of(path, unit="linear"), day="2023-06-02")]
    with pytest.raises(ValueError, match="band red is in linear and reflectance"):
        load_cube(scenes, grid(4, 4), ["red"])


def test_categories_stay_nearest_whatever_is_asked(tmp_path: Path) -> None:
    path = raster(tmp_path, "scl", np.array([[4, 8], [8, 4]], np.uint8), size=20)
    scene = scene_of(asset_of(path, "scl", unit="class"))
    cube = load_cube([scene], grid(4, 4), ["scl"], resampling="cubic")
    assert cube.scl.values[0].tolist() == [[4, 4, 8, 8], [4, 4, 8, 8], [8, 8, 4, 4], [8, 8, 4, 4]]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_band_that_is_missing_is_empty_and_says_so(tmp_path: Path, engine: str) -> None:
    path = raster(tmp_path, "x", full(1))
    scenes = [
        scene_of(asset_of(path), asset_of(path, "nir")),
        scene_of(asset_of(path), day="2023-06-02"),
    ]
    cube = load_cube(scenes, grid(4, 4), ["red", "nir", "scl"], engine=engine)
    assert cube.nir_present.values.tolist() == [True, False]
    assert np.isnan(cube.nir.values[1]).all()
    assert cube.scl_present.values.tolist() == [False, False]
    assert (cube.scl.values == 0).all()
    empty = load_cube([], grid(4, 4), ["red"], engine=engine)
    assert empty.red.values.shape == (0, 4, 4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tolerated_failure_leaves_its_pixels_missing(tmp_path: Path, engine: str) -> None:
    good, bad = raster(tmp_path, "good", full(7)), raster(tmp_path, "bad", full(5))
    scenes = [scene_of(asset_of(bad), name="bad"), scene_of(asset_of(good), name="good")]
    lost = scene_of(asset_of(bad), day="2023-06-02", name="lost")
    bad.unlink()
    log = FailureLog(tolerance=2)
    cube = load_cube([*scenes, lost], grid(4, 4), ["red"], engine=engine, access=Access(failures=log, block="3_4"))
    values = cube.red.compute(scheduler="synchronous").values
    assert (values[0] == 7).all()
    assert np.isnan(values[1]).all()
    assert [(failure.item, failure.band, failure.block) for failure in log.failures] == [
        ("bad", "red", "3_4"),
        ("lost", "red", "3_4"),
    ]
    strict = load_cube([lost], grid(4, 4), ["red"], engine=engine, access=Access(failures=FailureLog(), block="3_4"))
    with pytest.raises(ReadError, match="item lost, band red in block 3_4"):
        strict.compute(scheduler="synchronous")


def test_hrefs_are_signed_when_they_are_read(tmp_path: Path) -> None:
    path = raster(tmp_path, "x", full(7))
    scene = scene_of(asset_of(path, href="nowhere.tif"))
    asked = []

    def sign(given: Scene, href: str) -> str:
        asked.append((given.id, href))
        return str(path)

    cube = load_cube([scene], grid(4, 4), ["red"], access=Access(sign=sign))
    assert not asked
    with pytest.raises(ReadError):
        cube.compute(scheduler="synchronous")


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    scene = scene_of(asset_of(raster(tmp_path, "x", full(7))))
    with pytest.raises(ValueError, match="engine 'gdal' is not known: give one of direct, odc, stackstac"):
        load_cube([scene], grid(4, 4), ["red"], engine="gdal")
    with pytest.raises(ValueError, match="rotated, flipped"):
        load_cube([scene], GeoBox((4, 4), Affine(10, 1, 0, 0, -10, 0), UTM), ["red"])


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    values = RANDOM.integers(1, 10_000, (700, 700), dtype=np.uint16)
    folder = tmp_path_factory.mktemp("wide")
    twenty = RANDOM.integers(1, 12, (350, 350), dtype=np.uint8)
    return scene_of(
        asset_of(raster(folder, "wide", values, block=256)),
        asset_of(raster(folder, "scl", twenty, block=256, size=20), "scl", unit="class"),
    )


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
def test_chunks_and_engine_do_not_show_in_a_warped_cube(wide: Scene, resampling: str) -> None:
    bounds = grid(700, 700).to_crs("EPSG:3035").boundingbox
    geobox = GeoBox.from_bbox(tuple(bounds), "EPSG:3035", resolution=10)[90:600, 100:600]
    cubes = [
        load_cube([wide], geobox, ["red", "scl"], engine=engine, chunks=chunks, resampling=resampling).compute()
        for engine, chunks in itertools.product(ENGINES, (128, 2048))
    ]
    for cube in cubes[1:]:
        assert same(cube.red.values, cubes[0].red.values)
        assert same(cube.scl.values, cubes[0].scl.values)
    assert np.isfinite(cubes[0].red.values).all()


def test_a_block_of_a_grid_without_an_epsg_code_is_read(wide: Scene) -> None:
    wkt = "+proj=laea +lat_0=49 +lon_0=13 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
    geobox = GeoBox.from_bbox(tuple(grid(700, 700).to_crs(wkt).boundingbox), wkt, resolution=20)[50:90, 50:90]
    assert np.isfinite(load_cube([wide], geobox, ["red"]).red.values).all()
    with pytest.raises(ValueError, match="knows grids by EPSG code alone"):
        load_cube([wide], geobox, ["red"], engine="stackstac")


def test_scenes_elsewhere_make_no_reads(wide: Scene) -> None:
    stats = ReadStats()
    far = GeoBox((64, 64), Affine(10, 0, 600_000, 0, -10, 5_000_000), UTM)
    cube = load_cube([wide], far, ["red"], access=Access(stats=stats))
    assert np.isnan(cube.red.values).all()
    assert stats.reads == 0
    assert cube.sizes["time"] == 1


def test_the_graph_of_a_block_is_small(wide: Scene) -> None:
    scenes = [scene_of(*wide.assets, day=f"2023-06-{day:02}") for day in range(1, 31)]
    cube = load_cube(scenes, grid(700, 700), ["red", "scl"])
    assert len(dict(cube.__dask_graph__())) < 300


@pytest.mark.parametrize("pattern", ["sentinel-2-l2a/S2B*/S2B*.json", "sentinel-2-l2a/S2_2023*/S2*.json"])
def test_both_engines_read_the_real_windows_as_rasterio_does(real: Path, pattern: str) -> None:
    scenes = real_scenes(real, pattern)
    with rasterio.open(scenes[0].assets[0].href) as source:
        geobox = GeoBox(source.shape, source.transform, str(source.crs))
    bands = [band for band in ("red", "nir") if scenes[0].asset(band)]
    cubes = [load_cube(scenes, geobox, bands, engine=engine, chunks=100).compute() for engine in ENGINES]
    for day, scene in enumerate(scenes):
        for band in bands:
            with rasterio.open(scene.asset(band).href) as source:
                dn = source.read(1)
            expected = np.where(dn == 0, np.nan, (dn * 1e-4)).astype(np.float32)
            assert all(same(cube[band].values[day], expected) for cube in cubes)
