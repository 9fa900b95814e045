"""The notebooks of docs/ run from the first cell to the last on the embedded sample, and are stored without outputs."""

from __future__ import annotations

import ast
import builtins
import json
import re

import matplotlib as mpl
import pytest

from tests.project.shape import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def code_cells(path):
    """The source of each cell of code."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_cell(source, names, where):
    """A cell run as a notebook does it: the value of its last expression, and what a notebook would show of that."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    builtins.exec(compile(tree, where, "exec"), names)  # noqa: S102 - a notebook of ours
    if last is None:
        return None
    value = builtins.eval(compile(ast.Expression(last.value), where, "eval"), names)  # noqa: S307 - the same
    shown = getattr(value, "_repr_html_", None)
    return repr(value) if shown is None else shown()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, sample, small_pictures, tmp_path, monkeypatch):
    mpl.use("Agg")
    cache = tmp_path / "cache"
    (cache / "demo").mkdir(parents=True)
    (cache / "demo" / "sample").symlink_to(sample)
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for n, source in enumerate(code_cells(path)):
        run_cell(source, names, f"{path.name}[{n}]")
    mpl.pyplot.close("all")
    assert list(tmp_path.glob("out/*/item.json")), "it makes a product"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_its_links_lead_to_files(path):
    plain = json.loads(path.read_text("utf-8"))
    assert (plain["nbformat"], plain["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in plain["cells"]}) == len(plain["cells"])
    for cell in plain["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)\)", "".join(cell["source"])):
            assert (path.parent / link).exists(), link


def test_there_are_three():
    assert len(NOTEBOOKS) == 3
