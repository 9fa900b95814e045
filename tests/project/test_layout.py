"""The direction of imports: flows -> tasks -> {catalogs, models}; Prefect only under flows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "catalogs": {"catalogs"},
    "models": {"models"},
    "tasks": {"tasks", "catalogs", "models"},
    "flows": {"flows", "tasks", "catalogs", "models"},
}
ONLY_IN_FLOWS = {"prefect", "typer", "rich"}


def imported_names(source: str) -> set[str]:
    """Top-level names of every import anywhere in a module, deferred and type-only ones included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("tilewright.").partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add((node.module or "").removeprefix("tilewright.").partition(".")[0])
    return names


def wrong_imports(package: str, source: str) -> set[str]:
    """Names a module of ``package`` imports against the direction."""
    names = imported_names(source)
    wrong = (names & set(ALLOWED)) - ALLOWED[package]
    return wrong | (set() if package == "flows" else names & ONLY_IN_FLOWS)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_no_module_imports_against_the_direction(package):
    broken = {
        str(path.relative_to(ROOT)): wrong
        for path in sorted((ROOT / package).rglob("*.py"))
        if (wrong := wrong_imports(package, path.read_text(encoding="utf-8")))
    }
    assert broken == {}


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("catalogs", "from tilewright.models.card.card import ModelCard"),
        ("models", "import tilewright.catalogs.items"),
        ("models", "def f():\n    from tilewright.tasks import grid"),
        ("tasks", "from tilewright.flows.job.job import Job"),
        ("tasks", "import prefect"),
        ("catalogs", "import rich.console"),
    ],
)
def test_a_broken_direction_is_seen(package, line):
    assert wrong_imports(package, line)


def test_nothing_is_called_utils_or_common():
    names = {path.stem for package in ALLOWED for path in (ROOT / package).rglob("*.py")}
    assert not names & {"utils", "common", "helpers", "misc", "core"}


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("tilewright.flows.cli", {"prefect", "distributed", "torch", "matplotlib", "onnxruntime", "xarray"}),
        # A plan, its estimate and its price are made before anything is read.
        (
            "tilewright.flows.plan.make, tilewright.flows.plan.estimate, tilewright.flows.plan.pricing",
            {"prefect", "distributed", "torch", "dask.array", "xarray"},
        ),
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
