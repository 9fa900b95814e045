"""docs/opens-in.md promises what the tests of this folder hold: a row for each, and no row without."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "opens-in.md").read_text("utf-8")

HELD_BY = {
    "GDAL, rasterio": "test_gdal_sees_colours_names_statistics_and_overviews",
    "GDAL's Zarr driver": "test_gdal_reads_the_store_of_the_second_format",
    "rioxarray": "test_rioxarray_opens_the_file_in_its_place",
    "xarray": "test_xarray_opens_the_store_with_masks_and_coordinates",
    "rio-tiler": "test_rio_tiler_reads_the_item",
    "titiler": "test_titiler_draws_each_render_of_the_item",
    "odc-stac": "test_odc_stac_loads_the_item",
    "stackstac 0.5": "test_stackstac_stacks_the_item",
    "xpystac 0.5": "test_xpystac_opens_files_and_the_store",
    "pystac, pystac-client": "test_pystac_reads_the_item_its_collection_and_the_table_beside_it",
    "stac-validator": "test_stac_validator_finds_it_valid",
    "stac-check": "test_stac_check_has_nothing_else_to_say",
    "STAC Browser, other browsers of catalogs": "test_a_browser_of_catalogs_finds_a_picture_a_title_and_what_is_in_it",
    "geopandas": "test_geopandas_reads_the_polygons",
    "pyogrio, Fiona": "test_pyogrio_reads_the_exported_polygons",
    "QGIS": "test_the_style_for_qgis_lies_beside_the_file_and_says_its_colours",
    "Jupyter, VS Code": "test_a_notebook_runs",
}


def test_each_row_has_its_test():
    rows = re.findall(r"^\| ([^|]+?) \|", PAGE.split("| program |")[1].split("\n\n")[0], flags=re.MULTILINE)
    files = (*Path(__file__).parent.glob("test_*.py"), ROOT / "tests" / "project" / "test_notebooks.py")
    tests = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)}
    assert set(rows[1:] if set(rows[0]) == {"-"} else rows) - {"---"} == set(HELD_BY)
    assert set(HELD_BY.values()) <= tests


def test_the_links_of_the_page_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
