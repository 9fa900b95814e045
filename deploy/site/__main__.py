"""The first half of `make docs-site`: `python -m deploy.site FOLDER [--real CATALOG]` makes the gallery's products."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from deploy.site.pictures import make_products

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    """Make the products whose previews the gallery shows."""
    parser = argparse.ArgumentParser(prog="deploy.site", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the products go")
    parser.add_argument("--real", default="", help="a catalog of real scenes in place of earth-search")
    asked = parser.parse_args()
    try:
        make_products(asked.folder, DOCS, real=asked.real)
    except subprocess.CalledProcessError as error:
        # Its own sentence stands above already.
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
