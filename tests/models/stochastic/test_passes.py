"""What a graph draws, and where: every random operator that is given a place, and those that are refused by name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.droppers import CLASSES, VALUES, channelwise, dropout, dropped, dropping_card
from tests.support.graphs import Draft
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card
from tilewright.models.measure.receptive import receptive_field
from tilewright.models.run.open import open_session
from tilewright.models.run.smoke_run import synthetic_inputs
from tilewright.models.spec.draws.stochastic import MOST_PASSES
from tilewright.models.stochastic.passes import stochastic_card
from tilewright.models.transforms.draws import drawn_numbers
from tilewright.models.transforms.noise import kept_places, uniform_noise

ROWS, COLS = range(-540_032, -539_832), range(40_064, 40_264)
THREE = {"passes": 3}


def card_of(folder, model, stochastic=THREE, **changes):
    return load_card(dropping_card(folder, model, stochastic, **changes))


def joint_of(folder, model, stochastic=THREE, **changes):
    return stochastic_card(card_of(folder, model, stochastic, **changes), cache=folder / "cache")


def made(head, *, size=None, width=3):
    """A graph whose head makes `width` channels of 3 hidden ones."""
    draft = Draft(5)
    result = head(draft, draft.conv("x", 2, 3))
    return draft.model(draft.conv(result, width, 3, (1, 1)), n_in=2, n_out=3, size=size)


def test_the_share_that_is_dropped_is_the_share_and_places_are_independent():
    for share in (0.05, 0.3, 0.5, 0.9):
        kept = kept_places(seed=1, step=0, share=share, channels=7, rows=ROWS, cols=COLS).astype(np.float64)
        n = kept[0].size
        assert (np.abs(kept.mean(axis=(1, 2)) - (1 - share)) < 5 * np.sqrt(share * (1 - share) / n)).all()
        flat = (kept - kept.mean(axis=(1, 2), keepdims=True)) / np.sqrt(share * (1 - share))
        for one, other in ((flat[0], flat[1]), (flat[0], flat[4]), (flat[0, 1:], flat[0, :-1])):
            assert abs((one * other).mean()) < 5 / np.sqrt(one.size)
    again = kept_places(seed=1, step=1, share=0.5, channels=7, rows=ROWS, cols=COLS)
    assert 0.45 < (again != kept_places(seed=1, step=0, share=0.5, channels=7, rows=ROWS, cols=COLS)).mean() < 0.55
    assert kept_places(seed=1, step=0, share=0.0, channels=1, rows=ROWS, cols=COLS).all()


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 9])
def test_what_is_drawn_is_the_same_whatever_is_drawn_around_it(channels):
    for draw, more in ((kept_places, {"share": 0.4}), (uniform_noise, {})):
        whole = draw(seed=7, step=2, channels=channels, rows=ROWS, cols=COLS, **more)
        part = draw(seed=7, step=2, channels=channels, rows=ROWS[40:90], cols=COLS[13:77], **more)
        assert np.array_equal(whole[:, 40:90, 13:77], part)
        fewer = draw(seed=7, step=2, channels=max(1, channels - 1), rows=ROWS, cols=COLS, **more)
        assert np.array_equal(whole[: len(fewer)], fewer)


def test_uniform_numbers_are_uniform():
    values = uniform_noise(seed=3, step=0, channels=2, rows=ROWS, cols=COLS)
    assert values.dtype == np.float32
    assert 0 <= values.min() < 1e-3
    assert 0.999 < values.max() < 1
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    assert (np.abs(counts - values.size / 20) < 5 * np.sqrt(values.size / 20)).all()


def drawing(draft, x, op, **attributes):
    return draft.node("Add", x, draft.node(op, x, **attributes))


def decomposed(draft, x):
    """Dropout as arithmetic: noise, compared, chosen."""
    kept = draft.node("Greater", draft.node("RandomUniformLike", x), draft.constant(np.array(0.3, np.float32)))
    return draft.node("Where", kept, x, draft.constant(np.array(0, np.float32)))


def coins(draft, x):
    return draft.node("Mul", x, draft.node("Bernoulli", draft.node("Sigmoid", x)))


def masked(draft, x):
    """A dropout whose mask is looked at, too."""
    name = f"n{len(draft.nodes)}"
    inputs = [x, draft.constant(np.array(0.5, np.float32)), draft.constant(np.array(True))]
    draft.nodes.append(helper.make_node("Dropout", inputs, [name, f"{name}-mask"], name=name))
    return draft.node("Add", name, draft.node("Cast", f"{name}-mask", to=TensorProto.FLOAT))


def pooled(draft, x):
    low = draft.node("AveragePool", x, kernel_shape=[4, 4], strides=[4, 4])
    return draft.up(dropout(draft, low), 4)


def finer(draft, x):
    return draft.node("AveragePool", dropout(draft, draft.up(x)), kernel_shape=[2, 2], strides=[2, 2])


def last_axes(draft, x):
    """A dropout of (window, y, x, channel)."""
    turned = dropout(draft, draft.node("Transpose", x, perm=[0, 2, 3, 1]))
    return draft.node("Transpose", turned, perm=[0, 3, 1, 2])


def dates(draft, x):
    """A dropout of (window, channel, date, y, x)."""
    longer = draft.node("Unsqueeze", x, draft.constant(np.array([2])))
    return draft.node("Squeeze", dropout(draft, longer), draft.constant(np.array([2])))


def channels(draft, x):
    return draft.node("Mul", x, channelwise(draft, x, 3))


def half(draft, x):
    return draft.node("Cast", dropout(draft, draft.node("Cast", x, to=TensorProto.FLOAT16)), to=TensorProto.FLOAT)


PLACED = {
    "dropout": (dropout, 1.0),
    "noise": (lambda draft, x: drawing(draft, x, "RandomNormalLike", mean=1.0, scale=0.5, seed=4.0), 1.0),
    "uniform": (lambda draft, x: drawing(draft, x, "RandomUniformLike", low=-2.0, high=3.0), 1.0),
    "arithmetic": (decomposed, 1.0),
    "coins": (coins, 1.0),
    "its mask": (masked, 1.0),
    "a quarter": (pooled, 0.25),
    "twice": (finer, 2.0),
    "channels last": (last_axes, 1.0),
    "dates": (dates, 1.0),
    "channels": (channels, None),
    "half": (half, 1.0),
}


@pytest.mark.parametrize(("head", "ratio"), PLACED.values(), ids=PLACED)
def test_what_is_drawn_lies_on_its_pixels_and_the_reach_stays_proven(tmp_path, head, ratio):
    joint = joint_of(tmp_path, made(head))
    (site,) = (extra for extra in joint.members[0].extras if extra.kind == "drawn")
    assert ("height" in site.dim_order) == (ratio is not None)
    assert site.scale == (ratio or 1)
    field = receptive_field(joint)
    assert (field.verdict, field.difference) == ("bounded", 0)
    assert field.stride == max(1, round(1 / (ratio or 1)))
    # A window and a part of it agree where neither sees its rim.
    session, places = open_session(joint, provider="cpu"), np.array([[ROWS[0] + 64, COLS[0] + 64, 64, 64]])
    feeds = synthetic_inputs(joint, side=64)
    moved = {"x": feeds["x"][:, :, 16:48, 16:48]}
    if "#places" in feeds:
        feeds["#places"] = places
        moved["#places"] = places + np.array([[16, 16, -32, -32]])
    whole, part = (session.run(each)["y"] for each in (feeds, moved))
    assert np.array_equal(whole[:, :, 24:40, 24:40], part[:, :, 8:24, 8:24])
    assert np.array_equal(whole, session.run(feeds)["y"])


@pytest.mark.parametrize(("head", "ratio"), PLACED.values(), ids=PLACED)
def test_windows_of_a_call_draw_as_each_alone(tmp_path, head, ratio):
    joint = joint_of(tmp_path, made(head), {"passes": 2, "spread": True}, head=VALUES)
    session, random = open_session(joint, provider="cpu"), np.random.default_rng(1)
    image = random.uniform(size=(3, 2, 32, 32)).astype(np.float32)
    places = np.array([[64, 32, 32, 32], [-640, 320, 32, 32], [0, 0, 32, 32]])
    told = {"#places": places} if ratio is not None else {}
    together = session.run({"x": image, **told})["y"]
    for number in range(3):
        own = {name: each[number : number + 1] for name, each in {"x": image, **told}.items()}
        assert np.array_equal(together[number], session.run(own)["y"][0])


def test_dropouts_of_old_have_their_share_as_an_attribute(tmp_path):
    model = made(dropout)
    node = next(each for each in model.graph.node if each.op_type == "Dropout")
    del node.input[1:]
    node.attribute.append(helper.make_attribute("ratio", 0.25))
    model.opset_import[0].version = 11
    joint = joint_of(tmp_path, model)
    assert [extra.draw.numbers for extra in joint.members[0].extras] == [(0.25,)]
    assert receptive_field(joint).verdict == "bounded"


def test_what_is_dropped_is_what_the_operator_of_the_runtime_makes_of_the_mask(tmp_path):
    """ONNX Runtime's own dropout, given its mask, is the product with the mask through the share kept."""
    model = made(masked)
    joint = joint_of(tmp_path, model)
    (member,), (site,) = joint.members, joint.members[0].extras
    kept = drawn_numbers(site, np.array([[0, 0, 32, 32]]), n=1, step=0)
    image = np.random.default_rng(2).uniform(size=(1, 2, 32, 32)).astype(np.float32)
    found = open_session(member, provider="cpu").run({"x": image, site.name: kept})["y"]
    plain = Draft(5)
    seen = plain.conv("x", 2, 3)
    chosen = plain.node("Where", "kept", plain.node("Mul", seen, plain.constant([2.0])), plain.constant([0.0]))
    result = plain.node("Add", chosen, plain.node("Cast", "kept", to=TensorProto.FLOAT))
    final = plain.conv(result, 3, 3, (1, 1))
    by_hand = plain.model_many(
        [("x", TensorProto.FLOAT, ["n", 2, "h", "w"]), ("kept", TensorProto.BOOL, ["n", 3, "h", "w"])],
        [(final, "y", TensorProto.FLOAT, ["n", 3, "h", "w"])],
    )
    session = onnxruntime.InferenceSession(by_hand.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found, session.run(None, {"x": image, "kept": kept})[0], atol=1e-5)


def test_the_only_window_of_a_graph_has_its_pixels_and_tokens_are_the_same_in_all_windows(tmp_path):
    fixed = joint_of(tmp_path / "fixed", made(pooled, size=(64, 64)))
    assert [(extra.scale, extra.shape) for extra in fixed.members[0].extras] == [(0.25, (-1, 3, 16, 16))]

    def tokens(draft, x):
        flat = draft.node("Reshape", x, draft.constant(np.array([0, 3, 64 * 64])))
        return draft.node("Reshape", dropout(draft, flat), draft.constant(np.array([0, 3, 64, 64])))

    joint = joint_of(tmp_path / "tokens", made(tokens, size=(64, 64)))
    assert [extra.shape for extra in joint.members[0].extras] == [(3 * 64 * 64,)]
    field = receptive_field(joint)
    # Windows begin at multiples of their own size, on the ground: no cut shows, but nothing proves it.
    assert (field.verdict, field.stride) == ("measured", 64)


def test_weights_beside_the_graph_are_written_into_it(tmp_path):
    folder = dropping_card(tmp_path / "card", dropped(), THREE)
    model = onnx.load(str(folder / "model.onnx"))
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    raw = json.loads((folder / "card.json").read_text())
    assets = raw["assets"]
    for name, role, file in (("model", "mlm:model", "model.onnx"), ("weights", "mlm:weights", "w.bin")):
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        like = assets["model"]
        assets[name] = {**like, "href": f"./{file}", "roles": [role], "file:checksum": f"1220{digest}"}
    assets["weights"].pop("mlm:artifact_type", None)
    (folder / "card.json").write_text(json.dumps(raw))
    plain = joint_of(tmp_path / "plain", dropped())
    beside = stochastic_card(load_card(folder), cache=tmp_path / "cache")
    assert beside.members[0].weights == ()
    feeds = synthetic_inputs(plain, side=32)
    one, other = (open_session(each, provider="cpu").run(feeds)["y"] for each in (plain, beside))
    assert np.array_equal(one, other)


def in_a_branch(draft, x):
    graphs = [
        helper.make_graph([helper.make_node(op, [x], [op])], op, [], [helper.make_tensor_value_info(op, 1, None)])
        for op in ("RandomNormalLike", "Identity")
    ]
    return draft.node("If", draft.constant(np.array(True)), then_branch=graphs[0], else_branch=graphs[1])


def lot(draft, x):
    drawn = draft.node("Multinomial", draft.constant(np.zeros((1, 4), np.float32)), sample_size=1)
    return draft.node("Add", x, draft.node("Cast", drawn, to=TensorProto.FLOAT))


def by_pixels(draft, x):
    return draft.node("Dropout", x, draft.node("ReduceMax", x, keepdims=0), draft.constant(np.array(True)))


def chosen(draft, x):
    """A sum over as many places as noise is above 0."""
    places = draft.node("NonZero", draft.node("Relu", draft.node("RandomNormalLike", x)))
    count = draft.node("Cast", draft.node("Shape", places), to=TensorProto.FLOAT)
    return draft.node("Add", x, draft.node("ReduceMean", count))


def repeated(draft, x):
    once = draft.node("RandomUniform", shape=[1], low=1.0, high=3.0)
    times = draft.node("Cast", once, to=TensorProto.INT64)
    shape = draft.node("Concat", draft.constant(np.array([1, 1, 1])), times, axis=0)
    return draft.node("Add", x, draft.node("ReduceMean", draft.node("Expand", x, shape)))


def tokens_of_any(draft, x):
    flat = draft.node("Reshape", x, draft.constant(np.array([0, 3, -1])))
    return draft.node("Reshape", dropout(draft, flat), draft.node("Shape", x))


def joined(draft, x):
    """A dropout of windows and channels as one axis."""
    shape = draft.node("Concat", draft.constant(np.array([-1, 1])), draft.node("Shape", x, start=2), axis=0)
    return draft.node("Reshape", dropout(draft, draft.node("Reshape", x, shape)), draft.node("Shape", x))


def trained(draft, x):
    ones = [draft.constant(np.ones(3, np.float32)) for _ in range(4)]
    name = f"n{len(draft.nodes)}"
    draft.nodes.append(
        helper.make_node("BatchNormalization", [x, *ones], [name, "mean", "var"], name=name, training_mode=1)
    )
    return dropout(draft, name)


REFUSED = {
    "nothing": (lambda _, x: x, "the graph of small draws nothing: export it"),
    "a share of 0": (lambda draft, x: dropout(draft, x, 0.0), "draws nothing"),
    "a share of 1": (lambda draft, x: dropout(draft, x, 1.0), r"Dropout 'n1' .*its share is 1: write 0 or above"),
    "no share": (lambda draft, x: dropout(draft, x, float("nan")), "its share is nan"),
    "a computed share": (by_pixels, "Dropout 'n2' of small cannot be drawn: its share is computed"),
    "in a branch": (in_a_branch, "RandomNormalLike .* inside a Loop, an If"),
    "a lot": (lot, "Multinomial 'n1' of small cannot be drawn: export it as"),
    "sizes": (chosen, "RandomNormalLike 'n1' .*NonZero 'n3' takes its sizes from what is drawn"),
    "a shape": (repeated, "RandomUniform 'n1' .*Expand 'n4' takes its sizes from what is drawn"),
    "tokens": (tokens_of_any, "Dropout 'n2' .*grow with the window and do not lie on its rows"),
    "windows": (joined, "its first axis is not that of the windows"),
    "training": (trained, "BatchNormalization 'n1' of small is in training mode too"),
}


@pytest.mark.parametrize(("head", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_drawn_is_refused_by_name(tmp_path, head, words):
    with pytest.raises(CardError, match=words) as refused:
        joint_of(tmp_path, made(head))
    assert "\n" not in str(refused.value)
    with pytest.raises(CardError, match=words):
        check_card(card_of(tmp_path / "again", made(head)))


@pytest.mark.parametrize(
    ("stochastic", "words"),
    [
        ({"passes": 0}, "tw:stochastic.passes is 0; write a whole number of at least 2"),
        ({"passes": 1}, "passes is 1; write a whole number of at least 2"),
        ({"passes": 10**9}, f"passes is 1000000000; write 2 to {MOST_PASSES}"),
        ({"passes": 2.5}, "passes is 2.5; write a whole number"),
        ({"passes": True}, "passes is True; write a whole number"),
        ({"seed": "lucky"}, "seed is 'lucky'; write a whole number of at least 0"),
        ({"seed": -1}, "seed is -1; write a whole number"),
        ({"seed": 10**30}, "seed is 10.*at most 2147483647"),
        ({"spread": "yes"}, "spread is 'yes'; write true or false"),
        ({"pass": 4}, "pass"),
        (True, "tw:stochastic is True; write an object"),
        ([8], "tw:stochastic is .*write an object"),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_is_refused(tmp_path, stochastic, words):
    with pytest.raises(CardError, match=words):
        card_of(tmp_path, dropped(), stochastic)


def test_passes_of_what_has_no_mean_are_refused(tmp_path):
    with pytest.raises(CardError, match=r"tw:stochastic.split: small gives values, which have no entropy"):
        joint_of(tmp_path, dropped(), {"split": True}, head=VALUES)


def test_a_card_of_passes_never_runs_as_it_is(tmp_path):
    with pytest.raises(CardError, match="draws random numbers"):
        open_session(card_of(tmp_path, dropped()), provider="cpu")


def test_a_graph_with_the_names_of_ours_is_rewritten_under_others(tmp_path):
    model = dropped()
    for node in model.graph.node:
        node.output[:] = [f"drawn#{name}" if name == "n0" else name for name in node.output]
        node.input[:] = [f"drawn#{name}" if name == "n0" else name for name in node.input]
    joint = joint_of(tmp_path, model)
    assert [extra.name for extra in joint.members[0].extras] == ["drawn##0"]
    assert receptive_field(joint).verdict == "bounded"


@pytest.mark.parametrize("bent", ["no input", "no output", "a text", "a list"])
def test_a_bent_dropout_is_refused(tmp_path, bent):
    folder = dropping_card(tmp_path, dropped(), THREE, head=CLASSES)
    model = onnx.load(str(folder / "model.onnx"))
    node = next(each for each in model.graph.node if each.op_type == "Dropout")
    if bent == "no input":
        del node.input[:]
    elif bent == "no output":
        del node.output[:]
    else:
        array = np.array(["much"]) if bent == "a text" else np.array([0.1, 0.2], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array.astype(object if bent == "a text" else None), "r"))
        node.input[1] = "r"
    card = card_of(tmp_path / "plain", dropped())
    (tmp_path / "bent.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CardError, match="cannot be drawn"):
        stochastic_card(replace(card, model_path=tmp_path / "bent.onnx"))
