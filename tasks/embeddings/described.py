"""What a product says of its embedding: in its store, its table, its report and its Item.

Source: the Zarr convention of geo-embeddings, https://github.com/geo-embeddings/embeddings-zarr-convention/blob/v1/README.md,
and the STAC extension that it follows, https://github.com/geo-embeddings/embeddings-stac-specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.catalogs.publish.facts import EmbeddingFacts, FileFacts
from tilewright.models.spec.embedding import SCALE
from tilewright.tasks.grid.areas import pixel_metres

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.tables.table_file import UploadedTable

CONVENTION: Final = {
    "schema_url": "https://raw.githubusercontent.com/geo-embeddings/embeddings-zarr-convention/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/geo-embeddings/embeddings-zarr-convention/blob/v1/README.md",
    "uuid": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "name": "geoemb:",
    "description": "Geoembeddings convention for geospatial embedding arrays with model provenance",
}

PREFIX: Final = "geoemb:"


def embedding_facts(plan: Plan, specs: Iterable[LayerSpec]) -> EmbeddingFacts | None:
    """The facts of a product's embedding, whose layer is among ``specs``; None if it has none."""
    spec = next((each for each in specs if each.kind == "vector" and each.name in plan.raster.layers), None)
    if spec is None or spec.embedding is None:
        return None
    lattice, reference = plan.raster.lattice, plan.model.card["reference"]
    collections = sorted({scene.collection for entry in plan.inputs for scene in entry.scenes})
    per_window = plan.model.vectors[spec.name] == "window"
    return EmbeddingFacts(
        layer=spec.name,
        kind="chip" if per_window else "pixel",
        dimensions=spec.length,
        dtype=spec.dtype,
        metric=spec.embedding.metric,
        chip=(lattice.window, lattice.step) if per_window else None,
        scales=f"{spec.name}{SCALE}" if spec.embedding.storage == "int8" else "",
        model=reference if "://" in reference else f"urn:tilewright:model:{plan.model.card['name']}",
        sources=tuple(f"urn:stac:collection:{name}" for name in collections),
        gsd=max(pixel_metres(plan.raster.product_grid)),
    )


def convention_attributes(facts: EmbeddingFacts, version: str) -> dict[str, Any]:
    """The attributes of a group with the embedding, by the convention; ``version`` is that of this software."""
    plain: dict[str, Any] = {
        "type": facts.kind,
        "dimensions": facts.dimensions,
        "model": facts.model,
        "source_data": list(facts.sources),
        "data_type": facts.dtype,
        "gsd": facts.gsd,
        "build_version": f"tilewright {version}",
    }
    if facts.chip is not None:
        window, step = facts.chip
        plain["chip_layout"] = {"layout_type": "regular_grid", "chip_size": [window] * 2, "stride": [step] * 2}
    if facts.dtype != "float32":
        told: dict[str, Any] = {"method": "rounding", "original_dtype": "float32", "quantized_dtype": facts.dtype}
        if facts.scales:
            told |= {"method": "per_pixel_scale", "scale": {"type": "array", "array_name": facts.scales}}
            told["scale"]["nodata"] = "NaN"
        plain["quantization"] = told
    return {f"{PREFIX}{name}": value for name, value in plain.items()}


def array_attributes(spec: LayerSpec) -> tuple[tuple[str, Any], ...]:
    """The attributes of the array of a layer of vectors: how to read them, so that nobody needs this software."""
    if spec.embedding is None or spec.kind != "vector":
        return ()
    missing, scales = "all numbers are NaN", ""
    if spec.embedding.storage == "int8":
        missing, scales = "all numbers are -128", f", times {spec.name}{SCALE} at the same y and x"
    words = f"a vector is the {spec.length} numbers at a y and x{scales}; where there is none, {missing}"
    more = (("scales", f"{spec.name}{SCALE}"),) if scales else ()
    return (("metric", spec.embedding.metric), ("comment", words), *more)


def told_embedding(
    plan: Plan,
    facts: EmbeddingFacts,
    tables: Iterable[UploadedTable],
    report: Mapping[str, Any],
    entries: Iterable[BlockEntry],
) -> dict[str, Any]:
    """The keys of report.json on the embedding, with a warning of windows that were seen and have no vector."""
    n_vectors = next((table.n_rows for table in tables if table.name == f"{facts.layer}.parquet"), None)
    row = {
        "name": facts.layer,
        "of": "windows" if facts.chip else "pixels",
        "dimensions": facts.dimensions,
        "storage": facts.dtype,
        "metric": facts.metric,
        "array": f"data.zarr/{facts.layer}",
        **({"scales": f"data.zarr/{facts.scales}"} if facts.scales else {}),
        "shape": [*plan.raster.product_grid.extent.shape, facts.dimensions],
        **({} if n_vectors is None else {"vectors": n_vectors}),
    }
    n_seen = sum(entry.valid_pixels for entry in entries)
    lacking = 0 if n_vectors is None else n_seen - n_vectors
    said = (
        f"Layer {facts.layer}: {lacking:,} of {n_seen:,} observed windows have no vector, as the model gave numbers "
        f"that are none, or too large for {facts.dtype}."
    )
    return {"embeddings": [row], "warnings": [*([said] if lacking > 0 else []), *report["warnings"]]}


def array_files(plan: Plan, facts: EmbeddingFacts | None) -> tuple[FileFacts, ...]:
    """The Item's facts of the arrays of an embedding, which lie in the store."""
    if facts is None:
        return ()
    media = f"application/vnd.zarr; version={plan.request['zarr_format']}"
    titles = {facts.layer: f"{facts.dimensions} numbers for each {facts.kind}, {facts.dtype}"}
    titles |= {facts.scales: f"The scales of the vectors of {facts.layer}"} if facts.scales else {}
    return tuple(
        FileFacts(key=f"{name}_array", href=f"./data.zarr/{name}", media_type=media, roles=("data",), title=title)
        for name, title in titles.items()
    )
