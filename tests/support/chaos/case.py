"""One product under disturbance: the runs that make it, what stood after each, and what did not hold."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.chaos.checks import (
    Reference,
    bad_words,
    differences,
    early_listings,
    leftovers,
    shard_keys,
    standing,
)
from tests.support.chaos.places import Place
from tests.support.chaos.processes import Forks, Launch, Moment, Running

RUN_SECONDS = 120.0
"""Seconds after which a run that has not ended counts as one that hangs."""


ITEM, MISSING = "item.json", " is missing"

LISTING = ("collection.json ", "items.parquet ")
"""A product's last writes, as differences name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that did not hold: after which kind of disturbance, in which case, and what."""

    kind: str
    case: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command on the product and the product it must end with; ``others`` may be listed until then.

    One that ``restarts`` throws away what stands whenever it is called.
    """

    job: Path
    reference: Reference
    options: tuple[str, ...] = ()
    others: tuple[Reference, ...] = ()
    restarts: bool = False


@dataclass(slots=True, kw_only=True)
class Case:
    """One output from its first run to its last. ``kept``: what stood at the last look, as (entry, marks of shards)."""

    name: str
    place: Place
    forks: Forks
    random: random.Random
    steps: list[Step]
    violations: list[Violation] = field(default_factory=list)
    kept: dict[str, tuple[bytes, Mapping[str, object]]] = field(default_factory=dict)
    finished: bool = False

    @property
    def step(self) -> Step:
        """The step in work."""
        return self.steps[0]

    def start(
        self,
        *options: str,
        host: str | None = None,
        at: Moment | None = None,
        ahead: float = 0.0,
        file_limit: int | None = None,
    ) -> Running:
        """The step's command under way."""
        step = self.step
        words = ("run", str(step.job), "--output", self.place.uri, *(options or ("--workers", "1")), *step.options)
        return self.forks.start(
            Launch(
                words=words, env=self.place.env, host=host, at=at, ahead=ahead, file_limit=file_limit
            )
        )  # fmt: skip

    def end(self, kind: str, run: Running, *, expected: Sequence[int] | None = None) -> int:
        """The exit code of a run; one that is not ``expected`` is noted, and words that a person should not see."""
        try:
            code = run.ended(RUN_SECONDS)
        except AssertionError as error:
            self.note(kind, str(error))
            return -9
        if code >= 0:
            for words in bad_words(code, run.said()):
                self.note(kind, f"{words}: {_last(run.said())}")
        if expected is not None and code not in expected:
            self.note(kind, f"exit code {code}, not {' or '.join(map(str, expected))}: {_last(run.said())}")
        return code

    def note(self, kind: str, words: str) -> None:
        """Note that something did not hold."""
        if all(known.words != words for known in self.violations):
            self.violations.append(Violation(kind=kind, case=self.name, words=words))

    def look(self, kind: str, *, late_put: bool = False) -> None:
        """Check what must hold at any moment at which no run is under way, and note what does not.

        ``late_put``: a process in a bucket was stopped, maybe between its look at the lock and its put of a shard, or
        the removals with which it began, which it does when it wakes (SECURITY.md, "One owner"). The same bytes are
        the same product; and what such removals leave is the product without some of its objects, which the next run
        must put back.
        """
        step, objects = self.step, self.place.objects()
        ours = differences(objects, step.reference)
        self.finished = ITEM in objects and not ours
        if not (late_put and all(words.endswith(MISSING) for words in ours)):
            for words in early_listings(objects):
                self.note(kind, f"an early listing: {words}")
            # Collection and table come after the Item, which they list.
            if ITEM in objects and all(self._lacks(objects, each) for each in (step.reference, *step.others)):
                self.note(kind, f"the Item is there, the product is not whole: {', '.join(ours[:6])}")
        now = {} if step.restarts else standing(objects, step.reference)
        for name, (entry, shards) in self.kept.items():
            if now.get(name) != entry:
                self.note(kind, f"block {name} stood and was {'done again' if name in now else 'lost'}")
            elif not late_put and (
                again := [key for key, mark in self.place.written(list(shards)).items() if shards[key] != mark]
            ):
                self.note(kind, f"block {name} stood and was written again: {again[0]}")
        self.kept = {name: (entry, self._marks(name)) for name, entry in now.items()}

    @staticmethod
    def _lacks(objects: Mapping[str, bytes], reference: Reference) -> bool:
        return any(not words.startswith(LISTING) for words in differences(objects, reference))

    def _marks(self, name: str) -> Mapping[str, object]:
        return self.place.written(shard_keys(name, self.step.reference))

    def next_step(self) -> bool:
        """True if another step follows the one that is done."""
        if len(self.steps) == 1:
            return False
        self.steps.pop(0)
        self.kept, self.finished = {}, False
        return True

    def complete(self, kind: str = "last run") -> None:
        """Run without a disturbance, and check that all is as if there never was one."""
        if not self.finished:
            self.end(kind, self.start(), expected=(0,))
            self.look(kind)
            if not self.finished:
                self.note(kind, f"not the undisturbed product: {self._wrong()}")
        cleaned = self.forks.start(Launch(words=("clean", self.place.uri), env=self.place.env))
        self.end("clean", cleaned, expected=(0,))
        if remains := leftovers(self.place.objects()):
            self.note("clean", f"left behind: {', '.join(remains[:4])}")

    def _wrong(self) -> str:
        return ", ".join(differences(self.place.objects(), self.step.reference)[:8]) or "the Item is not there"


def _last(said: str) -> str:
    return " / ".join(said.strip().splitlines()[-2:])[-400:]
