"""A published product as `tilewright.open` gives it: its layers, documents and tables, read when they are used."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import storage_options
from tilewright.flows.shown import shown
from tilewright.models.fields import did_you_mean
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from tilewright.tasks.storage.storage import Storage

TABLES = {"manifest": "manifest.parquet", "items": "items.parquet"}
"""Tables of every product by name: the scenes behind it, and the Items of its Collection. It may have others."""


def open_product(output: str | Path) -> Product:
    """A published product in a folder or bucket. Raises StoreError where there is none."""
    if not isinstance(output, (str, os.PathLike)):
        raise StoreError(f"A product is opened by its folder or URI, not by {type(output).__name__}.")
    storage = open_storage(os.fspath(output), options=storage_options(os.fspath(output)))
    if read_item(storage) is None:
        raise StoreError(
            f"{output} holds no published product: give the output of a finished run, or run its job again."
        )
    return Product(storage)


@dataclass(frozen=True, eq=False, repr=False)
class Product(Mapping[str, "xr.DataArray"]):
    """A published product: its layers by name, lazily, as (y, x) with CRS and coordinates, nodata as NaN.

    ``tables`` are read when they are first used: ``manifest`` (the scenes) and ``items`` (the Items of the Collection).
    """

    storage: Storage

    @property
    def output(self) -> str:
        """The folder or URI."""
        return self.storage.uri

    @cached_property
    def layers(self) -> xr.Dataset:
        """All layers and ``observations`` on the grid of the product, with its period as the coordinate ``time``."""
        import odc.geo.xr  # noqa: F401 - gives a layer its .odc
        import rioxarray  # noqa: F401 - gives a layer its .rio
        import xarray as xr

        from tilewright.tasks.zarr.declare import STORE

        if self.report.get("places"):
            # A table of places has no raster.
            return xr.Dataset()
        try:
            opened = xr.open_zarr(self.storage.zarr(STORE, read_only=True))
        except Exception as error:
            # Zarr, obstore and xarray each have words of their own for what is not there.
            raise StoreError(f"{self.output}/{STORE} cannot be opened ({type(error).__name__}): restore it.") from error
        try:
            height, width = self.report["grid"]["shape"]
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{self.output}/report.json does not say the grid of the product: restore it.") from error
        found = opened.sizes.get("y"), opened.sizes.get("x")
        if found != (height, width):
            raise StoreError(
                f"{self.output}/{STORE} has the shape {found}, the product {(height, width)}: an older Tilewright made "
                "it. Run the job again with --replace."
            )
        return opened

    @cached_property
    def report(self) -> dict[str, Any]:
        """The content of report.json, which a notebook shows in tables; empty where there is none."""
        return Report(self._document("report.json"))

    @cached_property
    def item(self) -> dict[str, Any]:
        """The STAC Item."""
        return self._document("item.json")

    @property
    def tables(self) -> Mapping[str, Any]:
        """Tables by name as pyarrow tables, read when they are first used."""
        told = self.report.get("tables")
        more = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
        names = {str(each.get("name")): str(each.get("file")) for each in more}
        return _Tables(self.storage, {**TABLES, **names})

    def plot(self, layer: str | None = None, *, ax: Any = None, max_size: int = 1000, legend: bool = True) -> Any:
        """The matplotlib axes with a layer drawn in the card's colours, with its legend; None: the first layer.

        Also drawn are ``observations``, and the images of a product by their names. ``ax``: axes to draw on.
        ``max_size``: pixels of the longer side, read from the store's smaller levels. ``legend``: whether colours are
        named, and values have their bar. Raises StoreError for what cannot
        be drawn, and where matplotlib (extra ``notebook``) is missing.
        """
        from tilewright.flows.notebook.plot import draw_layer

        # Its shape is checked against the report's.
        _ = self.layers
        return draw_layer(self.storage, self.report, self.item, layer, ax=ax, max_size=max_size, legend=legend)

    def __repr__(self) -> str:
        layers = ", ".join(text(row, "name") for row in rows(self.report, "layers"))
        return shown(f"<Product {text(self.report, 'name')}: {layers or 'no layers'}; {self.output}>")

    def _repr_html_(self) -> str:
        """The product in a notebook: its map, its legend with areas, its tables."""
        from tilewright.flows.notebook.cards import product_card

        return product_card(self.output, self.report, self.storage.read("preview.png"))

    def _ipython_key_completions_(self) -> list[str]:
        """The names that an editor offers after ``product[``."""
        return [str(name) for name in self]

    def _document(self, name: str) -> dict[str, Any]:
        return read_object(self.storage, name) or {}

    def __getitem__(self, name: str) -> xr.DataArray:
        if name not in self:
            if self.report.get("places"):
                raise KeyError(f"{name!r} is no layer of {self.output}: look for its columns in .tables['places']")
            raise KeyError(f"{name!r} is no layer of {self.output}: it has {', '.join(map(str, self)) or 'none'}")
        return self.layers[name]

    def __iter__(self) -> Any:
        return iter(self.layers.data_vars)

    def __len__(self) -> int:
        return len(self.layers.data_vars)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.layers.data_vars


class Report(dict[str, Any]):
    """The content of a product's report.json, which a notebook shows as figures and tables."""

    def _repr_html_(self) -> str:
        from tilewright.flows.notebook.cards import report_card

        return report_card(self)


class _Tables(Mapping[str, Any]):
    """The tables of a product by name, as pyarrow tables."""

    def __init__(self, storage: Storage, files: Mapping[str, str]) -> None:
        self._storage, self._files = storage, files

    def __repr__(self) -> str:
        return f"tables({', '.join(map(repr, self._files))})"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._files)

    def __getitem__(self, name: str) -> Any:
        import pyarrow.parquet as pq

        if name not in self._files:
            raise KeyError(f"{name!r} is no table{did_you_mean(name, self._files)}: there are {', '.join(self._files)}")
        file = self._files[name]
        content = self._storage.read(file)
        if content is None:
            raise KeyError(f"{self._storage.uri}/{file} is not there: this product has no such table")
        try:
            return pq.read_table(io.BytesIO(content))
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._storage.uri}/{file} is no table that can be read: restore it.") from error

    def __iter__(self) -> Any:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
