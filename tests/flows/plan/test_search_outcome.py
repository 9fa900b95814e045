"""What a search leaves out, covers, or lacks is said: by search and by plan, in words and as numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer
from shapely.geometry import box, mapping, shape
from typer.testing import CliRunner

from tests.support.graphs import conv_stack
from tests.support.http_servers import QuietHandler
from tests.support.scenes import write_raster
from tests.support.worlds import COL, CRS, ROW, bounds, write_card
from tilewright.flows.cli.main import app
from tilewright.tasks.plan.footprints import coverage_words

SIDE = 64
OUTPUT = {"name": "y", "classes": ("land", "water"), "tw:activation": "softmax", "tw:layers": ["class"]}
IMAGE = {"name": "x", "bands": ("green", "nir")}
TO_DEGREES = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)


def outline(rows: tuple[float, float], cols: tuple[float, float]) -> dict[str, Any]:
    """The outline in degrees of pixels of the world, its corners straight from one to the other."""
    west, south, east, north = bounds(rows, cols)
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return {"type": "Polygon", "coordinates": [[list(TO_DEGREES.transform(*corner)) for corner in corners]]}


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """The answer of a command to a job over 64 x 64 pixels, on a catalog of the items given."""
    monkeypatch.setenv("COLUMNS", "100")
    card = write_card(tmp_path / "card", conv_stack(n_in=2), inputs=[IMAGE], outputs=[OUTPUT])
    for band in ("green", "nir"):
        write_raster(
            tmp_path / f"{band}.tif", np.full((SIDE, SIDE), 0.3, np.float32), left=COL * 10.0, top=-ROW * 10.0, crs=CRS
        )

    def answer(command, *items, **changes):
        (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        job = {
            "name": "j",
            "area": outline((0, SIDE), (0, SIDE)),
            "grid": {"crs": CRS, "bounds": bounds((0, SIDE), (0, SIDE))},
            "period": "2023-06",
            "source": str(tmp_path / "items.json"),
            "model": str(card),
            **changes,
        }
        (tmp_path / "job.json").write_text(json.dumps(job))
        return CliRunner().invoke(app, [command, str(tmp_path / "job.json"), "--json"])

    def item(name, day="2023-06-10", rows=(0, SIDE), cols=(0, SIDE), **more):
        assets = {band: {"href": str(tmp_path / f"{band}.tif"), "type": "image/tiff"} for band in ("green", "nir")}
        for asset in assets.values():
            asset["raster:bands"] = [{"data_type": "float32", "unit": "reflectance"}]
        plain = {"type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "optics", "links": []}
        properties = {"datetime": f"{day}T10:00:00Z", **more.pop("properties", {})}
        return {**plain, "geometry": outline(rows, cols), "properties": properties, "assets": assets, **more}

    answer.item = item
    return answer


def test_what_is_left_out_is_named_by_search_and_plan(ask):
    broken = [ask.item(f"odd-{n}", geometry={"type": "Point", "coordinates": [15, 48]}) for n in range(60)]
    items = [ask.item("good"), *broken]
    searched = ask("search", *items)
    assert [row["id"] for row in json.loads(searched.stdout)] == ["good"]
    words = "60 items cannot be used and are left out, whole or in part: odd-0 (its geometry has no area); odd-1"
    assert words in searched.stderr
    planned = json.loads(ask("plan", *items).stdout)
    assert planned["n_items_left_out"] == 60
    assert planned["items_left_out"][0] == {"item": "odd-0", "reason": "its geometry has no area"}
    assert len(planned["items_left_out"]) == 50


@pytest.mark.parametrize("command", ["search", "plan"])
def test_a_job_may_refuse_a_share_of_odd_items(ask, command):
    items = [ask.item("good"), ask.item("odd", geometry=None)]
    assert ask(command, *items, tolerance={"items_left_out": 0.5}).exit_code == 0
    refused = ask(command, *items, tolerance={"items_left_out": 0.4})
    assert refused.exit_code == 2
    assert "50% of the items of items in the area and the period cannot be used" in refused.stderr
    alone = ask(command, ask.item("odd", geometry=None))
    assert alone.exit_code == 2
    assert "nothing left that can be used. 1 item" in alone.stderr


@pytest.mark.parametrize(
    ("spans", "share"),
    [
        ([((0, 64), (0, 64))], 1.0),
        ([((0, 64), (0, 32))], 0.5),
        ([((0, 64), (0, 16)), ((0, 64), (48, 64))], 0.5),
        ([((0, 32), (0, 64)), ((16, 64), (0, 64))], 1.0),
        ([((0, 48), (0, 48))], 0.5625),
        ([((-64, 1), (-64, 128))], 1 / 64),
    ],
)
def test_the_share_of_the_area_that_footprints_cover_is_foretold(ask, spans, share):
    items = [ask.item(f"i{n}", rows=rows, cols=cols) for n, (rows, cols) in enumerate(spans)]
    searched, planned = ask("search", *items), ask("plan", *items)
    rows = json.loads(searched.stdout)
    assert rows[0]["period_shares"] == {"2023-06-01/2023-06-30": pytest.approx(share, abs=2e-3)}
    assert sum(row["area_share"] for row in rows) >= share - 2e-3
    (step,) = json.loads(planned.stdout)["coverage"]
    assert (step["input"], step["share"]) == ("x", pytest.approx(share, abs=2e-3))
    words = (
        "cover all of the area"
        if share == 1
        else f"cover {100 * rows[0]['period_shares']['2023-06-01/2023-06-30']:.1f}"
    )
    assert words.removesuffix(".0") in searched.stderr


def test_a_plan_warns_of_a_part_without_a_scene_in_words(ask, tmp_path):
    ask("plan", ask.item("half", cols=(0, 32)))
    text = CliRunner().invoke(app, ["plan", str(tmp_path / "job.json")]).stdout
    assert "! Input x: the footprints of its scenes cover 50 % of the area" in text
    assert "covered 50 % of the area by the scenes' footprints" in " ".join(text.split())
    ask("plan", ask.item("whole"))
    text = " ".join(CliRunner().invoke(app, ["plan", str(tmp_path / "job.json")]).stdout.split())
    assert "covered the whole area by the scenes' footprints" in text
    assert "the footprints of its scenes" not in text


def why(answer):
    assert answer.exit_code == 2
    return " ".join(answer.stderr.split())


def test_nothing_found_says_which_condition_left_none(ask):
    def many(n, prefix, **more):
        return [ask.item(f"{prefix}{n}", **more) for n in range(n)]

    far = {"geometry": mapping(box(100, 10, 101, 11))}
    cloudy = {"properties": {"eo:cloud_cover": 95}}
    bare = {"assets": {"red": {"href": "red.tif"}}}
    assert "of 12 items of optics 12 outside the period (nearest 2023-05-30)." in why(
        ask("plan", *many(11, "a", day="2022-01-05"), ask.item("b", day="2023-05-30"))
    )
    assert "of 3 items of optics 3 outside the area." in why(ask("plan", *many(3, "a", **far)))
    assert "of 5 items of optics 2 outside the period (nearest 2023-07-09), 1 outside the area, 2 cloudier" in why(
        ask(
            "plan",
            *many(2, "a", day="2023-07-09"),
            *many(1, "b", **far),
            *many(2, "c", **cloudy),
            filter={"max_cloud": 20},
        )
    )
    assert "of 2 items of optics 2 of another orbit, mode or platform" in why(
        ask("plan", *many(2, "a"), filter={"platforms": ["x"]})
    )
    assert "optics has no band green, nir; it has: red" in why(ask("plan", *many(2, "a", **bare)))


def test_an_item_of_one_of_two_periods_is_not_outside_of_both(ask):
    periods = {"period": ["2023-04", "2023-06"]}
    answer = ask(
        "plan",
        ask.item("a", day="2023-05-10"),
        ask.item("b", day="2023-06-10", geometry=mapping(box(100, 10, 101, 11))),
        **periods,
    )
    assert "of 2 items of optics 1 outside the period (nearest 2023-05-10), 1 outside the area" in why(answer)


def test_an_interval_is_in_the_period_that_it_meets(ask):
    spans = {"datetime": None, "start_datetime": "2023-05-20T00:00:00Z", "end_datetime": "2023-05-25T00:00:00Z"}
    answer = ask("plan", ask.item("a", properties=spans))
    assert "1 outside the period (nearest 2023-05-20)" in why(answer)


def test_an_api_that_filters_itself_is_asked_what_it_has_instead(ask, serve):
    """Its search gives nothing for the period: the sentence comes from further searches, which cost a refusal alone."""
    stored = [ask.item(f"i{day}", day=f"2022-05-{day:02d}") for day in (3, 17, 29)]
    asked = []

    class Api(QuietHandler):
        def do_GET(self):  # noqa: N802 -- http.server's name
            landing = {"type": "Catalog", "id": "a", "conformsTo": [], "links": []}
            self.reply({"collections": [{"id": "optics"}]} if self.path == "/collections" else landing)

        def do_POST(self):  # noqa: N802 -- http.server's name
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(query)
            over = shape(query["intersects"]).intersects(shape(stored[0]["geometry"]))
            self.reply({"type": "FeatureCollection", "features": stored if over and "datetime" not in query else []})

    api = serve(Api)
    assert "it has 3 items there, all outside the period (nearest 2022-05-29)." in why(ask("plan", source=api))
    far = {"area": mapping(box(100, 10, 100.01, 10.01)), "grid": {"resolution": 10}}
    said = why(ask("plan", source=api, **far))
    assert ": its optics lies elsewhere. Choose an area where it has some, or another source." in said
    assert len(asked) < 12


def test_python_is_warned_of_what_is_left_out(ask, tmp_path):
    import tilewright

    ask("search", ask.item("good"), ask.item("odd", geometry=None))
    with pytest.warns(UserWarning, match=r"1 item cannot be used and is left out.*odd \(it has neither a geometry"):
        (scene,) = tilewright.search(tmp_path / "job.json")
    assert scene.id == "good"


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([], ""),
        ([1.0], "the whole area"),
        ([1.0, 1.0], "the whole area in each of 2 steps"),
        ([0.25], "25 % of the area"),
        ([0.99999], "99.9 % of the area"),
        ([1.0, 0.5, 0.333], "33.3 % of the area at least in each of 3 steps"),
    ],
)
def test_the_least_share_of_the_steps_is_put_in_words(shares, words):
    assert coverage_words([{"input": "x", "step": str(n), "share": share} for n, share in enumerate(shares)]) == words
