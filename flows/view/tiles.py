"""Map tiles of layers in Web Mercator as PNG: each pixel is the pixel of the layer that holds its centre."""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from rasterio.crs import CRS
from rio_tiler.reader import part

from tilewright.flows.view.files import Files, stamp_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from tilewright.flows.view.layers import ViewedLayer

TILE, MOST_ZOOM = 256, 24

MERCATOR = CRS.from_epsg(3857)

HALF_WORLD = 20037508.342789244
"""Half the circumference in metres. Source: EPSG:3857, pi times the semi-major axis of WGS 84."""

CACHE_BYTES = 64 * 2**20
"""Bytes of PNG that are kept: some thousand tiles."""

AT_ONCE = 8
"""Tiles that are drawn at a time; others wait."""

TOLERANCE = 1e-6
"""Pixels of the file by which a place may be off on its way into the tile."""


class Tiles:
    """Tiles of layers, of which those asked for last are kept."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(AT_ONCE)

    def tile(self, layer: ViewedLayer, zoom: int, col: int, row: int) -> bytes:
        """The PNG of a tile (256 x 256) of the XYZ scheme; all transparent where the layer is not.

        Raises ViewError where its file cannot be read any more.
        """
        bounds = tile_bounds(zoom, col, row)
        touching = [href for href, facts in layer.parts if _meets(facts.area, bounds)]
        key = (tuple((href, stamp_of(href)) for href in touching), layer.bands, layer.kind, zoom, col, row)
        if (kept := self._get(key)) is not None:
            return kept
        with self._room:
            made = _png(self._drawn(layer, touching, bounds))
        self._keep(key, made)
        return made

    def _drawn(
        self, layer: ViewedLayer, hrefs: list[str], bounds: tuple[float, float, float, float]
    ) -> NDArray[np.uint8]:
        picture = np.zeros((TILE, TILE, 4), dtype=np.uint8)
        for href in hrefs:
            with self._files.opened(href) as dataset:
                image = part(
                    dataset,
                    bounds,
                    height=TILE,
                    width=TILE,
                    dst_crs=MERCATOR,
                    indexes=layer.bands,
                    vrt_options={"tolerance": TOLERANCE},
                ).array
            shown = layer.coloured(np.asarray(image.data))
            # Beyond the file's edge there is no value either, whatever its bytes are there.
            shown[np.ma.getmaskarray(image).any(axis=0)] = 0
            np.copyto(picture, shown, where=(picture[..., 3:] == 0))
        return picture

    def _get(self, key: Hashable) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: Hashable, made: bytes) -> None:
        with self._lock:
            self._bytes += len(made) - len(self._kept.pop(key, b""))
            self._kept[key] = made
            while self._bytes > CACHE_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])


def tile_bounds(zoom: int, col: int, row: int) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a tile in metres. Source: OGC Two Dimensional Tile Matrix Set 2.0, annex D.1."""
    side = 2 * HALF_WORLD / 2**zoom
    west, north = col * side - HALF_WORLD, HALF_WORLD - row * side
    return west, north - side, west + side, north


def _meets(area: tuple[float, float, float, float], bounds: tuple[float, float, float, float]) -> bool:
    """True unless an area in degrees, east beyond 180 or not, lies beside a tile."""
    west, south, east, north = *_degrees(*bounds[:2]), *_degrees(*bounds[2:])
    if south > area[3] + 1 or north < area[1] - 1:
        return False
    return any(west + turn <= area[2] + 1 and east + turn >= area[0] - 1 for turn in (-360, 0, 360))


def _degrees(x: float, y: float) -> tuple[float, float]:
    lat = math.degrees(2 * math.atan(math.exp(y / HALF_WORLD * math.pi)) - math.pi / 2)
    return x / HALF_WORLD * 180, lat


def _png(picture: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
