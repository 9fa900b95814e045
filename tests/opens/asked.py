"""A render of an Item as the words of a request to titiler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def words_of(render: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a preview. Source: STAC render extension 2.0, titiler 2 (`assets=name|bidx=1`)."""
    bands = ",".join(map(str, render.get("bidx", ())))
    words: dict[str, Any] = {"assets": [f"{name}|bidx={bands}" if bands else name for name in render["assets"]]}
    words |= {key: render[key] for key in ("colormap_name", "nodata", "resampling") if key in render}
    if "rescale" in render:
        words["rescale"] = [",".join(map(str, ends)) for ends in render["rescale"]]
    if "colormap" in render:
        words["colormap"] = json.dumps(render["colormap"])
    return words
