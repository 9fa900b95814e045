"""Rebuilds the built-in models byte for byte: `python -m tilewright.models.builtin.build`; `--check` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.models.builtin.cards import cva_change_card, ndwi_water_card, phase_shift_card
from tilewright.models.builtin.graphs import cva_change_graph, ndwi_water_graph
from tilewright.models.builtin.shifts import phase_shift_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


FOLDER = Path(__file__).parent

MODELS: Mapping[str, tuple[Callable[[], bytes], Callable[[bytes], dict[str, Any]]]] = {
    "cva-change": (cva_change_graph, cva_change_card),
    "ndwi-water": (ndwi_water_graph, ndwi_water_card),
    "phase-shift": (phase_shift_graph, phase_shift_card),
}


def build(name: str) -> dict[str, bytes]:
    """The contents of the files of built-in model `name`, by file name."""
    graph, card = MODELS[name]
    model = graph()
    text = json.dumps(card(model), indent=2, ensure_ascii=False) + "\n"
    return {"model.onnx": model, "card.json": text.encode()}


def differing_files(folder: Path = FOLDER) -> tuple[str, ...]:
    """The files under `folder` that are missing or differ from the built ones, as `name/file`."""
    built = {f"{name}/{file}": content for name in MODELS for file, content in build(name).items()}
    return tuple(
        path
        for path, content in built.items()
        if not (folder / path).exists() or (folder / path).read_bytes() != content
    )


def write(folder: Path = FOLDER) -> None:
    """Writes the files of every built-in model under `folder`, one folder each."""
    for name in MODELS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, content in build(name).items():
            (folder / name / file).write_bytes(content)


def main(arguments: Sequence[str]) -> int:
    """The exit status of the command: 1 if `--check` finds a difference, else 0."""
    if "--check" in arguments:
        differing = differing_files()
        if differing:
            sys.stderr.write(
                f"differ from models/builtin/build.py: {', '.join(differing)}; "
                "run python -m tilewright.models.builtin.build\n"
            )
        return 1 if differing else 0
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
