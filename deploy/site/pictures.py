"""The gallery's pictures: the previews of products that jobs on the pages make."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Final

import yaml
from PIL import Image

from deploy.site.blocks import blocks_of

PRODUCTS: Final = {
    "water": "demo/demo-water",
    "change": "demo/demo-change",
    "land-cover": "out/first",
    "inn-water": "out/inn-water",
}
"""Pictures of the gallery, and where their products lie below the folder in which the pages' commands run."""

OPTIONAL: Final = frozenset({"inn-water"})
"""Those whose scenes come over a network, which a build may not have."""

JOBS: Final = {"out/first": ("tutorial.md", "first.yaml"), "out/inn-water": ("gallery.md", "inn-water.yaml")}
"""Products that no demo makes: the page and the title of their job."""

WIDTH, QUALITY = 1000, 82

NOT_MADE: Final = "*This picture was not made in this build: its source did not answer.*"


def picture(folder: Path, name: str) -> bytes | None:
    """A product's preview as WebP, at most WIDTH pixels wide; None where an optional one was not made.

    Raises FileNotFoundError with what to do where any other one was not made.
    """
    path = folder / PRODUCTS[name] / "preview.png"
    if not path.exists():
        if name in OPTIONAL:
            return None
        raise FileNotFoundError(f"{path} is missing: `make docs-site` makes the gallery's products first")
    image = Image.open(path).convert("RGB")
    image.thumbnail((WIDTH, WIDTH * 2))
    made = io.BytesIO()
    image.save(made, "WEBP", quality=QUALITY)
    return made.getvalue()


def make_products(folder: Path, docs: Path, *, real: str = "") -> None:
    """Run the demo and the pages' jobs in the folder; ``real`` is a catalog that stands for ``earth-search``.

    Raises CalledProcessError where one that needs no network fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _tilewright(folder, "demo", "--folder", "demo")
    for product, (page, title) in JOBS.items():
        block = next(each for each in blocks_of(docs / page) if each.title == title)
        keys = yaml.safe_load(block.text)
        if keys["source"] == "earth-search" and real:
            keys["source"] = str(Path(real).resolve())
        (folder / title).write_text(yaml.safe_dump(keys), "utf-8")
        optional = any(PRODUCTS[name] == product for name in OPTIONAL)
        # A job that was changed since is another request, which a standing product refuses.
        _tilewright(folder, "run", title, "--replace", check=not optional)


def _tilewright(folder: Path, *words: str, check: bool = True) -> None:
    command = [sys.executable, "-m", "tilewright.flows.cli", *words]
    subprocess.run(command, cwd=folder, check=check)  # noqa: S603 -- our own program
