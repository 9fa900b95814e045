"""What is asked of finished products as flow runs: how good a map is, after each new one or each new set of labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from tilewright.flows.ask.evaluate import DOCUMENT, PAGE, Wanted, evaluate_output
from tilewright.flows.prefect_flows.artifacts import Artifacts, place_url
from tilewright.flows.prefect_flows.flows import answer
from tilewright.flows.prefect_flows.secrets import refuse_secrets
from tilewright.flows.prefect_server import server_answers
from tilewright.flows.shown import shown

if TYPE_CHECKING:
    from collections.abc import Sequence


@flow(name="evaluate", persist_result=False)
def evaluate(
    output: str,
    labels: str,
    *,
    column: str | None = None,
    layer: str | None = None,
    maps: dict[str, list[str]] | None = None,
    by: str | None = None,
    to: str | None = None,
) -> Any:
    """Hold a finished product against a file of labels, as ``tilewright evaluate`` does; answers its sentences.

    The page and the figures are written ``to`` a place, or into the product; the artifacts ``evaluation`` and
    ``evaluation-page`` show the sentences and where the page is.
    """

    def work() -> dict[str, Any]:
        refuse_secrets({"output": output, "labels": labels, "to": to}, "evaluate")
        wanted = Wanted(column=column, layer=layer, maps=maps or {}, by=by)
        told = evaluate_output(output, Path(labels), wanted, to=to, listener=Artifacts(None))
        place = _absolute(to or output)
        _show(told["summary"], place)
        return {"summary": told["summary"], "document": f"{place}/{DOCUMENT}"}

    return answer(work)


def _absolute(place: str) -> str:
    """A folder as others find it, a URI as it is; without a slash at its end."""
    return (place if "://" in place else str(Path(place).expanduser().resolve())).rstrip("/")


def _show(sentences: Sequence[str], place: str) -> None:
    """Create the artifacts of an evaluation; none while the server is unreachable: the files are there without."""
    if server_answers():
        lines = "\n".join(f"    {shown(line)}" for line in sentences)
        create_markdown_artifact(key="evaluation", markdown=f"# How good the map is\n\n{lines}\n")
        create_link_artifact(key="evaluation-page", link=place_url(f"{place}/{PAGE}"), link_text=PAGE)
