"""One band of one scene on a geobox: its stored numbers, or its values in the unit asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.cube.coverage import is_bounded_by_files
from tilewright.tasks.cube.moved import read_moved
from tilewright.tasks.read.failures import ChangedInputError, ReadError
from tilewright.tasks.read.reader import read_asset
from tilewright.tasks.read.resample.cells import crs_text
from tilewright.tasks.read.resample.pixels import Conversion, Pixels, convert_unit, to_physical
from tilewright.tasks.read.retry import ChangedError, MisplacedError, UnreadableError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.read.access import Access


MASK_BANDS = frozenset({"scl", "cloud", "snow", "qa", "qa_pixel", "qa_radsat"})
"""Bands that describe how usable a pixel is: always resampled by nearest neighbour."""

CATEGORIES = frozenset({"scl", "qa", "qa_pixel", "qa_radsat"})
"""Bands that are categories even if no scene has them."""

BACKSCATTER = frozenset({"linear", "db"})
"""Units that are converted into each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandRequest:
    """A band as it is wanted: resampled by `resampling`, in `unit`.

    A band in "class" keeps its stored integers; every other one is physical. Values are converted between linear power
    and decibels; all other units must be those of the scenes already. Categories and masks are never averaged,
    whatever `resampling` says. `coarse`: any overview that is not coarser than the grid will do.
    """

    band: str
    unit: str
    resampling: str
    coarse: bool = False

    def method(self, unit: str) -> str:
        """The resampling of a file whose numbers are in a unit."""
        return "nearest" if "class" in {unit, self.unit} or self.band in MASK_BANDS else self.resampling


def read_stored(
    scene: Scene, request: BandRequest, geobox: GeoBox, access: Access, *, out: np.ndarray | None = None
) -> Pixels | None:
    """The stored numbers of a scene's band on the geobox; None if the read failed and the failure is tolerated.

    Where they are the file's own and of the type of `out` (y, x) they are read into it, and are then its values.

    Raises ReadError for a scene that cannot be read, unless the access tolerates it, and ChangedInputError for one that
    is no longer the planned one in any case.
    """
    if access.move is not None:
        still = replace(access, move=None)
        pieces = access.move.pieces(geobox, access)
        return read_moved(geobox, pieces, lambda there: read_stored(scene, request, there, still))
    asset = scene.asset(request.band)
    assert asset is not None, f"{scene.id} is asked for {request.band} without having it"

    def sign() -> str:
        return asset.href if access.sign is None else access.sign(scene, asset.href)

    reading, register = access.reading_of(scene), access.register
    held = asset if register is None or reading.identify is None else register.held(asset, sign, reading.identify)
    read = partial(
        read_asset,
        geobox=geobox,
        resampling=request.method(asset.unit),
        reading=reading,
        sign=sign,
        stats=access.stats,
        coarse=request.coarse,
        out=out,
    )
    try:
        try:
            return read(held)
        except MisplacedError:
            if is_bounded_by_files(scene, crs_text(geobox)):
                raise
            # No block relies on that place.
            return read(replace(held, shape=None, transform=None))
    except ChangedError as error:
        # However many failed reads are tolerated: the pixels of two files would be mixed.
        raise ChangedInputError(
            item=scene.id, band=request.band, href=asset.href, reason=str(error), block=access.block
        ) from error
    except UnreadableError as error:
        failed = ReadError(item=scene.id, band=request.band, href=asset.href, reason=str(error), block=access.block)
        if access.failures is None:
            raise failed from error
        access.failures.record(failed)
        return None


def read_values(scene: Scene, request: BandRequest, geobox: GeoBox, access: Access, *, out: np.ndarray) -> bool:
    """Write the physical values of a scene's band to `out`, (y, x) float32, NaN = missing.

    False if the read failed and the failure is tolerated; `out` is then all NaN. Raises ReadError as `read_stored`.
    """
    pixels = read_stored(scene, request, geobox, access)
    if pixels is None:
        out[...] = np.nan
        return False
    asset = scene.asset(request.band)
    assert asset is not None, "it was read"
    to_physical(pixels, Conversion(scale=asset.scale, offset=asset.offset), out=out)
    if asset.unit != request.unit and {asset.unit, request.unit} <= BACKSCATTER:
        out[...] = convert_unit(out, source=asset.unit, target=request.unit)
    return True
