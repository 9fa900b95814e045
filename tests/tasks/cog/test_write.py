from __future__ import annotations

import ctypes
import hashlib
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from tests.support.cogs import CLASS, PERCENT, TRANSFORM, VALUE, patches, write
from tests.support.paths import ROOT
from tilewright.tasks.cog.spec import CogSpec
from tilewright.tasks.cog.write import CogError, CogFacts, write_cog


@pytest.fixture(scope="module")
def class_cog(tmp_path_factory: pytest.TempPathFactory) -> tuple[CogFacts, np.ndarray]:
    pixels = patches((1500, 1111))
    path = tmp_path_factory.mktemp("cog") / "class.tif"
    return write(path, pixels, CLASS, metadata={"TIFFTAG_SOFTWARE": "Tilewright 9", "MODEL": "m"}), pixels


def test_pixels_and_georeference_come_back_whole(class_cog: tuple[CogFacts, np.ndarray]) -> None:
    facts, pixels = class_cog
    with rasterio.open(facts.path) as source:
        assert np.array_equal(source.read(1), pixels)
        assert (source.crs.to_epsg(), source.transform, source.nodata) == (32633, TRANSFORM, 255)
        assert source.block_shapes == [(512, 512)]
        assert source.overviews(1) == list(facts.overviews) == [2, 4]


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (300, 200), (512, 512), (513, 40), (40, 1300), (2049, 1025), (700, 512), (3000, 1024), (5000, 512)],
)
@pytest.mark.parametrize("spec", [CLASS, PERCENT, VALUE], ids=lambda spec: spec.name)
def test_every_size_and_kind_is_strictly_valid(tmp_path: Path, shape: tuple[int, int], spec: CogSpec) -> None:
    pixels = patches(shape, values=(0, 1, 3, 100)).astype(spec.dtype)
    facts = write(tmp_path / "layer.tif", pixels, spec)
    assert cog_validate(facts.path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(facts.path) as source:
        assert np.array_equal(source.read(1), pixels)


def test_names_colours_and_statistics_are_inside_the_file(class_cog: tuple[CogFacts, np.ndarray]) -> None:
    facts, pixels = class_cog
    alone = facts.path.with_name("alone.tif")
    alone.write_bytes(facts.path.read_bytes())
    with rasterio.open(alone) as source:
        tags = source.tags(1)
        assert source.tags()["TIFFTAG_SOFTWARE"] == "Tilewright 9"
        assert source.tags()["MODEL"] == "m"
        assert [tags[f"CLASS_{value}"] for value in (0, 1, 3)] == ["other", "water", "forêt & co"]
        assert source.colormap(1)[1] == (0x2E, 0x86, 0xDE, 255)
        assert source.descriptions == ("class",)
        assert tags["DESCRIPTION"] == "what covers it"
    valid = pixels[pixels != 255].astype(float)
    assert float(tags["STATISTICS_MEAN"]) == pytest.approx(valid.mean(), rel=1e-12)
    assert float(tags["STATISTICS_STDDEV"]) == pytest.approx(valid.std(), rel=1e-12)
    assert float(tags["STATISTICS_VALID_PERCENT"]) == pytest.approx(100 * valid.size / pixels.size)


def test_facts_count_every_pixel(class_cog: tuple[CogFacts, np.ndarray]) -> None:
    facts, pixels = class_cog
    assert facts.counts == {value: int((pixels == value).sum()) for value in (0, 1, 3, 255)}
    assert sum(facts.counts.values()) == facts.pixels == pixels.size
    assert facts.valid_pixels == int((pixels != 255).sum())
    assert facts.size == facts.path.stat().st_size
    assert facts.checksum == "1220" + hashlib.sha256(facts.path.read_bytes()).hexdigest()


def test_gdal_finds_the_category_names_beside_the_file(class_cog: tuple[CogFacts, np.ndarray]) -> None:
    facts, _ = class_cog
    assert facts.sidecar == facts.path.with_name("class.tif.aux.xml")
    assert category_names(facts.path) == ["other", "water", "", "forêt & co"]


def category_names(path: Path) -> list[str]:
    """What GDAL itself answers; rasterio has no call for it."""
    libraries = sorted((Path(rasterio.__file__).parents[1] / "rasterio.libs").glob("libgdal*.so*"))
    if not libraries:
        pytest.skip("rasterio brings no GDAL library of its own here")
    gdal = ctypes.CDLL(str(libraries[0]))
    gdal.GDALOpen.restype = gdal.GDALGetRasterBand.restype = ctypes.c_void_p
    gdal.GDALGetRasterCategoryNames.restype = ctypes.POINTER(ctypes.c_char_p)
    gdal.GDALGetRasterBand.argtypes = [ctypes.c_void_p, ctypes.c_int]
    gdal.GDALGetRasterCategoryNames.argtypes = gdal.GDALClose.argtypes = gdal.GDALGetDefaultRAT.argtypes = [
        ctypes.c_void_p
    ]
    dataset = gdal.GDALOpen(str(path).encode(), 0)
    band = gdal.GDALGetRasterBand(dataset, 1)
    gdal.GDALGetDefaultRAT(band)  # GDAL 3.10 loads the sidecar for this call, but not for the names alone
    found = gdal.GDALGetRasterCategoryNames(band)
    names = []
    while found and found[len(names)] is not None:
        names.append(found[len(names)].decode())
    gdal.GDALClose(dataset)
    return names


def test_class_overviews_take_the_most_frequent_class_and_never_mix_in_nodata(tmp_path: Path) -> None:
    quad = (
        np.array([[0, 3], [3, 3]], np.uint8),
        np.array([[255, 255], [255, 1]], np.uint8),
        np.full((2, 2), 255, np.uint8),
    )
    pixels = np.tile(np.hstack(quad), (512, 171))[:, :1024]
    facts = write(tmp_path / "class.tif", pixels, CLASS)
    with rasterio.open(facts.path, overview_level=0) as source:
        half = source.read(1)
    assert set(half[:, 0::3].ravel()) == {3}
    assert set(half[:, 1::3].ravel()) == {1}
    assert set(half[:, 2::3].ravel()) == {255}


def test_overviews_of_classes_hold_no_class_that_is_not_there(class_cog: tuple[CogFacts, np.ndarray]) -> None:
    facts, pixels = class_cog
    for level in range(len(facts.overviews)):
        with rasterio.open(facts.path, overview_level=level) as source:
            assert set(np.unique(source.read(1))) <= set(np.unique(pixels))


@pytest.mark.parametrize(("spec", "hole"), [(PERCENT, 255), (VALUE, math.nan)], ids=["percent", "value"])
def test_value_overviews_average_the_valid_pixels_alone(tmp_path: Path, spec: CogSpec, hole: float) -> None:
    pixels = np.tile(np.array([[10, 20, hole, hole], [30, hole, hole, hole]], spec.dtype), (512, 256))
    facts = write(tmp_path / "layer.tif", pixels, spec)
    with rasterio.open(facts.path, overview_level=0) as source:
        half = source.read(1)
    assert set(half[:, 0::2].ravel()) == {20}
    assert np.array_equal(half[:, 1::2], np.full((512, 256), hole, spec.dtype), equal_nan=True)


def test_the_same_pixels_give_the_same_bytes(tmp_path: Path) -> None:
    pixels = patches((1400, 1200))
    one = write(tmp_path / "one.tif", pixels, CLASS)
    two = write(tmp_path / "two.tif", pixels, CLASS, threads=2, read_rows=1024, cache_mb=16)
    assert one.checksum == two.checksum
    assert one.statistics == two.statistics


def test_value_statistics_leave_out_nan_and_infinity_and_do_not_depend_on_the_reads(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).normal(1000, 0.1, (1100, 300)).astype(np.float32)
    pixels[:50], pixels[60, 5] = np.nan, np.inf
    one = write(tmp_path / "one.tif", pixels, VALUE)
    two = write(tmp_path / "two.tif", pixels, VALUE, read_rows=1024)
    finite = pixels[np.isfinite(pixels)].astype(np.float64)
    assert one.statistics == two.statistics
    assert one.statistics.mean == pytest.approx(finite.mean(), rel=1e-13)
    assert one.statistics.stddev == pytest.approx(finite.std(), rel=1e-9)
    assert one.statistics.valid_percent == pytest.approx(100 * (finite.size + 1) / pixels.size)


def test_a_layer_without_a_valid_pixel_has_no_statistics(tmp_path: Path) -> None:
    facts = write(tmp_path / "class.tif", np.full((600, 600), 255, np.uint8), CLASS)
    assert (facts.statistics, facts.valid_pixels, facts.counts) == (None, 0, {255: 360_000})


def test_scale_offset_and_unit_are_kept(tmp_path: Path) -> None:
    spec = CogSpec(name="ndvi", dtype="int16", nodata=-32768, kind="value", unit="1", scale=1e-4, offset=-0.5)
    facts = write(tmp_path / "ndvi.tif", np.array([[-32768, 2, 4]], np.int16), spec)
    with rasterio.open(facts.path) as source:
        assert (source.scales, source.offsets, source.units) == ((1e-4,), (-0.5,), ("1",))
    assert (facts.statistics.minimum, facts.statistics.maximum, facts.statistics.mean) == (2, 4, 3)
    assert facts.statistics.valid_percent == pytest.approx(200 / 3)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "class.tif"
    path.write_bytes(b"before")

    def rows(r0: int, r1: int) -> np.ndarray:
        if r0 >= 512:
            raise OSError("the bucket is gone")
        return np.zeros((r1 - r0, 600), np.uint8)

    with pytest.raises(RuntimeError, match="rows 512 to 1024 could not be read: the bucket is gone"):
        write_cog(path, rows=rows, shape=(1200, 600), transform=TRANSFORM, crs="EPSG:32633", spec=CLASS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["class.tif"]
    assert path.read_bytes() == b"before"


def test_a_folder_that_is_not_there_is_a_cog_error(tmp_path: Path) -> None:
    with pytest.raises(CogError, match=r"layer class: class\.tif could not be written"):
        write(tmp_path / "no" / "class.tif", np.zeros((4, 4), np.uint8), CLASS)


@pytest.mark.parametrize("limit", [100_000, 900_000], ids=["while staging", "while the COG is made"])
def test_a_full_disk_is_a_cog_error(tmp_path: Path, limit: int) -> None:
    """A limit on file size stands in for the full disk: both make write() fail half-way."""
    script = f"""
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        import numpy as np
        from pathlib import Path
        from tests.support.cogs import PERCENT, write
        from tilewright.tasks.cog.write import CogError
        pixels = np.random.default_rng(1).integers(0, 100, (1024, 1024), np.uint8)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            write(Path({str(tmp_path)!r}) / "confidence.tif", pixels, PERCENT)
        except CogError as error:
            sys.exit(str(error))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "layer confidence: " in ran.stderr.splitlines()[-1], ran.stderr
    assert ran.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    script = f"""
        import resource, numpy as np
        from pathlib import Path
        from tests.support.cogs import CLASS, TRANSFORM, patches
        from tilewright.tasks.cog.write import write_cog
        piece = patches((512, 1024))
        peak = []
        for height in (1536, 9728):
            write_cog(Path({str(tmp_path)!r}) / "c.tif", rows=lambda a, b: piece, shape=(height, 1024),
                      transform=TRANSFORM, crs="EPSG:32633", spec=CLASS, cache_mb=16)
            peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        print(peak[1] - peak[0])
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 20, "MB more for six times the rows"
