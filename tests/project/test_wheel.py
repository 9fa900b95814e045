"""What an installation puts into a user's environment: one name, with all the files that the code reads."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.project.shape import PACKAGES, ROOT
from tests.support.pip import pip_settings
from tests.support.products import write_job

SCHEMAS = sorted((ROOT / "catalogs" / "vendored").rglob("*.json"))


@pytest.fixture(scope="module", params=["links", "text files"])
def wheel(tmp_path_factory, request):
    """A wheel built of what belongs to the checkout: not of what earlier builds left in it.

    Once as git checks it out, once with small text files in place of the links, as zip archives and Windows have it.
    """
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode:
        pytest.skip("no git checkout: nothing tells which files belong to it")
    copy = folder / "checkout"
    for name in filter(None, tracked.stdout.split("\0")):
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink() and request.param == "links":
            target.symlink_to(source.readlink())
        elif source.is_symlink():
            target.write_text(str(source.readlink()))
        elif source.exists():
            target.write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    subprocess.run(command, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **pip_settings()}, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def names(wheel):
    """The files in it."""
    return zipfile.ZipFile(wheel).namelist()


def test_the_top_level_is_one_name(names):
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"tilewright"}


def test_every_module_and_every_file_that_the_code_reads_is_in_it(names):
    wanted = {
        f"tilewright/{path.relative_to(ROOT)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".png"}
    }
    assert wanted - set(names) == set()
    assert "tilewright/py.typed" in names


@pytest.mark.parametrize("wheel", ["text files"], indirect=True)
def test_what_the_wheel_holds_makes_a_product_in_another_folder(wheel, tmp_path):
    """Without the checkout beside it: all that a run reads is in the wheel."""
    job = write_job(tmp_path / "job", side=64)
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {"PYTHONPATH": str(tmp_path / "installed"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for words in (("--version",), ("run", str(job), "--output", "out")):
        command = [sys.executable, "-m", "tilewright.flows.cli", *words]
        done = subprocess.run(command, env=env, cwd=elsewhere, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (elsewhere / "out" / "item.json").exists()
    code = "import tilewright.flows.run as run; print(run.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=elsewhere, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path / "installed")


def test_nothing_of_the_tests_or_the_deployment_is_in_it(names):
    assert [name for name in names if name.startswith(("tests/", "deploy/")) or "/tests/" in name] == []


def test_the_licences_of_what_is_brought_along_are_in_it(names):
    licences = {name.partition(".dist-info/licenses/")[2] for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE", "catalogs/vendored/NOTICE"}
    notice = (ROOT / "catalogs" / "vendored" / "NOTICE").read_text("utf-8")
    schemas = {str(path.relative_to(ROOT / "catalogs" / "vendored")) for path in SCHEMAS}
    assert schemas
    assert {name for name in schemas if name not in notice} == set()


def test_what_is_to_be_cited_is_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert cited["authors"] == project["authors"]


def test_the_links_of_a_checkout_lead_to_its_folders():
    for package in PACKAGES:
        assert (ROOT / "tilewright" / package).resolve() == ROOT / package


def test_a_checkout_without_links_finds_its_folders_all_the_same(tmp_path):
    """As git leaves it where it may not make links: the links are small text files."""
    for package in PACKAGES:
        (tmp_path / package).symlink_to(ROOT / package)
    face = tmp_path / "tilewright"
    face.mkdir()
    (face / "__init__.py").write_text((ROOT / "tilewright" / "__init__.py").read_text())
    for package in PACKAGES:
        (face / package).write_text(f"../{package}")
    code = "import tilewright.flows.job.job as job; print(job.__name__, job.__file__)"
    env = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    name, file = done.stdout.split()
    assert name == "tilewright.flows.job.job"
    assert Path(file).parts[: len(tmp_path.parts)] == tmp_path.parts
