"""The schema of a card gives the program's verdict on what is right, what is wrong in its form, and what was bent."""

from __future__ import annotations

import copy
import json
import random
import re
import shutil
from contextlib import suppress

import pytest
from jsonschema import Draft7Validator

from tests.models.card import test_boxes as boxes
from tests.models.card import test_card as cards
from tests.models.card import test_embedding as embeddings
from tests.models.card import test_instances as instances
from tests.models.card import test_sampler as samplers
from tests.models.card import test_words as words
from tests.models.spec import test_statistics as statistics
from tests.support import cards as made
from tests.support.denoisers import denoiser
from tests.support.detectors import FORMS as DETECTORS
from tests.support.detectors import detector
from tests.support.embedders import pixel_encoder, window_encoder
from tests.support.fields import field_card
from tests.support.segmenters import FORMS as SEGMENTERS
from tests.support.segmenters import segmenter
from tests.support.speakers import DECODERS, pair, seeker, speaker
from tilewright.flows.schema.card_schema import card_schema
from tilewright.models.builtin.build import FOLDER
from tilewright.models.card.card import PROPERTY_FIELDS, load_card
from tilewright.models.card.registry import builtin_names
from tilewright.models.errors import CardError

SCHEMA = card_schema()

VALIDATOR = Draft7Validator(SCHEMA)

RIGHT = {
    **{name: (lambda folder, name=name: FOLDER / name) for name in builtin_names()},
    "good": lambda folder: made.write_card(folder, made.good_card()).parent,
    **{f"detector {form}": (lambda folder, form=form: detector(folder, form)) for form in DETECTORS},
    **{f"segmenter {form}": (lambda folder, form=form: segmenter(folder, form)) for form in SEGMENTERS},
    **{
        f"fields {form}": (lambda folder, form=form: field_card(folder, form=form, layers=("fields", "class")))
        for form in ("logits", "probabilities", "values")
    },
    "window encoder": window_encoder,
    "pixel encoder": lambda folder: pixel_encoder(folder, told={"storage": "int8", "metric": "dot"}),
    **{
        f"denoiser {told['kind']}": (lambda folder, told=told: denoiser(folder, told))
        for told in (samplers.EULER, samplers.DDIM, samplers.HEUN)
    },
    "speaker": speaker,
    **{f"decoder {kind}": (lambda folder, kind=kind: pair(folder, kind)) for kind in DECODERS},
    "seeker": lambda folder: seeker(folder, told={"prompt": "red"}),
}
"""Cards of every kind, by what makes each in a folder."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each right card."""
    home = tmp_path_factory.mktemp("cards")
    found = {}
    for number, (name, make) in enumerate(RIGHT.items()):
        folder = home / str(number)
        folder.mkdir()
        found[name] = make(folder)
    return found


def plain(folder):
    return json.loads((folder / "card.json").read_text())


def put(card, changes):
    for path, value in changes.items():
        made.put(card, path, copy.deepcopy(value))


def on_output(number, change):
    return lambda card: change(card["properties"]["mlm:output"][number])


def updated(key, told):
    return lambda output: output[key].update(told)


def embedding(path, values):
    def change(card):
        place = card["properties"]["mlm:output"][0]
        for key in path:
            place = place[key]
        place.update({key.replace("tw_", "tw:"): value for key, value in values.items()})

    return change


def of_good():
    for name, changes, _ in cards.WRONG:
        yield f"card: {name}", "good", lambda card, changes=changes: put(card, changes)
    for name, changes, _ in statistics.WRONG:
        told = {statistics.RADAR: [dict(each) for each in statistics.STATED], **changes}
        yield f"statistics: {name}", "good", lambda card, told=told: put(card, told)


def of_objects():
    form = f"detector {DETECTORS[0]}"
    for name, (change, *_) in boxes.REFUSED.items():
        yield f"boxes: {name}", form, on_output(0, updated("tw:boxes", change))
    for name, (change, _) in boxes.OUTPUTS.items():
        yield f"boxes: {name}", form, on_output(0, lambda output, told=change: output.update(told))
    for name, (change, _) in instances.BOUNDARIES.items():
        yield f"boundaries: {name}", "fields logits", on_output(0, updated("tw:instances", change))
    for name, (change, _) in instances.FIELDS.items():
        yield f"fields: {name}", "fields logits", on_output(0, lambda output, told=change: output.update(told))
    for name, (form, number, change, _) in instances.MASKS.items():
        yield f"masks: {name}", f"segmenter {form}", on_output(number, updated("tw:instances", change))


def of_others():
    for name, (change, _) in samplers.WRONG.items():
        yield f"loop: {name}", "denoiser euler", lambda card, change=change: change(card["properties"])
    for name, (change, _) in words.WRONG.items():
        yield f"words: {name}", "speaker", lambda card, change=change: change(card["properties"], card["assets"])
    for name, (path, values, _) in embeddings.WRONG.items():
        yield f"embedding: {name}", "window encoder", embedding(path, values)


WRONG = [*of_good(), *of_objects(), *of_others()]
"""(name, right card, change) of each wrong card in the tests of cards, where each is shown to be refused."""

BEYOND = {
    "card": [
        "two inputs of one name",
        "band not declared",
        "bands too many",
        "expression as code",
        "expression over unknown band",
        "dates steps against shape",
        "each without time axis",
        "dim_order length",
        "window not square",
        "data type against graph",
        "scalings of wrong number",
        "scaling with reversed range",
        "fills of wrong number",
        "window against resolution",
        "window against shape",
        "trim eats the window",
        "input name against graph",
        "graph input without entry",
        "output name against graph",
        "output rank against graph",
        "classes of wrong number",
        "class value twice",
        "softmax of one channel",
        "misspelt layer",
        "layers of wrong number",
        "layer name of the product",
        "scale against shape",
        "valid range reversed",
        "absent file",
        "checksum of another file",
    ],
    "statistics": [
        "too few",
        "too many",
        "a deviation beyond floats",
        "a mean beyond all",
        "infinity",
        "a huge whole number",
        "a reversed range",
        "a range beyond floats",
        "a mean outside",
    ],
    "boxes": [
        "too few",
        "twice",
        "half a box",
        "angle of corners",
        "no score",
        "no class",
        "other classes",
        "a class without score",
        "both",
        "nothing alone",
        "polygons",
        "softmax of one",
        "no boxes along",
        "another rank",
        "another type",
    ],
    "boundaries": [
        "no such interior",
        "no such boundary",
        "one class for both",
    ],
    "fields": [
        "two names",
        "a name of every product",
    ],
    "masks": [
        "coefficients alone",
        "no coefficients",
        "too few coefficients",
        "coefficients without a place",
        "coefficients twice",
        "an angle",
        "half a box",
        "another class",
        "no score",
        "said twice",
    ],
    "loop": [
        "a number too few",
        "sigmas that rise",
        "sigmas that stay",
        "alphas that fall",
        "times too few",
        "a time too many",
        "no time to correct at",
        "windows that do not overlap",
        "a step that does not divide",
        "no state",
        "no time",
        "a state in another order",
        "a state that is scaled",
        "a resized picture",
        "classes",
        "vectors",
        "a prediction in another order",
        "a prediction of whole numbers",
        "a prediction of other channels",
        "a prediction of another size",
        "a prediction that is cropped",
    ],
    "words": [
        "no such tokenizer",
        "another role",
        "another file",
        "the past alone",
        "a name of others",
        "no tokens",
        "fixed tokens",
        "told twice",
    ],
    "embedding": [
        "reserved",
        "free",
        "one number",
        "too long",
        "another length",
    ],
}
"""What no schema can say: it takes the graph, a file, several entries, or numbers that depend on each other."""


LEFT = {f"{kind}: {name}" for kind, names in BEYOND.items() for name in names}


@pytest.mark.parametrize("name", RIGHT)
def test_what_the_program_takes_the_schema_takes(folders, name):
    load_card(folders[name])
    assert [(error.json_path, error.message) for error in VALIDATOR.iter_errors(plain(folders[name]))] == []


@pytest.mark.parametrize(("name", "right", "change"), WRONG, ids=[name for name, *_ in WRONG])
def test_what_is_wrong_in_its_form_the_schema_refuses(folders, name, right, change):
    card = plain(folders[right])
    change(card)
    assert VALIDATOR.is_valid(json.loads(json.dumps(card))) == (name in LEFT)


def test_more_than_two_hundred_cards_were_judged_and_each_name_is_one_of_them():
    assert len(RIGHT) + len(WRONG) > 200
    assert {name for name, *_ in WRONG} > LEFT


JUNK = (None, True, -1, 0, 1, 2.5, "", "x", [], ["x"], [1], {}, {"x": 1}, [[]], [{}], "none", 64, [0.5, 0.5])


def test_nothing_that_the_program_takes_is_refused_however_it_was_bent(folders, tmp_path):
    """A right card with one value, anywhere in it, replaced by another or left out."""
    chance, n_taken = random.Random(7), 0  # noqa: S311
    for name in RIGHT:
        folder = tmp_path / "bent"
        shutil.copytree(folders[name], folder)
        right = plain(folder)
        for _ in range(12):
            card = copy.deepcopy(right)
            inside = card["properties"]
            while True:
                key = chance.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
                if isinstance(inside[key], (dict, list)) and inside[key] and chance.random() < 0.8:
                    inside = inside[key]
                    continue
                break
            if chance.random() < 0.15:
                del inside[key]
            else:
                inside[key] = copy.deepcopy(chance.choice(JUNK))
            (folder / "card.json").write_text(json.dumps(card))
            with suppress(CardError):
                load_card(folder)
                n_taken += 1
                assert VALIDATOR.is_valid(card), card
        shutil.rmtree(folder)
    assert n_taken > 25


def test_every_key_of_ours_has_its_word_and_nothing_outside_is_named():
    keys = SCHEMA["allOf"][-1]["properties"]["properties"]["properties"]
    assert all(keys[key]["description"] for key in PROPERTY_FIELDS)
    Draft7Validator.check_schema(SCHEMA)
    assert {ref for ref in re.findall(r'"\$ref": "([^"]*)', json.dumps(SCHEMA)) if not ref.startswith("#/")} == set()
