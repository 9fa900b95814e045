"""A product of very many blocks: what it costs to look at it, to go on with it, to finish and to clean it.

`python -m tests.benchmarks.many_blocks FOLDER [--sides 100 316]` prints one JSON line for so many blocks along each
side: CPU seconds of each kind of work. The blocks are tiny, empty and recorded with the project's own functions, so
that their pixels cost little and what is left is the cost of their number. 316 a side are 100 000 blocks.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.memory import build_square
from tilewright.flows.job.job import read_job
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.run.prepare import clear_output, declare_product
from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.storage.ledger import BlockEntry, write_entry
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.store import open_store

BLOCK = 64
"""Pixels of a block's side."""

TIMED = """
import atexit, functools, importlib, json, sys, time
parts = {}
def timed(module, name):
    home = importlib.import_module("tilewright." + module)
    real = getattr(home, name)
    @functools.wraps(real)
    def call(*given, **named):
        began = time.process_time()
        try:
            return real(*given, **named)
        finally:
            parts[name.lstrip("_")] = parts.get(name.lstrip("_"), 0.0) + time.process_time() - began
    setattr(home, name, call)
for at in sys.argv[2].split():
    timed(*at.split(":"))
atexit.register(lambda: open(sys.argv[1], "w").write(json.dumps({**parts, "process": time.process_time()})))
from tilewright.flows.cli.__main__ import program
program(sys.argv[3:])
"""

PARTS = {
    "status": "flows.maintain.status:product_status",
    "resume": (
        "flows.run.predict:read_existing flows.run.predict:new_plan flows.run.pipeline:declare_product "
        "flows.run.pipeline:clear_output flows.run.missing_blocks:read_entries flows.run.missing_blocks:_verified "
        "flows.run.pipeline:do_missing_blocks flows.run.pipeline:_write_cogs flows.run.pipeline:_publish_product "
        "tasks.publish.publish:report_json tasks.publish.publish:render_report tasks.publish.publish:part_facts "
        "tasks.publish.publish:check_published tasks.publish.publish:build_item"
    ),
    "again": "flows.run.predict:read_existing",
    "update": "flows.run.predict:read_existing flows.run.predict:new_plan",
    "clean": "flows.maintain.clean:_leftover_files",
}
"""The functions whose seconds are told, by kind of work."""


def build_product(folder: Path, *, side: int) -> tuple[Path, Path]:
    """The job and the output of a product that is not finished: its blocks are all recorded, none has a pixel."""
    job = build_square(folder, side=side * BLOCK)
    plain = json.loads(job.read_text())
    plain |= {"tile": {"block": BLOCK, "step": BLOCK}, "limits": {"blocks": 10**6}, "cog": {"max_side": 4096}}
    job.write_text(json.dumps(plain))
    output = folder / f"product-{side}"
    shutil.rmtree(output, ignore_errors=True)
    read, storage = read_job(job), open_storage(str(output), create=True)
    card = job_card(read)
    plan = plan_job(read, card)
    clear_output(storage, plan, replace=False, renew=False)
    declare_product(storage, plan, card, zarr_format=3)
    blocks = plan.raster.all_blocks()
    store = open_store(storage, **plan.raster.store_boxes)
    names = (*plan.raster.layers, "observations")
    checksums = store.block_checksum(plan.raster.product_box_of(blocks[0].inner), names)
    for block in blocks:
        entry = BlockEntry(
            row=block.row,
            col=block.col,
            key=block_key(plan, block),
            written=False,
            checksums=checksums,
            windows_run=1,
            observed={entry.name: ((0, 0),) * len(entry.steps) for entry in plan.inputs},
            seconds={"read": 1.5, "infer": 0.4, "write": 0.1},
            scenes=tuple(scene.id for scene in plan.inputs[0].scenes),
        )
        write_entry(storage, entry)
    return job, output


def cpu_of(kind: str, told: Path, arguments: list[str]) -> dict[str, float]:
    """CPU seconds of a command and of its parts."""
    command = [sys.executable, "-c", TIMED, str(told), PARTS[kind], *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {name: round(seconds, 2) for name, seconds in json.loads(told.read_text()).items()}


def main() -> None:
    """Measure every kind of work at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[100, 316])
    asked = parser.parse_args()
    for side in asked.sides:
        folder = asked.folder.resolve()
        job, output = build_product(folder, side=side)
        run = ["run", str(job), "--output", str(output), "--json"]
        works = {
            "status": ["status", str(output), "--json"],
            "resume": run,
            "again": run,
            "update": [*run, "--update"],
            "clean": ["clean", str(output)],
        }
        answer = {name: cpu_of(name, folder / "told.json", arguments) for name, arguments in works.items()}
        print(json.dumps({"benchmark": "many_blocks", "blocks": side**2, **answer}), flush=True)


if __name__ == "__main__":
    main()
