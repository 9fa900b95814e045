"""The `tilewright` command. Slow modules are imported only by the command that needs them."""

from __future__ import annotations

from typing import Annotated

import typer

from tilewright.flows.cli.commands import Commands
from tilewright.flows.cli.exits import exit_codes, say
from tilewright.flows.cli.find import find, sample
from tilewright.flows.cli.models import models_app
from tilewright.flows.cli.options import (
    AsJson,
    JobFile,
    Notify,
    OutputUri,
    Prices,
    Printing,
    Quiet,
    Runner,
    Set,
    TableFile,
    Target,
    Targets,
    Verbose,
    Version,
    Wait,
    Workers,
    print_json,
    wait_seconds,
)
from tilewright.flows.cli.products import catalog, compare, evaluate, export, push, view, zones
from tilewright.flows.cli.series import backfill, watch
from tilewright.flows.cli.start import demo, doctor, init, schema
from tilewright.flows.shown import shown
from tilewright.tasks.progress import Stage

app = typer.Typer(
    cls=Commands,
    name="tilewright",
    help="Maps the Earth with your model: STAC scenes in, exact tiled inference, COG + Zarr + STAC out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(models_app, name="models")

for command in (
    demo,
    init,
    schema,
    doctor,
    watch,
    backfill,
    push,
    view,
    catalog,
    compare,
    evaluate,
    zones,
    find,
    sample,
    export,
):
    app.command()(command)


@app.callback()
def main(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error, with any command.")] = False,
    version: Version = False,
) -> None:
    """Take the common options."""
    del debug, version  # found among the words by exit_codes, and acted on where it is parsed


@app.command()
def plan(
    job: JobFile,
    changes: Set = [],  # noqa: B006
    output: OutputUri = None,
    prices: Prices = None,
    shards: Annotated[int, typer.Option(min=1, help="Show how a region of so many shards would be cut.")] = 1,
    *,
    workers: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Say what a job would do: scenes, grid, blocks, windows, bytes, memory, time, cost. Writes no product."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.cli.jobs import plan_file

        how = Printing(as_json=as_json, quiet=quiet, verbose=verbose)
        plan_file(job, changes, output, how, prices=prices, n_shards=shards, workers=workers)


@app.command()
def run(
    job: JobFile,
    changes: Set = [],  # noqa: B006
    output: OutputUri = None,
    *,
    workers: Workers = None,
    runner: Runner = "threads",
    shards: Annotated[int, typer.Option(min=1, help="Cut the blocks into so many flow runs of their own.")] = 1,
    deployment: Annotated[str | None, typer.Option(help="The deployment that does a shard: shard/cpu.")] = None,
    retry: Annotated[str | None, typer.Option(metavar="REASON", help="Only blocks set aside for it, or all.")] = None,
    log: Annotated[str, typer.Option(help="bars, or json for structured logs on stderr.")] = "bars",
    prefect: Annotated[bool, typer.Option("--prefect", help="As a Prefect flow run.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Plan anew; redo only the blocks that changed.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Throw the standing product away first.")] = False,
    wait: Wait = "0",
    to: TableFile = None,
    notify: Notify = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run a job. A second call resumes what was interrupted, or says that the product is complete."""
    with exit_codes(resumable=True, restarts="--replace" if replace else "", as_json=as_json) as ending:
        from tilewright.flows.cli.jobs import run_file
        from tilewright.flows.machine import process_age
        from tilewright.flows.runners.run_options import RunOptions

        how = Printing(as_json=as_json, quiet=quiet, verbose=verbose)
        ending.notify_of("run", notify)
        options = RunOptions(
            runner=runner,
            workers=workers,
            update=update,
            replace=replace,
            startup_seconds=process_age(),
            shards=shards,
            deployment=deployment,
            retry=retry,
            wait=wait_seconds(wait),
        )
        run_file(job, changes, output, options, ending, how=how, log=log, prefect=prefect, to=to)


@app.command()
def status(outputs: Targets, *, as_json: AsJson = False) -> None:
    """Say how far products are, from the ledger alone: one, several, those in a folder, or those of a chain's file."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.cli.jobs import tell_status

        tell_status(outputs, as_json=as_json)


@app.command()
def search(
    job: JobFile,
    changes: Set = [],  # noqa: B006
    *,
    as_json: AsJson = False,
    as_items: Annotated[bool, typer.Option("--items", help="Print a STAC ItemCollection for other programs.")] = False,
) -> None:
    """List the scenes a job would use, with their radiometric state and cloud cover."""
    with exit_codes(as_json=as_json or as_items):
        from tilewright.flows.cli.printed.scenes import item_collection, print_scenes, search_rows, search_words
        from tilewright.flows.cli.printed.terminal import Terminal
        from tilewright.flows.job.job import read_job
        from tilewright.flows.plan.input_plans import search_refusal
        from tilewright.flows.plan.model_card import job_card
        from tilewright.flows.plan.scenes import asked_area, find_items, no_scenes, period_shares

        checked = read_job(job, changes=tuple(changes))
        with Terminal(quiet=as_json or as_items) as terminal:
            terminal(Stage(name="search"))
            card = job_card(checked)
            found = find_items(checked, card)
        shares = period_shares(checked, found.scenes)
        for sentence in search_words(found, shares):
            say(sentence)
        if as_json or as_items:
            print_json((item_collection if as_items else search_rows)(found, asked_area(checked), shares))
        elif found.scenes:
            print_scenes(found.scenes, asked_area(checked))
        else:
            typer.echo(shown(no_scenes(checked, card, found)))
        if found.scenes and (refusal := search_refusal(checked, card, found.scenes)):
            say(f"! A plan of this job is refused: {refusal}")


@app.command()
def clean(
    output: Target,
    older_than: Annotated[str, typer.Option(help="Only what is older, e.g. 7d, 12h.")] = "0d",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what a broken run left behind; never a published product."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.maintain.clean import clean_output

        removed = clean_output(output, older_than=older_than, dry_run=dry_run, say=say)
        if as_json:
            print_json({"removed": removed, "dry_run": dry_run})
        else:
            from tilewright.tasks.report.format import plural

            verb = "would go" if dry_run else "removed"
            what = f"{plural(len(removed), 'object')} {verb}." if removed else "Nothing to clean."
            typer.echo(what + "".join(f"\n  {shown(key)}" for key in removed))


@app.command()
def rerun(
    item: Annotated[str, typer.Argument(metavar="OUTPUT|ITEM", help="A product's folder or URI, or its item.json.")],
    output: OutputUri = None,
    *,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="The product is your own: read whatever it names.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild a product from its Item alone, and say whether it came out identical."""
    with exit_codes(resumable=True, as_json=as_json):
        from tilewright.flows.cli.printed.terminal import Terminal
        from tilewright.flows.maintain.rerun import rerun_item

        with Terminal(quiet=as_json) as terminal:
            comparison = rerun_item(item, output=output, trusted=trusted, listener=terminal)
        if as_json:
            print_json(comparison)
        else:
            typer.echo(shown(comparison["sentence"]))
        if not comparison["identical"]:
            raise typer.Exit(1)
