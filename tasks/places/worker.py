"""The worker of a job over places: does one unit of rows, from scenes to its records and its ledger entry."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.drift.sums import add_sums
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.block.observed import sum_values
from tilewright.tasks.places.answers import OBSERVED, Answers, answer_type, no_answers
from tilewright.tasks.places.matches import Matcher
from tilewright.tasks.places.patches import cut_patches
from tilewright.tasks.places.texts import encoded_texts, read_texts
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.storage.ledger import BlockEntry, json_digest, write_entry
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.audit.drift.sums import InputSums
    from tilewright.tasks.block.infer import LoadedModel
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.block.worker import WorkerSettings
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.places.matches import Match
    from tilewright.tasks.places.patches import Patch
    from tilewright.tasks.places.rows import PlaceRows
    from tilewright.tasks.places.texts import Texts
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.read.failures import FailureLog
    from tilewright.tasks.storage.storage import Storage

FOLDER = f"{STATE_FOLDER}/places"
"""Where the records of units wait for the table."""

RECORDS = "records"
"""The checksum of a unit's records in its entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacesWorker:
    """Everything that a process needs to do units: the plan, the rows, the loaded model, the output, the scenes."""

    settings: WorkerSettings
    plan: Plan
    model: LoadedModel
    storage: Storage
    rows: PlaceRows
    failures: FailureLog
    access: Access
    stats: ReadStats = field(default_factory=ReadStats)
    cpu: dict[str, float] = field(default_factory=dict)
    _matcher: list[Matcher] = field(default_factory=list, init=False, repr=False, compare=False)
    _units: list[list[np.ndarray]] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def matcher(self) -> Matcher:
        """The matcher of this worker's rows, made once."""
        if not self._matcher:
            self._matcher.append(Matcher(plan=self.plan, card=self.model.card, rows=self.rows))
        return self._matcher[0]

    def unit(self, row: int) -> np.ndarray:
        """The numbers of the rows of a unit, in the order in which they are read."""
        assert self.plan.places is not None, "a worker of places has a plan of places"
        if not self._units:
            self._units.append(self.rows.units(self.plan.places.unit))
        return self._units[0][row]

    def do(self, block: Block) -> BlockEntry:
        """Do a unit, whose number is the ``row`` of its block; returns its ledger entry.

        Raises ReadError naming item, band and unit, InferenceError, StorageError.
        """
        self.failures.forget(block.name)
        began, stats, reading = time.perf_counter(), ReadStats(), 0.0
        rows = self.unit(block.row)
        places = {int(row): number for number, row in enumerate(rows)}
        records = no_answers(self.model.card, self.plan.raster.layers, len(rows))
        per_call = self.model.windows_per_call
        texts: Texts = {name: [None] * len(rows) for name in self.model.card.answers}
        answers = Answers(
            plan=self.plan, model=self.model, rows=self.rows, records=records, per_call=per_call, texts=texts
        )
        scenes: set[str] = set()
        sums: list[InputSums] = []
        matches = [self.matcher.match(row) for row in places]
        for patch in cut_patches(self.rows, places, matches):
            if patch.match.plan is None:
                continue
            started = time.perf_counter()
            framed = patch.block(block, margin=self.plan.raster.margin)
            inputs = read_inputs(patch.match.plan, framed, self.access.for_block(block.name, stats))
            boxes = (self.rows.box(row) for row in patch.rows)
            sums.append(add_sums(sum_values(patch.match.plan, self.model.card, inputs, box) for box in boxes))
            reading += time.perf_counter() - started
            scenes |= set(inputs.scenes)
            self._answer(patch, inputs, answers, places)
        answers.run()
        self.stats.absorb(stats)
        inferring = time.perf_counter() - began - reading
        key = self._key_of(block, matches)
        seconds = {"read": reading, "infer": inferring}
        return self._write(block, key, answers, stats, scenes=scenes, seconds=seconds, sums=add_sums(sums))

    def _answer(self, patch: Patch, inputs: BlockInputs, answers: Answers, places: dict[int, int]) -> None:
        assert patch.match.plan is not None, "patches without a plan are not read"
        for row in patch.rows:
            seen = inputs.valid[self.rows.box(row).slices_in(inputs.block.outer)]
            answers.records[OBSERVED][places[row]] = np.count_nonzero(seen) / seen.size
            if seen.any():
                answers.add(places[row], row, inputs, patch.match.plan)

    def _write(
        self,
        block: Block,
        key: str,
        answers: Answers,
        stats: ReadStats,
        *,
        scenes: set[str],
        seconds: dict[str, float],
        sums: InputSums,
    ) -> BlockEntry:
        began = time.perf_counter()
        content = answers.records.tobytes() + encoded_texts(answers.texts)
        self.storage.write(_place(block.name), content)
        entry = BlockEntry(
            row=block.row,
            col=block.col,
            key=key,
            written=True,
            checksums={RECORDS: hashlib.sha256(content).hexdigest()},
            windows_run=answers.n_run,
            windows_skipped=len(answers.records) - answers.n_run,
            pixels_read=stats.decoded_pixels,
            pixels_needed=stats.needed_pixels,
            bytes_read=stats.stored_bytes,
            bytes_decoded=stats.decoded_bytes,
            reads=stats.reads,
            valid_pixels=answers.n_run,
            seconds={**seconds, "write": time.perf_counter() - began},
            scenes=tuple(sorted(scenes)),
            inputs=self._first_read(scenes),
            failures=tuple(failure.to_json() for failure in self.failures.failures if failure.block == block.name),
            sums=sums,
        )
        write_entry(self.storage, entry)
        return entry

    def _first_read(self, names: set[str]) -> dict[str, str]:
        """The identities of files that the plan does not identify, of the scenes with these ids."""
        if self.access.register is None:
            return {}
        scenes = [scene for entry in self.plan.inputs for scene in entry.scenes if scene.id in names]
        return self.access.register.first_read(scenes)

    def key(self, block: Block) -> str:
        """The key that a unit has under this plan."""
        return self._key_of(block, [self.matcher.match(row) for row in self.unit(block.row).tolist()])

    def _key_of(self, block: Block, matches: Sequence[Match]) -> str:
        """SHA-256 in hex over the plan's settings, and of each row of a unit its window, scenes and steps."""
        rows = self.unit(block.row)
        found = hashlib.sha256(self.plan.settings_key().encode())
        found.update(block.name.encode())
        shapes = any(extra.kind == "place_mask" for extra in self.model.card.extras)
        for row, match in zip(rows.tolist(), matches, strict=True):
            place = self.rows.places[row].wkb if shapes else b""
            window = [*self.rows.centres[row].tolist(), hashlib.sha256(place).hexdigest()]
            found.update(json_digest([window, match.digest]).encode())
        return found.hexdigest()

    def is_current(self, block: Block, entry: BlockEntry) -> bool:
        """True if an entry has the key that its unit has under this plan."""
        return entry.key == self.key(block)

    def is_intact(self, entry: BlockEntry) -> bool:
        """True if the records of a unit lie there as they were written."""
        return self.records(entry) is not None

    def records(self, entry: BlockEntry) -> np.ndarray | None:
        """The records of a finished unit, one a row in their order; None where others lie there, or none."""
        found = self.done(entry)
        return None if found is None else found[0]

    def done(self, entry: BlockEntry) -> tuple[np.ndarray, Texts] | None:
        """The same with the texts said of the places, by column."""
        content, n_rows = self.storage.read(_place(entry.name)) or b"", len(self.unit(entry.row))
        if hashlib.sha256(content).hexdigest() != entry.checksums.get(RECORDS):
            return None
        kind = answer_type(self.model.card, self.plan.raster.layers)
        end = n_rows * kind.itemsize
        texts = read_texts(content[end:], self.model.card.answers, n_rows)
        whole = len(content) >= end and texts is not None
        return (np.frombuffer(content[:end], dtype=kind), texts) if whole and texts is not None else None

    def erase(self, entry: BlockEntry) -> None:
        """Remove the records of a unit that the plan does not have."""
        self.storage.delete([_place(entry.name)])


def _place(unit: str) -> str:
    return f"{FOLDER}/{unit}.bin"
