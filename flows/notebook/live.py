"""A run under way in a notebook: one output that is redrawn, with the stages done and how far the present one is."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tilewright.tasks.notebook import card, clean, lines
from tilewright.tasks.progress import Advance, Event, Notice, Stage
from tilewright.tasks.report.format import duration

if TYPE_CHECKING:
    from collections.abc import Callable

STAGE_WORDS = {
    "job": "Job",
    "sample": "Building the simulated sample",
    "search": "Searching",
    "plan": "Planning",
    "prepare": "Preparing the output",
    "blocks": "Mapping blocks",
    "cogs": "Writing Cloud-Optimized GeoTIFFs",
    "publish": "Publishing",
    "zones": "Measuring zones",
    "evaluate": "Holding the map against labels",
    "trust": "Finding what is to be trusted",
    "count": "Counting the pixels of strata",
    "draw": "Drawing places",
    "chips": "Reading pictures of places",
    "export": "Writing tables",
    "backfill": "Making products",
}
"""What a person reads of each stage."""

REDRAWN = 0.3
"""Seconds between two pictures of a stage: a notebook keeps up with no more."""

MOST_NOTICES = 5


@dataclass(slots=True)
class Live:
    """A listener that gives its state as rich text to ``show`` when it changes, a few times a second at most.

    Its last picture stays in the notebook: the stages with their seconds, and what there was to say.
    """

    title: str
    show: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    done: list[tuple[str, float]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    stage: Stage | None = None
    n_done: int = 0
    began: float = 0.0
    shown_at: float = float("-inf")

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Stage():
                self._end_stage()
                self.stage, self.n_done, self.began = event, 0, self.clock()
                self._draw(now=True)
            case Advance():
                self.n_done += event.done
                self._draw(now=False)
            case Notice():
                self.notices.append(event.text)
                self._draw(now=True)

    def close(self) -> None:
        """Draw the last state, with no stage under way; nothing where nothing was told."""
        self._end_stage()
        if self.done or self.notices:
            self._draw(now=True)

    def _end_stage(self) -> None:
        if self.stage is not None:
            self.done.append((stage_words(self.stage), self.clock() - self.began))
        self.stage = None

    def _draw(self, *, now: bool) -> None:
        if not now and self.clock() - self.shown_at < REDRAWN:
            return
        self.shown_at = self.clock()
        ended: list[tuple[str, object]] = [(words, duration(round(seconds, 1))) for words, seconds in self.done]
        present = [] if self.stage is None else [(stage_words(self.stage), self._bar(self.stage))]
        left_out = len(self.notices) - MOST_NOTICES
        told = [*self.notices[:MOST_NOTICES], *([f"and {left_out} more notices"] if left_out > 0 else [])]
        self.show(card(self.title, [*ended, *present], pieces=[lines(told)]))

    def _bar(self, stage: Stage) -> Markup:
        if not stage.total:
            return clean("…")
        n_done = min(self.n_done, stage.total)
        return Markup('<progress value="{0}" max="{1}"></progress> {0} of {1}').format(n_done, stage.total)


def stage_words(stage: Stage) -> str:
    """What a person reads of a stage."""
    name = f"Answering units of {stage.rows} rows" if stage.rows else STAGE_WORDS.get(stage.name, stage.name)
    return f"{name} ({stage.note})" if stage.note else name


def live(title: str) -> Live | None:
    """A listener that draws into the notebook this runs in; None elsewhere. IPython is not imported for it."""
    module: Any = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    return Live(title=title, show=lambda html: handle.update(HTML(html)))
