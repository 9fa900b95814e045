"""What is asked of finished products as flow runs: where to look, how good a map is, how it differs from another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from tilewright.flows.ask.compare import NotSameError, asked_points, compare_outputs, wanted_tolerances
from tilewright.flows.ask.sample import draw_sample
from tilewright.flows.ask.sample_page import check_page, write_page
from tilewright.flows.ask.sample_request import SampleRequest
from tilewright.flows.audit.files import DOCUMENT, PAGE, Wanted
from tilewright.flows.audit.series import evaluate_at
from tilewright.flows.prefect_flows.artifacts import Artifacts, place_url
from tilewright.flows.prefect_flows.flows import answer
from tilewright.flows.prefect_flows.secrets import refuse_secrets
from tilewright.flows.prefect_server import server_answers
from tilewright.flows.shown import shown
from tilewright.tasks.audit.design.table import check_fresh
from tilewright.tasks.tables.convert import check_target, write_as

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
    ious: list[float] | None = None,
    trust: float | None = None,
    to: str | None = None,
) -> Any:
    """Hold a finished product against a file of labels, as ``tilewright evaluate`` does; answers its sentences.

    ``ious`` are the overlaps from which objects of a table count, ``trust`` the coverage of each class at which the map
    is to be trusted.

    The page and the figures are written ``to`` a place, or into the product; the artifacts ``evaluation`` and
    ``evaluation-page`` show the sentences and where the page is.
    """

    def work() -> dict[str, Any]:
        refuse_secrets({"output": output, "labels": labels, "to": to}, "evaluate")
        wanted = Wanted(column=column, layer=layer, maps=maps or {}, by=by, ious=tuple(ious or ()), trust=trust)
        told = evaluate_at(output, Path(labels), wanted, to=to, listener=Artifacts(None))
        place = _absolute(to or output)
        page = None if "dates" in told else f"{place}/{PAGE}"
        _show("evaluation", "How good the map is", told["summary"], page)
        return {"summary": told["summary"], "document": f"{place}/{DOCUMENT}"}

    return answer(work)


@flow(name="sample", persist_result=False)
def sample(
    output: str,
    to: str,
    *,
    n: int | None = None,
    standard_error: float | None = None,
    expect: dict[str, float] | float | None = None,
    layer: str | None = None,
    strata: str | None = None,
    scheme: str = "stratified",
    allocation: str = "proportional",
    least: int = 2,
    min_distance: float = 0.0,
    seed: int = 1,
    page: str | None = None,
    trusted: bool = False,
) -> Any:
    """Draw places to label from a finished product, as ``tilewright sample`` does; answers its facts.

    They are written ``to`` a file of a known format where the worker runs, with a ``page`` beside them on which to
    label them, if one is named; the artifacts ``sample`` and ``sample-page`` show the strata and where the page is.
    """

    def work() -> dict[str, Any]:
        refuse_secrets({"output": output, "to": to, "page": page, "strata": strata}, "sample")
        target, shown_at = Path(to), None if page is None else Path(page)
        check_target(target, product=output)
        check_fresh(target)
        if shown_at is not None:
            check_page(shown_at, product=output, n=n)
        request = SampleRequest(
            n=n,
            standard_error=standard_error,
            expect={} if expect is None else {"": expect} if isinstance(expect, (int, float)) else expect,
            layer=layer,
            strata=strata,
            scheme=scheme,
            allocation=allocation,
            least=least,
            min_distance=min_distance,
            seed=seed,
        )
        drawn = draw_sample(output, request, listener=Artifacts(None))
        if shown_at is not None:
            write_page(output, drawn, shown_at, trusted=trusted, listener=Artifacts(None))
        write_as(drawn.table, target)
        place = _absolute(to)
        _show("sample", "Places to label", [*drawn.lines(to=place)], None if page is None else _absolute(page))
        return {**drawn.to_json(), "to": place, "page": None if page is None else _absolute(page)}

    return answer(work)


@flow(name="compare", persist_result=False)
def compare(
    a: str,
    b: str,
    *,
    to: str | None = None,
    labels: str | None = None,
    column: str | None = None,
    layer: str | None = None,
    maps: dict[str, list[str]] | None = None,
    same: bool = False,
    differ: float | dict[str, float] | None = None,
    atol: float | dict[str, float] | None = None,
    rtol: float | dict[str, float] | None = None,
    iou: float | dict[str, float] | None = None,
) -> Any:
    """Hold two finished products against each other, as ``tilewright compare`` does; answers its sentences.

    With ``same`` the run fails where they are not the same within the tolerances, which are numbers for all or by
    layer. The page, the figures and the maps are written ``to`` a place, if any; the artifacts ``comparison`` and
    ``comparison-page`` show the sentences and where the page is.
    """

    def work() -> dict[str, Any]:
        refuse_secrets({"a": a, "b": b, "labels": labels, "to": to}, "compare")
        tolerances = wanted_tolerances(same=same, differ=differ, atol=atol, rtol=rtol, iou=iou)
        points = asked_points(None if labels is None else Path(labels), column=column, layer=layer, maps=maps or {})
        told = compare_outputs(a, b, to=to, labels=points, same=tolerances)
        place = None if to is None else _absolute(to)
        _show("comparison", "What differs", told["summary"], None if place is None else f"{place}/comparison.html")
        if told["same"] and not told["same"]["same"]:
            raise NotSameError(told["same"]["sentence"])
        return {"summary": told["summary"], "document": None if place is None else f"{place}/comparison.json"}

    return answer(work)


def _absolute(place: str) -> str:
    """A folder as others find it, a URI as it is; without a slash at its end."""
    return (place if "://" in place else str(Path(place).expanduser().resolve())).rstrip("/")


def _show(key: str, title: str, sentences: Sequence[str], page: str | None) -> None:
    """Create the artifacts of an answer; none while the server is unreachable: the files are there without."""
    if server_answers():
        lines = "\n".join(f"    {shown(line)}" for line in sentences)
        create_markdown_artifact(key=key, markdown=f"# {title}\n\n{lines}\n")
        if page is not None:
            create_link_artifact(key=f"{key}-page", link=place_url(page), link_text=page.rpartition("/")[2])
