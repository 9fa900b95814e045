"""`tilewright models import` as a person uses it: what is missing, line by line, then the card and what to do next."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.models.imports.test_importing import BYTES, DEEPNESS, WORLD, graph


def tilewright(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tilewright.flows.cli", "models", "import", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_it_asks_by_name_and_then_writes_a_card(tmp_path: Path) -> None:
    graph(tmp_path / "lake.onnx", metadata=DEEPNESS)
    asked = tilewright("lake.onnx", folder=tmp_path)
    assert asked.returncode == 2
    assert "  bands: its bands, in the order of the channels, such as red,green,blue\n" in asked.stderr
    assert "lake.onnx (metadata of Deepness) leaves 5 facts open, which are never guessed" in asked.stderr
    assert "Traceback" not in asked.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"lake.onnx"}
    sets = [word for answer in [*WORLD[:3], BYTES, "activation=softmax"] for word in ("--set", answer)]
    made = tilewright("lake.onnx", *sets, "--to", "water", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "tilewright models check water" in made.stdout
    assert "(resolution, in centimetres)" in " ".join(made.stdout.split())
    card = json.loads((tmp_path / "water/card.json").read_text())
    assert card["properties"]["mlm:input"][0]["tw:collection"] == "optics"
    told = tilewright("lake.onnx", *sets, "--to", "again", "--json", folder=tmp_path)
    assert json.loads(told.stdout) == card
    again = tilewright("lake.onnx", *sets, "--to", "water", folder=tmp_path)
    assert again.returncode == 2
    assert "is there already" in again.stderr
