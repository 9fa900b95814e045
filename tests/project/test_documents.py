"""ARCHITECTURE.md, CONTRIBUTING.md and the READMEs name only what exists."""

from __future__ import annotations

import re

import pytest

from tests.project.floors import FLOORS
from tests.project.shape import ROOT

DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/**/*.md"))
    if path.name != "CHANGELOG.md"
)
PATH = re.compile(r"`((?:\.\./)?(?:catalogs|models|tasks|flows|tests|deploy|tilewright)/[\w./*-]*)`")
MODULE = re.compile(r"python -m ((?:tests|tilewright|deploy)(?:\.\w+)+)")
TARGET = re.compile(r"`?make ([a-z][a-z-]*)")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)\)")


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name.parent.name], ids=str)
def test_every_file_that_a_folders_readme_names_lies_in_it(document):
    words = (ROOT / document).read_text("utf-8")
    folder = (ROOT / document).parent
    named = set(re.findall(r"`([\w/]+\.py)`", words))
    places = (folder, ROOT / "tests")
    missing = {name for name in named if not (ROOT / name).exists()}
    assert {name for name in missing if not any(list(place.rglob(name)) for place in places)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_path_module_and_target_that_is_named_exists(document):
    words = (ROOT / document).read_text("utf-8")
    paths = {path for path in PATH.findall(words) if not _exists(path.removeprefix("../"))}
    modules = {name for name in MODULE.findall(words) if not _exists(name.replace(".", "/"))}
    links = {link for link in LINK.findall(words) if not (ROOT / document).parent.joinpath(link).exists()}
    # Pages that are made when the site is built; its strict build looks their links up.
    links = {link for link in links if document.parts[0] != "docs" or "reference/" not in link}
    assert (paths, modules, links) == (set(), set(), set())


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    named = {
        name
        for document in ("README.md", "CONTRIBUTING.md")
        for name in re.findall(r"`make ([a-z][a-z-]*)", (ROOT / document).read_text("utf-8"))
    }
    assert named <= targets


def test_architecture_shows_the_floors_that_the_test_holds():
    words = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    block = next(part for part in words.split("```") if part.lstrip().startswith("catalogs  errors"))
    shown: dict[str, set[str]] = {}
    package = ""
    for line in block.strip("\n").splitlines():
        head, *rest = line.split()
        package, names = (head, rest) if head in FLOORS else (package, [head, *rest])
        shown.setdefault(package, set()).update(name.strip(";").replace("/", ".") for name in names if name != "<")
    held = {package: set().union(*floors) for package, floors in FLOORS.items()}
    assert shown == held


def _exists(path: str) -> bool:
    """A file or folder, a module without its ending, or a pattern such as ``models/card/parse_*.py``."""
    path = path.rstrip("/")
    if "<" in path or "*" in path:
        return bool(list(ROOT.glob(path))) or "<" in path
    return (ROOT / path).exists() or (ROOT / f"{path}.py").exists()
