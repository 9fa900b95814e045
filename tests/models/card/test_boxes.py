"""Cards of detectors: every form that is written down is read, and a wrong one is refused in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto

from tests.support.detectors import CLASSES, FORMS, detector
from tests.support.graphs import Draft
from tests.support.worlds import write_card
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError, InferenceError
from tilewright.models.measure.check import check_card
from tilewright.models.transforms.boxes import found_boxes

CORNERS = ["x1", "y1", "x2", "y2"]


def changed(folder, change, number=0):
    path = folder / "card.json"
    card = json.loads(path.read_text())
    change(card["properties"]["mlm:output"][number])
    path.write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_and_checked(tmp_path, form):
    card = load_card(detector(tmp_path, form))
    assert [table.name for table in card.boxes] == ["things"]
    assert card.layer_specs() == ()
    assert {each.value for each in card.boxes[0].classes} == {3, 7}
    report = check_card(card, cache=tmp_path / "cache")
    words = dict(report.lines())
    assert "things (boxes)" in json.dumps(words)
    assert report.window.merge == "trim"


def drawn(folder, *, windows, boxes):
    """A card of a graph that gives the same boxes everywhere, without an axis for windows."""
    draft = Draft()
    rows = draft.constant(np.ones((boxes, 6), np.float32))
    found = draft.node("Add", rows, draft.node("ReduceMean", "x", keepdims=0))
    model = draft.model_many(
        [("x", TensorProto.FLOAT, [windows, 1, 96, 96])], [(found, "y", TensorProto.FLOAT, [boxes, 6])]
    )
    output = {"name": "y", "dims": ["box", "channel"], "tw:layers": ["things"], "tasks": ["object-detection"]}
    rule = {"tw:boxes": {"channels": [*CORNERS, "score", "class"]}, "classification:classes": CLASSES}
    inputs, tile = [{"name": "x", "bands": ["red"]}], {"window": 96, "trim": 16, "step": None}
    return write_card(folder, model, inputs=inputs, outputs=[output | rule], tile=tile)


REFUSED = {
    "unknown word": ({"channels": [*CORNERS, "score", "klass"]}, "'klass' is none of", "did you mean 'class'"),
    "too few": ({"channels": [*CORNERS, "score"]}, "channels", "6"),
    "no channels": ({"channels": []}, "name each of the channels"),
    "twice": ({"channels": [*CORNERS, "score", "score"]}, "'score' stands twice"),
    "half a box": ({"channels": ["x1", "y1", "w", "h", "score", "class"]}, "name x1 y1 x2 y2, or cx cy w h"),
    "angle of corners": ({"channels": [*CORNERS, "score", "angle"]}, "an angle turns boxes"),
    "no score": ({"channels": [*CORNERS, "ignored", "class"]}, "name a score"),
    "no class": ({"channels": [*CORNERS, "score", "ignored"]}, "several classes are listed"),
    "other classes": ({"channels": [*CORNERS, "score:small", "score:huge"]}, "'huge' is no class"),
    "a class without score": ({"channels": [*CORNERS, "score:small", "ignored"]}, "each class needs"),
    "both": ({"channels": [*CORNERS, "score:small", "class"]}, "give either score and class"),
    "nothing alone": ({"channels": [*CORNERS, "score", "nothing"]}, "'nothing' stands among"),
    "negative score": ({"least_score": -0.1}, "least_score is -0.1", "from 0 to 1"),
    "iou of 2": ({"iou": 2}, "iou is 2", "from 0 to 1"),
    "unknown key": ({"least": 0.1}, "least is not a field", "least_score"),
    "unknown unit": ({"unit": "metres"}, "unit is 'metres'", "pixel, window"),
    "no number": ({"iou": "much"}, "iou is 'much'", "number"),
}


@pytest.mark.parametrize(("change", "words"), [(each[0], each[1:]) for each in REFUSED.values()], ids=REFUSED)
def test_wrong_boxes_are_refused_in_one_sentence(tmp_path, change, words):
    detector(tmp_path, FORMS[0])
    with pytest.raises(CardError) as refusal:
        load_card(changed(tmp_path, lambda output: output["tw:boxes"].update(change)))
    assert all(word in str(refusal.value) for word in words)
    assert "mlm:output[0].tw:boxes" in str(refusal.value)
    assert "\n" not in str(refusal.value)


OUTPUTS = {
    "two names": ({"tw:layers": ["a", "b"]}, "the one name of the table"),
    "no name": ({"tw:layers": []}, "the one name of the table"),
    "a path": ({"tw:layers": ["../ships"]}, "a name for the table"),
    "a name of every product": ({"tw:layers": ["manifest"]}, "a name for the table"),
    "the store": ({"tw:layers": ["data"]}, "a name for the table"),
    "the plan": ({"tw:layers": ["plan"]}, "a name for the table"),
    "the page": ({"tw:layers": ["report"]}, "a name for the table"),
    "the report": ({"tw:layers": ["report_json"]}, "a name for the table"),
    "the picture": ({"tw:layers": ["thumbnail"]}, "a name for the table"),
    "polygons": ({"tw:layers": ["class_polygons"]}, "a name for the table"),
    "softmax of one": ({"tw:activation": "softmax"}, "softmax is of score:<class>"),
    "a crop": ({"tw:crop": 2}, "tw:crop is not a field"),
    "no boxes along": ({"result": {"shape": [9216, 6], "dim_order": ["batch", "channel"], "data_type": "float32"}},
                       "box must be there"),
    "another rank": ({"result": {"shape": [1, 9216, 6], "dim_order": ["batch", "box", "channel"],
                                 "data_type": "float32"}}, "with 3 dimensions"),
    "another type": ({"result": {"shape": [9216, 6], "dim_order": ["box", "channel"], "data_type": "float64"}},
                     "the graph has float32"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), OUTPUTS.values(), ids=OUTPUTS)
def test_wrong_outputs_are_refused_in_one_sentence(tmp_path, change, words):
    detector(tmp_path, FORMS[0])
    with pytest.raises(CardError, match=words):
        load_card(changed(tmp_path, lambda output: output.update(change)))


def test_one_output_lists_the_classes(tmp_path):
    detector(tmp_path, "torchvision")
    with pytest.raises(CardError, match="list the classes at one of the outputs"):
        load_card(changed(tmp_path, lambda output: output.pop("classification:classes"), number=1))


def test_a_rule_is_stated_once(tmp_path):
    detector(tmp_path, "torchvision")
    with pytest.raises(CardError, match=r"mlm:output\[0\].tw:boxes.iou says it for this table already"):
        load_card(changed(tmp_path, lambda output: output["tw:boxes"].update(iou=0.4), number=2))


def test_an_answer_of_another_size_is_an_error_that_names_it(tmp_path):
    table = load_card(detector(tmp_path, "torchvision")).boxes[0]
    arrays = {"boxes": np.zeros((5, 4)), "scores": np.ones(5), "labels": np.full(5, 3)}
    with pytest.raises(InferenceError, match=r"4, 5 boxes in a window"):
        found_boxes(table, {**arrays, "scores": np.ones(4)}, windows=1, window=96)
    with pytest.raises(InferenceError, match=r"boxes is \[5, 3\]; the card says 4 channels"):
        found_boxes(table, {**arrays, "boxes": np.zeros((5, 3))}, windows=1, window=96)
    with pytest.raises(InferenceError, match=r"the card names 2"):
        found_boxes(table, {**arrays, "boxes": np.zeros((1, 5, 4))}, windows=1, window=96)


def test_what_is_no_box_is_left_out(tmp_path):
    table = load_card(detector(tmp_path, FORMS[0])).boxes[0]
    good = [1.0, 2.0, 5.0, 9.0, 0.75, 3.0]
    rows = np.array([good, *(np.where(np.arange(6) == at, value, good) for at, value in (
        (0, np.nan), (2, np.inf), (4, np.nan), (4, 0.49), (5, 4), (5, 3.5), (5, np.nan), (2, 1.0), (3, -7.0),
        (2, 1 + 1e-7), (2, 1e300), (3, 1e308), (0, -1e308), (0, -np.inf),
    ))])  # fmt: skip
    (found,) = found_boxes(table, {"y": rows}, windows=1, window=96)
    assert found.tolist() == [(3.0, 5.5, 4.0, 7.0, 0.0, 0.75, 3)]


def test_a_detector_of_one_class_is_a_card(tmp_path):
    def one_class(output):
        output["tw:boxes"]["channels"] = [*CORNERS, "score", "ignored"]
        output["classification:classes"] = [{"value": 5, "name": "ship"}]

    detector(tmp_path, FORMS[0])
    (table,) = load_card(changed(tmp_path, one_class)).boxes
    rows = np.array([[1, 2, 5, 9, 0.75, 99]], np.float32)
    assert found_boxes(table, {"y": rows}, windows=1, window=96)[0]["value"].tolist() == [5]


def test_an_activation_is_of_scores(tmp_path):
    detector(tmp_path, "torchvision")
    with pytest.raises(CardError, match=r"mlm:output\[0\].tw:activation .*no score stands in this output"):
        load_card(changed(tmp_path, lambda output: output.update({"tw:activation": "sigmoid"})))


def test_softmax_is_not_shared_with_objectness(tmp_path):
    detector(tmp_path, "objectness and classes")
    with pytest.raises(CardError, match="softmax is of score:<class>"):
        load_card(changed(tmp_path, lambda output: output.update({"tw:activation": "softmax"})))


def test_a_window_may_have_more_boxes_than_rows_of_pixels(tmp_path):
    (table,) = load_card(drawn(tmp_path, windows=1, boxes=33_600)).boxes
    assert table.outputs[0].shape == (33_600, 6)


def test_boxes_of_several_windows_need_their_axis(tmp_path):
    with pytest.raises(CardError, match="y has the boxes of one window, and the graph takes 4"):
        load_card(drawn(tmp_path, windows=4, boxes=12))


def test_scores_are_no_whole_numbers(tmp_path):
    detector(tmp_path, "torchvision")
    change = {"result": {"shape": [9216], "dim_order": ["box"], "data_type": "uint8"}}
    with pytest.raises(CardError, match="scores are probabilities"):
        load_card(changed(tmp_path, lambda output: output.update(change), number=2))
