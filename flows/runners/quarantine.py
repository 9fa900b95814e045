"""Blocks that keep failing: set aside with their reason while the others continue, and retried by class of failure."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from tilewright.flows.errors import ErrorClass, classify, sentence
from tilewright.flows.policies import MOST_SET_ASIDE, SMALLER, tries_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.grid.blocks import Block


class SetAsideError(RuntimeError):
    """A run in which blocks failed for good; ``rows`` holds a row per block with its class and reason."""

    def __init__(self, message: str, rows: tuple[dict[str, str], ...]) -> None:
        self.rows = rows
        super().__init__(message)


class Quarantine:
    """The failures of one run: the blocks set aside, the tries of each block, and the parts per side it is done in."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        self.tries: dict[str, int] = {}
        self.first: Exception | None = None
        self._parts: dict[str, int] = {}
        self._min_parts = 1

    def parts(self, block: Block) -> int:
        """Parts per side of a block: 1 for a whole block, more once memory ran out for a block of this run."""
        return max(self._min_parts, self._parts.get(block.name, 1))

    def record_failure(self, block: Block, error: Exception) -> bool:
        """True if the block should be tried again; otherwise it is set aside.

        Raises the error itself where every other block would fail too, and SetAsideError past the limit.
        """
        kind = classify(error)
        if kind in {ErrorClass.BAD_REQUEST, ErrorClass.FAULT, ErrorClass.OTHER_RUN}:
            raise error
        self.tries[block.name] = self.tries.get(block.name, 0) + 1
        if kind in SMALLER:
            self._parts[block.name] = 2 * self.parts(block)
        if kind is ErrorClass.OUT_OF_MEMORY:
            # The next block is as large and would fail too.
            self._min_parts = max(self._min_parts, 2)
            # The traceback keeps pixel arrays alive in reference cycles; drop it and collect now.
            error.with_traceback(None)
            gc.collect()
        if self.tries[block.name] < tries_of(kind):
            return True
        self.set_aside(block, error, kind)
        return False

    def set_aside(self, block: Block, error: Exception, kind: ErrorClass) -> None:
        """Record the block as failed for good. Raises SetAsideError past the limit."""
        # The traceback would keep the block's pixels alive.
        self.first = self.first or error.with_traceback(None)
        self.rows.append(
            {
                "block": block.name,
                "class": kind.value,
                "item": str(getattr(error, "item", "")),
                "band": str(getattr(error, "band", "")),
                "reason": sentence(error) + (NO_SMALLER_PART if kind is ErrorClass.OUT_OF_MEMORY else ""),
            }
        )
        if len(self.rows) >= MOST_SET_ASIDE:
            self.close()

    def close(self) -> None:
        """Raise SetAsideError, naming the first block, if any was set aside."""
        if not self.rows:
            return
        first = self.rows[0]
        raise SetAsideError(
            f"{len(self.rows)} {'block' if len(self.rows) == 1 else 'blocks'} failed for good; the first: block "
            f"{first['block']} ({first['class']}): {first['reason']}. The others are kept: run again for all that is "
            f"missing, or with --retry {first['class']} for those alone.",
            tuple(self.rows),
        ) from self.first


NO_SMALLER_PART = "; it was tried in parts down to single windows: take fewer --workers, or a machine with more memory"
"""The end of the reason where memory ran out for the smallest part of a block."""


def blocks_set_aside(failures: Iterable[Mapping[str, str]], kind: str) -> set[str]:
    """Names of the blocks set aside with that class of failure (``all``: with any).

    Raises RetryError where the class is unknown or no block has it.
    """
    known = [entry.value for entry in ErrorClass]
    if kind not in {"all", *known}:
        raise RetryError(f"--retry {kind!r}: expected all or one of {', '.join(known)}.")
    failed = [row for row in failures if "class" in row]
    names = {row["block"] for row in failed if kind in {"all", row["class"]}}
    if not names:
        classes = ", ".join(sorted({row["class"] for row in failed})) or "none at all"
        raise RetryError(f"--retry {kind}: no block is set aside for that; set aside are: {classes}.")
    return names


class RetryError(ValueError):
    """A request to retry blocks that are not set aside."""
