"""The models of the race with their cards, and the jobs that run them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from tests.benchmarks.field import unet_nodes
from tests.benchmarks.rivals.kinds import CRS, LEFT, OPTICS, PIXEL, RADAR, TOP, Ground, Kind, Sensor
from tests.benchmarks.rivals.scenes import crops_of, pixels
from tests.benchmarks.trained import train
from tests.support.graphs import Draft
from tests.support.worlds import write_card

FREE = ["batch", "height", "width"]
N_TREES, DEPTH = 25, 8


def make_job(ground: Ground, kind: Kind) -> None:
    """The card and the job of the kind, where they are not there yet."""
    if ground.job(kind).exists():
        return
    write_card(
        ground.card(kind),
        graph_of(kind),
        inputs=[_input(kind, sensor) for sensor in kind.sensors],
        outputs=[_output(kind)],
        tile={"step": None},
        name=f"rivals-{kind.name}",
    )
    reach = ground.side * PIXEL
    job = {
        "name": f"rivals-{kind.name}",
        "area": [12.5, 47.0, 15.5, 49.2],
        "period": kind.period,
        "source": {"kind": "files", "files": [it for sensor in kind.sensors for it in _files(ground, sensor)]},
        "model": str(ground.card(kind)),
        "grid": {"crs": CRS, "bounds": [LEFT, TOP - reach, LEFT + reach, TOP]},
    }
    ground.job(kind).write_text(json.dumps(job, indent=1))


def _files(ground: Ground, sensor: Sensor) -> list[dict[str, Any]]:
    numbers = {"unit": "linear"} if sensor.collection == RADAR else {"scale": 1e-4, "offset": 0, "unit": "reflectance"}
    return [
        {
            "href": str(ground.raster(date, band).resolve()),
            "band": band,
            "datetime": f"{date}T10:00:00Z",
            "collection": sensor.collection,
            **({"unit": "class"} if band == "scl" else numbers),
            **({"baseline": "03.01"} if sensor.collection == OPTICS else {}),
        }
        for date in sensor.dates
        for band in sensor.read
    ]


def _input(kind: Kind, sensor: Sensor) -> dict[str, Any]:
    optical = sensor.collection == OPTICS
    return {
        "name": sensor.name,
        "bands": list(sensor.bands),
        "dims": ("batch", "bands", "height", "width") if kind.halo else ("batch", "features"),
        "value_scaling": [{"type": "z-score", "mean": sensor.mean, "stddev": sensor.stddev}],
        "tw:collection": sensor.collection,
        "tw:unit": "reflectance" if optical else "db",
        "tw:resolution": PIXEL,
        "tw:dates": {**kind.dates, "reducer": "median" if optical else "mean"},
        "tw:missing": {"fill": sensor.mean, "pad": "fill"},
    }


def _output(kind: Kind) -> dict[str, Any]:
    rows = {} if kind.halo else {"dims": ("batch", "class")}
    classes = [f"class-{value}" for value in range(kind.n_classes)]
    activation = {"tw:activation": "softmax" if kind.halo else "none"}
    return {"name": "y", "classes": classes, "tw:layers": ["class"], **activation, **rows}


def graph_of(kind: Kind) -> onnx.ModelProto:
    """The kind's model, seeded; what its inputs are called, the sensors say."""
    if not kind.halo:
        return _forest(kind)
    draft = Draft(3)
    grown = {"series12": _pixels_of_a_year, "pair": _siamese, "sensors": _fusion}.get(kind.name, _unet)(draft, kind)
    n_out = kind.n_classes
    model = draft.model_many(
        [(each.name, TensorProto.FLOAT, ["batch", each.n_channels, *FREE[1:]]) for each in kind.sensors],
        [(grown, "y", TensorProto.FLOAT, ["batch", n_out, "oh", "ow"])],
    )
    return _trained(model, kind) if kind.name == "trained" else _balanced(model, kind)


def _trained(model: onnx.ModelProto, kind: Kind) -> onnx.ModelProto:
    """The model with weights that tell the crops of the ground."""
    sample = _sample(kind.sensors[0])
    train(model, sample, crops_of(sample.shape[-1])[None])
    return model


def _unet(draft: Draft, kind: Kind) -> str:
    """About 80 kFLOP per pixel."""
    return unet_nodes(draft, "x", n_in=kind.sensors[0].n_channels, width=16)


def _pixels_of_a_year(draft: Draft, kind: Kind) -> str:
    """All steps to 24 channels per pixel, then two convolutions: about 16 kFLOP per pixel."""
    x = draft.node("Relu", draft.conv("x", kind.sensors[0].n_channels, 24, (1, 1)))
    x = draft.node("Relu", draft.conv(x, 24, 16))
    x = draft.node("Relu", draft.conv(x, 16, 16))
    return draft.conv(x, 16, kind.n_classes, (1, 1))


def _siamese(draft: Draft, kind: Kind) -> str:
    """Both dates through the same convolution, then a U-Net over what it gives: about 50 kFLOP per pixel."""
    weight = draft.constant(draft.random.normal(0, 0.25, (12, 4, 3, 3)).astype(np.float32))
    sides = []
    for first in (0, 4):
        place = [draft.constant(np.array([end])) for end in (first, first + 4, 1)]
        image = draft.node("Slice", "x", *place)
        sides.append(draft.node("Relu", draft.node("Conv", image, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1])))
    return unet_nodes(draft, draft.node("Concat", *sides, axis=1), n_in=24, width=12)


def _fusion(draft: Draft, kind: Kind) -> str:
    """A convolution per sensor, then a U-Net: about 40 kFLOP per pixel."""
    sides = [draft.node("Relu", draft.conv(each.name, each.n_channels, 8)) for each in kind.sensors]
    return unet_nodes(draft, draft.node("Concat", *sides, axis=1), n_in=16, width=10)


def _balanced(model: onnx.ModelProto, kind: Kind) -> onnx.ModelProto:
    """The model with its last bias moved until no class is rare: maps of one class would agree whoever is wrong."""
    given = {sensor.name: _sample(sensor) for sensor in kind.sensors}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (scores,) = session.run(None, given)
    scores = scores[0, :, 32:-32, 32:-32].reshape(kind.n_classes, -1)
    moved = -np.median(scores, axis=1)
    for _ in range(60):
        shares = np.bincount((scores + moved[:, None]).argmax(axis=0), minlength=kind.n_classes) / scores.shape[1]
        moved -= 0.2 * scores.std() * (shares - 1 / kind.n_classes)
    bias = model.graph.initializer[-1]
    values = (numpy_helper.to_array(bias) + moved).astype(np.float32)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    return model


def _sample(sensor: Sensor) -> np.ndarray:
    """A corner of the ground as the model sees it, clouds left out: (1, channel, 512, 512)."""
    channels = []
    for step in range(len(sensor.steps)):
        for band in sensor.bands:
            values = pixels(band, 512, look=2 + step % 2 if sensor.collection == OPTICS else 0).astype(np.float32)
            values = values * 1e-4 if sensor.collection == OPTICS else 10 * np.log10(values)
            channels.append((values - sensor.mean) / sensor.stddev)
    return np.stack(channels)[None].astype(np.float32)


def _forest(kind: Kind) -> onnx.ModelProto:
    """A random forest of 25 trees of depth 8 over scaled bands, fitted to noisy classes of the ground's own pixels."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier

    random = np.random.default_rng(6)
    sample = _sample(kind.sensors[0])[0].reshape(kind.sensors[0].n_channels, -1).T
    rows = sample[random.choice(len(sample), 20_000, replace=False)]
    # Half a DN of noise: thresholds between whole DN would lie on the medians, and rounding would choose the class.
    rows = (rows + random.uniform(-6e-4, 6e-4, rows.shape)).astype(np.float32)
    n_bands = rows.shape[1]
    score = rows @ random.normal(0, 1, n_bands) + random.normal(0, 0.3, len(rows))
    answer = np.digitize(score, np.quantile(score, np.arange(1, kind.n_classes) / kind.n_classes))
    forest = RandomForestClassifier(N_TREES, max_depth=DEPTH, random_state=0).fit(rows, answer)
    model = to_onnx(
        forest, initial_types=[("x", FloatTensorType([None, n_bands]))],
        target_opset={"": 17, "ai.onnx.ml": 3}, options={id(forest): {"zipmap": False}},
    )  # fmt: skip
    small = onnx.utils.Extractor(model).extract_model(["x"], ["probabilities"])
    for node in small.graph.node:
        node.output[:] = ["y" if name == "probabilities" else name for name in node.output]
    small.graph.output[0].name = "y"
    return small
