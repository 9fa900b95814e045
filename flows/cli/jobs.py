"""What ``plan``, ``run`` and ``status`` do with the file of a job, or of a chain of jobs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tilewright.flows.cli.options import print_json
from tilewright.flows.cli.products import check_copy, copy_places
from tilewright.flows.shown import shown
from tilewright.tasks.progress import Stage
from tilewright.tasks.report.format import duration, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tilewright.flows.chain.chain import Chain
    from tilewright.flows.chain.plan import PlannedJob
    from tilewright.flows.cli.exits import Ending
    from tilewright.flows.cli.options import Printing
    from tilewright.flows.cli.printed.terminal import Terminal
    from tilewright.flows.estimate.drift import DriftLook
    from tilewright.flows.estimate.estimate import Estimate
    from tilewright.flows.estimate.pricing import Cost
    from tilewright.flows.job.job import Job
    from tilewright.flows.run.outcome import Outcome
    from tilewright.flows.runners.run_options import RunOptions
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan

FILES = {".yaml", ".yml", ".json"}
"""Endings of the files of jobs and chains."""


def plan_file(
    path: Path,
    changes: Sequence[str],
    output: str | None,
    how: Printing,
    *,
    prices: Path | None,
    n_shards: int,
    workers: int | None,
) -> None:
    """Print the plan of a job, or those of a chain's jobs, with their estimates."""
    from tilewright.flows.chain.chain import Chain
    from tilewright.flows.chain.plan import PlannedJob, plan_chain
    from tilewright.flows.cli.printed.products import print_finished, print_inputs
    from tilewright.flows.estimate.drift import look_for_drift
    from tilewright.flows.estimate.pricing import price, read_prices
    from tilewright.flows.plan.make import plan_job
    from tilewright.flows.plan.model_card import job_card

    table, told = read_prices(prices), []
    given = _read(path, changes, output)
    named = isinstance(given, Chain)
    with how.terminal() as terminal:
        terminal(Stage(name="plan"))
        if isinstance(given, Chain):
            planned = list(plan_chain(given))
        else:
            card = job_card(given)
            planned = [PlannedJob(job=given, card=card, plan=plan_job(given, card))]
        for each in planned:
            expected = None if each.plan is None else _expected(each.job, each.card, each.plan, workers)
            cost = None if expected is None else price(expected, table, n_machines=n_shards)
            look = None if each.plan is None else look_for_drift(each.plan, each.card)
            told.append((each, expected, cost, look))
    if how.as_json:
        plain = [_estimate_json(*each, n_shards=n_shards, named=named) for each in told]
        print_json({"jobs": plain} if named else plain[0])
        return
    for number, (each, expected, cost, look) in enumerate(told):
        if how.quiet:
            typer.echo(shown(_plan_line(each, expected)))
            continue
        if number:
            typer.echo("")
        if each.plan is None:
            print_finished(each.job.name, each.job.output_uri)
        else:
            _print(each, expected, cost, look, n_shards=n_shards)
            if how.verbose:
                print_inputs(each.plan)


def _read(path: Path, changes: Sequence[str], output: str | None) -> Job | Chain:
    """The job or the chain in a file."""
    from tilewright.flows.chain.chain import is_chain, make_chain
    from tilewright.flows.job.job import make_job, read_plain

    plain, base = read_plain(path), path.resolve().parent
    if is_chain(plain):
        return make_chain(plain, base=base, changes=changes, output=output)
    return make_job(plain, base=base, changes=tuple(changes), output=output)


def _plan_line(planned: PlannedJob, expected: Estimate | None) -> str:
    """What a plan would do, in one line."""
    name = planned.job.name
    if planned.plan is None or expected is None:
        return f"{name}: complete already in {planned.job.output_uri}"
    scenes = sum(len(entry.scenes) for entry in planned.plan.inputs)
    units = plural(len(planned.plan.raster.blocks), "unit" if planned.plan.places else "block")
    about = duration(expected.seconds) if expected.seconds else "a time that is not known"
    return f"{name}: {plural(scenes, 'scene')}, {units}, {about}, into {planned.job.output_uri}"


def _expected(job: Job, card: ModelCard, plan: Plan, workers: int | None) -> Estimate:
    if job.places is None:
        from tilewright.flows.estimate.estimate import estimate

        return estimate(plan, card, provider=job.provider, workers=workers)
    from tilewright.flows.estimate.places import estimate_places
    from tilewright.flows.plan.raster import job_rows

    rows = job_rows(job, card, plan.raster.lattice)
    return estimate_places(plan, card, rows, provider=job.provider, workers=workers)


def _estimate_json(
    planned: PlannedJob,
    expected: Estimate | None,
    cost: Cost | None,
    look: DriftLook | None,
    *,
    n_shards: int,
    named: bool,
) -> dict[str, Any]:
    from tilewright.flows.cli.printed.products import estimate_json

    place = {"name": planned.job.name, "output": planned.job.output_uri} if named else {}
    if planned.plan is None or expected is None or cost is None:
        return {**place, "state": "complete"}
    waits = {"state": "to do", "waits_for": list(planned.waits_for)} if named else {}
    drift = {} if look is None else look.to_json()
    warnings = () if look is None else look.warnings
    told = estimate_json(planned.plan, expected, cost=cost, n_shards=n_shards, warnings=warnings)
    return {**place, **waits, **told, **drift}


def _print(
    planned: PlannedJob, expected: Estimate | None, cost: Cost | None, look: DriftLook | None, *, n_shards: int
) -> None:
    from tilewright.flows.cli.printed.products import print_estimate
    from tilewright.flows.estimate.pricing import shard_lines

    assert planned.plan is not None, "there is a plan"
    assert expected is not None, "a plan has an estimate"
    assert cost is not None, "an estimate has a cost"
    waits = [("after", f"{', '.join(planned.waits_for)}, whose product is not there yet")] if planned.waits_for else []
    seen = [] if look is None else look.lines()
    more = [*waits, *cost.lines(), *shard_lines(planned.plan, expected, n_shards), *seen]
    print_estimate(planned.plan, expected, more=more, warnings=() if look is None else look.warnings)


def run_file(
    path: Path,
    changes: Sequence[str],
    output: str | None,
    options: RunOptions,
    ending: Ending,
    *,
    how: Printing,
    log: str,
    prefect: bool,
    to: Path | None,
) -> None:
    """Run a job, or the jobs of a chain in their order, and print what became of it; ``to``: a copy of its table."""
    from tilewright.flows.job.job import Job, JobError

    given = _read(path, changes, output)
    if isinstance(given, Job):
        ending.output = given.output_uri
        ending.products = [{"name": given.name, "output": given.output_uri}]
        if to is not None:
            check_copy(given, to)
    elif to is not None:
        raise JobError("--to: a chain makes several products: copy a table of one of them with tilewright export.")
    outcomes: list[Outcome] = []
    one = isinstance(given, Job)
    with how.terminal(silent=_use_json_log(log)) as terminal:
        for outcome in _outcomes(given, options, terminal, _maker(options, prefect=prefect)):
            ending.output = outcome.output
            outcomes.append(outcome)
            ending.products = [{"name": each.name, "output": each.output, "state": "complete"} for each in outcomes]
            if to is not None:
                copy_places(outcome, to)
            if not how.as_json and (one or not how.quiet):
                terminal.close_run(outcome, copied=to, newer=0 if how.quiet else _newer(given, outcome))
    if how.as_json:
        summaries = [{**outcome.summary(), **_newer_json(given, outcome)} for outcome in outcomes]
        print_json(summaries[0] if one else {"jobs": summaries})
    elif how.quiet and not one:
        typer.echo(shown(f"{path.name}: {plural(len(outcomes), 'product')} complete"))
    if prefect:
        _leave_lost_server()


def _newer(given: Job | Chain, outcome: Outcome) -> int:
    """The number of newer scenes that there are for the product of a single job that stood already."""
    from tilewright.flows.job.job import Job

    if not outcome.already_complete or not isinstance(given, Job):
        return 0
    from tilewright.flows.maintain.newer import newer_scenes

    return newer_scenes(given, outcome.output)


def _newer_json(given: Job | Chain, outcome: Outcome) -> dict[str, int]:
    return {"newer_scenes": newer} if (newer := _newer(given, outcome)) else {}


def _outcomes(
    given: Job | Chain, options: RunOptions, terminal: Terminal, make: Callable[..., Outcome]
) -> Iterator[Outcome]:
    from tilewright.flows.job.job import Job

    if isinstance(given, Job):
        yield make(given, options, listener=terminal)
        return
    from tilewright.flows.chain.run import run_chain

    yield from run_chain(given, options, listener=terminal, make=make)


def tell_status(targets: Sequence[str], *, as_json: bool) -> None:
    """Print the states of products: of one, of several or of those in a folder, a row each; of a job or a chain."""
    from tilewright.flows.chain.chain import read_chain
    from tilewright.flows.chain.run import chain_status
    from tilewright.flows.cli.printed.products import print_status, print_statuses
    from tilewright.flows.job.job import read_job
    from tilewright.flows.maintain.status import folder_status, product_status, products_in

    first = Path(targets[0])
    if len(targets) == 1 and first.suffix.lower() in FILES and first.is_file():
        chain = read_chain(first)
        if chain is not None:
            _tell_chain(chain_status(chain), as_json=as_json)
            return
        targets = [read_job(first).output_uri]
    outputs = [found for target in targets for found in products_in(target)]
    told = [product_status(each) if each in targets else folder_status(each) for each in outputs]
    if outputs == [*targets] and len(told) == 1:
        if as_json:
            print_json(told[0])
        else:
            print_status(told[0])
    elif as_json:
        print_json([{**each, "output": output} for each, output in zip(told, outputs, strict=True)])
    else:
        print_statuses(list(zip(outputs, told, strict=True)))


def _tell_chain(told: list[dict[str, Any]], *, as_json: bool) -> None:
    from tilewright.flows.cli.printed.products import print_status

    if as_json:
        print_json({"jobs": told})
        return
    for each in told:
        print_status(each)


def _maker(options: RunOptions, *, prefect: bool) -> Callable[..., Outcome]:
    """What runs a job: here, as a flow run, or with shards sent to a deployment."""
    from tilewright.flows.run.predict import run_job

    if prefect:
        under_prefect: Callable[..., Outcome] = _prefect_flows("--prefect").run_under_prefect
        return under_prefect
    if options.deployment is not None:
        return partial(run_job, send_shard=_prefect_flows("--deployment").shard_sender(options.deployment))
    return run_job


def _leave_lost_server() -> None:
    from tilewright.flows.prefect_server import exit_now, server_is_unreachable

    if server_is_unreachable():
        exit_now(0)


def _prefect_flows(option: str) -> Any:
    """The module of Prefect's flows. Raises RunnerError if a package that the option needs is missing."""
    try:
        from tilewright.flows.prefect_flows import flows
    except ModuleNotFoundError as error:
        from tilewright.flows.errors import RunnerError

        raise RunnerError(
            f"{option} needs {error.name}: pip install -c constraints.txt -e '.[flows]' in Tilewright's folder."
        ) from error
    return flows


def _use_json_log(log: str) -> bool:
    """True for structured logs instead of bars; also turns them on, through the environment."""
    if log not in {"bars", "json"}:
        raise typer.BadParameter(f"{log!r}: expected bars or json", param_hint="--log")
    if log == "json":
        from tilewright.flows.environment import use_json_log

        use_json_log()
    return log == "json"
