"""The commands that make several products of one job file: ``watch`` and ``backfill``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tilewright.flows.cli.exits import exit_codes
from tilewright.flows.cli.options import AsJson, Runner, Workers, print_json
from tilewright.flows.shown import shown

Template = Annotated[Path, typer.Argument(metavar="JOB", help="The job; {period} or {name} in it is filled.")]


def watch(
    job: Template,
    *,
    every: Annotated[Literal["none", "day", "month", "year"], typer.Option(help="A product per period.")] = "none",
    overlap_days: Annotated[float, typer.Option(min=0, help="Look so far behind the newest scene.")] = 10,
    runner: Runner = "threads",
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Look once for scenes that are new or changed, and redo just the blocks they touch."""
    with exit_codes(resumable=True):
        from datetime import UTC, datetime, timedelta

        from tilewright.flows.cli.terminal import Terminal
        from tilewright.flows.job.job import read_plain
        from tilewright.flows.maintain.watch import watch_once
        from tilewright.flows.runners.run_options import RunOptions

        with Terminal(quiet=as_json) as terminal:
            results = watch_once(
                read_plain(job),
                base=job.resolve().parent,
                now=datetime.now(UTC),
                every=every,
                overlap=timedelta(days=overlap_days),
                options=RunOptions(runner=runner, workers=workers),
                listener=terminal,
            )
        from tilewright.tasks.report.format import plural

        rows = [
            f"{result.name}: {result.state}, {plural(len(result.scenes), 'new scene')}, {result.output}"
            for result in results
        ]
        _show([result.summary() for result in results], rows, as_json=as_json)


def backfill(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, YAML or JSON: name, area and period per row.")],
    job: Annotated[Path, typer.Option("--job", help="The job that each row fills; {name} stands for the row's.")],
    home: Annotated[str, typer.Option(help="Where the list of what became of the rows is kept: folder or s3://.")],
    *,
    at_once: Annotated[int, typer.Option(min=1, help="How many products at a time.")] = 1,
    only: Annotated[str | None, typer.Option(metavar="REASON", help="Only rows that failed for it.")] = None,
    runner: Runner = "threads",
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Make a product per row of a table. A second call does those that are missing."""
    with exit_codes(resumable=True):
        from tilewright.flows.job.job import make_job, read_plain
        from tilewright.flows.maintain.backfill import backfill_jobs, read_table, run_backfill
        from tilewright.flows.run.predict import run_job
        from tilewright.flows.runners.run_options import RunOptions

        options, base = RunOptions(runner=runner, workers=workers), job.resolve().parent
        jobs = backfill_jobs(read_plain(job), read_table(table))

        def run_row(plain: dict[str, Any]) -> None:
            run_job(make_job(plain, base=base), options)

        rows = run_backfill(jobs, run_row, home=home, at_once=at_once, only=only)
        _show(
            [{"name": row.name, "state": row.state} for row in rows],
            [f"{row.name}: {row.state}" for row in rows],
            as_json=as_json,
        )


def _show(plain: list[dict[str, Any]], lines: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(plain)
    else:
        typer.echo("\n".join(shown(line) for line in lines))
