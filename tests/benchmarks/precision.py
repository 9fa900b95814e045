"""How much of a map bfloat16 and int8 keep, and what they save: the trained models that come along, and a wider U-Net.

`python -m tests.benchmarks.precision FOLDER [MODEL ...]` prints one JSON line per model: for each way the share of
pixels with fp32's class on windows of the sample that it was not calibrated on (`agreement`, the least of all layers in
`least`), the processor's seconds for one window (`cpu`), and the seconds per window of two callers of one session
(`wall`). All ways are timed in one process, in turns, the best of some rounds; times of a shared machine are to be read
as ratios. `wide-unet` has 32 to 256 channels and is trained (torch is needed) to the answers of `sample-landcover` on
four windows of the calibration.
Minutes, most of them for the sample.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.trained import train
from tests.support.graphs import save, unet
from tilewright.catalogs.sample.build import SAMPLE_AREA, build_sample
from tilewright.flows.job.job import make_job
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_graph import load_model, load_reference
from tilewright.flows.precision.calibrate import calibration_feeds
from tilewright.flows.precision.windows import compared_windows
from tilewright.flows.run.precision import agreement as agreeing
from tilewright.models.card.card import load_card
from tilewright.models.card.registry import BUILTIN
from tilewright.models.run.open import open_session
from tilewright.tasks.block.infer import infer_block

MODELS = ("sample-landcover", "sample-fusion", "sample-change", "sample-forest", "sample-boosting")
WIDE = "wide-unet"
CALLERS = 2
ROUNDS = 5
STEP = 448

WAYS = {
    "onnxruntime fp32": ("fp32", ""),
    "openvino fp32": ("fp32", "openvino"),
    "openvino bf16": ("bf16", "openvino"),
    "onnxruntime int8": ("int8", ""),
    "openvino int8": ("int8", "openvino"),
}


def main() -> None:
    """Print one line per model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", default=[*MODELS, WIDE])
    asked = parser.parse_args()
    catalog = build_sample(asked.folder / "sample")
    for name in asked.models:
        model = str(wide_card(catalog, asked.folder / WIDE)) if name == WIDE else name
        print(json.dumps({"benchmark": "precision", "model": name, **measured(catalog, model, name)}), flush=True)


def job(catalog: Path, model: str, name: str, **changes: Any) -> Any:
    """A job over the whole sample with a model of it."""
    scored = BUILTIN / name / "score.json"
    period = json.loads(scored.read_text())["scored_on"]["period"] if scored.exists() else "2022-06-10/2022-07-31"
    plain = {"area": list(SAMPLE_AREA), "period": period, "source": str(catalog), "model": model}
    return make_job({**plain, "tile": {"step": STEP}, **changes}, base=Path())


def measured(catalog: Path, model: str, name: str) -> dict[str, Any]:
    """The figures of one model; for what cannot be, why."""
    ready, refused = {}, {}
    for way, (precision, runtime) in WAYS.items():
        provider = runtime or "cpu"
        try:
            plan = plan_job(job(catalog, model, name, precision=precision, provider=provider))
            card = load_card(Path(model)) if Path(model).exists() else load_card(BUILTIN / model)
            loaded = load_reference(plan, card, provider=provider) if way == "onnxruntime fp32" else None
            ready[way] = (plan, loaded or load_model(plan, card, provider=provider, callers=CALLERS))
        except ValueError as error:
            refused[way] = str(error)
    calibrated = next((plan for plan, _ in ready.values() if plan.model.precision == "int8"), None)
    first = next(iter(ready.values()))[0]
    windows = list(compared_windows(calibrated or first))
    feeds = next(iter(calibration_feeds(calibrated or first, card)))
    return {
        "window": first.raster.lattice.window,
        "windows": len(windows),
        "agreement": {way: agreement(card, windows, ready, way) for way in list(ready)[1:]},
        **times({way: loaded.session for way, (_, loaded) in ready.items()}, feeds),
        "refused": refused,
    }


def agreement(card: Any, windows: list[Any], ready: dict[str, Any], way: str) -> dict[str, float]:
    """The share of pixels with fp32's class, and the least share of all layers."""
    shares: dict[str, list[np.ndarray]] = {}
    for inputs in windows:
        single, other = (
            infer_block(plan, model, inputs).layers for plan, model in (next(iter(ready.values())), ready[way])
        )
        for spec in card.layer_specs():
            shares.setdefault(spec.name, []).append(agreeing(spec, single[spec.name], other[spec.name]))
    means = {layer: float(np.concatenate(parts).mean()) for layer, parts in shares.items()}
    classes = [spec.name for spec in card.layer_specs() if spec.kind == "class"]
    return {"class": round(means[classes[0]], 5), "least": round(min(means.values()), 5)}


def times(sessions: dict[str, Any], feeds: Any) -> dict[str, dict[str, float]]:
    """The processor's and the clock's seconds per window with two callers, and the ratios to onnxruntime's fp32."""
    cpu: dict[str, list[float]] = {way: [] for way in sessions}
    wall: dict[str, list[float]] = {way: [] for way in sessions}
    with ThreadPoolExecutor(CALLERS) as pool:
        for number in range(ROUNDS + 1):
            for way, session in sessions.items():
                began, used = time.perf_counter(), time.process_time()
                list(pool.map(lambda _, run=session.run: run(feeds), range(2 * CALLERS)))
                if number:
                    # The first round prepares the sessions.
                    cpu[way].append((time.process_time() - used) / (2 * CALLERS))
                    wall[way].append((time.perf_counter() - began) / (2 * CALLERS))
    best = {"cpu": cpu, "wall": wall}
    rounded = {name: {way: round(min(each), 4) for way, each in found.items()} for name, found in best.items()}
    return rounded | {
        "cpu_ratio": {way: round(min(values) / min(cpu["onnxruntime fp32"]), 3) for way, values in cpu.items()}
    }


def wide_card(catalog: Path, folder: Path) -> Path:
    """The card of the wide U-Net, trained to the answers of `sample-landcover`."""
    source = BUILTIN / "sample-landcover"
    folder.mkdir(parents=True, exist_ok=True)
    card = load_card(source)
    plan = plan_job(job(catalog, "sample-landcover", "sample-landcover"))
    windows = [feeds for _, feeds in zip(range(4), calibration_feeds(replace(plan), card), strict=False)]
    model = unet(6, 7, width=32, depth=3)
    truths = [argmax(open_session(card, provider="cpu").run(feeds)) for feeds in windows]
    images = np.concatenate([next(iter(feeds.values())) for feeds in windows])
    train(model, images, np.stack(truths), steps=300)
    path = save(model, folder)
    plain = json.loads((source / "card.json").read_text())
    content = path.read_bytes()
    plain["properties"]["mlm:name"] = plain["id"] = WIDE
    plain["assets"]["model"]["file:checksum"] = "1220" + hashlib.sha256(content).hexdigest()
    plain["assets"]["model"]["file:size"] = len(content)
    names = {key: getattr(getattr(model.graph, key)[0], "name") for key in ("input", "output")}  # noqa: B009
    plain["properties"]["mlm:input"][0]["name"] = names["input"]
    plain["properties"]["mlm:output"][0]["name"] = names["output"]
    (folder / "card.json").write_text(json.dumps(plain))
    return folder


def argmax(answers: dict[str, np.ndarray]) -> np.ndarray:
    """The class of each pixel, (y, x)."""
    return next(iter(answers.values()))[0].argmax(axis=0)


if __name__ == "__main__":
    main()
