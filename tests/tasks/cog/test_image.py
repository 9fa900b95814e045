"""An image: the layers of one model as the bands of one file, each as it would be in a file of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from tests.support.cogs import TRANSFORM, VALUE, write
from tilewright.tasks.cog.spec import CogSpec
from tilewright.tasks.cog.write import CogFacts, write_cog

NAMES = ("red", "nir", "swir16")


def bands(names: tuple[str, ...]) -> list[CogSpec]:
    return [replace(VALUE, name=name, unit="reflectance") for name in names]


def pixels(shape: tuple[int, int], n: int) -> np.ndarray:
    values = np.random.default_rng(3).random((n, *shape), dtype=np.float32)
    values[:, 40:90, 30:70] = np.nan
    values[1, 100:110] = np.nan
    return values


def write_image(path: Path, values: np.ndarray, **options: object) -> CogFacts:
    first, *more = bands(NAMES[: len(values)])
    return write_cog(
        path,
        rows=lambda r0, r1: values[:, r0:r1],
        shape=values.shape[1:],
        transform=TRANSFORM,
        crs="EPSG:32633",
        spec=first,
        more=more,
        **options,
    )


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("shape", [(300, 200), (1300, 1100), (513, 512)])
def test_each_band_with_its_levels_and_statistics_is_that_of_a_file_of_its_own(tmp_path, shape, n):
    values = pixels(shape, n)
    facts = write_image(tmp_path / "image.tif", values)
    assert cog_validate(tmp_path / "image.tif", strict=True)[0]
    alone = [write(tmp_path / f"{spec.name}.tif", values[k], spec) for k, spec in enumerate(bands(NAMES[:n]))]
    for number, other in enumerate(alone, start=1):
        band = facts.of_band(number)
        assert (band.statistics, band.pixels, band.valid_pixels) == (other.statistics, other.pixels, other.valid_pixels)
        assert (band.path, band.size, band.checksum) == (facts.path, facts.size, facts.checksum)
        for level in [None, *range(len(facts.overviews))]:
            how = {} if level is None else {"overview_level": level}
            with rasterio.open(facts.path, **how) as image, rasterio.open(other.path, **how) as single:
                assert np.array_equal(image.read(number), single.read(1), equal_nan=True)
    with rasterio.open(facts.path) as image:
        assert image.descriptions == NAMES[:n]
        assert set(image.units) == {"reflectance"}
        assert "alpha" not in {each.name for each in image.colorinterp}


def test_the_same_image_gives_the_same_bytes_for_any_reads_and_threads(tmp_path):
    values = pixels((1300, 600), 3)
    one = write_image(tmp_path / "one.tif", values, threads=1)
    two = write_image(tmp_path / "two.tif", values, threads=3, read_rows=1024)
    assert one.checksum == two.checksum


def test_bands_of_unlike_types_are_no_image(tmp_path):
    values = pixels((64, 64), 2)
    with pytest.raises(AssertionError, match="bands of red, class are of different types"):
        write_cog(
            tmp_path / "image.tif",
            rows=lambda r0, r1: values[:, r0:r1],
            shape=(64, 64),
            transform=TRANSFORM,
            crs="EPSG:32633",
            spec=bands(("red",))[0],
            more=[replace(VALUE, name="class", dtype="uint8", nodata=255)],
        )
