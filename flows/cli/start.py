"""The commands of the first minutes: ``demo``, ``init``, ``schema``, ``doctor``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tilewright.flows.cli.exits import exit_codes, say
from tilewright.flows.cli.options import AsJson, print_json
from tilewright.flows.shown import shown, wrapped

DemoFolder = Annotated[Path | None, typer.Option(help="Where the sample and the products go.")]

JobToBe = Annotated[Path, typer.Argument(metavar="JOB", help="The file to write.")]

AreaText = Annotated[str, typer.Option("--area", "--bbox", help="minx,miny,maxx,maxy in degrees, 33UUP, or a file.")]


def demo(
    folder: DemoFolder = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Build the embedded sample and map water and change on it."""
    with exit_codes(resumable=True, as_json=as_json):
        from tilewright.flows.cli.printed.terminal import Terminal
        from tilewright.flows.start.demo import run_demo

        with Terminal(quiet=as_json) as terminal:
            outcomes = run_demo(folder, listener=terminal)
            if as_json:
                print_json([outcome.summary() for outcome in outcomes])
            else:
                terminal.close_demo(outcomes)


def init(
    job: JobToBe = Path("job.yaml"),
    *,
    area: AreaText = "",
    period: Annotated[str, typer.Option(help="2021-06-01/2021-06-30, 2021-06, 2021-Q2 ...")] = "",
    before: Annotated[str, typer.Option(help="The earlier period, of a model that compares two.")] = "",
    after: Annotated[str, typer.Option(help="The later period, of a model that compares two.")] = "",
    source: Annotated[str, typer.Option(help="A known source, or a catalog's path or URL.")] = "",
    model: Annotated[str, typer.Option(help="A built-in name, or a card's path or URL.")] = "",
    name: Annotated[str, typer.Option(help="The product's name.")] = "",
    output: Annotated[str, typer.Option(help="A folder or s3://bucket/prefix.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Write over a file that is there.")] = False,
) -> None:
    """Write a job with comments: what no option says is asked for, on a terminal."""
    with exit_codes():
        from tilewright.flows.start.begin import begin_job

        given = {"area": area, "period": period, "before": before, "after": after, "source": source}
        given |= {"model": model, "name": name, "output": output}
        asked = {key: text for key, text in given.items() if text.strip()}
        ask = _ask if sys.stdin.isatty() and sys.stdout.isatty() else None
        begun = begin_job(job, asked, ask=ask, complain=say, replace=replace)
        path = shown(str(begun.job))
        typer.echo(f"{path} is written; {shown(begun.schema.name)} beside it is for editors. Next:")
        typer.echo(f"  tilewright search {path}   # which scenes there are")
        typer.echo(f"  tilewright plan {path}     # what it will take")
        typer.echo(f"  tilewright run {path}      # the map")


def _ask(question: str, usual: str) -> str:
    first, *more = question.splitlines()
    typer.echo("\n".join([*wrapped(first[0].upper() + first[1:], 100), *more]))
    # An empty answer without a usual one is judged as any other, with a sentence.
    answer: str = typer.prompt(">", default=usual, show_default=bool(usual), prompt_suffix=" ")
    return answer


def schema(of: Annotated[str, typer.Argument(metavar="job|card", help="Of a job, or of a model's card.")]) -> None:
    """Print the JSON Schema of a job or a card, by which editors complete and check it."""
    with exit_codes():
        if of == "job":
            from tilewright.flows.schema.job_schema import job_schema as make
        elif of == "card":
            from tilewright.flows.schema.card_schema import card_schema as make
        else:
            raise typer.BadParameter(f"there is a schema of a job and of a card: write job or card (given: {of}).")
        print_json(make())


def doctor(
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no source whether it answers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what this installation has and lacks, and what to install. Exits with 1 where no run would work."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.start.doctor import BROKEN, LACKS, look_around

        found, topic = [], ""
        for finding in look_around(offline=offline):
            found.append(finding)
            if as_json:
                continue
            if finding.topic != topic:
                topic = finding.topic
                typer.echo(topic)
            mark = {BROKEN: "!", LACKS: "-"}.get(finding.state, " ")
            typer.echo("\n".join(wrapped(f"{mark} {shown(finding.name):<19} {shown(finding.words)}", 100, hanging=22)))
        if as_json:
            print_json([finding.to_json() for finding in found])
        if any(finding.state == BROKEN for finding in found):
            say("No run works here before what is marked with ! is mended.")
            raise typer.Exit(1)
        if not as_json:
            lacking = any(finding.state == LACKS for finding in found)
            typer.echo("Models run here." + (" Runs that need what is marked with - do not." if lacking else ""))
