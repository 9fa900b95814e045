from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.models.errors import CardError
from tilewright.models.spec.expression import parse_expression

BANDS = {"nir": np.array([[0.4, 0.2]], dtype=np.float32), "red": np.array([[0.1, 0.2]], dtype=np.float32)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(nir - red) / (nir + red)", [[0.6, 0.0]]),
        ("-nir + 2 * red ** 2", [[-0.38, -0.12]]),
        ("2.5 * (nir - red) / (nir + 2.4 * red + 1)", [[0.75 / 1.64, 0.0]]),
        ("max(nir, 0.3) - min(red, 0.15)", [[0.3, 0.15]]),
        ("sqrt(abs(red - nir))", [[0.5477226, 0.0]]),
        ("log10(red) + exp(0)", [[0.0, 0.30103]]),
    ],
)
def test_arithmetic_over_bands_is_numpys_in_float32(text: str, expected: list[list[float]]) -> None:
    value = parse_expression(text, field="f")(BANDS)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, expected, atol=1e-6)


def test_names_come_in_the_order_of_first_use_and_once() -> None:
    assert parse_expression("red * nir - red", field="f").names == ("red", "nir")


def test_what_has_no_answer_is_not_finite_and_warns_nobody() -> None:
    zero = {"a": np.zeros(2, dtype=np.float32)}
    assert not np.isfinite(parse_expression("a / a", field="f")(zero)).any()
    assert not np.isfinite(parse_expression("log(a)", field="f")(zero)).any()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('ls')",
        "nir.__class__",
        "nir[0]",
        "(lambda: nir)()",
        "[nir for nir in red]",
        "nir if red else 0",
        "nir > red",
        "nir and red",
        "nir @ red",
        "nir // red",
        "f'{nir}'",
        "'nir'",
        "nir + True",
        "nir + 1j",
        "eval(nir)",
        "abs(nir, red)",
        "min(*nir)",
        "max(nir, b=red)",
        "(nir := red)",
        "nir; red",
        "import os",
        "",
        "1 + 2",
        "nir +",
        "nir\0",
        "-" * 60 + "nir",
        "(" * 500 + "nir" + ")" * 500,
        "nir + " * 300 + "nir",
    ],
)
def test_anything_but_arithmetic_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(CardError, match=r"^mlm:input\[0\]"):
        parse_expression(text, field="mlm:input[0]")


@given(st.text(max_size=80))
def test_no_text_ever_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        parse_expression(text, field="f")
    except CardError as refusal:
        assert str(refusal).startswith("f ")  # noqa: PT017


def test_a_constant_power_tower_is_floating_and_returns_at_once() -> None:
    value = parse_expression("nir * 9 ** 9 ** 9 ** 9", field="f")(BANDS)
    assert np.isinf(value).all()
