"""The page on which a drawn sample is labelled: its places' pictures, from the scenes that the product was made of."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.catalogs.errors import CatalogError
from tilewright.flows.access import plan_sources, scene_access
from tilewright.flows.environment import storage_options
from tilewright.flows.run.existing import read_existing
from tilewright.tasks.audit.design.estimate import DesignError
from tilewright.tasks.audit.design.labelling import CHIP, KEY, PageFacts, check_places, chip_boxes, labelling_page
from tilewright.tasks.progress import Advance, Notice, Stage
from tilewright.tasks.report.background import place_pictures
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.report.sections import period_text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zones.layers import LayerPixels, open_layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from tilewright.flows.ask.sample import DrawnSample
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage

    Pictures = Iterator[Sequence[np.ndarray | None]]

PAGE_ENDINGS = (".html", ".htm")


def check_page(page: Path, *, product: str, n: int | None) -> None:
    """Check that a page of ``n`` places, if that is known, can be written to a path beside a product.

    Raises DesignError.
    """
    if n is not None:
        check_places(n)
    if page.suffix.lower() not in PAGE_ENDINGS:
        raise DesignError(f"--page {page}: end it in .html, it is one file.")
    if not page.parent.is_dir() or not os.access(page.parent, os.W_OK):
        raise DesignError(f"--page {page} cannot be written: give a folder that is there and can be written.")
    if page.is_dir():
        raise DesignError(f"--page {page} is a folder: give the name of a file.")
    if page.exists() and not (page.is_file() and KEY.encode() in page.read_bytes()):
        raise DesignError(f"--page {page} is there and is no page of a sample: give the name of another file.")
    home = None if "://" in product else Path(product).expanduser().resolve()
    if home is not None and home in page.expanduser().resolve().parents:
        raise DesignError(f"--page {page} lies in the product {home}, which stays as it is: give a place beside it.")


def write_page(output: str, drawn: DrawnSample, page: Path, *, trusted: bool, listener: Listener) -> None:
    """Write the page of a sample of a product.

    Scenes that cannot be read leave a place without a picture, and are said. ``trusted``: a product in a bucket is the
    user's own, so that the scenes that its plan names may be read.

    Raises DesignError for too many places or a layer of values, StorageError if storage refuses, OSError if the disk
    does.
    """
    storage = open_storage(output, options=storage_options(output))
    product = open_layers(storage, [drawn.layer.name])
    layer, grid = product.layers[0], product.grid
    boxes = chip_boxes(drawn.table, grid.resolution)
    report = read_object(storage, "report.json") or {}
    told = next((each for each in rows(report, "layers") if text(each, "name") == layer.name), {})
    facts = PageFacts(
        product=text(report, "name") or "unnamed",
        period=period_text(report),
        attribution=text(report, "attribution"),
        colours=tuple(text(each, "color") or None for each in rows(told, "classes"))[: len(layer.classes)],
    )
    with LayerPixels(product) as pixels:
        mapped = [int(pixels.read(layer, box.pad(-(CHIP // 2)))[0, 0]) for box in boxes]
    dates, pictures = scene_pictures(storage, boxes, trusted=trusted, listener=listener)
    listener(Stage(name="chips", total=len(boxes)))
    counted = _Counted(pictures, listener)
    shown = dates if len(dates) > 1 else (facts.period,)
    each = counted.each(len(dates))
    html = labelling_page(drawn.table, layer, grid, facts=facts, mapped=mapped, dates=shown, pictures=each)
    if dates and counted.n_without:
        listener(
            Notice(text=f"{counted.n_without} of {len(boxes)} places have no picture: no scene could be read there.")
        )
    with tempfile.TemporaryDirectory(dir=page.parent, prefix=".tilewright-") as folder:
        draft = Path(folder) / "page.html"
        draft.write_text(html, "utf-8")
        draft.replace(page)


class _Counted:
    """Pictures on their way into a page, counted."""

    def __init__(self, pictures: Pictures, listener: Listener) -> None:
        self._pictures, self._listener, self.n_without = pictures, listener, 0

    def each(self, n_dates: int) -> Pictures:
        """The pictures of each place; one None where there are no dates."""
        for shown in self._pictures:
            self.n_without += all(each is None for each in shown)
            self._listener(Advance())
            yield shown if n_dates else (None,)


def scene_pictures(
    storage: Storage, boxes: Sequence[PixelBox], *, trusted: bool, listener: Listener
) -> tuple[tuple[str, ...], Pictures]:
    """The labels of dates and the pictures of each box; no dates, and why, where the product's scenes may not be read.

    ``trusted``: a product in a bucket is the user's own.
    """
    nothing: tuple[tuple[str, ...], Pictures] = ((), iter([()] * len(boxes)))
    if storage.folder is None and not trusted:
        listener(
            Notice(text="The page shows no pictures: the product lies elsewhere; add --trusted if it is your own.")
        )
        return nothing
    existing = read_existing(storage)
    try:
        plan = None if existing is None else existing.plan()
        if plan is not None:
            # Clouds are shown where the mask is a model's, which is not run for a picture.
            inputs = place_pictures(plan, scene_access(plan_sources(plan)), boxes, max_size=boxes[0].shape[0])
            if not inputs[0]:
                listener(Notice(text="The page shows no pictures: the product has no scenes with red, green and blue."))
            return inputs
    except (StoreError, CatalogError) as error:
        listener(Notice(text=f"The page shows no pictures: {error}"))
        return nothing
    listener(Notice(text="The page shows no pictures: the product has no plan any more, which names its scenes."))
    return nothing
