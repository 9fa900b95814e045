"""Seeing a run: progress.json, structured logs, metrics, spans; nothing of it where nobody asked."""

from __future__ import annotations

import io
import json
import logging
import signal
import subprocess
import sys

import pytest

from tests.support.danube import water_job
from tests.support.paths import ROOT
from tests.support.products import read, write_job
from tilewright.flows.ending import EndedError
from tilewright.flows.environment import MonitorSettings, monitor_settings
from tilewright.flows.monitor.logs import JsonLog
from tilewright.flows.monitor.metrics import Metrics, MetricsError, serve_metrics
from tilewright.flows.monitor.monitor import watched
from tilewright.flows.monitor.progress_file import EVERY_SECONDS, ProgressFile
from tilewright.flows.monitor.traces import TraceListener
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Advance, Notice, Stage, silent
from tilewright.tasks.read.failures import ReadError
from tilewright.tasks.storage.storage import open_storage

EVENTS = (
    Stage(name="blocks", total=3),
    Advance(km2=2.0, block="1_1", bytes_read=10, seconds={"read": 1.0, "infer": 2.0}),
    Advance(km2=1.0, block="1_2", bytes_read=5, seconds={"read": 0.5}),
    Notice(text="read failed: https://x/a.tif?sig=SECRET", block="1_2", item="S2A"),
)
FAILED = ReadError(item="S2A", band="red", href="https://x/a.tif?sig=SECRET", reason="answers 404", block="1_3")


def test_progress_is_written_at_stages_and_every_few_seconds(tmp_path):
    now = [0.0]
    storage = open_storage(str(tmp_path / "out"), create=True)
    progress = ProgressFile(storage, "water", clock=lambda: now[0])
    progress(EVENTS[0])
    assert storage.read_json("progress.json")["total"] == 3
    progress(EVENTS[1])
    assert storage.read_json("progress.json")["done"] == 0, "too soon"
    now[0] += EVERY_SECONDS
    progress(EVENTS[2])
    existing = storage.read_json("progress.json")
    assert (existing["done"], existing["km2"], existing["state"]) == (2, 3.0, "running")
    assert existing["km2_per_s"] == pytest.approx(3.0 / EVERY_SECONDS)
    progress.close(FAILED)
    existing = storage.read_json("progress.json")
    assert existing["state"] == "failed"
    assert existing["failure"]["class"] == "gone"


@pytest.mark.parametrize("rows", [0, 256])
def test_progress_of_places_counts_rows_and_tells_no_rate_where_none_was_made(tmp_path, rows):
    now = [0.0]
    storage = open_storage(str(tmp_path / "out"), create=True)
    progress = ProgressFile(storage, "water", clock=lambda: now[0])
    progress(Stage(name="blocks", total=2, rows=256))
    progress(Advance(done=1))
    if rows:
        progress(Advance(rows=rows, block="1_0"))
    now[0] += EVERY_SECONDS
    progress(Stage(name="blocks", total=2, rows=256))
    progress.close(None)
    found = storage.read_json("progress.json")
    assert not {"km2", "km2_per_s"} & found.keys()
    assert found["places"] == rows
    assert ("places_per_s" in found) == bool(rows)


def test_every_log_record_has_run_block_and_item_and_no_signature():
    stream = io.StringIO()
    log = JsonLog("water", stream=stream)
    for event in EVENTS:
        log(event)
    logging.getLogger("library").warning("slow %s", "disk")
    log.ended(FAILED)
    logging.getLogger("library").warning("after")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all({"time", "level", "run", "block", "item", "message"} <= set(record) for record in records)
    assert [record["block"] for record in records] == ["", "1_1", "1_2", "1_2", "", "1_3"]
    assert records[3]["item"] == records[5]["item"] == "S2A"
    assert records[5]["error_class"] == "gone"
    assert "SECRET" not in stream.getvalue()


def test_metrics_count_blocks_ground_bytes_and_seconds():
    prometheus = pytest.importorskip("prometheus_client", reason="the extra `watching` is not installed")
    registry = prometheus.CollectorRegistry()
    metrics = Metrics("water", registry=registry)
    for event in EVENTS:
        metrics(event)
    metrics.ended(None)
    value = registry.get_sample_value
    assert value("tilewright_blocks_total", {"run": "water", "state": "done"}) == 2
    assert value("tilewright_km2_total", {"run": "water"}) == 3.0
    assert value("tilewright_read_bytes_total", {"run": "water"}) == 15
    assert value("tilewright_stage_seconds_total", {"run": "water", "stage": "read"}) == 1.5
    assert value("tilewright_runs_total", {"run": "water", "state": "complete"}) == 1


def test_a_port_that_is_none_is_refused():
    pytest.importorskip("prometheus_client", reason="the extra `watching` is not installed")
    with pytest.raises(MetricsError, match="TILEWRIGHT_METRICS_PORT=many"):
        serve_metrics("many", host="127.0.0.1", run="water")


def test_spans_of_blocks_lie_in_their_stage_and_it_in_the_run():
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra `watching` is not installed")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = TraceListener("water", tracer=provider.get_tracer("test"))
    for event in EVENTS:
        spans(event)
    spans.ended(FAILED)
    made = {span.name: span for span in exporter.get_finished_spans()}
    assert made["tilewright.block"].parent.span_id == made["tilewright.blocks"].context.span_id
    assert made["tilewright.blocks"].parent.span_id == made["tilewright.run"].context.span_id
    assert made["tilewright.run"].attributes["tilewright.error_class"] == "gone"
    assert "SECRET" not in str(made["tilewright.run"].to_json())


def test_monitors_that_are_not_requested_are_not_imported(tmp_path):
    probe = (
        "import sys; from tilewright.flows.monitor.monitor import watched;"
        "from tilewright.flows.environment import monitor_settings;"
        "from tilewright.tasks.storage.storage import open_storage;"
        "from tilewright.tasks.progress import silent\n"
        f"storage = open_storage({str(tmp_path / 'out')!r}, create=True)\n"
        "with watched(silent, storage, 'x', monitor_settings({})): pass\n"
        "print(sorted({'prometheus_client', 'opentelemetry', 'tilewright.flows.monitor.logs'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environ", "settings"),
    [
        ({"TILEWRIGHT_LOG": "bars", "TILEWRIGHT_METRICS_PORT": "", "OTEL_TRACES_EXPORTER": "none"}, {}),
        ({"TILEWRIGHT_LOG": "JSON"}, {"json_log": True}),
        ({"TILEWRIGHT_METRICS_PORT": "9"}, {"metrics_port": "9"}),
        ({"TILEWRIGHT_METRICS_HOST": "0.0.0.0"}, {"metrics_host": "0.0.0.0"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, {"traces": True}),
    ],
)
def test_the_environment_says_how_a_run_is_monitored(environ, settings):
    assert monitor_settings(environ) == MonitorSettings(**settings)


def test_a_failed_run_reaches_every_monitor_and_is_raised(tmp_path, capsys):
    storage = open_storage(str(tmp_path / "out"), create=True)

    def broken():
        with watched(silent, storage, "water", monitor_settings({"TILEWRIGHT_LOG": "json"})) as listener:
            listener(EVENTS[0])
            raise FAILED

    with pytest.raises(ReadError):
        broken()
    assert storage.read_json("progress.json")["state"] == "failed"
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == ["info", "error"]


def test_a_run_leaves_its_progress_complete(real, tmp_path):
    run_job(water_job(real, tmp_path / "out"))
    existing = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert (existing["name"], existing["state"], existing["stage"]) == ("water", "complete", "publish")
    assert existing["km2"] > 10
    assert existing["done"] == existing["total"] > 0


@pytest.mark.usefixtures("small_pictures")
def test_blocks_are_counted_in_every_stage_after_a_resume_and_after_an_update(tmp_path):
    job, output = write_job(tmp_path, side=128), tmp_path / "out"

    def counted():
        progress = json.loads((output / "progress.json").read_text())
        return progress["state"], progress["done"], progress["total"]

    made = []

    def broken(event):
        made.extend([event.block] if isinstance(event, Advance) and event.block else [])
        if len(made) == 3:
            raise FAILED

    with pytest.raises(ReadError):
        run_job(read(job, output), listener=broken)
    state, done, total = counted()
    assert (state, total) == ("failed", 16)
    assert done == 2
    run_job(read(job, output))
    assert counted() == ("complete", 16, 16)
    next((output / ".tilewright" / "ledger").glob("*.json")).unlink()
    run_job(read(job, output), RunOptions(update=True))
    assert counted() == ("complete", 16, 16)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt(), "Interrupted"),
        (EndedError(signal.SIGTERM), "Ended by SIGTERM"),
        (EndedError(signal.SIGHUP), "Ended by SIGHUP"),
    ],
)
def test_a_run_that_was_ended_has_not_failed(tmp_path, capsys, error, reason):
    prometheus = pytest.importorskip("prometheus_client", reason="the extra `watching` is not installed")
    storage = open_storage(str(tmp_path / "out"), create=True)

    def ended():
        with watched(silent, storage, "water", monitor_settings({"TILEWRIGHT_LOG": "json"})) as listener:
            listener(EVENTS[0])
            raise error

    with pytest.raises(KeyboardInterrupt):
        ended()
    progress = storage.read_json("progress.json")
    assert (progress["state"], progress["reason"]) == ("interrupted", reason)
    assert "failure" not in progress
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["level"], last["message"]) == ("warning", reason)
    registry = prometheus.CollectorRegistry()
    Metrics("water", registry=registry).ended(error)
    assert registry.get_sample_value("tilewright_runs_total", {"run": "water", "state": "interrupted"}) == 1
