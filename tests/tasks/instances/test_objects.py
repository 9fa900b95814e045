"""Objects of masks are painted and outlined strip by strip as over the whole map, and suppressed as by a plain loop."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import shapely

from tilewright.models.spec.boxes import BOX
from tilewright.models.transforms.masks import FoundMask
from tilewright.tasks.boxes.parts import boxes_digest, write_part
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.instances.mask_file import MaskFile
from tilewright.tasks.instances.mask_parts import MASK, counted_masks, encoded, read_masks
from tilewright.tasks.instances.objects import BoundedObjects, MaskedObjects
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.vector import shapes
from tilewright.tasks.vector.polygon_table import PolygonTable

EXTENT = PixelBox.at(-540_000, 40_000, shape=(90, 110))


def some_masks(n=150, seed=1):
    """Objects over an extent and beyond it, of blots that fall into parts: FoundMask in absolute pixels."""
    random = np.random.default_rng(seed)
    for _ in range(n):
        height, width = random.integers(1, 24, 2)
        pixels = random.random((height, width)) < 0.6
        pixels[0, 0] = pixels[-1, -1] = True
        row, col = random.integers(-8, 92) + EXTENT.row_start, random.integers(-8, 112) + EXTENT.col_start
        box = np.zeros((), BOX)
        box["x"], box["y"], box["w"], box["h"] = col + width / 2, row + height / 2, width, height
        box["score"], box["value"] = round(float(random.random()), 2), random.integers(0, 2)
        yield FoundMask(box=box, row=int(row), col=int(col), pixels=pixels)


EVERYWHERE = PixelBox.at(-1_000_000, -1_000_000, shape=(2_000_000, 2_000_000))


def counted(found):
    box = EVERYWHERE
    shifted = []
    for each in found:
        own = each.box.copy()
        own["x"] -= box.col_start
        own["y"] -= box.row_start
        shifted.append(
            FoundMask(box=own, row=each.row - box.row_start, col=each.col - box.col_start, pixels=each.pixels)
        )
    inside = np.broadcast_to(True, box.shape)
    return counted_masks(shifted, window=box, core=box, inside=inside, over=box)


@pytest.fixture
def masks(tmp_path):
    """All of them in a file, nothing dropped."""
    storage = open_storage(str(tmp_path / "out"), create=True)
    with closing(MaskFile(tmp_path)) as file:
        for block, part in enumerate((list(some_masks())[:70], list(some_masks())[70:])):
            content = encoded(counted(part))
            write_part(storage, "things", f"{block}_0", content)
            file.add(*read_masks(storage, "things", f"{block}_0", boxes_digest(content)))
        yield file


def full(file, number):
    """The pixels of a mask as a set."""
    record, pixels = file.records[number], file.pixels(number)
    return {(int(r + record["row"]), int(c + record["col"])) for r, c in zip(*np.nonzero(pixels), strict=True)}


@pytest.mark.parametrize(("most", "per_class"), [(0.2, True), (0.2, False), (0.0, False), (1.0, False)])
def test_masks_are_suppressed_as_by_a_plain_loop(masks, most, per_class):
    given = list(some_masks())
    masks.keep_best(most=most, per_class=per_class)
    order = sorted(range(len(given)), key=lambda n: (-given[n].box["score"], given[n].box["y"], given[n].box["x"]))
    left = []
    for number in order:
        own = given[number]
        pixels = {(int(r + own.row), int(c + own.col)) for r, c in zip(*np.nonzero(own.pixels), strict=True)}
        alike = (other for other, value in left if value == own.box["value"] or not per_class)
        if all(len(pixels & other) / len(pixels | other) <= most for other in alike):
            left.append((pixels, own.box["value"]))
    assert [full(masks, number) for number in range(len(masks.records))] == [pixels for pixels, _ in left]
    assert (len(left) == len(given)) == (most == 1)


@pytest.fixture(params=["many at once", "as soon as they can"])
def held(request, monkeypatch):
    """Shapes are made of few corners too, while other parts of an object are still to come."""
    if request.param != "many at once":
        monkeypatch.setattr(shapes, "LEAST_CORNERS", 1)


def numbered(objects, marks, *, strip):
    """The shapes of objects, the numbers of their pixels, and the table, row by row in strips."""
    for start in range(0, len(marks), strip):
        part = marks[start : start + strip]
        box = PixelBox.at(EXTENT.row_start + start, EXTENT.col_start, shape=part.shape)
        yield from objects.take(box, part, edge=np.zeros(part.shape, dtype=bool))
    yield from objects.end()


@pytest.mark.parametrize("strip", [1, 7, 90])
@pytest.mark.parametrize("kind", ["masks", "bounded"])
@pytest.mark.usefixtures("held")
def test_shapes_and_numbers_are_the_same_in_every_strip(masks, tmp_path, strip, kind):
    random = np.random.default_rng(5)
    marks = (random.random(EXTENT.shape) < 0.7).astype(np.int8) - (random.random(EXTENT.shape) < 0.1)
    marks = np.maximum(marks, -1).astype(np.int8)
    masks.keep_best(most=0.6, per_class=False)
    grid = Grid(crs="EPSG:32633", resolution=1.0, extent=EXTENT)

    def made():
        return BoundedObjects(EXTENT, value=1) if kind == "bounded" else MaskedObjects(EXTENT, masks)

    def written(objects, height, name):
        with PolygonTable(tmp_path, grid=grid, names={}) as table:
            for some in numbered(objects, marks, strip=height):
                table.add(some)
            table.write(tmp_path / name)
            return table.columns(objects.figure)[0]

    objects = made()
    figures = written(objects, strip, "strips.parquet")
    if kind == "masks":
        # Numbers of parts hang on strips, those of masks do not.
        assert (figures == written(made(), len(marks), "whole.parquet")).all()
        assert (tmp_path / "strips.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    numbers = np.concatenate(
        [
            objects.numbers(PixelBox.at(EXTENT.row_start + start, EXTENT.col_start, shape=part.shape), part)
            for start in range(0, len(marks), strip)
            for part in (marks[start : start + strip],)
        ]
    )
    import geopandas

    table = geopandas.read_parquet(tmp_path / "strips.parquet")
    assert sorted(figures) == sorted(np.unique(numbers[numbers > 0]))
    for number, geometry in zip(figures, table.geometry, strict=True):
        pixels = np.argwhere(numbers == number) + np.array([[EXTENT.row_start, EXTENT.col_start]])
        squares = shapely.box(pixels[:, 1], -pixels[:, 0] - 1, pixels[:, 1] + 1, -pixels[:, 0])
        assert shapely.union_all(squares).symmetric_difference(geometry).area < 1e-6
        assert shapely.is_valid(geometry)
    assert (numbers[marks < 0] == 0).all()


def test_masks_that_are_damaged_are_none(tmp_path):
    storage = open_storage(str(tmp_path / "out"), create=True)
    content = encoded(counted(some_masks(9)))
    write_part(storage, "things", "0_0", content)
    digest = boxes_digest(content)
    assert len(read_masks(storage, "things", "0_0", digest)[0]) == 9
    assert read_masks(storage, "things", "0_0", "0" * 64) is None
    for wrong in (content[:5], content[:-1], content[:40], np.full(64, 255, np.uint8)):
        write_part(storage, "things", "0_0", wrong)
        assert read_masks(storage, "things", "0_0", boxes_digest(wrong)) is None
        assert read_masks(storage, "things", "0_0", digest) is None
    write_part(storage, "things", "0_0", encoded([]))
    none = read_masks(storage, "things", "0_0", boxes_digest(encoded([])))
    assert (none[0].dtype, len(none[0]), none[1]) == (MASK, 0, b"")


def test_the_order_of_windows_decides_nothing():
    found = counted(some_masks())
    assert (encoded(found) == encoded(found[::-1])).all()


def test_a_centre_counts_in_one_core_and_inside_the_area_alone():
    (only,) = some_masks(1)
    box, window = only.box.copy(), PixelBox.at(0, 0, shape=(64, 64))
    inside = np.ones((64, 64), dtype=bool)
    inside[20:, :] = False

    def n_counted(x, y, core):
        box["x"], box["y"] = x, y
        mask = FoundMask(box=box, row=0, col=0, pixels=only.pixels)
        return len(counted_masks([mask], window=window, core=core, inside=inside, over=window))

    left, right = PixelBox.at(0, 0, shape=(64, 32)), PixelBox.at(0, 32, shape=(64, 32))
    assert [n_counted(x, 8, core) for x in (31.99, 32.0) for core in (left, right)] == [1, 0, 0, 1]
    assert n_counted(8, 19.99, left) == 1
    assert n_counted(8, 20.0, left) == 0
    assert [n_counted(x, 8, left) for x in (-0.01, 1e300, -1e300)] == [0, 0, 0]
