"""The floors of the house: who may import whom, no circles, no crowded folders, no long files.

Imports inside functions and under ``TYPE_CHECKING`` count. ARCHITECTURE.md shows the same table in words.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter

import pytest

from tests.project.floors import BETWEEN, FLOORS, PUBLISH_ONLY
from tests.project.shape import PACKAGES, ROOT, House, circles, house_of, read_house, wing_edges, wing_of

ONLY_IN_FLOWS = {"prefect", "typer", "rich"}

SMALL_WITH_ONE_USER = {
    "flows.cli.publish": "a command of its own",
    "flows.maintain.status": "a command of its own",
    "flows.prefect_flows.form": "the form that Prefect's page shows",
    "flows.prefect_flows.secrets": "the rule which secrets a flow run refuses",
}
"""Files under 60 lines that have one user, and why."""

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
        if not _allowed(wing, other)
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
    """Modules below flows that import Prefect or what draws on a terminal."""
    found = {}
    for name, source in sources.items():
        imported = {
            word.partition(".")[0]
            for node in ast.walk(ast.parse(source))
            for word in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        if not name.startswith("flows.") and imported & ONLY_IN_FLOWS:
            found[name] = imported & ONLY_IN_FLOWS
    return found


def wrong_sizes(house: House) -> list[str]:
    """Crowded folders, long files, and small files that nobody or one neighbour uses."""
    users = Counter(other for imported in house.imports.values() for other in imported)
    return [
        *(f"{folder} has {count} files" for folder, count in house.folders().items() if count > LARGEST_FOLDER),
        *(f"{name} has {house.lines[name]} lines" for name in house.files if house.lines[name] > LONGEST_FILE),
        *(
            f"{name} has {house.lines[name]} lines and {users[name]} users"
            for name in house.files
            if house.lines[name] < SMALL_FILE and users[name] < 2 and name not in SMALL_WITH_ONE_USER
        ),
    ]


@pytest.fixture(scope="module")
def house() -> House:
    return read_house()


def test_every_wing_imports_only_what_lies_below_it(house):
    assert wrong_edges(house) == []


def test_no_files_and_no_wings_import_each_other_in_a_circle(house):
    assert circles(house.imports) == []
    assert circles(wing_edges(house)) == []


def test_no_folder_is_crowded_and_no_file_is_long(house):
    assert wrong_sizes(house) == []


def test_the_product_side_of_the_catalogs_knows_nothing_of_foreign_items(house):
    imported = {
        other
        for name, others in house.imports.items()
        if wing_of(name) == "catalogs.publish"
        for other in others
        if wing_of(other) != "catalogs.publish"
    }
    assert imported <= PUBLISH_ONLY


def test_prefect_and_the_terminal_are_flows_alone():
    sources = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text("utf-8")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }
    assert wrong_libraries(sources) == {}


def test_nothing_is_called_utils_or_common(house):
    names = {word for name in house.lines for word in name.split(".")}
    assert not names & {"utils", "common", "helpers", "misc", "core"}


def test_no_class_name_stands_for_two_things():
    classes = Counter(
        node.name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []


def test_the_environment_is_read_by_flows_alone():
    """Settings are arguments: `os.environ` below flows would make a pixel depend on where it is computed."""
    reading = [
        str(path.relative_to(ROOT))
        for package in ("catalogs", "models", "tasks")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} and ast.unparse(node.value) == "os"
    ]
    assert reading == []


def test_every_wing_says_its_question_and_names_its_files_in_reading_order(house):
    """The docstring of a wing's ``__init__`` is the table of contents that whoever comes new reads first."""
    wrong = {}
    for folder in house.folders():
        path = ROOT / folder.replace(".", "/") / "__init__.py"
        words = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        listed = words.partition("Reading order:")[2].partition(".")[0].replace("\n", " ")
        named = [name.strip() for name in listed.split(",")]
        files = sorted(name.rpartition(".")[2] for name in house.files if name.rpartition(".")[0] == folder)
        if "." in folder and (sorted(named) != files or "may import" not in words):
            wrong[folder] = set(named) ^ set(files)
    assert wrong == {}


GROUND = {
    "tasks.grid.grid": "",
    "tasks.read.reader": "from tilewright.tasks.grid import grid",
    "tasks.cog.write": "",
    "catalogs.scene": "",
    "models.spec.inputs": "",
    "models.card.card": "from tilewright.models.spec.inputs import InputSpec",
}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("tasks.grid.more", "from tilewright.tasks.read.reader import read_asset"),
        ("tasks.grid.more", "def f():\n    from tilewright.tasks.read import reader"),
        ("tasks.grid.more", "if TYPE_CHECKING:\n    from tilewright.tasks.read.reader import Reading"),
        ("tasks.read.more", "import tilewright.tasks.cog.write"),
        ("tasks.grid.more", "from tilewright.catalogs.scene import Scene"),
        ("catalogs.search", "from tilewright.models.card.card import ModelCard"),
        ("models.spec.more", "from tilewright.models.card import card"),
        ("models.card.more", "from tilewright.catalogs.scene import Scene"),
    ],
)
def test_a_tree_with_an_import_against_the_floors_is_refused(name, source):
    assert wrong_edges(house_of({**GROUND, name: source}))
    assert not wrong_edges(house_of(GROUND))


@pytest.mark.parametrize(
    "pair",
    [
        ("from tilewright.tasks.grid.two import b", "from tilewright.tasks.grid.one import a"),
        ("from tilewright.tasks.grid import two", "def f():\n    from tilewright.tasks.grid.one import a"),
        ("import tilewright.tasks.grid.two", "if TYPE_CHECKING:\n    from tilewright.tasks.grid import one"),
    ],
)
def test_a_circle_of_files_is_found_however_it_is_imported(pair):
    tree = house_of({"tasks.grid.one": pair[0], "tasks.grid.two": pair[1]})
    assert circles(tree.imports) == [["tasks.grid.one", "tasks.grid.two"]]


def test_a_circle_of_wings_without_a_circle_of_files_is_found():
    tree = house_of(
        {
            "tasks.read.one": "from tilewright.tasks.zarr.one import a",
            "tasks.zarr.one": "",
            "tasks.zarr.two": "from tilewright.tasks.read.two import b",
            "tasks.read.two": "",
        }
    )
    assert circles(tree.imports) == []
    assert circles(wing_edges(tree)) == [["tasks.read", "tasks.zarr"]]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({f"tasks.grid.n{number}": "a = 1\n" * 60 for number in range(13)}, "tasks.grid has 13 files"),
        ({"tasks.grid.long": "a = 1\n" * 321}, "tasks.grid.long has 321 lines"),
        ({"tasks.grid.small": "a = 1\n" * 59}, "tasks.grid.small has 59 lines and 0 users"),
    ],
)
def test_a_tree_of_wrong_sizes_is_refused(sources, words):
    assert wrong_sizes(house_of(sources)) == [words]


def test_a_wing_without_a_floor_is_asked_for_one():
    with pytest.raises(AssertionError, match=r"tasks\.cellar stands on no floor"):
        wrong_edges(house_of({"tasks.cellar.wine": "from tilewright.tasks.grid.grid import Grid", **GROUND}))


def test_prefect_below_flows_is_refused():
    assert wrong_libraries({"tasks.grid.grid": "def f():\n    import prefect.flows"})
    assert not wrong_libraries({"flows.run.predict": "import prefect"})


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("tilewright", {"prefect", "distributed", "torch", "numpy", "onnxruntime", "xarray", "rasterio"}),
        ("tilewright.flows.cli", {"prefect", "distributed", "torch", "matplotlib", "onnxruntime", "xarray"}),
        # A plan, its estimate and its price are made before anything is read.
        (
            "tilewright.flows.plan.make, tilewright.flows.plan.estimate, tilewright.flows.plan.pricing",
            {"prefect", "distributed", "torch", "dask.array", "xarray"},
        ),
        # A finished product's second call neither plans nor reads.
        ("tilewright.flows.run.predict", {"prefect", "distributed", "torch", "onnxruntime", "dask.array", "xarray"}),
        # A run on threads has no cluster.
        (
            "tilewright.flows.run.pipeline, tilewright.tasks.publish.publish",
            {"prefect", "distributed", "torch", "matplotlib"},
        ),
    ],
)
def test_what_is_not_needed_is_not_loaded(modules, heavy):
    probe = f"import sys, {modules}; print(sorted({heavy!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"
