"""Search: what is found, in which order, and what is refused, over every kind of source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import MultiPolygon, box, shape

from catalogs import fetch
from catalogs.search import Filters, search_scenes
from catalogs.sources import CatalogError, Source, resolve_source

DANUBE = box(13.10, 48.27, 13.17, 48.30)
BOTH = box(5, 44, 14, 52)
JUNE = (datetime(2021, 6, 1, tzinfo=UTC), datetime(2021, 6, 30, 23, 59, 59, tzinfo=UTC))


def search(source: Any, **more: Any) -> tuple[Any, ...]:
    asked = {"collection": "sentinel-2-l2a", "aoi": BOTH, "start": None, "end": None, "bands": ["red"], **more}
    return search_scenes(resolve_source(source), **asked)


def names(scenes: tuple[Any, ...]) -> list[str]:
    return [scene.id for scene in scenes]


# --- the real catalog


def test_the_danube_in_june_is_one_scene(real: Path) -> None:
    (scene,) = search(str(real / "catalog.json"), aoi=DANUBE, start=JUNE[0], end=JUNE[1], bands=["green", "nir"])
    assert (scene.id, scene.state, scene.source) == ("S2B_33UUP_20210617_1_L2A", "no-offset", "real")
    assert Path(scene.asset("green").href).is_file()


def test_everything_comes_ordered_by_date_and_id(real: Path) -> None:
    scenes = search(str(real / "catalog.json"))
    assert len(scenes) == 14
    assert [(scene.datetime, scene.id) for scene in scenes] == sorted((s.datetime, s.id) for s in scenes)
    assert search(str(real / "catalog.json")) == scenes


def test_the_period_holds_both_its_ends(real: Path) -> None:
    taken = datetime(2021, 6, 17, 10, 5, 59, tzinfo=UTC)
    catalog = str(real / "catalog.json")
    moment = timedelta(microseconds=1)
    assert len(search(catalog, start=taken, end=taken)) == 1
    assert len(search(catalog, start=taken + moment, end=taken + timedelta(days=1))) == 0
    assert len(search(catalog, start=taken - timedelta(days=1), end=taken - moment)) == 0


def test_only_scenes_that_own_one_of_the_bands_come(real: Path) -> None:
    catalog = str(real / "catalog.json")
    assert len(search(catalog, bands=["scl"])) == 12
    assert len(search(catalog, bands=["scl", "green"])) == 14
    assert search(catalog, bands=["swir22"]) == ()
    with pytest.raises(CatalogError, match=r"sentinel-2-l2a has no band rad; it has: aot, blue, cloud"):
        search(catalog, bands=["rad", "nir"])


def test_an_unknown_collection_names_those_there_are(real: Path) -> None:
    with pytest.raises(
        CatalogError, match="real has no collection landsat-c2-l2; it has: sentinel-1-grd, sentinel-2-l2a"
    ):
        search(str(real / "catalog.json"), collection="landsat-c2-l2")
    with pytest.raises(CatalogError, match="planetary-computer has no collection naip; it has: sentinel-2-l2a"):
        search("planetary-computer", collection="naip")


def test_an_area_outside_finds_nothing(real: Path) -> None:
    assert search(str(real / "catalog.json"), aoi=box(100, 0, 101, 1)) == ()


def test_a_corner_of_the_box_outside_the_footprint_is_not_enough(real: Path) -> None:
    (scene,) = search(str(real / "catalog.json"), aoi=DANUBE, start=JUNE[0], end=JUNE[1])
    minx, _, _, maxy = scene.bbox
    corner = box(minx, maxy - 1e-5, minx + 1e-5, maxy)
    assert not shape(scene.geometry).intersects(corner)
    assert search(str(real / "catalog.json"), aoi=corner) == ()


def test_clouds_filter_only_what_says_more(real: Path) -> None:
    catalog = str(real / "catalog.json")
    assert len(search(catalog, filters=Filters(max_cloud=1.2))) == 4
    assert len(search(catalog, filters=Filters(max_cloud=0))) == 3
    assert len(search(catalog, collection="sentinel-1-grd", bands=["vv"], filters=Filters(max_cloud=0))) == 10


def test_orbits_modes_and_platforms_filter_what_does_not_say_too(real: Path) -> None:
    catalog = str(real / "catalog.json")
    radar = {"collection": "sentinel-1-grd", "bands": ["vv"]}
    assert len(search(catalog, **radar, filters=Filters(mode="iw"))) == 10
    assert search(catalog, **radar, filters=Filters(mode="EW")) == ()
    assert search(catalog, **radar, filters=Filters(orbit_state="ascending")) == ()
    assert search(catalog, **radar, filters=Filters(relative_orbit=88)) == ()
    assert names(search(catalog, filters=Filters(platforms=("Sentinel-2B",)))) == [
        "S2B_33UUP_20210617_1_L2A",
        "S2B_33UUP_20210925_1_L2A",
    ]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"radiometry": "guess"}, "radiometry is 'guess'; expected one of auto, pixels, metadata"),
        ({"aoi": box(0, 0, 1, 1).difference(box(0, 0, 1, 1))}, "the area is empty"),
        ({"start": JUNE[1], "end": JUNE[0]}, "the period is reversed"),
        ({"start": datetime(2021, 6, 1)}, "no time zone"),  # noqa: DTZ001
        ({"bands": []}, "no bands are asked"),
        ({"filters": {"max_cloud": 101}}, "expected a percentage"),
        ({"filters": {"orbit_state": "up"}}, "expected ascending or descending"),
        ({"filters": {"limit_items": 0}}, "at least 1"),
    ],
)
def test_a_request_that_cannot_be_is_refused_before_anything_is_read(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        search("earth-search", **{**asked, **({"filters": Filters(**asked["filters"])} if "filters" in asked else {})})


def test_more_items_than_the_limit_are_refused(real: Path) -> None:
    with pytest.raises(CatalogError, match="more than 13 items; take a smaller area"):
        search(str(real / "catalog.json"), filters=Filters(limit_items=13))
    assert len(search(str(real / "catalog.json"), filters=Filters(limit_items=14))) == 14


# --- made-up static catalogs


def item(name: str, day: int = 1, *, collection: str = "sentinel-2-l2a", **more: Any) -> dict[str, Any]:
    properties = {"datetime": f"2020-01-{day:02d}T10:00:00Z", "s2:processing_baseline": "02.14", **more}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": None,
        "bbox": [10, 45, 11, 46],
        "properties": properties,
        "assets": {"red": {"href": "red.tif"}},
        "links": [],
    }


def write(path: Path, document: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def links(*hrefs: str, rel: str = "item") -> list[dict[str, str]]:
    return [{"rel": rel, "href": href} for href in hrefs]


def test_one_item_and_an_item_collection_are_catalogs_too(tmp_path: Path) -> None:
    assert names(search(write(tmp_path / "one.json", item("one")))) == ["one"]
    features = {"type": "FeatureCollection", "features": [item("b"), item("a"), item("c", collection="naip")]}
    assert names(search(write(tmp_path / "many.json", features))) == ["a", "b"]


def test_collections_that_cannot_matter_are_not_entered(tmp_path: Path) -> None:
    """What lies beyond a pruned branch is unreadable, so entering it would be refused."""

    def collection(name: str, bbox: list[float], interval: list[str | None]) -> dict[str, Any]:
        extent = {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [interval]}}
        return {"type": "Collection", "id": name, "extent": extent, "links": links("broken.json")}

    world, always = [-180, -90, 180, 90], [None, None]
    write(tmp_path / "broken.json", "broken")
    write(tmp_path / "naip.json", collection("naip", world, always))
    write(tmp_path / "far.json", collection("sentinel-2-l2a", [100, 0, 101, 1], always))
    write(tmp_path / "old.json", collection("sentinel-2-l2a", world, ["2015-01-01T00:00:00Z", "2016-01-01T00:00:00Z"]))
    write(tmp_path / "item.json", item("one"))
    children = links("naip.json", "far.json", "old.json", rel="child")
    root = write(
        tmp_path / "catalog.json", {"type": "Catalog", "id": "root", "links": [*children, *links("item.json")]}
    )
    assert names(search(root, aoi=box(10, 45, 11, 46), start=datetime(2019, 1, 1, tzinfo=UTC))) == ["one"]
    write(tmp_path / "naip.json", collection("sentinel-2-l2a", world, always))
    with pytest.raises(CatalogError, match=r"broken.json is not JSON"):
        search(root, aoi=box(10, 45, 11, 46))


def test_a_catalog_that_leads_back_to_itself_ends(tmp_path: Path) -> None:
    loop = {"type": "Catalog", "id": "a", "links": [*links("./catalog.json", rel="child"), *links("i.json", "i.json")]}
    write(tmp_path / "i.json", item("one"))
    assert names(search(write(tmp_path / "catalog.json", loop))) == ["one"]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "is no STAC catalog"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_stac_is_refused(tmp_path: Path, document: str, sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        search(write(tmp_path / "catalog.json", document))


def test_a_document_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "catalogs.static.read_json", lambda href, origin: fetch.read_json(href, origin=origin, limit=100)
    )
    with pytest.raises(CatalogError, match="larger than"):
        search(write(tmp_path / "catalog.json", item("x" * 200)))


def test_an_area_across_the_antimeridian_finds_both_sides(tmp_path: Path) -> None:
    east, west, across, far = item("east"), item("west"), item("across"), item("far")
    east["bbox"], west["bbox"], across["bbox"] = [178, 0, 179, 1], [-179, 0, -178, 1], [179.9, 0, -179.9, 1]
    features = {"type": "FeatureCollection", "features": [east, west, across, far]}
    aoi = MultiPolygon([box(178.5, 0, 180, 1), box(-180, 0, -178.5, 1)])
    scenes = search(write(tmp_path / "am.json", features), aoi=aoi)
    assert names(scenes) == ["across", "east", "west"]
    assert scenes[0].bbox == (179.9, 0.0, -179.9, 1.0)


def test_of_two_processings_the_newest_baseline_is_left(tmp_path: Path) -> None:
    both = [
        item(f"S2B_33UUP_20200101_{n}_L2A", platform="Sentinel-2B", **{"s2:processing_baseline": baseline})
        for n, baseline in ((0, "05.00"), (1, "02.14"))
    ]
    both[0]["properties"]["earthsearch:boa_offset_applied"] = True
    (scene,) = search(write(tmp_path / "two.json", {"type": "FeatureCollection", "features": both}))
    assert (scene.id, scene.replaces) == ("S2B_33UUP_20200101_0_L2A", ("S2B_33UUP_20200101_1_L2A",))


def test_an_item_outside_the_question_cannot_spoil_the_answer(tmp_path: Path) -> None:
    spoiled = item("spoiled", 20, **{"s2:processing_baseline": "05.09"})
    root = write(tmp_path / "c.json", {"type": "FeatureCollection", "features": [item("good"), spoiled]})
    early = datetime(2020, 1, 10, tzinfo=UTC)
    assert names(search(root, end=early)) == ["good"]
    with pytest.raises(CatalogError, match=r"item spoiled of c: has baseline 05.09 and says nothing"):
        search(root)


# --- over HTTP


class Api(BaseHTTPRequestHandler):
    """A STAC API in small: landing, collections, and a search that pages by POST body or by GET query."""

    items: ClassVar[list[dict[str, Any]]] = []
    methods = ("GET", "POST")
    page = 2
    asked: ClassVar[list[dict[str, Any]]] = []
    trouble: ClassVar[list[int]] = []

    def answer(self, document: Any, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/":
            found = [{"rel": "search", "href": f"{self.root}/search", "method": method} for method in self.methods]
            self.answer({"type": "Catalog", "id": "api", "conformsTo": [], "links": found})
        elif path == "/collections":
            self.answer({"collections": [{"id": "sentinel-s2-l2a-cogs"}, {"id": "naip"}], "links": []})
        elif path == "/search":
            query = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
            self.search({**query, "collections": query["collections"].split(",")}, "GET")
        else:
            self.answer({"code": "NotFound"}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.trouble:
            self.answer({"description": "not now"}, self.trouble.pop(0))
        else:
            self.search(body, "POST")

    def search(self, query: dict[str, Any], method: str) -> None:
        self.asked.append({**query, "method": method})
        wanted = [entry for entry in self.items if entry["collection"] in query["collections"]]
        start = int(query.get("token", 0))
        following = start + self.page
        document: dict[str, Any] = {"type": "FeatureCollection", "features": wanted[start:following], "links": []}
        if following < len(wanted) and method == "POST":
            body = {**query, "token": following}
            document["links"] = [{"rel": "next", "href": f"{self.root}/search", "method": "POST", "body": body}]
        elif following < len(wanted):
            rest = f"collections={','.join(query['collections'])}&token={following}"
            document["links"] = [{"rel": "next", "href": f"{self.root}/search?{rest}"}]
        self.answer(document)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Starts a handler on a free port of this machine and gives its address."""
    servers = []

    def start(handler: Any) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def api(serve: Callable[[Any], str]) -> Iterator[tuple[str, type[Api]]]:
    items = [item(f"i{day}", day, collection="sentinel-s2-l2a-cogs") for day in range(1, 8)]
    handler = type("OneApi", (Api,), {"items": items, "asked": [], "trouble": []})
    return serve(handler), handler  # type: ignore[return-value]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_api_is_searched_page_by_page_either_way(api: tuple[str, type[Api]], method: str) -> None:
    url, handler = api
    handler.methods = (method,)
    scenes = search(url, aoi=box(10, 45, 11, 46), start=datetime(2020, 1, 2, tzinfo=UTC))
    assert names(scenes) == ["i2", "i3", "i4", "i5", "i6", "i7"]
    assert {entry["method"] for entry in handler.asked} == {method}
    assert len(handler.asked) == 4
    assert handler.asked[0]["collections"] == ["sentinel-s2-l2a-cogs"]
    assert handler.asked[0]["datetime"] == "2020-01-02T00:00:00Z/.."
    assert scenes[0].assets[0].href == f"{url}/red.tif"
    assert scenes[0].source.startswith("127.0.0.1-")


def test_an_api_that_throttles_and_stumbles_is_asked_again(api: tuple[str, type[Api]]) -> None:
    url, handler = api
    handler.trouble += [429, 503]
    assert len(search(url)) == 7


def test_an_api_that_refuses_is_quoted(api: tuple[str, type[Api]]) -> None:
    url, handler = api
    handler.trouble.append(400)
    with pytest.raises(CatalogError, match=r"refused the search: HTTP 400: .*not now"):
        search(url)


def test_an_unknown_collection_of_an_api_names_those_it_has(api: tuple[str, type[Api]]) -> None:
    url, _ = api
    with pytest.raises(CatalogError, match="has no collection my-own; it has: naip, sentinel-s2-l2a-cogs"):
        search(url, collection="my-own")
    source = {"href": url, "name": "mine", "collections": {"own": "not-there"}}
    with pytest.raises(CatalogError, match="mine has no collection not-there; it has: naip"):
        search(source, collection="own")


def test_a_users_collection_is_searched_under_its_own_name(api: tuple[str, type[Api]]) -> None:
    url, handler = api
    handler.items = [item("n1", collection="naip")]
    source = {"href": url, "collections": {"own": "naip"}, "bands": {"own": {"rot": "red"}}}
    (scene,) = search(source, collection="own", bands=["rot"])
    assert (scene.collection, scene.state, scene.bands) == ("own", "not-applicable", ("rot",))


def test_an_api_that_goes_on_for_ever_is_stopped(api: tuple[str, type[Api]]) -> None:
    url, handler = api
    handler.items = [item(f"i{n}", collection="sentinel-s2-l2a-cogs") for n in range(50)]
    with pytest.raises(CatalogError, match="more than 10 items"):
        search(url, filters=Filters(limit_items=10))
    assert len(handler.asked) <= 6


def test_a_response_over_the_limit_is_cut_off(api: tuple[str, type[Api]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, handler = api
    handler.items = [item("x" * 200_000, collection="sentinel-s2-l2a-cogs")]
    original = fetch.send
    monkeypatch.setattr("catalogs.api.send", lambda request, origin: original(request, origin=origin, limit=100_000))
    with pytest.raises(CatalogError, match="larger than"):
        search(url)


def test_an_endpoint_nobody_answers_at_is_one_sentence() -> None:
    with pytest.raises(CatalogError, match=r"^http://127.0.0.1:9/ cannot be reached \(no connection\)$") as refusal:
        search("http://127.0.0.1:9/?token=SECRET")
    assert "SECRET" not in str(refusal.value)


def test_a_page_that_is_no_api_is_refused(serve: Callable[[Any], str]) -> None:
    class Page(Api):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

    with pytest.raises(CatalogError, match="is not JSON"):
        search(serve(Page))


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd"])
def test_a_redirect_is_not_followed_to_where_the_source_may_not_lead(serve: Callable[[Any], str], target: str) -> None:
    class Astray(Api):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with pytest.raises(CatalogError, match="refused"):
        search(serve(Astray))


def test_redirects_end(serve: Callable[[Any], str]) -> None:
    class Circle(Api):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with pytest.raises(CatalogError, match="redirects more than 5 times"):
        search(serve(Circle))


@pytest.fixture
def folder_server(serve: Callable[[Any], str]) -> Callable[[Path], str]:
    def start(folder: Path) -> str:
        class Folder(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, directory=str(folder), **kwargs)

            def log_message(self, *args: object) -> None:
                pass

        return serve(Folder)

    return start


def test_a_static_catalog_over_http_gives_the_same_scenes(real: Path, folder_server: Callable[[Path], str]) -> None:
    url = folder_server(real)
    there = search(f"{url}/catalog.json")
    here = search(str(real / "catalog.json"))
    assert names(there) == names(here)
    assert there[0].assets[0].href == here[0].assets[0].href.replace(str(real.resolve()), url)
    assert [scene.state for scene in there] == [scene.state for scene in here]


def test_pixels_are_looked_at_over_http_too(real: Path, tmp_path: Path, folder_server: Callable[[Path], str]) -> None:
    """A clear April date whose flag is turned to false is found out by its overview."""
    folder = real / "sentinel-2-l2a/S2_20230415_L2A"
    plain = json.loads((folder / "S2_20230415_L2A.json").read_text())
    plain["properties"]["earthsearch:boa_offset_applied"] = False
    write(tmp_path / "x.json", plain)
    for name in ("coastal", "red"):
        (tmp_path / f"{name}.tif").write_bytes((folder / f"{name}.tif").read_bytes())
    url = folder_server(tmp_path)
    with pytest.raises(CatalogError, match=r"S2_20230415_L2A .*valid DN of coastal lie below 1000"):
        search(f"{url}/x.json")


def test_a_geoparquet_gives_only_what_is_asked_for(
    real: Path, tmp_path: Path, folder_server: Callable[[Path], str]
) -> None:
    path = real / "stac-items/100-sentinel-2-items.parquet"

    def agrees(asset: Any) -> np.ndarray:
        return np.full((50, 50), 1500, np.uint16)

    world = box(-180, -90, 180, 90)
    everything = search(str(path), aoi=world, read_overview=agrees)
    assert len(everything) + sum(len(scene.replaces) for scene in everything) == 100
    one = everything[7]
    again = search(
        str(path), aoi=shape(one.geometry).centroid, start=one.datetime, end=one.datetime, read_overview=agrees
    )
    assert one in again
    assert {scene.datetime for scene in again} == {one.datetime}
    over_http = search(f"{folder_server(path.parent)}/{path.name}", aoi=world, read_overview=agrees)
    assert names(over_http) == names(everything)
    with pytest.raises(CatalogError, match="has no collection dem; it has: sentinel-2-l2a"):
        search(str(path), collection="dem", bands=["elevation"])
    with pytest.raises(CatalogError, match="more than 5 items"):
        search(str(path), aoi=world, filters=Filters(limit_items=5))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read as Parquet"):
        search(write(tmp_path / "x.parquet", "nonsense"))


@pytest.fixture(scope="module")
def bucket(moto: str) -> Iterator[str]:
    """An S3 server on this machine with an empty bucket, and the environment that leads there."""
    boto3 = pytest.importorskip("boto3")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {
            "AWS_ENDPOINT_URL": moto,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(key, value)
        boto3.client("s3", endpoint_url=moto, region_name="us-east-1").create_bucket(Bucket="scenes")
        yield moto


def test_a_static_catalog_in_a_bucket_is_read_and_looked_at(real: Path, bucket: str) -> None:
    """The catalog comes through obstore, the overview through GDAL, once with the environment and once presigned."""
    import boto3

    folder = real / "sentinel-2-l2a/S2_20230415_L2A"
    plain = json.loads((folder / "S2_20230415_L2A.json").read_text())
    plain["properties"]["earthsearch:boa_offset_applied"] = False
    client = boto3.client("s3", endpoint_url=bucket, region_name="us-east-1")
    catalog = {"type": "Catalog", "id": "root", "links": links("./x/item.json")}
    client.put_object(Bucket="scenes", Key="c/catalog.json", Body=json.dumps(catalog))
    client.put_object(Bucket="scenes", Key="c/x/item.json", Body=json.dumps(plain))
    client.put_object(Bucket="scenes", Key="c/x/coastal.tif", Body=(folder / "coastal.tif").read_bytes())
    (scene,) = search("s3://scenes/c/catalog.json", radiometry="pixels", bands=["coastal"])
    assert (scene.state, scene.assets[0].href) == ("offset-applied", "s3://scenes/c/x/coastal.tif")
    presigned = {"href": "s3://scenes/c/catalog.json", "signing": "s3", "s3_endpoint": bucket}
    (again,) = search(presigned, radiometry="pixels", bands=["coastal"])
    assert again.state == "offset-applied"
    with pytest.raises(CatalogError, match=r"s3://scenes/nothing.json cannot be read"):
        search("s3://scenes/nothing.json")


# --- plain files


def geotiff(path: Path, *, n_bands: int = 1, west: float = 500_000, driver: str = "GTiff") -> str:
    profile = {"driver": driver, "width": 100, "height": 100, "count": n_bands, "dtype": "int16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=from_origin(west, 5_000_000, 10, 10), nodata=-1, **profile) as file:
        file.write(np.ones((n_bands, 100, 100), np.int16))
    return path.name


def test_a_list_of_files_is_a_source(tmp_path: Path) -> None:
    geotiff(tmp_path / "stack.tif", n_bands=3)
    geotiff(tmp_path / "extra.tif")
    geotiff(tmp_path / "east.tif", west=501_000)
    text = """
collection: own
defaults: {datetime: 2021-06-17, scale: 0.01, unit: reflectance}
files:
  - {href: stack.tif, bands: {red: 1, nir: 3}, cloud_cover: 3}
  - {href: extra.tif, band: extra, scale: 1, nodata: 7}
  - {href: east.tif, band: red}
  - {href: never-opened.tif, band: red, datetime: 1999-01-01}
"""
    source = write(tmp_path / "mine.yaml", text)
    west, east = search(
        source, collection="own", bands=["nir", "red"], aoi=box(14, 45, 16, 46), start=datetime(2021, 1, 1, tzinfo=UTC)
    )
    assert [(asset.band, asset.key, asset.index) for asset in west.assets] == [
        ("extra", "extra", 1),
        ("file_1_2", "file_1", 2),
        ("nir", "file_1", 3),
        ("red", "file_1", 1),
    ]
    red, extra = west.asset("red"), west.asset("extra")
    assert (red.href, red.dtype, red.nodata, red.scale, red.unit) == (
        str(tmp_path / "stack.tif"),
        "int16",
        -1.0,
        0.01,
        "reflectance",
    )
    assert (extra.scale, extra.nodata) == (1.0, 7.0)
    assert (red.crs, red.shape, red.transform) == (
        "EPSG:32633",
        (100, 100),
        (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0),
    )
    assert (west.id, east.id, west.cloud_cover) == ("own_20210617T000000", "own_20210617T000000_1", 3.0)
    assert box(*west.bbox).area > 0
    assert west.bbox[2] == pytest.approx(east.bbox[0], abs=1e-4)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({}, "needs href, datetime, collection and band"),
        ({"href": "a.tif", "datetime": "2021-01-01"}, "needs href, datetime, collection and band"),
        ({"href": "a.tif", "datetime": "tomorrow", "band": "red"}, "expected like 2021-06-17"),
        ({"href": "a.tif", "datetime": "2021-01-01", "band": "red", "colour": 1}, "unknown fields colour"),
        ({"href": "a.tif", "datetime": "2021-01-01", "bands": {"red": 2}}, "red cannot be number 2"),
        ({"href": "b.tif", "datetime": "2021-01-01", "band": "red"}, "cannot be read as GeoTIFF"),
        ({"href": "c.vrt", "datetime": "2021-01-01", "band": "red"}, "cannot be read as GeoTIFF"),
    ],
)
def test_an_entry_that_is_not_as_documented_is_refused(tmp_path: Path, entry: dict[str, Any], sentence: str) -> None:
    geotiff(tmp_path / "a.tif")
    (tmp_path / "c.vrt").write_text('<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>')
    source = resolve_source({"files": [entry], "collection": "own"}, base=tmp_path)
    with pytest.raises(CatalogError, match=sentence):
        search(source, collection="own")


def test_files_of_sentinel_2_must_say_their_baseline_or_offset(tmp_path: Path) -> None:
    geotiff(tmp_path / "a.tif")
    entry = {"href": "a.tif", "datetime": "2022-06-01", "band": "red"}

    def state(**more: Any) -> str:
        source = resolve_source({"files": [{**entry, **more}], "collection": "sentinel-2-l2a"}, base=tmp_path)
        (scene,) = search(source, aoi=box(14, 45, 16, 46), radiometry="metadata" if more.pop("trust", 0) else "auto")
        return str(scene.state)

    with pytest.raises(CatalogError, match="names no processing baseline and says nothing of an offset"):
        state()
    assert state(baseline="03.01") == "no-offset"
    assert state(offset=0) == "offset-applied"


def test_a_source_is_known_to_its_scenes_by_name(tmp_path: Path) -> None:
    geotiff(tmp_path / "a.tif")
    entry = {"href": "a.tif", "datetime": "2022-06-01", "band": "red"}
    source = resolve_source({"name": "field", "files": [entry], "collection": "own"}, base=tmp_path)
    assert isinstance(source, Source)
    (scene,) = search(source, collection="own", aoi=box(14, 45, 16, 46))
    assert scene.source == "field"
