"""Cards that tell objects apart: what is written down is read, and a wrong one is refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.support.fields import field_card
from tests.support.segmenters import FORMS, MOST, segmenter
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError, InferenceError
from tilewright.models.measure.check import check_card
from tilewright.models.spec.boxes import BoxesSpec, BoxOutput, MasksSpec
from tilewright.models.spec.outputs import ClassSpec
from tilewright.models.transforms import masks
from tilewright.models.transforms.masks import found_masks
from tilewright.models.transforms.postprocess import layers_from_scores
from tilewright.models.transforms.resize import resize


def changed(folder, change, number=0):
    path = folder / "card.json"
    card = json.loads(path.read_text())
    change(card["properties"]["mlm:output"][number])
    path.write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize("form", ["logits", "probabilities", "values"])
def test_boundaries_are_read_and_checked(tmp_path, form):
    card = load_card(field_card(tmp_path, form=form, layers=("fields", "class")))
    objects, classes = card.layer_specs()
    assert (objects.name, objects.kind, objects.dtype, objects.nodata) == ("fields", "id", "int32", -1)
    assert [each.name for each in objects.classes] == ["field"]
    assert (classes.name, classes.kind) == ("class", "class")
    assert not card.detects
    assert "fields" in json.dumps(dict(check_card(card, cache=tmp_path / "cache").lines()))


def test_a_pixel_is_inside_from_the_least_probability_on(tmp_path):
    (output,) = load_card(field_card(tmp_path, form="probabilities", instances={"least_probability": 0.7})).outputs
    field = np.array([[0.7, 0.699, 0.71, np.nan]], np.float32)
    planes = np.stack([0.2 * np.ones_like(field), field, np.full_like(field, 0.1)])
    assert layers_from_scores(output, planes)["fields"].tolist() == [[1, 0, 1, -1]]


BOUNDARIES = {
    "no way": ({"from": "magic"}, "tw:instances.from is 'magic'; write one of boundary, masks"),
    "no such interior": ({"interior": "feild"}, "interior is 'feild'; it is no class (did you mean 'field'?)"),
    "no such boundary": ({"boundary": "rim"}, "tw:instances.boundary is 'rim'; it is no class"),
    "one class for both": ({"boundary": "field"}, "the class between objects"),
    "no interior": ({"interior": None}, "tw:instances.interior is None; write a text"),
    "no probability": ({"least_probability": 1.5}, "a probability above 0, and at most 1"),
    "probability 0": ({"least_probability": 0}, "a probability above 0, and at most 1"),
    "not a number": ({"least_probability": "half"}, "write a number"),
    "unknown key": ({"channels": ["mask"]}, "channels is not a field"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BOUNDARIES.values(), ids=BOUNDARIES)
def test_wrong_boundaries_are_refused_in_one_sentence(tmp_path, change, words):
    field_card(tmp_path)
    with pytest.raises(CardError) as refusal:
        load_card(changed(tmp_path, lambda output: output["tw:instances"].update(change)))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


FIELDS = {
    "two names": ({"tw:layers": ["a", "b"]}, "one name for the layer of objects"),
    "no name": ({"tw:layers": ["class"]}, "one name for the layer of objects"),
    "nothing": ({"tw:layers": []}, "one name for the layer of objects"),
    "a path": ({"tw:layers": ["../fields"]}, "is no file name"),
    "a name of every product": ({"tw:layers": ["manifest"]}, "is used by every product"),
    "another table": ({"tw:layers": ["zones"]}, "cannot be called zones"),
    "its own polygons": ({"tw:layers": ["class_polygons"]}, "cannot be called class_polygons"),
    "no objects": ({"tw:instances": None}, "objects are told by tw:instances"),
}


@pytest.mark.parametrize(("change", "words"), FIELDS.values(), ids=FIELDS)
def test_wrong_fields_of_boundaries_are_refused(tmp_path, change, words):
    field_card(tmp_path)
    with pytest.raises(CardError, match=words):
        load_card(changed(tmp_path, lambda output: output.update(change)))


def test_boundaries_are_those_of_classes(tmp_path):
    field_card(tmp_path)
    with pytest.raises(CardError, match="list the classes of which tw:instances names two"):
        load_card(changed(tmp_path, lambda output: output.pop("classification:classes")))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_masks_is_read_and_checked(tmp_path, form):
    card = load_card(segmenter(tmp_path, form))
    (masks,) = card.masks
    assert (masks.name, card.boxes, card.detects, card.only_boxes) == ("things", (), "masks", True)
    assert masks.n_coefficients == (3 if form in {"prototypes", "transposed"} else 0)
    assert masks.has_places == (form != "no boxes")
    assert [(spec.name, spec.kind) for spec in card.layer_specs()] == [("things", "id")]
    report = check_card(card, cache=tmp_path / "cache")
    assert "things (masks)" in json.dumps(dict(report.lines()))


def told(folder, form, number, change):
    segmenter(folder, form)
    return changed(folder, lambda output: output["tw:instances"].update(change), number)


MASKS = {
    "an unknown word": ("logits", 0, {"channels": ["x1", "y1", "x2", "y2", "score", "klass"]}, "'klass' is none of"),
    "coefficients alone": ("torchvision", 0, {"channels": ["x1", "y1", "x2", "coefficient:*"]}, "belong together"),
    "prototypes alone": ("prototypes", 0, {"channels": [*"abc"]}, "'a' is none of"),
    "no coefficients": ("prototypes", 0, {"channels": ["x1", "y1", "x2", "y2", "score:small", "score:large",
                                                       "ignored", "angle", "class"]}, "belong together"),
    "too few coefficients": ("prototypes", 0, {"channels": ["x1", "y1", "x2", "y2", "score:small", "score:large",
                                                            "coefficient:*", "ignored"]}, "there are 2 of coefficient"),
    "coefficients without a place": ("prototypes", 0, {"channels": [*["ignored"] * 4, "score:small", "score:large",
                                                                    "coefficient:*"]},
                                     "name x1 y1 x2 y2, or cx cy w h"),
    "coefficients twice": ("prototypes", 0, {"channels": ["x1", "y1", "x2", "y2", "score:small", "coefficient:*",
                                                          "coefficient:*"]}, "once"),
    "an angle": ("logits", 0, {"channels": ["cx", "cy", "w", "h", "score", "angle"]}, "upright"),
    "half a box": ("logits", 0, {"channels": ["x1", "y1", "ignored", "h", "score", "class"]}, "name x1 y1 x2 y2"),
    "another class": ("no boxes", 0, {"channels": ["score:small", "score:huge"]}, "'huge' is no class"),
    "no score": ("torchvision", 2, {"channels": ["ignored"]}, "name a score"),
    "iou of 2": ("logits", 1, {"iou": 2}, "from 0 to 1"),
    "probability of 0": ("logits", 1, {"least_probability": 0}, "above 0"),
    "an unknown key": ("logits", 1, {"least": 1}, "least is not a field"),
    "said twice": ("logits", 0, {"iou": 0.5}, "for this table already"),
    "a mask and more": ("logits", 1, {"channels": ["mask", "score"]}, "an output of mask has nothing else"),
}  # fmt: skip


@pytest.mark.parametrize(("form", "number", "change", "words"), MASKS.values(), ids=MASKS)
def test_wrong_masks_are_refused_in_one_sentence(tmp_path, form, number, change, words):
    with pytest.raises(CardError) as refusal:
        load_card(told(tmp_path, form, number, change))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_masks_are_missed(tmp_path):
    segmenter(tmp_path, "torchvision")
    path = tmp_path / "card.json"
    card = json.loads(path.read_text())
    del card["properties"]["mlm:output"][3]
    path.write_text(json.dumps(card))
    with pytest.raises(CardError, match="name mask, or prototype:"):
        load_card(tmp_path)


HOW = "box, channel \\(of one\\), height, width"

SHAPES = {
    "no box": ("logits", {"dim_order": ["batch", "depth", "height", "width"]}, HOW),
    "no height": ("logits", {"dim_order": ["batch", "box", "y", "x"]}, HOW),
    "two channels": ("torchvision", {"shape": [MOST, 2, 96, 96]}, "of one"),
    "another type": ("logits", {"data_type": "float64"}, "the graph has float32"),
    "another size": ("logits", {"shape": [1, MOST, 48, 96]}, "the graph is fixed to 96"),
}  # fmt: skip


@pytest.mark.parametrize(("form", "change", "words"), SHAPES.values(), ids=SHAPES)
def test_masks_of_other_dimensions_are_refused(tmp_path, form, change, words):
    segmenter(tmp_path, form)
    number = 3 if form == "torchvision" else 1
    with pytest.raises(CardError, match=words):
        load_card(changed(tmp_path, lambda output: output["result"].update(change), number))


CLASSES = (ClassSpec(value=3, name="small"), ClassSpec(value=7, name="large"))


def spec_of(*, prototypes=0, places=True, activation="none"):
    corners = ("x1", "y1", "x2", "y2") if places else ()
    factors = tuple(f"coefficient:{number}" for number in range(prototypes))
    boxes = BoxOutput(
        name="y", shape=(-1, -1), dim_order=("box", "channel"), data_type="float32",
        channels=(*corners, "score", "class", *factors),
    )  # fmt: skip
    axes = ("channel", "height", "width") if prototypes else ("box", "channel", "height", "width")
    masks = BoxOutput(
        name="m", shape=(-1,) * len(axes), dim_order=axes, data_type="float32", activation=activation,
        channels=("prototype:*" if prototypes else "mask",),
    )  # fmt: skip
    table = BoxesSpec(name="things", classes=CLASSES, outputs=(boxes,), least_score=0.5, iou=0.5, per_class=True)
    return MasksSpec(boxes=table, masks=masks, n_coefficients=prototypes, least_probability=0.5)


def painted(mask, side):
    whole = np.zeros((side, side), bool)
    height, width = mask.pixels.shape
    whole[mask.row : mask.row + height, mask.col : mask.col + width] = mask.pixels
    return whole


def test_a_coarse_mask_is_resized_to_its_window():
    coarse = np.random.default_rng(1).random((2, 1, 12, 12)).astype(np.float32)
    rows = np.array([[0, 0, 48, 48, 0.9, 3], [0, 0, 48, 48, 0.4, 3]], np.float32)
    ((only,),) = found_masks(spec_of(), {"y": rows, "m": coarse}, windows=1, window=48)
    wanted = resize(coarse[0, 0], size=(48, 48), method="interpolation-linear") >= 0.5
    assert (painted(only, 48) == wanted).all()


def test_prototypes_are_summed_by_coefficients_and_cut_to_the_box():
    random = np.random.default_rng(2)
    planes = random.normal(size=(4, 12, 12)).astype(np.float32)
    factors = random.normal(size=4)
    rows = np.array([[10.4, 5.5, 30.6, 41, 0.9, 7, *factors]], np.float32)
    ((only,),) = found_masks(spec_of(prototypes=4), {"y": rows, "m": planes}, windows=1, window=48)
    probability = 1 / (1 + np.exp(-np.tensordot(rows[0, 6:].astype(float), planes.astype(float), axes=1)))
    wanted = resize(probability.astype(np.float32), size=(48, 48), method="interpolation-linear") >= 0.5
    # Pixels whose centres lie in the box, which is half open.
    wanted[:5] = wanted[41:] = wanted[:, :10] = wanted[:, 31:] = False
    assert (painted(only, 48) == wanted).all()
    assert wanted.any()


def test_without_a_place_the_box_lies_around_the_mask():
    planes = np.full((1, 1, 48, 48), -9, np.float32)
    planes[0, 0, 5:8, 10:20] = 9
    planes[0, 0, 30, 12] = 9
    rows = np.array([[0.75, 3]], np.float32)
    spec = spec_of(places=False, activation="sigmoid")
    ((only,),) = found_masks(spec, {"y": rows, "m": planes}, windows=1, window=48)
    assert only.box.tolist() == (15.0, 18.0, 10.0, 26.0, 0.0, 0.75, 3)
    assert only.pixels.sum() == 31


def test_what_is_no_object_is_left_out():
    planes = np.ones((6, 1, 48, 48), np.float32)
    planes[0], planes[1, 0, 0, 0] = 0, np.nan
    planes[2] = np.nan
    rows = np.array(
        [[1, 1, 9, 9, 0.9, 3], [1, 1, 9, 9, 0.9, 3], [1, 1, 9, 9, 0.9, 3], [1, 1, 9, 9, np.nan, 3],
         [1, 1, np.inf, 9, 0.9, 3], [1, 1, 9, 9, 0.9, 4]], np.float32,
    )  # fmt: skip
    ((only,),) = found_masks(spec_of(), {"y": rows, "m": planes}, windows=1, window=48)
    assert only.pixels.sum() == 48 * 48 - 1
    assert found_masks(spec_of(), {"y": rows[:0], "m": planes[:0]}, windows=1, window=48) == [[]]


@pytest.mark.parametrize("prototypes", [0, 1])
def test_objects_that_take_more_than_memory_are_an_error_that_says_what_to_do(monkeypatch, prototypes):
    monkeypatch.setattr(masks, "MOST_PIXELS", 20 * 48 * 48)
    for n_boxes in (20, 21):
        rows = np.array([[0, 0, 48, 48, 0.9, 3, *[1] * prototypes]] * n_boxes, np.float32)
        planes = np.ones((1, 12, 12) if prototypes else (n_boxes, 1, 48, 48), np.float32)
        told = {"spec": spec_of(prototypes=prototypes), "raw": {"y": rows, "m": planes}, "windows": 1, "window": 48}
        if n_boxes == 20:
            assert len(found_masks(**told)[0]) == 20
        else:
            with pytest.raises(InferenceError, match="of 21 objects in one window the first 20 .* raise least_score"):
                found_masks(**told)


def test_an_answer_of_another_size_is_an_error_that_names_it():
    rows, planes = np.array([[1, 1, 9, 9, 0.9, 3]], np.float32), np.ones((1, 1, 48, 48), np.float32)
    for wrong, words in (
        ({"m": np.ones((2, 1, 48, 48), np.float32)}, "m has 2 masks in a window of 1 boxes"),
        ({"m": np.ones((1, 2, 48, 48), np.float32)}, "one mask of each box"),
        ({"m": np.ones((48, 48), np.float32)}, "m has 2 dimensions; the card names 4"),
    ):
        with pytest.raises(InferenceError, match=words):
            found_masks(spec_of(), {"y": rows, "m": planes, **wrong}, windows=1, window=48)
    spec, rows = spec_of(prototypes=2), np.array([[1, 1, 9, 9, 0.9, 3, 1, 1]], np.float32)
    with pytest.raises(InferenceError, match="m has 3 prototypes, the card 2"):
        found_masks(spec, {"y": rows, "m": np.ones((3, 9, 9), np.float32)}, windows=1, window=48)
    assert replace(spec, least_probability=0.1).least_probability == 0.1
