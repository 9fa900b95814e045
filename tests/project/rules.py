"""The rules of the house as functions over its sources: each returns what breaks it, nothing where all is well."""

from __future__ import annotations

import ast
from collections import Counter

from tests.project.floors import BETWEEN, FLOORS
from tests.project.shape import PACKAGES, House, wing_edges

ONLY_IN_FLOWS = {"prefect", "typer", "rich"}

SMALL_WITH_ONE_USER = {
    "flows.maintain.status": "a command of its own",
    "flows.prefect_flows.form": "the form that Prefect's page shows",
    "flows.prefect_flows.secrets": "the rule which secrets a flow run refuses",
}
"""Files under 60 lines that have one user, and why."""

BY_COMMAND = {("models.builtin.train", "flows.cli")}
"""The one arrow up: training makes its pictures by running the command in a process of its own."""

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "expandvars"}

LONGEST_FILE, LARGEST_FOLDER, SMALL_FILE = 320, 12, 60


def floor_of(wing: str) -> tuple[str, int] | None:
    """(package, floor) of a wing; None for a package's own face, which may hand on any of its names."""
    package, _, rest = wing.partition(".")
    if rest == "__init__":
        return None
    found = [number for number, floor in enumerate(FLOORS[package]) if rest in floor]
    assert found, f"{wing} stands on no floor: add it to FLOORS and to ARCHITECTURE.md"
    return package, found[0]


def wrong_edges(house: House) -> list[str]:
    """Imports between wings that go up, sideways, or into a package that is closed to them."""
    return [
        f"{wing} -> {other}"
        for wing, others in wing_edges(house).items()
        for other in sorted(others)
        if not _allowed(wing, other) and (wing, other) not in BY_COMMAND
    ]


def _allowed(wing: str, other: str) -> bool:
    here, there = floor_of(wing), floor_of(other)
    if here is None:
        return other.partition(".")[0] == wing.partition(".")[0]
    if there is None:
        return False
    if here[0] == there[0]:
        return there[1] < here[1]
    return here[0] == "flows" or other in BETWEEN.get(wing, set())


def wrong_libraries(sources: dict[str, str]) -> dict[str, set[str]]:
    """Modules below flows that import Prefect or what draws on a terminal, by statement or by name."""
    found = {
        name: {word.partition(".")[0] for word in imported_words(source)} & ONLY_IN_FLOWS
        for name, source in sources.items()
        if not name.startswith("flows.")
    }
    return {name: libraries for name, libraries in found.items() if libraries}


def imported_words(source: str) -> set[str]:
    """Every dotted name that a module imports, and every name that it hands to ``import_module``."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            words |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            words |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {
            "import_module",
            "__import__",
        }:
            words |= {
                each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
            }
    return words - {""}


def wrong_names(sources: dict[str, str]) -> dict[str, set[str]]:
    """Modules that import one of the packages without the prefix, or the face of the whole.

    Without the prefix a module would be loaded twice, its classes not being themselves; the face leads up to flows.
    """
    found = {}
    for name, source in sources.items():
        words = imported_words(source)
        bare = {word for word in words if word.partition(".")[0] in PACKAGES}
        face = {word for word in words if word.startswith("tilewright.") and word.split(".")[1] not in PACKAGES}
        whole = {"tilewright"} if _whole(source) else set()
        if wrong := bare | face | whole:
            found[name] = wrong
    return found


def _whole(source: str) -> bool:
    """True for ``import tilewright`` itself; ``from tilewright import tasks`` names a package."""
    return any(
        alias.name == "tilewright"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
    )


def reads_environment(source: str) -> bool:
    """True where a module reaches for environment variables, however it spells that."""
    tree = ast.parse(source)
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return bool((attributes | imported) & ENVIRONMENT)


def wrong_sizes(house: House) -> list[str]:
    """Crowded folders, long files, and small files that nobody or one neighbour uses."""
    users = Counter(other for imported in house.imports.values() for other in imported)
    return [
        *(f"{folder} has {count} files" for folder, count in house.folders().items() if count > LARGEST_FOLDER),
        *(f"{name} has {lines} lines" for name, lines in house.lines.items() if lines > LONGEST_FILE),
        *(
            f"{name} has {house.lines[name]} lines and {users[name]} users"
            for name in house.files
            if house.lines[name] < SMALL_FILE and users[name] < 2 and name not in SMALL_WITH_ONE_USER
        ),
    ]
