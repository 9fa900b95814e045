"""`import tilewright` as users have it: quick, beside their own files of any name, the results of the command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tilewright as tw
from tests.support.products import SIDE, write_job
from tilewright.flows.job.job import JobError
from tilewright.tasks.storage.errors import StoreError

pytestmark = pytest.mark.usefixtures("small_pictures")
PACKAGES = ("catalogs", "models", "tasks", "flows")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    return write_job(folder, tile={"block": 128, "step": 32})


@pytest.fixture(scope="module")
def product(job, tmp_path_factory):
    asked = tw.Job.model_validate({**plain(job), "output": str(tmp_path_factory.mktemp("product") / "out")})
    return tw.run(asked)


def plain(job):
    from tilewright.flows.job.job import read_job

    checked = read_job(job)
    return {name: getattr(checked, name) for name in type(checked).model_fields}


def test_a_product_is_a_mapping_of_its_layers(product):
    assert set(product) == {"class", "confidence", "observations"}
    assert "class" in product
    assert "water" not in product
    layer = product["class"]
    assert layer.dims == ("y", "x")
    assert list(layer.shape) == product.report["grid"]["shape"] == [SIDE, SIDE]
    assert layer.rio.crs.to_epsg() == 32633
    assert product.item["type"] == "Feature"
    assert product.tables["manifest"].num_rows == len(product.report["scenes"])
    assert tw.open(product.output).report == product.report


def test_plan_and_search_and_cube_agree_with_the_run(job, product):
    assert [scene.id for scene in tw.search(job)] == sorted(scene["id"] for scene in product.report["scenes"])
    assert tw.plan(str(job)).raster.grid.extent.shape == (SIDE, SIDE)
    cube = tw.cube(job)
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.shape[2:] == (SIDE, SIDE)
    assert cube.chunks is not None, "nothing is read before it is computed"
    assert np.isfinite(cube.isel(time=0).compute()).any()


def test_a_refusal_names_the_key():
    with pytest.raises(JobError, match="areas"):
        tw.search(
            {
                "name": "x",
                "area": [0, 0, 1, 1],
                "areas": 1,
                "period": "2021-06-01/2021-06-30",
                "source": "earth-search",
                "model": "x",
            }
        )
    with pytest.raises(StoreError, match="holds no published product"):
        tw.open("nowhere/at/all")


@pytest.mark.parametrize("given", [None, 3, ["job.json"], b"job.json"])
def test_what_is_no_job_is_refused_in_words(given):
    with pytest.raises(JobError, match="A job is the path of its file, a mapping with its keys, or a Job"):
        tw.plan(given)
    with pytest.raises(StoreError):
        tw.open(given)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"perod": "2021-06"}, r"perod: unknown key \(did you mean 'period'\?\)"),
        ({"provider": "gpu"}, "provider: expected 'auto'"),
        ({"period": "soon"}, "period"),
    ],
)
def test_a_job_of_wrong_keys_is_refused_in_a_sentence(job, keys, words):
    with pytest.raises(JobError, match=words) as refused:
        tw.Job(**{**plain(job), **keys})
    assert "pydantic" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_a_table_that_is_none_is_told_apart(product):
    with pytest.raises(KeyError, match=r"no table \(did you mean 'manifest'\?\): there are manifest, items"):
        product.tables["manifst"]


def test_a_mapping_may_hold_paths(job, tmp_path):
    keys = {**json.loads(Path(job).read_text()), "output": tmp_path / "out"}
    keys["source"] = Path(keys["source"]) if isinstance(keys["source"], str) else keys["source"]
    assert [scene.id for scene in tw.search(keys)] == [scene.id for scene in tw.search(job)]


def test_damage_to_a_product_is_said_in_words(product, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(product.output, copy)
    with pytest.raises(KeyError, match="'water' is no layer of .*: it has class, confidence, observations"):
        tw.open(copy)["water"]
    with pytest.raises(KeyError):
        tw.open(copy)["spatial_ref"]
    (copy / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="is no table that can be read"):
        tw.open(copy).tables["manifest"]
    (copy / "report.json").write_text("[]")
    with pytest.raises(StoreError, match="does not say the grid"):
        list(tw.open(copy))
    shutil.rmtree(copy / "data.zarr")
    with pytest.raises(StoreError, match="data.zarr cannot be opened"):
        list(tw.open(copy))


def test_a_cube_of_an_input_that_is_none_is_refused(job):
    with pytest.raises(JobError, match=r"model_input 'y' is no input of .*: give one of"):
        tw.cube(job, model_input="y")


@pytest.mark.parametrize("name", ["tilewright", *(f"tilewright.{package}" for package in PACKAGES)])
def test_every_name_that_is_handed_on_exists(name):
    code = f"import {name} as face; [getattr(face, name) for name in face.__all__]; print(len(face.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 4
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        __import__(name, fromlist=["nothing"]).nothing  # noqa: B018


def test_the_import_is_quick_and_light():
    code = "import sys, tilewright; print(len(sys.modules))"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Modules, not seconds: an interpreter alone has some 60, numpy some 200 more.
    assert int(done.stdout) < 150, time.perf_counter() - began


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A user's folder whose own files and folders are named like our packages, and break whoever imports them."""
    for name in PACKAGES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the user')\n")
    (tmp_path / "more").mkdir()
    for name in (*PACKAGES, "tests", "deploy"):
        folder = tmp_path / "more" / name
        folder.mkdir()
        (folder / "__init__.py").write_text("raise RuntimeError('a folder of the user')\n")
    return tmp_path


@pytest.mark.parametrize("inside", ["", "more"])
def test_the_command_and_a_notebook_cell_run_beside_files_of_the_same_names(crowded, inside, job, tmp_path):
    """PYTHONPATH=. is what people set for their own modules: it must not break ours."""
    folder = crowded / inside
    env = {"PYTHONPATH": ".", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TILEWRIGHT_CACHE": str(tmp_path / "c")}
    command = Path(sys.executable).parent / "tilewright"
    cell = (
        f"import tilewright as tw; product = tw.run({str(job)!r}); print(sorted(product));"
        "from tilewright.tasks import load_cube; from tilewright.catalogs import search_scenes"
    )
    for words in ([str(command), "models", "list"], [sys.executable, "-c", cell]):
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "['class', 'confidence', 'observations']" in done.stdout
    assert (folder / "out").exists()
