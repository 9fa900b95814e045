"""The commands that make several products of one job file: ``watch`` and ``backfill``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tilewright.flows.cli.exits import exit_codes
from tilewright.flows.cli.options import (
    AsJson,
    Notify,
    Printing,
    Quiet,
    Runner,
    Verbose,
    Workers,
    print_json,
)
from tilewright.flows.shown import shown

Template = Annotated[Path, typer.Argument(metavar="JOB", help="The job; {period} or {name} in it is filled.")]


def watch(
    job: Template,
    *,
    every: Annotated[Literal["none", "day", "month", "year"], typer.Option(help="A product per period.")] = "none",
    overlap_days: Annotated[float, typer.Option(min=0, help="Look so far behind the newest scene.")] = 10,
    runner: Runner = "threads",
    workers: Workers = None,
    notify: Notify = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Look once for scenes that are new or changed, and redo just the blocks they touch."""
    with exit_codes(resumable=True, as_json=as_json) as ending:
        from datetime import UTC, datetime, timedelta

        from tilewright.flows.job.job import read_plain
        from tilewright.flows.maintain.watch import watch_once
        from tilewright.flows.runners.run_options import RunOptions
        from tilewright.tasks.report.format import plural

        how = Printing(as_json=as_json, quiet=quiet, verbose=verbose)
        ending.notify_of("watch", notify)
        with how.terminal() as terminal:
            results = watch_once(
                read_plain(job),
                base=job.resolve().parent,
                now=datetime.now(UTC),
                every=every,
                overlap=timedelta(days=overlap_days),
                options=RunOptions(runner=runner, workers=workers),
                listener=terminal,
            )
        ending.products = [{"name": each.name, "output": each.output, "state": each.state} for each in results]
        rows = [
            f"{result.name}: {result.state}, {plural(len(result.scenes), 'new scene')}, {result.output}"
            for result in results
        ]
        _show([result.summary() for result in results], rows, how)


def backfill(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV, YAML or JSON: name, area (or west,south,east,north), period.")
    ],
    job: Annotated[Path, typer.Option("--job", help="The job that each row fills; {name} stands for the row's.")],
    home: Annotated[str, typer.Option(help="Where the list of what became of the rows is kept: folder or s3://.")],
    *,
    at_once: Annotated[int, typer.Option(min=1, help="How many products at a time.")] = 1,
    only: Annotated[str | None, typer.Option(metavar="REASON", help="Only rows that failed for it.")] = None,
    runner: Runner = "threads",
    workers: Workers = None,
    notify: Notify = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Make a product per row of a table. A second call does those that are missing."""
    with exit_codes(resumable=True, as_json=as_json) as ending:
        from tilewright.flows.job.job import make_job, read_plain
        from tilewright.flows.maintain.backfill import RowsFailedError, backfill_jobs, read_table, run_backfill
        from tilewright.flows.run.predict import run_job
        from tilewright.flows.runners.run_options import RunOptions

        how = Printing(as_json=as_json, quiet=quiet, verbose=verbose)
        ending.notify_of("backfill", notify)
        options, base = RunOptions(runner=runner, workers=workers), job.resolve().parent
        jobs = backfill_jobs(read_plain(job), read_table(table))
        outputs = {str(plain["name"]): str(plain.get("output") or f"out/{plain['name']}") for plain in jobs}

        def run_row(plain: dict[str, Any]) -> None:
            run_job(make_job(plain, base=base), options)

        failure = None
        try:
            with how.terminal() as terminal:
                rows = run_backfill(jobs, run_row, home=home, at_once=at_once, only=only, listener=terminal)
        except RowsFailedError as error:
            rows, failure = error.rows, error
        ending.products = [{"name": row.name, "output": outputs[row.name], "state": row.state} for row in rows]
        _show([row.summary() for row in rows], [row.line() for row in rows], how)
        ending.printed = as_json
        if failure is not None:
            raise failure


def _show(plain: list[dict[str, Any]], lines: list[str], how: Printing) -> None:
    """Print products as JSON, a line each, or how many are in which state in one line."""
    if how.as_json:
        print_json(plain)
        return
    if how.quiet:
        from tilewright.tasks.report.format import plural

        counts = Counter(str(each["state"]) for each in plain)
        lines = [
            f"{plural(len(plain), 'product')}: {', '.join(f'{n} {state}' for state, n in counts.items()) or 'none'}"
        ]
    for line in lines:
        typer.echo(shown(line))
