"""The job as a Prefect flow run: same pixels, progress and report shown, refusals said once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.danube import WATER, water_fields, water_job, write_water_job
from tests.support.products import same_layers, tilewright
from tilewright.flows.prefect_flows.secrets import SecretError, refuse_secrets
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import silent

pytest.importorskip("prefect", reason="the extra `flows` is not installed")

TILE = {"block": 512}


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server of its own for all tests: a fresh home costs 20 s."""
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    os.environ["DO_NOT_TRACK"] = "1"
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


def job(real, output, **changes):
    return water_job(real, output, tile=TILE, **changes)


@pytest.fixture(scope="module")
def plain(real, tmp_path_factory):
    return run_job(job(real, tmp_path_factory.mktemp("plain") / "out")).output


def test_a_flow_run_gives_the_same_arrays_and_shows_progress_report_and_links(server, real, plain, tmp_path):
    from prefect.client.orchestration import get_client

    from tilewright.flows.prefect_flows.flows import run_under_prefect

    events = []
    outcome = run_under_prefect(job(real, tmp_path / "out"), RunOptions(), listener=events.append)
    assert same_layers(outcome.output, plain)
    assert {type(event).__name__ for event in events} >= {"Stage", "Advance"}
    with get_client(sync_client=True) as client:
        left = {artifact.key: artifact for artifact in client.read_artifacts()}
        runs = client.read_flow_runs()
    assert left["blocks-done"].data == 100.0
    assert "water" in left["run-report"].data
    assert "item.json" in left["product"].data
    assert left["preview"].type == "image"
    assert [run.state.name for run in runs if run.name == "water"] == ["Completed"]


def test_a_refusal_fails_the_flow_run_once_with_its_sentence(server, real, tmp_path):
    from prefect.client.orchestration import get_client

    from tilewright.flows.job.job import JobError
    from tilewright.flows.prefect_flows.flows import run_under_prefect

    refused = job(real, tmp_path / "out", name="refused", period="2001-01-01/2001-02-01")
    with pytest.raises(JobError, match="No scenes"):
        run_under_prefect(refused, RunOptions(), listener=silent)
    with get_client(sync_client=True) as client:
        run = next(run for run in client.read_flow_runs() if run.name == "refused")
        tries = [task.run_count for task in client.read_task_runs() if task.flow_run_id == run.id]
    assert (run.state.name, run.state.type.value) == ("Refused", "FAILED")
    assert run.state.message.startswith("No scenes for input")
    assert tries in ([1], [])
    assert not (tmp_path / "out").exists()


def test_the_command_exits_2_with_one_sentence_and_no_traceback(server, real, tmp_path):
    from prefect.settings import PREFECT_API_URL

    job = write_water_job(tmp_path, real, period="2001-01-01/2001-02-01")
    env = {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(tmp_path / "home")}
    answer = tilewright("run", job, "--prefect", env=env)
    assert answer.returncode == 2, answer.stderr
    assert "tilewright: No scenes for input" in answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
    assert "telemetry" not in answer.stderr


def test_a_region_is_one_flow_run_with_a_sub_flow_per_shard(server, real, plain, tmp_path):
    from prefect.client.orchestration import get_client

    from tilewright.flows.prefect_flows.flows import region
    from tilewright.flows.prefect_flows.form import JobForm

    fields = water_fields(real, name="region", tile=TILE, output=str(tmp_path / "out"))
    answer = region(JobForm(**fields), shards=2, workers=1)
    assert answer["state"] == "complete"
    assert same_layers(tmp_path / "out", plain)
    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs() if run.name.startswith("shard-")]
    assert sorted((run.name, run.state.name) for run in runs) == [
        ("shard-1-of-2", "Completed"),
        ("shard-2-of-2", "Completed"),
    ]
    assert all(run.parent_task_run_id for run in runs)


def test_a_process_worker_in_another_folder_runs_a_deployment_by_its_module(server, real, plain, tmp_path):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL

    from tilewright.flows.prefect_flows.flows import predict

    fields = water_fields(real, name="deployed", tile=TILE, output=str(tmp_path / "out"))
    (tmp_path / "elsewhere").mkdir()
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="here", type="process"))
        deployment = client.create_deployment(
            flow_id=client.create_flow(predict),
            name="cpu",
            entrypoint="tilewright.flows.prefect_flows.predict",
            work_pool_name="here",
            pull_steps=[
                {"prefect.deployments.steps.set_working_directory": {"directory": str(tmp_path / "elsewhere")}}
            ],
            parameters={"job": fields},
        )
        run = client.create_flow_run_from_deployment(deployment)
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "here", "--type", "process", "--run-once"],
            cwd=tmp_path,
            env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        state = client.read_flow_run(run.id).state
    assert state.name == "Completed", (state, done.stdout[-3000:], done.stderr[-3000:])
    assert same_layers(tmp_path / "out", plain)


def test_the_module_entrypoint_loads_from_any_folder(tmp_path):
    probe = (
        "from prefect.flows import load_flow_from_entrypoint as load;"
        "address = 'tilewright.flows.prefect_flows.';"
        "print(*[load(address + name).name for name in ('predict', 'region', 'watch', 'backfill')])"
    )
    answer = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["predict", "region", "watch", "backfill"]


@pytest.mark.parametrize(
    "source",
    [
        "https://x.blob.core.windows.net/a.json?se=2026&sig=abc",
        {"href": "https://user:pw@example.com/stac"},
        {"files": [{"href": "s3://a/b?X-Amz-Signature=1"}]},
        {"href": "https://example.com", "token": "abc"},
    ],
)
def test_a_parameter_with_a_secret_is_refused_without_repeating_it(source):
    with pytest.raises(SecretError, match=r"job\.source") as refusal:
        refuse_secrets({**WATER, "source": source}, "job")
    assert "abc" not in str(refusal.value)


def test_plain_hrefs_and_names_are_no_secrets():
    refuse_secrets({**WATER, "source": "https://example.com/stac?collections=a"}, "job")


def test_a_form_gives_one_of_both_whatever_a_page_enters():
    from tilewright.flows.prefect_flows.form import JobForm

    common = {"name": "a", "area": [13.1, 48.2, 13.2, 48.3], "period": "2021"}
    assert JobForm(**common, source="earth-search", sources={}).plain()["source"] == "earth-search"
    plain = JobForm(**common, source="earth-search", sources={"a": "b"}).plain()
    assert plain["sources"] == {"a": "b"}
    assert "source" not in plain


def test_products_are_compared_as_a_flow_run_that_fails_where_they_are_not_the_same(server, plain, tmp_path):
    import shutil

    import zarr
    from prefect.client.orchestration import get_client

    from tilewright.flows.prefect_flows import compare

    answered = compare(str(plain), str(plain), to=str(tmp_path / "cmp"), same=True)
    assert answered["summary"][0] == "The same: nothing differs."
    assert json.loads(Path(answered["document"]).read_text())["summary"] == answered["summary"]
    other = Path(shutil.copytree(plain, tmp_path / "other"))
    array = zarr.open_group(other / "data.zarr", mode="r+", use_consolidated=False)["class"]
    assert isinstance(array, zarr.Array)
    array[:] = 255
    state = compare(str(plain), str(other), same=True, differ={"class": 0.5}, return_state=True)
    assert (state.name, state.type.value) == ("Failed", "FAILED")
    assert state.message.startswith("Not the same: in class 100 % of the")
    assert compare(str(plain), str(other), same=True, differ=1)["document"] is None
    with get_client(sync_client=True) as client:
        left = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert "comparison" in left
    assert (tmp_path / "cmp" / "comparison.html").as_posix() in left["comparison-page"].data


def test_places_to_label_are_drawn_as_a_flow_run_as_the_command_draws_them(server, plain, tmp_path):
    from prefect.client.orchestration import get_client
    from typer.testing import CliRunner

    from tilewright.flows.cli.main import app
    from tilewright.flows.prefect_flows import sample

    words = {"n": 12, "least": 3, "seed": 5}
    answered = sample(str(plain), str(tmp_path / "a.geojson"), page=str(tmp_path / "label.html"), **words)
    assert (answered["n"], answered["to"]) == (12, str(tmp_path / "a.geojson"))
    said = ["sample", str(plain), "--n", "12", "--least-per-stratum", "3", "--seed", "5"]
    (tmp_path / "b").mkdir()
    assert CliRunner().invoke(app, [*said, "--to", str(tmp_path / "b" / "a.geojson")]).exit_code == 0
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b" / "a.geojson").read_bytes()
    with get_client(sync_client=True) as client:
        left = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert "12 places to label" in left["sample"].data
    assert (tmp_path / "label.html").as_posix() in left["sample-page"].data
    for name, asked, words in (
        ("new.csv", {"n": 0}, "give 1 to"),
        ("new.csv", {"n": 9, "scheme": "x"}, "--scheme"),
        ("a.geojson", {"n": 9}, "may hold labels"),
    ):
        state = sample(str(plain), str(tmp_path / name), return_state=True, **asked)
        assert (state.name, words in state.message) == ("Refused", True), state.message


def test_a_product_is_evaluated_as_a_flow_run_with_its_sentences_and_page(server, plain, tmp_path):
    from prefect.client.orchestration import get_client

    from tilewright.flows.prefect_flows import evaluate

    labels = tmp_path / "labels.csv"
    labels.write_text("lon,lat,class\n13.13,48.285,water\n13.14,48.29,other\n13.12,48.28,other\n")
    answered = evaluate(str(plain), str(labels), to=str(tmp_path / "scores"))
    assert any("3" in sentence for sentence in answered["summary"]), answered["summary"]
    assert json.loads(Path(answered["document"]).read_text())["summary"] == answered["summary"]
    with get_client(sync_client=True) as client:
        left = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert answered["summary"][0] in left["evaluation"].data
    assert (tmp_path / "scores" / "evaluation.html").as_posix() in left["evaluation-page"].data
    for asked, words in (
        ({"trust": 2}, "--trust 2"),
        ({"trust": 0.9}, "needs 9 labels of a class"),
        ({"ious": [7]}, "--iou 7"),
    ):
        state = evaluate(str(plain), str(labels), to=str(tmp_path / "scores"), return_state=True, **asked)
        assert (state.name, words in state.message) == ("Refused", True), state.message
    state = evaluate(str(plain), str(tmp_path / "none.csv"), return_state=True)
    assert (state.name, state.type.value) == ("Refused", "FAILED")
    assert "none.csv" in state.message
    state = evaluate("s3://key:hidden7@bucket/out", str(labels), return_state=True)
    assert state.is_failed()
    assert "hidden7" not in state.message
