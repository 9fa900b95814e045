"""What this installation has and lacks: versions, what runs models, what reads files, extras, room, sources."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tilewright.catalogs.network.client import first_byte
from tilewright.catalogs.network.rules import document_rules, plain_words
from tilewright.catalogs.sources.fetch import REASONS
from tilewright.catalogs.sources.registry import known_sources
from tilewright.flows.environment import cache_folder
from tilewright.flows.machine import free_memory, n_cores
from tilewright.flows.shown import installable
from tilewright.flows.versions import versions
from tilewright.models.card.registry import find_card
from tilewright.models.run.open import open_session
from tilewright.models.run.providers import EXECUTION_PROVIDERS, REMEDIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.catalogs.sources.source import Source

HAS, LACKS, BROKEN = "has", "lacks", "broken"
"""States of a finding: it is there; it is not, and a run that needs it says so; no run works without it."""

SMALLEST: Final = "ndwi-water"
"""The built-in model by which a provider is proven."""

ASKED: Final = "provider '{}' was asked for, but "
"""How a refusal of a provider begins, which nobody asked for here."""

SOURCE_SECONDS: Final = 8.0

LITTLE_ROOM: Final = 2 * 2**30
"""Bytes of memory and of disk below which a run is likely to be refused, or to end in the middle."""

DRIVERS: Final = {
    "GTiff": "scenes as GeoTIFF",
    "COG": "products",
    "JP2OpenJPEG": "ESA's own files",
    "VRT": "layers of many files",
    "Zarr": "products as GDAL sees them",
}

NEEDED_DRIVERS: Final = ("GTiff", "COG", "VRT")

EXTRAS: Final = {
    "flows": (("prefect", "distributed"), "flow runs under Prefect, Dask clusters"),
    "kubernetes": (("prefect_kubernetes",), "work pools of Kubernetes"),
    "watching": (("prometheus_client", "opentelemetry"), "metrics and traces"),
    "stackstac": (("stackstac",), "engine: stackstac"),
    "notebook": (("matplotlib",), "pictures of layers in notebooks"),
    "find": (("faiss", "tokenizers"), "find by words and by an index, prompts"),
    "view": (("rio_tiler", "js_lib_leaflet"), "products on a map in a browser"),
    "export": (("skl2onnx", "onnxmltools"), "forests and boosting as ONNX"),
    "openvino": (("openvino",), "bfloat16 and int8 on processors"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: its ``topic`` and ``name``, its state, and what it is or what to do."""

    topic: str
    name: str
    state: str
    words: str

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON."""
        return asdict(self)


def look_around(*, offline: bool = False) -> Iterator[Finding]:
    """All findings, one after the other as they are made; without a look at the sources where ``offline``."""
    yield from _versions()
    yield from _providers()
    yield from _drivers()
    yield from _extras()
    yield from _room()
    if not offline:
        yield from _sources()


def _versions() -> Iterator[Finding]:
    found = versions()
    own = found.pop("tilewright", importlib.metadata.version("tilewright"))
    yield Finding(topic="program", name="tilewright", state=HAS, words=f"{own} in {Path(__file__).parents[2]}")
    words = f"{found.pop('python')} on {platform.system()} {platform.machine()}"
    yield Finding(topic="program", name="python", state=HAS, words=words)
    listed = ", ".join(f"{name} {number}" for name, number in sorted(found.items()))
    yield Finding(topic="program", name="libraries", state=HAS, words=listed)


def _providers() -> Iterator[Finding]:
    """Each provider, by a session that it really opens: a list of those compiled in is no proof."""
    card = find_card(SMALLEST)
    for name in (*EXECUTION_PROVIDERS, "openvino"):
        try:
            open_session(card, provider=name)
        except Exception as error:
            said = (" ".join(str(error).split()) or type(error).__name__).removeprefix(ASKED.format(name))
            words = said[:300] if REMEDIES[name] in said else f"{said[:200]}; needs {REMEDIES[name]}"
            words = installable(words.removesuffix(", or ask for provider 'auto'"))
            state = BROKEN if name == "cpu" else LACKS
        else:
            state, words = HAS, "runs models"
        yield Finding(topic="providers", name=name, state=state, words=words)


def _drivers() -> Iterator[Finding]:
    import rasterio

    with rasterio.Env() as env:
        there = env.drivers()
    for name, use in DRIVERS.items():
        if name in there:
            yield Finding(topic="GDAL drivers", name=name, state=HAS, words=use)
            continue
        words = f"{use}: this GDAL was built without it; the rasterio of PyPI has it"
        state = BROKEN if name in NEEDED_DRIVERS else LACKS
        yield Finding(topic="GDAL drivers", name=name, state=state, words=words)


def _extras() -> Iterator[Finding]:
    for extra, (modules, use) in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        state = LACKS if missing else HAS
        words = f"{use}: pip install -c constraints.txt -e '.[{extra}]' in Tilewright's folder" if missing else use
        yield Finding(topic="extras", name=extra, state=state, words=installable(words))


def _room() -> Iterator[Finding]:
    yield Finding(topic="room", name="cores", state=HAS, words=f"{n_cores()} that this process may use")
    free = free_memory()
    state = HAS if free >= LITTLE_ROOM else LACKS
    yield Finding(topic="room", name="memory", state=state, words=f"{free / 1e9:.1f} GB for this process")
    folder = cache_folder()
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    left = shutil.disk_usage(there).free
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{time.time_ns()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        words = f"{folder} cannot be written ({error.strerror}): set TILEWRIGHT_CACHE to a folder that can"
        yield Finding(topic="room", name="cache", state=LACKS, words=words)
        return
    state = HAS if left >= LITTLE_ROOM else LACKS
    yield Finding(topic="room", name="cache", state=state, words=f"{folder}, {left / 1e9:.1f} GB free on its disk")


def _sources() -> Iterator[Finding]:
    """The sources known by name, each asked for its first page, all at once."""
    sources = known_sources()
    with ThreadPoolExecutor(len(sources), thread_name_prefix="tilewright-doctor") as pool:
        yield from pool.map(_asked, sources, sources.values())


def _asked(name: str, source: Source) -> Finding:
    began = time.monotonic()
    try:
        status, _ = first_byte(source.href, document_rules(source.href, source.hosts), seconds=SOURCE_SECONDS)
    except Exception as error:
        reason = REASONS.get(type(error).__name__) or plain_words(" ".join(str(error).split()))[:160]
        words = f"{source.href} does not answer: {reason}"
        return Finding(topic="sources", name=name, state=LACKS, words=words)
    took = time.monotonic() - began
    if status >= 400:
        return Finding(topic="sources", name=name, state=LACKS, words=f"{source.href} answers with HTTP {status}")
    return Finding(topic="sources", name=name, state=HAS, words=f"{source.href} answers in {took:.1f} s")
