"""The floors of the house: who may import whom, no circles, no crowded folders, no long files.

Imports inside functions and under ``TYPE_CHECKING`` count. ARCHITECTURE.md shows the same table in words.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter

import pytest

from tests.project.floors import PUBLISH_ONLY
from tests.project.rules import (
    imported_words,
    reads_environment,
    wrong_edges,
    wrong_libraries,
    wrong_names,
    wrong_sizes,
)
from tests.project.shape import PACKAGES, ROOT, House, circles, house_of, read_house, wing_edges, wing_of


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


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text("utf-8")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def test_prefect_and_the_terminal_are_flows_alone(sources):
    assert wrong_libraries(sources) == {}


def test_every_import_of_ours_has_the_prefix_and_none_goes_through_the_face(sources):
    assert wrong_names(sources) == {}


def test_tests_import_by_the_prefix_too():
    sources = {str(path): path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")}
    bare = {
        name: {word for word in imported_words(source) if word.partition(".")[0] in PACKAGES}
        for name, source in sources.items()
    }
    assert {name: words for name, words in bare.items() if words} == {}


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


def test_the_environment_is_read_by_flows_alone(sources):
    """Settings are arguments: `os.environ` below flows would make a pixel depend on where it is computed."""
    assert [name for name in sources if not name.startswith("flows.") and reads_environment(sources[name])] == []


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
        ("tasks.grid.more", "import_module('tilewright.tasks.read.reader')"),
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
        ({"tasks.grid.__init__": "a = 1\n" * 321}, "tasks.grid.__init__ has 321 lines"),
        ({"tasks.grid.small": "a = 1\n" * 59}, "tasks.grid.small has 59 lines and 0 users"),
    ],
)
def test_a_tree_of_wrong_sizes_is_refused(sources, words):
    assert wrong_sizes(house_of(sources)) == [words]


def test_a_wing_without_a_floor_is_asked_for_one():
    with pytest.raises(AssertionError, match=r"tasks\.cellar stands on no floor"):
        wrong_edges(house_of({"tasks.cellar.wine": "from tilewright.tasks.grid.grid import Grid", **GROUND}))


@pytest.mark.parametrize(
    "line",
    [
        "def f():\n    import prefect.flows",
        "from prefect import flow",
        "import_module('prefect')",
        "__import__('rich.console')",
    ],
)
def test_prefect_below_flows_is_refused(line):
    assert wrong_libraries({"tasks.grid.grid": line})
    assert not wrong_libraries({"flows.run.predict": line})


@pytest.mark.parametrize(
    "line",
    [
        "import tilewright",
        "from tilewright import run",
        "import tilewright as tw",
        "from tasks.read import reader",
        "import flows.run",
        "import_module('tasks.read.reader')",
    ],
)
def test_a_name_without_the_prefix_and_the_face_are_refused(line):
    assert wrong_names({"tasks.grid.grid": line})
    assert not wrong_names({"tasks.cog.write": "from tilewright.tasks.grid import grid\nfrom tilewright import tasks"})


@pytest.mark.parametrize(
    "line",
    [
        "import os\nos.environ['A']",
        "from os import environ",
        "from os import getenv as g",
        "import os as o\no.getenv('A')",
        "import os\nos.path.expandvars('$A')",
    ],
)
def test_a_look_at_the_environment_is_seen(line):
    assert reads_environment(line)
    assert not reads_environment("import os\nos.cpu_count()")


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("tilewright", {"prefect", "distributed", "torch", "numpy", "onnxruntime", "xarray", "rasterio"}),
        ("tilewright.flows.cli", {"prefect", "distributed", "torch", "matplotlib", "onnxruntime", "xarray"}),
        # A plan, its estimate and its price are made before anything is read.
        (
            "tilewright.flows.plan.make, tilewright.flows.estimate.estimate, tilewright.flows.estimate.pricing",
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
