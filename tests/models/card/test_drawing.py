"""Graphs that draw random numbers are refused by name; a dropout that is at rest is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.cards import value_card
from tests.support.graphs import Draft
from tilewright.models.errors import CardError


def _flag(draft: Draft, *, on: bool) -> str:
    return draft.constant(np.array(on))


def _added(draft: Draft, noise: str) -> str:
    return draft.node("Add", "x", noise)


def _seeded(draft: Draft) -> str:
    return _added(draft, draft.node("RandomUniformLike", "x", seed=1.0))


def _multinomial(draft: Draft) -> str:
    table = draft.constant(np.zeros((1, 4), np.float32))
    drawn = draft.node("Multinomial", table, sample_size=1)
    return _added(draft, draft.node("Cast", drawn, to=TensorProto.FLOAT))


def _stored_switch(draft: Draft) -> str:
    switch = draft.node("Constant", value=helper.make_tensor("on", TensorProto.BOOL, [], [True]))
    return draft.node("Dropout", "x", draft.constant(np.array(0.5, np.float32)), switch)


def _computed_switch(draft: Draft) -> str:
    brightest = draft.node("ReduceMax", "x", keepdims=0)
    switch = draft.node("Greater", brightest, draft.constant(np.array(9, np.float32)))
    return draft.node("Dropout", "x", "", switch)


def _in_a_branch(draft: Draft) -> str:
    graphs = [
        helper.make_graph(
            [helper.make_node(op, ["x"], [op])], op, [], [helper.make_tensor_value_info(op, TensorProto.FLOAT, None)]
        )
        for op in ("RandomNormalLike", "Identity")
    ]
    return draft.node("If", _flag(draft, on=False), then_branch=graphs[0], else_branch=graphs[1])


DRAWING: dict[str, tuple[str, Callable[[Draft], str]]] = {
    "noise like the window": ("RandomNormalLike", lambda draft: _added(draft, draft.node("RandomNormalLike", "x"))),
    "uniform, seeded": ("RandomUniformLike", _seeded),
    "one number": ("RandomNormal", lambda draft: _added(draft, draft.node("RandomNormal", shape=[1]))),
    "uniform number": ("RandomUniform", lambda draft: _added(draft, draft.node("RandomUniform", shape=[1], seed=3.0))),
    "coins": ("Bernoulli", lambda draft: _added(draft, draft.node("Bernoulli", draft.node("Sigmoid", "x")))),
    "a lot": ("Multinomial", _multinomial),
    "dropout": ("Dropout", lambda draft: draft.node("Dropout", "x", "", _flag(draft, on=True))),
    "dropout by a node": ("Dropout", _stored_switch),
    "dropout by pixels": ("Dropout", _computed_switch),
    "in a branch": ("RandomNormalLike", _in_a_branch),
}  # fmt: skip

AT_REST: dict[str, Callable[[Draft], str]] = {
    "no switch": lambda draft: draft.node("Dropout", "x"),
    "a ratio alone": lambda draft: draft.node("Dropout", "x", draft.constant(np.array(0.5, np.float32))),
    "switched off": lambda draft: draft.node("Dropout", "x", "", _flag(draft, on=False)),
}


def _model(make: Callable[[Draft], str]) -> onnx.ModelProto:
    draft = Draft()
    return draft.model(make(draft), n_in=1, n_out=1)


@pytest.mark.parametrize(("op", "make"), DRAWING.values(), ids=DRAWING)
def test_a_graph_that_draws_is_refused_by_name(op: str, make: Callable[[Draft], str], tmp_path: Path) -> None:
    with pytest.raises(CardError, match=rf"draws random numbers.*\({op} .*model\.eval\(\)"):
        value_card(tmp_path, _model(make))


@pytest.mark.parametrize("make", AT_REST.values(), ids=AT_REST)
def test_a_dropout_at_rest_is_accepted(make: Callable[[Draft], str], tmp_path: Path) -> None:
    assert value_card(tmp_path, _model(make)).name == "small"
