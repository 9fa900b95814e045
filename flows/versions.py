"""The versions and features of this process that may change a pixel, and the refusals where two processes differ."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.tasks.storage.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


OF_PIXELS = ("gdal", "numpy", "odc-geo", "onnxruntime", "onnxruntime-gpu", "openvino", "proj", "rasterio", "shapely")
"""Libraries that read, warp, mask or compute pixels: another version may give another value."""

OF_STORAGE = ("numcodecs", "zarr")
"""Libraries that decide the bytes of a chunk, though not its pixels."""

RECORDED = ("tilewright", *OF_PIXELS, *OF_STORAGE, "odc-stac")

CPU_FEATURES = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve", "bf16",
)  # fmt: skip
"""Instruction sets by which ONNX Runtime and numpy choose their kernels: sums are added up in another order, so that
floats may differ in the last digits. Source: Linux, arch/x86/include/asm/cpufeatures.h and arm64 elf_hwcaps."""


def versions(*, openvino: bool = False) -> dict[str, str]:
    """The versions of Python and of all libraries that may change a pixel or a chunk, by name.

    ``openvino``: whether it computes the product; it is left out where it only happens to be installed.
    """
    # Planning imports rasterio anyway; commands that need no version do without it.
    import rasterio

    found = {
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        "proj": rasterio.__proj_version__,
    }
    for name in RECORDED:
        if name == "openvino" and not openvino:
            continue
        try:
            found.setdefault(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def process_facts() -> dict[str, str]:
    """The facts in which processes that make pixels of one product must agree: libraries, Python and architecture."""
    found = versions()
    known = {name: found.get(name, "none") for name in ("tilewright", *OF_PIXELS, *OF_STORAGE)}
    return {**known, "python": _minor(found["python"]), "architecture": platform.machine()}


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The instruction sets in CPU_FEATURES that this processor has; empty where the system does not say."""
    try:
        line = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return ()
    words = set(line[1].split()) if line else set()
    return tuple(name for name in CPU_FEATURES if name in words)


def changed_versions(then: Mapping[str, str], now: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """The names whose versions differ, as ``numpy 2.1.0 then, 2.2.0 now``; a name that one side lacks is no change."""
    return [
        f"{name} {then[name]} then, {now[name]} now"
        for name in sorted(names)
        if name in then and name in now and then[name] != now[name]
    ]


def check_same_makers(then: Mapping[str, str], *, uri: str) -> None:
    """Check that blocks made now would be of the same make as those of a plan with these versions.

    Raises StoreError naming the libraries that differ.
    """
    changed = changed_versions(then, versions(), OF_PIXELS)
    if changed:
        raise StoreError(
            f"{uri} was begun with other libraries, and its blocks would be of two makes: {'; '.join(changed)}. Finish "
            "it with those versions, or use --update to go on with these and keep its blocks, or --replace."
        )


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])
