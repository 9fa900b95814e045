"""What a model says of places in words: kept behind a unit's records, and counted for the report and its map."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.outputs import NODATA_BYTE, LayerSpec
from tilewright.tasks.captions.caption_map import answer_classes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Texts = dict[str, list[str | None]]
"""Texts by column, one a row; None where nothing is said."""

TEXT = "text"
"""The source of a layer that is of texts, and its kind in the report."""


def encoded_texts(texts: Texts) -> bytes:
    """Texts as they are stored; nothing if there are no columns."""
    return json.dumps(texts, sort_keys=True).encode() if texts else b""


def read_texts(content: bytes, columns: Sequence[str], n_rows: int) -> Texts | None:
    """The texts of these columns out of what `encoded_texts` made; None for anything else."""
    try:
        found = json.loads(content) if content else {}
        texts = {name: [text if text is None else str(text) for text in found[name]] for name in columns}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return texts if len(found) == len(columns) and all(len(each) == n_rows for each in texts.values()) else None


def with_answers(
    records: np.ndarray, specs: Mapping[str, LayerSpec], texts: Texts
) -> tuple[np.ndarray, dict[str, LayerSpec]]:
    """Records and layers as the report counts and draws them: with the commonest texts of each column as classes."""
    if not texts:
        return records, dict(specs)
    whole = np.zeros(len(records), dtype=[*records.dtype.descr, *((name, "u1") for name in texts)])
    for name in records.dtype.names or ():
        whole[name] = records[name]
    shown = dict(specs)
    for name, column in texts.items():
        values, classes = answer_classes(text for text in column if text is not None)
        whole[name] = [NODATA_BYTE if text is None else values[text] for text in column]
        shown[name] = LayerSpec(name=name, kind="class", source=TEXT, classes=classes)
    return whole, shown
