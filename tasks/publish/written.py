"""The layers and tables of a product as they were written, and what its Item says of their files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tilewright.catalogs.publish.facts import COG, ClassFacts, FileFacts, LayerFacts, RasterBand, StatisticsFacts
from tilewright.tasks.cog.cog_file import CogFile
from tilewright.tasks.cog.parts import join_parts
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.vrt import write_vrt
from tilewright.tasks.colours import class_colours
from tilewright.tasks.publish.names import blocks_touching, file_name
from tilewright.tasks.storage.storage import staging_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.cog.cog_file import UploadedCog
    from tilewright.tasks.cog.parts import CogPart
    from tilewright.tasks.cog.write import CogFacts
    from tilewright.tasks.instances.numbering import ObjectFigures
    from tilewright.tasks.instances.sources import LayerSources
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.table_file import UploadedTable
    from tilewright.tasks.zarr.stored import StoredObjects


DATA_KINDS = {"class", "value", "id"}

UCUM = {"1": "", "percent": "%"}
"""UCUM codes, which STAC requires (common metadata, `unit`), of units that layers name differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayer:
    """One layer as files: the facts of its COG, or of the VRT over its ``parts`` (each with the facts of its COG).

    ``band``: its place in the file, from 1: an image's layers are bands of one file.
    """

    spec: LayerSpec
    facts: CogFacts
    parts: tuple[tuple[CogPart, CogFacts], ...] = ()
    band: int = 1

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
    def files(self) -> list[list[WrittenLayer]]:
        """The layers of each file, in the order of its bands."""
        found: dict[str, list[WrittenLayer]] = {}
        for layer in self.layers:
            found.setdefault(layer.href, []).append(layer)
        return [*found.values()]

    @property
    def size(self) -> int:
        """Bytes of the files of all layers."""
        return sum(layer.size for layer in self.layers if layer.band == 1)

    @property
    def parts(self) -> tuple[CogPart, ...]:
        """The parts that each layer is cut into; none where a layer is one file, or there is no layer."""
        return tuple(part for part, _ in self.layers[0].parts) if self.layers else ()


def written_layers(
    storage: Storage, plan: Plan, specs: tuple[LayerSpec, ...], files: tuple[tuple[CogPart, CogFacts], ...]
) -> list[WrittenLayer]:
    """The layers that are the bands of these COGs; uploads a VRT over them if there are several."""
    bands = list(enumerate(specs, start=1))
    if len(files) == 1:
        return [WrittenLayer(spec=spec, facts=files[0][1].of_band(band), band=band) for band, spec in bands]
    grid = plan.raster.product_grid
    first, *more = (cog_spec(spec) for spec in specs)
    with staging_folder(storage) as folder:
        vrt = write_vrt(
            folder / f"{specs[0].file}.vrt",
            files,
            transform=grid.transform_of(grid.extent),
            crs=grid.crs,
            spec=first,
            more=more,
        )
        storage.upload(vrt.name, vrt)
        layers = []
        for band, spec in bands:
            parts = tuple((part, facts.of_band(band)) for part, facts in files)
            layers.append(WrittenLayer(spec=spec, facts=join_parts(parts, vrt=vrt), parts=parts, band=band))
        return layers


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


def layer_facts(bands: Sequence[tuple[LayerSpec, CogFacts]], *, media_type: str = COG) -> LayerFacts:
    """The Item's facts of a layer, or of an image whose bands are layers, from those of its COG or its VRT."""
    spec, facts = bands[0]
    first, *more = (_band(*each) for each in bands)
    return LayerFacts(
        file=FileFacts(
            key=spec.file,
            href=f"./{facts.path.name}",
            media_type=media_type,
            roles=("data" if spec.kind in DATA_KINDS else "metadata",),
            title=spec.file,
            description=spec.description,
            size=facts.size,
            checksum=facts.checksum,
        ),
        band=first,
        more=tuple(more),
    )


def _band(spec: LayerSpec, facts: CogFacts) -> RasterBand:
    return RasterBand(
        name=spec.name,
        dtype=spec.dtype,
        nodata=spec.nodata,
        unit=UCUM.get(spec.unit, spec.unit),
        statistics=_statistics(facts),
        classes=_classes(spec, facts),
    )


def _statistics(facts: CogFacts) -> StatisticsFacts | None:
    statistics = facts.statistics
    if statistics is None:
        return None
    return StatisticsFacts(
        minimum=statistics.minimum,
        maximum=statistics.maximum,
        mean=statistics.mean,
        stddev=statistics.stddev,
        valid_percent=statistics.valid_percent,
    )


def _classes(spec: LayerSpec, facts: CogFacts) -> tuple[ClassFacts, ...]:
    """The classes in the colours that the file, the pictures and the styles show them in."""
    listed = spec.classes if spec.kind == "class" else ()
    return tuple(
        ClassFacts(
            value=entry.value,
            name=entry.name,
            description=entry.description,
            color=colour,
            pixels=facts.counts.get(entry.value, 0),
        )
        for entry, colour in zip(listed, class_colours([entry.color for entry in listed]), strict=True)
    )


def sidecar_facts(spec: LayerSpec, facts: CogFacts) -> tuple[FileFacts, ...]:
    """The Item's facts of the sidecar of a layer's file, which holds the class names; empty without a sidecar."""
    if facts.sidecar is None:
        return ()
    return (
        FileFacts(
            key=f"{spec.name}_names",
            href=f"./{facts.sidecar.name}",
            media_type="application/xml",
            roles=("metadata",),
            title="Class names for GDAL",
        ),
    )


def cog_file(
    plan: Plan, sources: LayerSources, specs: tuple[LayerSpec, ...], part: CogPart, parts: tuple[CogPart, ...]
) -> CogFile:
    """The file of a layer, or of an image whose bands the layers are, for one of its parts."""
    grid, spec = plan.raster.product_grid, specs[0]
    box = part.box_in(grid.extent)

    def checksums() -> dict[str, str]:
        known = sources.checksums_of(spec.name)
        touching = blocks_touching(plan, sources.arrivals.entries, box)
        return {entry.name: known[entry.row, entry.col] for entry in touching}

    return CogFile(
        name=file_name(spec.file, part, parts),
        spec=cog_spec(spec),
        more=tuple(cog_spec(each) for each in specs[1:]),
        grid=grid,
        box=box,
        metadata={
            "TILEWRIGHT_PRODUCT": plan.name,
            "TILEWRIGHT_MODEL": plan.model.card["name"],
            **_max_errors(plan, specs),
        },
        checksums=checksums,
    )


def _max_errors(plan: Plan, specs: Sequence[LayerSpec]) -> dict[str, str]:
    """The greatest errors of values that are stored with some, as a file says them; by band where it has several."""
    key = "TILEWRIGHT_MAX_ERROR"
    return {
        key if len(specs) == 1 else f"{key}_{spec.name}": repr(plan.losses[spec.name])
        for spec in specs
        if spec.name in plan.losses
    }
