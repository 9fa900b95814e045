"""The layers and tables of a product as they were written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tilewright.tasks.cog.parts import join_parts
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.vrt import write_vrt
from tilewright.tasks.storage.storage import staging_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.cog.cog_file import UploadedCog
    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.cog.write import CogFacts
    from tilewright.tasks.instances.numbering import ObjectFigures
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.table_file import UploadedTable
    from tilewright.tasks.zarr.stored import StoredObjects


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayer:
    """One layer as files: the facts of its COG, or of the VRT over its ``parts`` (each with the facts of its COG)."""

    spec: LayerSpec
    facts: CogFacts
    parts: tuple[tuple[CogPart, CogFacts], ...] = ()

    @property
    def href(self) -> str:
        """The name of the layer's file: its COG, or the VRT over its parts."""
        return self.facts.path.name

    @property
    def size(self) -> int:
        """Bytes of all files of the layer."""
        return self.facts.size + sum(facts.size for _, facts in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayers:
    """All layers and tables of a product as files, and the busy seconds of writing them, by work: ``cogs``, ...

    ``cogs`` are their files as they were uploaded, ``stored`` the objects of the store; ``objects`` tells of those of
    layers of ids, by layer.
    """

    layers: tuple[WrittenLayer, ...]
    seconds: Mapping[str, float]
    cogs: tuple[UploadedCog, ...]
    stored: StoredObjects
    tables: tuple[UploadedTable, ...] = ()
    objects: Mapping[str, ObjectFigures] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[CogPart, ...]:
        """The parts that each layer is cut into; none where a layer is one file, or there is no layer."""
        return tuple(part for part, _ in self.layers[0].parts) if self.layers else ()


def written_layer(
    storage: Storage, plan: Plan, spec: LayerSpec, files: tuple[tuple[CogPart, CogFacts], ...]
) -> WrittenLayer:
    """The layer of these COGs; uploads a VRT over them if there are several."""
    if len(files) == 1:
        return WrittenLayer(spec=spec, facts=files[0][1])
    grid = plan.raster.product_grid
    with staging_folder(storage) as folder:
        vrt = write_vrt(
            folder / f"{spec.name}.vrt",
            files,
            transform=grid.transform_of(grid.extent),
            crs=grid.crs,
            spec=cog_spec(spec),
        )
        storage.upload(vrt.name, vrt)
        return WrittenLayer(spec=spec, facts=join_parts(files, vrt=vrt), parts=files)


def cog_spec(spec: LayerSpec) -> CogSpec:
    """The specification of a layer's file, from the card's layer."""
    # Ids of objects are no values of classes.
    listed = spec.classes if spec.kind == "class" else ()
    classes = tuple(
        CogClass(value=entry.value, name=entry.name, description=entry.description, color=entry.color)
        for entry in listed
    )
    return CogSpec(
        name=spec.name,
        dtype=spec.dtype,
        nodata=spec.nodata,
        kind=spec.kind,
        classes=classes,
        unit=spec.unit,
        description=spec.description,
    )
