"""Tilewright maps the Earth with your model: STAC scenes in, exact tiled ONNX inference, COG + Zarr + STAC out.

import tilewright as tw

scenes = tw.search("job.yaml")   # the scenes a job would use
cube = tw.cube("job.yaml")       # (time, band, y, x), lazy, with Dask inside
plan = tw.plan("job.yaml")       # the dry run
product = tw.run("job.yaml")     # the product; a second call resumes or finds it complete
table = tw.zones("out/water", "parcels.gpkg")   # statistics of its layers per polygon
product = tw.open("out/water")   # product["class"], product.report, product.item, product.tables["manifest"]
product.plot("class")            # in the card's colours, with its legend
scores = tw.evaluate("out/water", "labels.csv")  # scores["overall_accuracy"], scores["confusion"], ...
tw.export("out/water", "water.gpkg")        # its tables for other programs
alike = tw.find("out/vectors", like=(13.4, 48.2))   # the windows most alike a place, by a model's vectors
places = tw.sample("out/water", n=300)      # places to label, drawn by design
changes = tw.compare("out/june", "out/july")  # changes["summary"], changes["transitions_km2"], ...

A job is the path of its file, a mapping with its keys, or a `Job`. Names are loaded when they are first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("Tilewright runs on Linux and macOS: on Windows take WSL 2 or its container (README, Install)")

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job as Job
    from tilewright.flows.ask.find import find as find
    from tilewright.flows.ask.product import Product as Product
    from tilewright.flows.ask.product import open_product as open  # noqa: A004 - the face's own word
    from tilewright.flows.ask.sample import sample as sample
    from tilewright.flows.python_api import compare as compare
    from tilewright.flows.python_api import cube as cube
    from tilewright.flows.python_api import evaluate as evaluate
    from tilewright.flows.python_api import export as export
    from tilewright.flows.python_api import plan as plan
    from tilewright.flows.python_api import run as run
    from tilewright.flows.python_api import run_chain as run_chain
    from tilewright.flows.python_api import sample_catalog as sample_catalog
    from tilewright.flows.python_api import search as search
    from tilewright.flows.python_api import zones as zones
    from tilewright.flows.runners.run_options import RunOptions as RunOptions

_NAMES = {
    "Job": ("flows.job.job", "Job"),
    "Product": ("flows.ask.product", "Product"),
    "RunOptions": ("flows.runners.run_options", "RunOptions"),
    "compare": ("flows.python_api", "compare"),
    "cube": ("flows.python_api", "cube"),
    "evaluate": ("flows.python_api", "evaluate"),
    "export": ("flows.python_api", "export"),
    "find": ("flows.ask.find", "find"),
    "open": ("flows.ask.product", "open_product"),
    "plan": ("flows.python_api", "plan"),
    "run": ("flows.python_api", "run"),
    "run_chain": ("flows.python_api", "run_chain"),
    "sample": ("flows.ask.sample", "sample"),
    "sample_catalog": ("flows.python_api", "sample_catalog"),
    "search": ("flows.python_api", "search"),
    "zones": ("flows.python_api", "zones"),
}

__all__ = [
    *("Job", "Product", "RunOptions", "compare", "cube", "evaluate", "export", "find", "open", "plan", "run", "sample"),
    *("run_chain", "sample_catalog", "search", "zones"),
]

# In a checkout the four packages are links to the folders beside this one. Where links were not made (a clone on
# Windows without the right to make them leaves small text files), the folders themselves are found.
if not (Path(__file__).parent / "flows").is_dir():
    __path__.append(str(Path(__file__).parents[1]))


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _NAMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
