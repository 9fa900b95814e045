"""What a job asks of several runs: a model seen from several sides, or several models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator


class AugmentWish(BaseModel):
    """From which sides a model sees each window: ``flips`` are four, ``d4`` with quarter turns eight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["none", "flips", "d4"] = "none"
    spread: bool = False

    @model_validator(mode="after")
    def _spread_of_something(self) -> AugmentWish:
        if self.spread and self.kind == "none":
            raise ValueError("spread needs a kind: write flips or d4")
        return self


class EnsembleWish(BaseModel):
    """The models that answer beside the job's own, and how their answers become one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ()
    combine: Literal["mean", "vote"] = "mean"
    disagreement: bool = False

    @model_validator(mode="after")
    def _partners_named(self) -> EnsembleWish:
        if not self.models and (self.disagreement or self.combine == "vote"):
            raise ValueError("models: name the models that answer beside the job's own")
        return self


def as_augment(value: object) -> object:
    """``augment: d4`` as ``{kind: d4}``."""
    return {"kind": value} if isinstance(value, str) else value


def as_ensemble(value: object) -> object:
    """``ensemble: [one, two]`` as ``{models: [one, two]}``."""
    return {"models": value} if isinstance(value, (list, tuple)) else value
