"""The precision and the provider of a job together: refused where they do not fit, or this machine lacks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tilewright.flows.job.job import JobError
from tilewright.models.errors import CardError
from tilewright.models.optimise.quantise import quantise_obstacle
from tilewright.models.run.open import active_provider, open_session
from tilewright.models.run.openvino import check_precision_here
from tilewright.models.run.providers import GPUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan

PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "fp16": ("auto", *GPUS),
    "bf16": ("auto", "openvino"),
    "int8": ("auto", "cpu", "openvino"),
}
"""The providers that may be asked for with each precision; any with fp32. onnxruntime has no bfloat16 on a CPU,
and runs a graph of half precision there in single, with casts around each operator."""

AUTO: Final[Mapping[str, str]] = {"bf16": "openvino", "int8": "cpu"}
"""The provider that ``auto`` means with a precision of processors."""

OWN_GRAPH: Final = ("bf16", "int8")
"""Precisions of the model's own graph: scaling and layers stay outside it, in single precision."""


def job_provider(job: Job, card: ModelCard) -> str:
    """The provider on which a job's model is measured and run.

    Raises JobError where the job contradicts itself, CardError where the model cannot run so, and ProviderError where
    this machine lacks the provider or the precision.
    """
    precision, asked = job.precision, job.provider
    if precision != "fp32" and card.detects:
        raise JobError(
            f"precision: {precision} is compared with fp32 by the classes of pixels, and {card.name} finds "
            f"{card.detects}. Leave it out."
        )
    if asked not in PROVIDERS.get(precision, (asked,)):
        known = " or ".join(PROVIDERS[precision])
        raise JobError(f"precision: {precision} does not run on provider {asked}. Take provider {known}.")
    if precision == "fp16":
        _check_half(job, card)
    if precision in OWN_GRAPH and job.fuse == "yes":
        raise JobError(f"fuse: precision {precision} runs the model's own graph. Leave fuse out, or take fp32.")
    if precision == "int8" and (obstacle := quantise_obstacle(card)):
        raise CardError(f"precision: int8 cannot be: {obstacle}. Leave it out.")
    provider = AUTO.get(precision, asked) if asked == "auto" else asked
    if provider == "openvino":
        check_precision_here(precision)
        # It reads the graph and refuses operators that OpenVINO does not have.
        open_session(card, provider=provider)
    return provider


def _check_half(job: Job, card: ModelCard) -> None:
    """Refuse half precision where no GPU would compute it, or without a fused graph."""
    if job.fuse == "no":
        raise JobError("fuse: precision fp16 runs the fused graph. Leave fuse out, or take precision fp32.")
    if active_provider(card, provider=job.provider) not in GPUS:
        raise JobError(
            f"precision: fp16 needs a GPU, and provider {job.provider} means cpu here, which computes in single "
            "precision whatever the graph says. Leave precision out, take bf16 or int8, or run on a machine with an "
            "NVIDIA GPU."
        )


def plan_provider(plan: Plan, provider: str) -> str:
    """The provider to ask for when a plan is run with ``provider``: its pixels are of one runtime.

    Raises JobError where the plan was made for another runtime.
    """
    on_openvino = plan.model.runtime == "openvino"
    if on_openvino and provider not in {"auto", "openvino"}:
        raise JobError(
            f"provider: this product was begun with openvino, and its blocks would be of two makes with {provider}. "
            "Take provider openvino, or begin again with --replace."
        )
    if provider == "openvino" and not on_openvino:
        raise JobError(
            "provider: this product was begun with onnxruntime, and its blocks would be of two makes with openvino. "
            "Take another provider, or begin again with --replace."
        )
    if plan.model.precision == "int8" and provider == "auto":
        return "openvino" if on_openvino else "cpu"
    return "openvino" if on_openvino else provider
