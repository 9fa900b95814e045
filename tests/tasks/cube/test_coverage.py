"""Which scenes a block reads: none that has a pixel there is missed, none whose files end before it is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from shapely.geometry import box, mapping

from tilewright.flows.job.job import make_job
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.scenes import find_scenes
from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.cube.coverage import Coverage
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.plan.plan import Plan

EAST_EDGE = 499_980.0
"""Where the files of granule 33UWP begin, metres in EPSG:32633."""


@pytest.fixture(scope="module")
def plain_job(sample):
    from tilewright.catalogs.sample.build import SAMPLE_AREA

    return {
        "name": "coverage", "area": list(SAMPLE_AREA), "period": "2022-06-10/2022-07-31", "model": "ndwi-water",
        "source": str(sample / "catalog.json"), "output": "out", "tile": {"block": 128, "step": 128},
    }  # fmt: skip


@pytest.fixture(scope="module")
def scenes(plain_job):
    return {scene.id: scene for scene in find_scenes(make_job(plain_job, base=Path()))}


@pytest.fixture
def eastern(scenes):
    return scenes["S2A_33UWP_20220617_0_L2A"]


def grid(crs="EPSG:32633", resolution=10.0):
    return Grid(crs=crs, resolution=resolution, extent=PixelBox(row_start=0, row_stop=1, col_start=0, col_stop=1))


def metres(left, right, *, resolution=10.0, top=5_397_000.0, bottom=5_396_000.0):
    """The pixels of a box given in metres."""
    rows = round(-top / resolution), round(-bottom / resolution)
    cols = round(left / resolution), round(right / resolution)
    return PixelBox(row_start=rows[0], row_stop=rows[1], col_start=cols[0], col_stop=cols[1])


def test_a_scene_ends_where_its_files_end_not_where_its_footprint_might(eastern):
    before = metres(EAST_EDGE - 1500, EAST_EDGE - 200)
    touching = metres(EAST_EDGE - 1500, EAST_EDGE)
    assert Coverage([eastern], grid()).touching(before) == ()
    assert Coverage([eastern], grid()).touching(touching) == (eastern,), "a kernel may reach over the edge"


def test_files_without_a_position_leave_the_footprint_and_its_slack(eastern):
    before = metres(EAST_EDGE - 1500, EAST_EDGE - 200)
    silent = replace(eastern, assets=tuple(replace(asset, transform=None) for asset in eastern.assets))
    assert Coverage([silent], grid()).touching(before) == (silent,)
    far = metres(EAST_EDGE - 9000, EAST_EDGE - 5000)
    assert Coverage([silent], grid()).touching(far) == ()


def test_extents_that_contradict_the_footprint_are_not_believed(eastern):
    """Some items give every band the transform of the finest with the shape of the coarsest."""
    halved = replace(eastern, assets=tuple(replace(asset, shape=(500, 500)) for asset in eastern.assets))
    beyond = metres(EAST_EDGE + 7000, EAST_EDGE + 8000)
    assert Coverage([halved], grid()).touching(beyond) == (halved,)


def test_another_zone_has_the_same_edge_to_a_share_of_the_granule(eastern):
    other = grid("EPSG:32632")
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True).transform(EAST_EDGE, 5_395_000)
    inside = metres(x + 100, x + 600, top=y + 300, bottom=y - 300)
    outside = metres(x - 1900, x - 1000, top=y + 300, bottom=y - 300)
    assert Coverage([eastern], other).touching(inside) == (eastern,)
    assert Coverage([eastern], other).touching(outside) == ()


def test_a_footprint_across_the_antimeridian_is_met_from_both_sides(eastern):
    bare = replace(
        eastern,
        assets=(),
        geometry=mapping(box(179.9, 0.0, 180.0, 0.1).union(box(-180.0, 0.0, -179.9, 0.1))),
        bbox=(179.9, 0.0, -179.9, 0.1),
    )
    ring = Grid(crs="EPSG:3857", resolution=100.0, extent=PixelBox(row_start=0, row_stop=1, col_start=0, col_stop=1))
    edge = 20_037_508.0
    assert Coverage([bare], ring).touching(metres(edge - 5000, edge - 1000, resolution=100.0, top=9000, bottom=1000))
    assert Coverage([bare], ring).touching(metres(-edge + 1000, -edge + 5000, resolution=100.0, top=9000, bottom=1000))
    assert not Coverage([bare], ring).touching(metres(-5000, 5000, resolution=100.0, top=9000, bottom=1000))


def test_new_scenes_change_the_keys_of_the_blocks_under_their_files_alone(plain_job):
    plan = plan_job(make_job(plain_job, base=Path()))
    entry = plan.inputs[0]
    older = tuple(scene for scene in entry.scenes if scene.granule != "33UWP" or "20220629" in scene.id)
    assert len(older) < len(entry.scenes)
    before = replace(plan, inputs=(replace(entry, scenes=older),))
    changed = {block.name for block in plan.raster.all_blocks() if block_key(plan, block) != block_key(before, block)}
    under = {
        block.name
        for block in plan.raster.all_blocks()
        if plan.raster.grid.geobox_of(block.outer).boundingbox.right > EAST_EDGE - 30
    }
    assert changed == under
    assert 0 < len(changed) < len(plan.raster.blocks)


def test_the_same_plan_read_back_gives_the_same_keys(plain_job):
    plan = plan_job(make_job(plain_job, base=Path()))
    again = Plan.from_json(plan.to_json())
    assert [block_key(plan, block) for block in plan.raster.all_blocks()] == [
        block_key(again, block) for block in again.raster.all_blocks()
    ]
    assert replace(plan, engine="stackstac").settings_key() != plan.settings_key(), "no stale digest travels"
