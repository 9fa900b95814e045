"""The shape of the house: who imports whom, floors, circles and sizes. `python -m tests.project.shape [FOLDER]`.

Reads source files only; imports inside functions and under ``TYPE_CHECKING`` count like any other.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("catalogs", "models", "tasks", "flows")
PREFIX = "tilewright."


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Modules by dotted name without prefix (``tasks.cog.write``): lines of each, and the modules it imports."""

    lines: dict[str, int]
    imports: dict[str, frozenset[str]]

    @property
    def files(self) -> list[str]:
        """Modules that are files with code of their own, packages' ``__init__`` left out."""
        return [name for name in self.lines if not name.endswith((".__init__", ".__main__"))]

    def folders(self) -> Counter[str]:
        """Files per folder."""
        return Counter(name.rpartition(".")[0] for name in self.files)


def read_house(root: Path = ROOT) -> House:
    """Every module of the four packages below a folder."""
    sources = {
        ".".join(path.relative_to(root).with_suffix("").parts): path.read_text("utf-8")
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }
    return house_of(sources)


def house_of(sources: dict[str, str]) -> House:
    """The house of sources by dotted name."""
    names = frozenset(sources)
    return House(
        lines={name: source.count("\n") for name, source in sources.items()},
        imports={name: _imported(source, names) - {name} for name, source in sources.items()},
    )


def _imported(source: str, names: frozenset[str]) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {_module(alias.name, names) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from tilewright.tasks.report import format` names a file, not something in the package's __init__.
            found |= {
                _module(f"{node.module}.{alias.name}", names) or _module(node.module or "", names)
                for alias in node.names
            }
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(PREFIX):
            # Modules named in words, for import_module or `python -m`; a package alone is a place of files.
            found.add("" if node.value.removeprefix(PREFIX) in PACKAGES else _module(node.value, names))
    return frozenset(found - {""})


def _module(dotted: str, names: frozenset[str]) -> str:
    plain = dotted.removeprefix(PREFIX)
    return plain if plain in names else f"{plain}.__init__" if f"{plain}.__init__" in names else ""


def circles(edges: dict[str, frozenset[str]]) -> list[list[str]]:
    """Groups of two or more that reach each other: Tarjan's strongly connected components, each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(edges.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            place = stack.index(name)
            group = stack[place:]
            del stack[place:]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(edges):
        if name not in index:
            visit(name)
    return found


def wing_of(module: str) -> str:
    """The folder a module lies in (``tasks.cog``), or the file itself beside wings (``tasks.colours``)."""
    folder = module.rpartition(".")[0]
    return folder if "." in folder else module


def wing_edges(house: House) -> dict[str, frozenset[str]]:
    """Wings by the wings they import."""
    edges: dict[str, set[str]] = {}
    for name, imported in house.imports.items():
        edges.setdefault(wing_of(name), set()).update(wing_of(other) for other in imported)
    return {wing: frozenset(others - {wing}) for wing, others in edges.items()}


def figures(house: House) -> dict[str, object]:
    """The figures that tell whether somebody new finds the way."""
    files, folders = house.files, house.folders()
    sizes = sorted(house.lines[name] for name in files)
    tied = circles(house.imports)
    importers = Counter(other for imported in house.imports.values() for other in imported)
    return {
        "files": len(files),
        "lines": sum(house.lines.values()),
        "folders": len(folders),
        "mean_neighbours": round(sum(count * count for count in folders.values()) / len(files), 1),
        "biggest_folder": max(folders.values()),
        "median_lines": sizes[len(sizes) // 2],
        "largest_file": sizes[-1],
        "files_over_320": sum(size > 320 for size in sizes),
        "files_under_60": sum(size < 60 for size in sizes),
        "circles_of_files": len(tied),
        "files_in_circles": sum(len(group) for group in tied),
        "circles_of_wings": len(circles(wing_edges(house))),
        "imported_by_one": sum(importers[name] == 1 for name in files),
    }


def main() -> None:
    """Print the figures of a checkout, and its circles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--circles", action="store_true", help="name the files of each circle")
    asked = parser.parse_args()
    house = read_house(asked.folder)
    print(json.dumps(figures(house), indent=2))
    if asked.circles:
        for group in circles(house.imports):
            print("circle:", ", ".join(group))
        for group in circles(wing_edges(house)):
            print("circle of wings:", ", ".join(group))


if __name__ == "__main__":
    main()
