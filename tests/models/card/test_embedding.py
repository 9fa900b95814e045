"""Cards of embeddings: what is told of vectors, and what is refused by its field."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.support.embedders import LENGTH, pixel_encoder, window_encoder
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.spec.embedding import decoded, encoded


def changed(card, *path, **values):
    """The card with entries of its first output, or of what `path` leads to, set; None removes one."""
    plain = json.loads((card / "card.json").read_text())
    place = plain["properties"]["mlm:output"][0]
    for key in path:
        place = place.setdefault(key, {})
    for key, value in values.items():
        place[key.replace("tw_", "tw:")] = value
    (card / "card.json").write_text(json.dumps(plain))
    return card


def test_an_embedding_is_one_layer_and_int8_has_scales(tmp_path):
    (layer,) = load_card(window_encoder(tmp_path / "a")).layer_specs()
    assert (layer.kind, layer.dtype, layer.length, layer.mapped) == ("vector", "float16", LENGTH, False)
    assert (layer.bytes_per_pixel, layer.trailing) == (2 * LENGTH, (LENGTH,))
    card = load_card(pixel_encoder(tmp_path / "b", told={"storage": "int8", "metric": "dot"}))
    vectors, scales = card.layer_specs()
    assert (vectors.dtype, vectors.nodata, scales.name, scales.dtype) == ("int8", -128, "vectors_scale", "float32")
    assert card.vector_kinds == {"vectors": "pixel", "vectors_scale": "scale"}
    assert card.with_scales(["vectors"]) == ("vectors", "vectors_scale")
    assert card.vector_bytes == LENGTH + 4


WRONG = {
    "metric": (("tw:embedding",), {"metric": "cosin"}, r"tw:embedding\.metric is .*cosine"),
    "storage": (("tw:embedding",), {"storage": "int4"}, r"tw:embedding\.storage"),
    "another key": (("tw:embedding",), {"scale": 2}, r"tw:embedding\.scale is not a field"),
    "no object": ((), {"tw_embedding": "cosine"}, r"tw:embedding is .*write an object"),
    "task": ((), {"tasks": ["regression"]}, r"tasks is .*similarity-search"),
    "two names": ((), {"tw_layers": ["a", "b"]}, r"tw:layers is .*one name"),
    "the dimension": ((), {"tw_layers": ["vector"]}, r"tw:layers is .*another name"),
    "a path": ((), {"tw_layers": ["a/b"]}, r"is no file name"),
    "reserved": ((), {"tw_layers": ["data"]}, r"is used by every product"),
    "classes": ((), {"classification:classes": [{"value": 0, "name": "a"}, {"value": 1, "name": "b"}]}, "remove it"),
    "unit": ((), {"tw_unit": "m"}, r"tw:unit is .*remove it"),
    "range": ((), {"tw_valid_range": [0, 1]}, r"tw:valid_range is .*remove it"),
    "activation": ((), {"tw_activation": "softmax"}, r"tw:activation is .*remove it"),
    "boxes": ((), {"tw_boxes": {"channels": ["cx", "cy", "w", "h", "score"]}}, "tw:boxes|tw:embedding"),
    "free": (("result",), {"shape": [-1, -1]}, r"result\.shape is .*fixed number"),
    "one number": (("result",), {"shape": [-1, 1]}, r"result\.shape is .*2 to 8192"),
    "too long": (("result",), {"shape": [-1, 9000]}, r"result\.shape is .*2 to 8192"),
    "endless": (("result",), {"shape": [-1, 10**6]}, r"result\.shape"),
    "another length": (("result",), {"shape": [-1, LENGTH + 1]}, r"result\.shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_card_is_refused_by_its_field(tmp_path, name):
    path, values, words = WRONG[name]
    with pytest.raises(CardError, match=words):
        load_card(changed(window_encoder(tmp_path / "card"), *path, **values))


@pytest.mark.parametrize("second", ["an embedding", "of pixels"])
def test_outputs_beside_it_are_of_its_own_pixels(tmp_path, second):
    card = window_encoder(tmp_path / "card")
    plain = json.loads((card / "card.json").read_text())
    (output,) = plain["properties"]["mlm:output"]
    other = {**output, "name": "z", "tw:layers": ["others"]}
    if second == "of pixels":
        del other["tw:embedding"]
        other |= {"tasks": ["regression"], "result": {**output["result"], "shape": [-1, 1, -1, -1],
                  "dim_order": ["batch", "channel", "height", "width"]}}  # fmt: skip
    plain["properties"]["mlm:output"].append(other)
    (card / "card.json").write_text(json.dumps(plain))
    with pytest.raises(
        CardError, match="has one embedding" if second == "an embedding" else "are not those of the vec"
    ):
        load_card(card, verify=False)


ODD = np.array(
    [
        [0, 0, 0], [1, -1, 0.5], [1e-30, -2e-30, 0], [1e-45, 0, 0], [3e38, -3e38, 1], [np.nan, 1, 1], [np.inf, 1, 1],
        [-0.0, 0.0, 127], [65504, 1, 1], [70000, 1, 1],
    ],
    np.float32,
)  # fmt: skip


@pytest.mark.parametrize("storage", ["float16", "float32", "int8"])
def test_what_is_stored_is_read_again_within_its_bound(storage):
    random = np.random.default_rng(0)
    vectors = np.concatenate(
        [ODD, random.normal(size=(500, 3)).astype(np.float32) * 10.0 ** random.integers(-6, 5, (500, 1))]
    )
    vectors = vectors.astype(np.float32)
    stored, scales = encoded(vectors, storage)
    again = decoded(stored, scales)
    missing = ~np.isfinite(vectors).all(axis=1)
    if storage == "float16":
        missing |= np.abs(np.nan_to_num(vectors)).max(axis=1) >= 65520
        bound = np.maximum(np.abs(vectors) * 2**-11, 2**-25)
    elif storage == "float32":
        bound = np.zeros_like(vectors)
    else:
        assert (stored[missing] == -128).all()
        assert np.isnan(scales[missing]).all()
        assert (np.abs(stored[~missing].astype(int)) <= 127).all()
        again[missing] = np.nan
        bound = 0.5001 * np.nan_to_num(scales)[:, None] + np.zeros_like(vectors)
        # Amounts below the smallest float have no scale.
        bound[np.abs(vectors).max(axis=1) < 1e-42] = 1e-42
    assert np.array_equal(np.isnan(again).any(axis=1), missing)
    assert (np.abs(again - vectors)[~missing] <= bound[~missing]).all()
    assert all(
        encoded(row[None], storage)[0].tobytes() == each.tobytes() for row, each in zip(vectors, stored, strict=True)
    )
