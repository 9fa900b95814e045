"""The bounded run of many disturbances: lanes side by side, each a row of products, and the table of what happened."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.chaos.case import Case, Step, Violation
from tests.support.chaos.checks import Reference
from tests.support.chaos.events import EVENTS
from tests.support.chaos.places import FolderPlace, Place
from tests.support.chaos.processes import Forks, Launch

SIDE, TILE = 530, {"block": 160, "step": 32}
"""A product of 20 blocks with one smaller level."""

EVENTS_PER_STEP = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Two requests over one place, the second with a scene more, and the products that each must end with.

    ``weight``: how often they are taken, beside those of other pairs.
    """

    weight: float
    first: Path
    second: Path
    references: tuple[Reference, Reference]

    def steps(self, chance: random.Random) -> list[Step]:
        """The commands of one case: a run, then perhaps an update, then perhaps a replacement."""
        one, two = self.references
        steps = [Step(job=self.first, reference=one)]
        if chance.random() < 0.6:
            steps.append(Step(job=self.second, reference=two, options=("--update",), others=(one,)))
            if chance.random() < 0.4:
                steps.append(Step(job=self.first, reference=one, options=("--replace",), others=(two,), restarts=True))
        return steps


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was injected and what came of it, by kind; safe to use from several lanes."""

    injected: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    cases: int = 0
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, number: int, outcome: str) -> None:
        """Count what one event did."""
        with self._lock:
            self.injected[kind] += number
            self.outcomes.setdefault(kind, Counter())[outcome] += 1

    def close(self, case: Case) -> None:
        """Count a case and what did not hold in it."""
        with self._lock:
            self.cases += 1
            self.violations += case.violations

    def table(self) -> str:
        """The table: kind, injected, outcomes, what did not hold."""
        broken = Counter(violation.kind for violation in self.violations)
        rows = [f"{'kind':<20} {'injected':>8} {'broken':>6}  outcomes"]
        for kind in sorted({*self.injected, *broken}):
            outcomes = ", ".join(f"{word} {n}" for word, n in self.outcomes.get(kind, Counter()).most_common(6))
            rows.append(f"{kind:<20} {self.injected[kind]:>8} {broken[kind]:>6}  {outcomes}")
        total = sum(self.injected.values())
        rows.append(f"{'all':<20} {total:>8} {len(self.violations):>6}  {self.cases} products, {self.seconds:.0f} s")
        return "\n".join(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A row of products, disturbed one after the other until each kind has happened as often as it should."""

    name: str
    quota: Mapping[str, int]
    place: Callable[[str], Place]
    forks: Forks
    jobs: Sequence[Jobs]
    seed: int
    events: Mapping[str, Callable[[Case], tuple[int, str]]] = field(default_factory=lambda: EVENTS)

    def run(self, tally: Tally, *, until: float) -> None:
        """Disturb products until the quota is met, or the time (monotonic seconds) is over."""
        left = Counter({kind: number for kind, number in self.quota.items() if number > 0})
        for number in itertools.count(1):
            if not left or time.monotonic() > until:
                return
            name = f"{self.name}-{number}"
            chance = random.Random(f"{self.seed}/{name}")  # noqa: S311 -- chance, not secrecy
            jobs = chance.choices(self.jobs, [each.weight for each in self.jobs])[0]
            case = Case(
                name=f"seed {self.seed}, {name} ({jobs.first.parent.name})", place=self.place(name), forks=self.forks,
                random=chance, steps=jobs.steps(chance),
            )  # fmt: skip
            try:
                self._disturb(case, left, tally, until)
            except Exception:
                case.note("harness", traceback.format_exc()[-1500:])
            tally.close(case)

    def _disturb(self, case: Case, left: Counter[str], tally: Tally, until: float) -> None:
        while True:
            for _ in range(EVENTS_PER_STEP):
                if not left or case.finished or time.monotonic() > until:
                    break
                kind = case.random.choices(sorted(left), [left[kind] for kind in sorted(left)])[0]
                injected, outcome = self.events[kind](case)
                tally.add(kind, injected, outcome)
                left[kind] -= injected
                if left[kind] <= 0:
                    del left[kind]
            case.complete()
            if case.violations or not case.next_step():
                return


def cut_quota(shares: Mapping[str, float], number: int) -> dict[str, int]:
    """How often each kind is to happen of so many disturbances in all, at least once."""
    return {kind: max(1, round(share * number)) for kind, share in shares.items()}


def make_jobs(folder: Path, forks: Forks) -> list[Jobs]:
    """Jobs over an area with polygons, over places, of objects and of vectors, and their undisturbed products."""
    written = [
        (0.55, _maps(folder / "maps")),
        (0.15, _places(folder / "places")),
        (0.15, _objects(folder / "objects")),
        (0.15, _vectors(folder / "vectors")),
    ]
    return [
        Jobs(weight=weight, first=first, second=second, references=(_made(first, forks), _made(second, forks)))
        for weight, (first, second) in written
    ]


def _made(job: Path, forks: Forks) -> Reference:
    output = job.parent / f"{job.stem}-undisturbed"
    run = forks.start(Launch(words=("run", str(job), "--output", str(output), "--workers", "1")))
    assert run.ended(120) == 0, run.said()
    return Reference.of(FolderPlace(uri=str(output)).objects())


def _maps(folder: Path) -> tuple[Path, Path]:
    """A class layer with its polygons; the second scene covers a quarter."""
    from tests.support.products import write_job

    first = write_job(folder, side=SIDE, tile=TILE, polygons="class")
    half = write_job(folder / "more", side=SIDE // 2, tile=TILE)
    return first, _with_more(first, json.loads(half.read_text())["source"]["files"])


def _places(folder: Path) -> tuple[Path, Path]:
    """Some thousand places in units of 256; the second scene covers a quarter of them."""
    from tests.support.places_cards import label_card, write_points

    first, _ = _maps(folder)
    more = json.loads((folder / "second.json").read_text())["source"]["files"]
    plain = json.loads(first.read_text())
    rows, cols = np.random.default_rng(3).uniform(0, SIDE - 40, (2, 1500))
    plain |= {
        "places": str(write_points(folder / "points.parquet", rows, cols)),
        "model": str(label_card(folder / "label", bands=["green"])),
        "grid": {"crs": plain["grid"]["crs"]},
    }
    for key in ("area", "tile", "polygons"):
        del plain[key]
    first.write_text(json.dumps(plain))
    return first, _with_more(first, more[-1:])


def _objects(folder: Path) -> tuple[Path, Path]:
    """Fields with their numbers; the second scene moves their edges in a quarter."""
    from tests.support.fields import field_card, field_map, field_world
    from tests.support.worlds import area

    values = field_map(SIDE, 150)
    world = field_world(folder / "scenes", values)
    moved = field_world(folder / "more", np.roll(values, 3, axis=0)[: SIDE // 2, : SIDE // 2].copy())
    plain = {
        "name": "fields", "area": area((0, SIDE), (0, SIDE)), "grid": {"crs": "EPSG:32633"}, "source": world.source,
        "period": "2023-06-01/2023-06-30", "model": str(field_card(folder / "card")), "tile": TILE,
    }  # fmt: skip
    first = folder / "job.json"
    first.write_text(json.dumps(plain))
    return first, _with_more(first, moved.source["files"])


def _vectors(folder: Path) -> tuple[Path, Path]:
    """A vector of each window; the second scene covers a quarter."""
    from tests.support.embedders import BANDS, window_encoder
    from tests.support.worlds import World, area

    random = np.random.default_rng(4)
    whole, quarter = World(folder / "scenes"), World(folder / "more")
    for band in BANDS:
        for world, side in ((whole, SIDE), (quarter, SIDE // 2)):
            world.add(random.random((side, side), dtype=np.float32), band, scene="first", unit="reflectance")
    plain = {
        "name": "vectors", "area": area((0, SIDE), (0, SIDE)), "grid": {"crs": "EPSG:32633"}, "source": whole.source,
        "period": "2023-06-01/2023-06-30", "model": str(window_encoder(folder / "card")), "tile": TILE,
    }  # fmt: skip
    first = folder / "job.json"
    first.write_text(json.dumps(plain))
    return first, _with_more(first, quarter.source["files"])


def _with_more(first: Path, files: list[dict[str, Any]]) -> Path:
    """The second job: the first one with these files too, as a scene of another day."""
    plain = json.loads(first.read_text())
    added = [{**entry, "datetime": "2023-06-20T10:00:00Z", "scene": "second"} for entry in files]
    second = first.with_name("second.json")
    second.write_text(json.dumps({**plain, "source": {"files": [*plain["source"]["files"], *added]}}))
    return second


def run_lanes(lanes: list[Lane], *, seconds: float) -> Tally:
    """All lanes side by side, for at most so many seconds."""
    tally, began = Tally(), time.monotonic()
    threads = [
        threading.Thread(target=lane.run, args=(tally,), kwargs={"until": began + seconds}, name=lane.name)
        for lane in lanes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.seconds = time.monotonic() - began
    return tally
