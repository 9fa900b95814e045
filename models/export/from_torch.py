"""A torch module as ONNX, traced in evaluation mode, so that batch normalisation is folded into convolutions."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.models.export.facts import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tilewright.models.export.facts import ExportFacts


OPSET = 17

SPATIAL = ("height", "width")


def torch_graph(module: Any, facts: ExportFacts) -> bytes:
    """The bytes of the ONNX file of the module; its inputs and outputs are in the order of the facts.

    Raises ExportError if torch is missing, or the module does not run on inputs of the facts' shapes.
    """
    torch = _torch()
    side = facts.tile.window or facts.multiple
    batch = tuple(torch.zeros(1, *facts.input_shape(entry, side=side)[1:]) for entry in facts.inputs)
    training = module.training
    module.eval()
    try:
        return _traced(torch, module, batch, facts)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        shapes = ", ".join(f"{entry.name} {list(each.shape)}" for entry, each in zip(facts.inputs, batch, strict=True))
        raise ExportError(f"the module does not run on {shapes}, as the facts of {facts.name} say: {reason}") from error
    finally:
        module.train(training)


def torch_outputs(module: Any, facts: ExportFacts, feeds: Mapping[str, NDArray[np.float32]]) -> list[NDArray[Any]]:
    """The module's own outputs for the feeds, one array per output, in the order of the facts."""
    torch = _torch()
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            outputs = module(*(torch.from_numpy(feeds[entry.name]) for entry in facts.inputs))
    finally:
        module.train(training)
    return [each.numpy() for each in (outputs if isinstance(outputs, (tuple, list)) else (outputs,))]


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ExportError("torch is not installed here; `pip install torch` to export a torch module") from error
    return torch


def _traced(torch: Any, module: Any, batch: tuple[Any, ...], facts: ExportFacts) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The newer exporter needs another package (onnxscript) and leaves batch normalisation in the graph. To be
        # replaced when torch removes the tracing exporter.
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            batch,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[entry.name for entry in facts.inputs],
            output_names=[entry.name for entry in facts.outputs],
            dynamic_axes=_free_axes(facts),
        )
        return path.read_bytes()


def _free_axes(facts: ExportFacts) -> dict[str, dict[int, str]]:
    axes = {entry.name: facts.input_axes(entry) for entry in facts.inputs}
    axes |= {entry.name: facts.output_axes(entry) for entry in facts.outputs}
    free = ("batch",) if facts.tile.window else ("batch", *SPATIAL)
    # Inputs of different resolutions have different heights: the name of a free dimension must name its input.
    return {
        name: {index: axis if axis == "batch" else f"{name}_{axis}" for index, axis in enumerate(dims) if axis in free}
        for name, dims in axes.items()
    }
