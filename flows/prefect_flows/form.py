"""A job as a form of Prefect's page. The form only collects fields; ``Job`` checks them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tilewright.flows.job.mask import MaskOptions
from tilewright.flows.job.options import GridOptions, Limits, SceneFilter, TileOptions, Tolerance


class JobForm(BaseModel):
    """One map: where, when, from which archive, with which model, and where the product goes."""

    model_config = ConfigDict(extra="allow", title="Job")

    name: str = Field(title="Name", description="Letters, digits, dot, dash, underscore.", examples=["danube-water"])
    area: list[float] | dict[str, Any] | str | None = Field(
        default=None,
        title="Area",
        description="[west, south, east, north] in EPSG:4326, GeoJSON, WKT, or the path of a file of polygons.",
        examples=[[13.10, 48.27, 13.17, 48.30]],
    )
    period: str | dict[str, str] | list[str] | None = Field(
        default=None,
        title="Period",
        description="2021-06-01/2021-06-30, both ends included, 2021-06, 2021-06-01/..; or named: before and after.",
    )
    source: str | dict[str, Any] = Field(
        default="earth-search",
        title="Source",
        description="earth-search, planetary-computer, cdse, or a STAC API's or catalog's URL. Never a signed one.",
    )
    sources: dict[str, str | dict[str, Any]] = Field(
        default={},
        title="Sources",
        description="In place of source: where each collection of the model comes from; a finished product is one too.",
        examples=[{"sentinel-2-l2a": "earth-search", "prior": "s3://maps/2024"}],
    )
    model: str = Field(default="ndwi-water", title="Model", description="A built-in name, or a card's URL or path.")
    output: str | None = Field(default=None, title="Output", description="s3://bucket/prefix or a folder.")
    layers: list[str] = Field(default=[], title="Layers", description="All that the model gives where none is named.")
    filter: SceneFilter = Field(default=SceneFilter(), title="Scenes")
    mask: MaskOptions = Field(default=MaskOptions(), title="Cloud mask")
    gaps: Literal["leave", "carry", "interpolate"] | None = Field(default=None, title="Gaps between dates")
    grid: GridOptions = Field(default=GridOptions(), title="Grid")
    tile: TileOptions = Field(default=TileOptions(), title="Blocks and windows")
    tolerance: Tolerance = Field(default=Tolerance(), title="Tolerance")
    limits: Limits = Field(default=Limits(), title="Limits")
    radiometry: Literal["auto", "pixels", "metadata"] = Field(default="auto", title="Radiometry")
    provider: Literal["auto", "cpu", "cuda", "tensorrt", "openvino"] = Field(default="auto", title="Provider")

    def plain(self) -> dict[str, Any]:
        """The mapping of a job file, with the entered fields alone. A page enters the defaults of both sources."""
        plain = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        if not self.sources:
            plain.pop("sources", None)
        elif plain.get("source") == JobForm.model_fields["source"].default:
            del plain["source"]
        return plain
