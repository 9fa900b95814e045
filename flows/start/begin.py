"""A job begun for somebody: each answer checked as it comes, then written as YAML with words beside its keys."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sources.registry import known_sources, resolve_source
from tilewright.flows.environment import cache_folder, certificates
from tilewright.flows.job.areas.area import AreaError, read_area
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.job.period import as_periods, checked_name
from tilewright.flows.schema.job_schema import TITLE, job_schema
from tilewright.flows.schema.texts import TEXTS
from tilewright.models.card.registry import builtin_titles, find_card
from tilewright.models.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMA_NAME: Final = "job.schema.json"

USUAL: Final = {"source": "earth-search", "model": "ndwi-water"}
"""Answers that are taken where nobody gives another."""

OFFERED: Final = {
    "grid": "{resolution: 20}",
    "filter": "{max_cloud: 60}",
    "mask": "{dilation: 60}",
    "layers": "[class]",
    "polygons": "class",
    "limits": "{memory_mb: 4000}",
}
"""Options that stand in a new job as comments, with an example each."""


class BeginError(ValueError):
    """A job that cannot be begun: a question that nobody can be asked, or a file that is there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The files that were written."""

    job: Path
    schema: Path


def begin_job(
    path: Path,
    given: Mapping[str, str],
    *,
    ask: Callable[[str, str], str] | None = None,
    complain: Callable[[str], None] = lambda _: None,
    replace: bool = False,
) -> Begun:
    """A new job in ``path``, from the answers ``given`` (name, area, source, model, period, before, after, output).

    ``ask(question, usual)`` gets those that are missing (a question may have several lines), None where nobody can be
    asked; ``complain`` says why an answer was not taken, and it is asked for again. Paths among the answers are those
    of the working folder.

    Raises BeginError where a needed answer is missing or wrong and nobody can be asked, and where the file is there.
    """
    if path.exists() and not replace:
        raise BeginError(f"{path} is there already: give another name, or --replace.")
    if path.suffix.lower() not in {".yaml", ".yml"}:
        raise BeginError(f"{path}: a job is written as YAML: give a name that ends in .yaml.")
    talk = _Talk(given=dict(given), home=path.resolve().parent, ask=ask, complain=complain)
    plain = _answers(talk, path)
    try:
        make_job(plain, base=talk.home)
    except JobError as error:
        raise BeginError(str(error)) from error
    schema = path.with_name(SCHEMA_NAME)
    if schema.exists() and TITLE not in schema.read_text("utf-8", errors="replace"):
        raise BeginError(f"{schema} is there already and is none of Tilewright's: write the job into another folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    schema.write_text(json.dumps(job_schema(), indent=1) + "\n", encoding="utf-8")
    path.write_text(_written(plain), encoding="utf-8")
    return Begun(job=path, schema=schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Talk:
    """The answers that were given, and who may be asked for the others."""

    given: dict[str, str]
    home: Path
    ask: Callable[[str, str], str] | None
    complain: Callable[[str], None]

    def answer(self, key: str, question: str, take: Callable[[str], Any], usual: str = "") -> Any:
        """The answer for a key as ``take`` reads it, which raises ValueError for one that is none."""
        text = self.given.get(key, "")
        while True:
            if not text:
                text = self._asked(key, question, usual)
            if not text and self.ask is not None:
                self.complain("nothing is usual here: give an answer")
                continue
            try:
                return take(text)
            except ValueError as error:
                if self.ask is None or key in self.given:
                    raise BeginError(f"--{key}: {error}") from error
                self.complain(str(error))
                text = ""

    def _asked(self, key: str, question: str, usual: str) -> str:
        if self.ask is not None:
            return self.ask(question, usual).strip()
        if usual:
            return usual
        raise BeginError(f"--{key} is missing, and nobody can be asked here: {question.splitlines()[0].rstrip('.')}.")


def _answers(talk: _Talk, path: Path) -> dict[str, Any]:
    area = talk.answer("area", f"where? {TEXTS['area']}", lambda text: _area(text, talk.home))
    sources = {name: each.title for name, each in known_sources().items()}
    question = _choices("scenes from where? One of these, or a catalog's path or URL", sources)
    source = talk.answer("source", question, lambda text: _source(text, talk.home), USUAL["source"])
    question = _choices("which model? One of these, or a card's path or URL", builtin_titles())
    model, kinds = talk.answer("model", question, lambda text: _model(text, talk.home), USUAL["model"])
    period = _period(talk, pair="pair" in kinds)
    name = talk.answer("name", "the product's name", checked_name, path.stem if _is_name(path.stem) else "job")
    output = talk.given.get("output") or f"out/{name}"
    return {"name": name, "area": area, "period": period, "source": source, "model": model, "output": output}


def _choices(question: str, choices: Mapping[str, str]) -> str:
    """The question with what may be answered beneath it, a line each."""
    width = max(map(len, choices))
    return "\n".join([question, *(f"  {name:<{width}}  {title}" for name, title in choices.items())])


def _period(talk: _Talk, *, pair: bool) -> Any:
    """The period, or the two of a model that compares dates. Raises BeginError for the other kind."""
    said = [key for key in ("period", "before", "after") if talk.given.get(key)]
    if pair and "period" in said:
        raise BeginError("--period: this model compares two dates: give --before and --after.")
    if not pair and {"before", "after"} & {*said}:
        raise BeginError("--before and --after are for models that compare two dates: give --period.")
    if not pair:
        return talk.answer("period", f"when? {TEXTS['period']}", _one_period)
    return {
        key: talk.answer(key, f"{key} what changed? 2021-06-01/2021-06-30 or the like", _one_period)
        for key in ("before", "after")
    }


def _one_period(text: str) -> str:
    as_periods(text)
    return text.strip()


def _is_name(text: str) -> bool:
    try:
        checked_name(text)
    except ValueError:
        return False
    return True


def _area(text: str, home: Path) -> Any:
    """The area as it is written into the job: a box as its numbers, a file by its path from the job."""
    written = _from_home(text, home)
    try:
        read_area(written, base=home)
    except AreaError as error:
        raise ValueError(str(error)) from error
    plain = yaml.safe_load(f"[{text.strip(' []()')}]") if not written.lstrip().startswith(("POLY", "MULTI")) else None
    box = isinstance(plain, list) and len(plain) == 4 and all(isinstance(each, (int, float)) for each in plain)
    return plain if box else written


def _source(text: str, home: Path) -> str:
    written = _from_home(text, home)
    try:
        resolve_source(written, base=home)
    except CatalogError as error:
        raise ValueError(str(error)) from error
    return written


def _model(text: str, home: Path) -> tuple[str, set[str]]:
    """The model as it is written into the job, and the kinds of dates that it takes."""
    written = _from_home(text, home)
    try:
        card = find_card(written, base=home, cache=cache_folder() / "models", certificates=certificates())
    except CardError as error:
        raise ValueError(str(error)) from error
    return written, {spec.dates.kind for spec in card.inputs}


def _from_home(text: str, home: Path) -> str:
    """A path of the working folder as seen from the job's, which is how jobs name files; any other text as it is."""
    path = Path(text).expanduser()
    if "://" in text or "\0" in text or not os.path.exists(path):  # noqa: PTH110 -- a text may be too long for a path
        return text
    return os.path.relpath(path, home) if not path.is_absolute() else str(path)


def _written(plain: Mapping[str, Any]) -> str:
    """The job as YAML: its keys with a word on each, and further ones as comments."""
    lines = [f"# yaml-language-server: $schema={SCHEMA_NAME}"]
    for key, value in plain.items():
        lines += [f"# {TEXTS[key]}", f"{key}: {json.dumps(value, ensure_ascii=False)}"]
    lines += ["", "# More, where it is wanted (all keys: flows/README.md):"]
    lines += [f"# {key}: {example}  # {TEXTS[key]}" for key, example in OFFERED.items()]
    return "\n".join(lines) + "\n"
