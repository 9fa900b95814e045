"""Tokens are written one by one until an end; a decoder with a cache is given what it gave, and only the last token."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tilewright.models.errors import InferenceError
from tilewright.models.run.generate import Decoding, OneGraph, bounded, last_row, searched, written
from tilewright.models.run.session import ModelSession, Tensor
from tilewright.models.spec.words import LONGEST_ANSWER

VOCABULARY = 6


class Counter:
    """The token after the last one; which tokens it was given each time is kept."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def logits(self, tokens):
        self.seen.append(list(tokens))
        row = np.zeros(VOCABULARY, np.float32)
        row[(tokens[-1] + 1) % VOCABULARY] = 1
        return row


@pytest.mark.parametrize(
    ("prompt", "ends", "most", "expected"),
    [
        ([0], {4}, 10, [1, 2, 3]),
        ([0, 2], {5}, 10, [3, 4]),
        ([0], {1}, 10, []),
        ([0], {9}, 3, [1, 2, 3]),
        ([3], {1, 2}, 10, [4, 5, 0]),
    ],
)
def test_an_answer_is_what_lies_between_prompt_and_end(prompt, ends, most, expected):
    steps = Counter()
    assert written(steps, prompt, ends=frozenset(ends), most=most) == expected
    assert all(len(seen) == len(prompt) + number for number, seen in enumerate(steps.seen))


def test_of_equal_logits_the_lowest_number_is_said():
    class Flat:
        def logits(self, tokens):
            return np.array([-np.inf, 2, 2, 1], np.float32)

    assert written(Flat(), [3], ends=frozenset(), most=2) == [1, 1]


@pytest.mark.parametrize("shape", [(1, 2, 5), (2, 3, 5), (1, 3, 0), (3, 5)])
def test_logits_of_another_shape_are_refused(shape):
    with pytest.raises(InferenceError, match="logits"):
        last_row(np.zeros(shape, np.float32), 3)


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(InferenceError, match="NaN"):
        last_row(np.array([[[0, np.nan]]], np.float32), 1)


def test_an_answer_is_cut_between_letters():
    assert bounded("  two\0 fields ") == "two fields"
    cut = bounded("é" * LONGEST_ANSWER)
    assert cut == "é" * (LONGEST_ANSWER // 2)
    assert bounded("x" + "é" * LONGEST_ANSWER) == "x" + "é" * (LONGEST_ANSWER // 2 - 1)


class Recorded:
    """A decoder whose every call is kept; its keys are as many numbers as tokens were given."""

    def __init__(self, *, empty: bool = False) -> None:
        self.calls, self.empty = [], empty

    def run(self, feeds):
        self.calls.append({name: np.array(feed) for name, feed in feeds.items()})
        ids = feeds["input_ids"]
        past = feeds.get("past_key_values.0.decoder.key")
        keys = ids.astype(np.float32).reshape(1, 1, -1, 1)
        if past is not None:
            keys = np.concatenate([past, keys], axis=2)
        logits = np.zeros((1, ids.shape[1], VOCABULARY), np.float32)
        logits[0, np.arange(ids.shape[1]), (ids[0] + 1) % VOCABULARY] = 1
        of_encoder = np.zeros((0 if self.empty else 1, 1, 2, 1), np.float32)
        return {"logits": logits, "present.0.decoder.key": keys, "present.0.encoder.key": of_encoder}


def session(runner, *names):
    kinds = {"input_ids": "int64", "position_ids": "int64", "use_cache_branch": "bool", "attention_mask": "int64"}
    inputs = tuple(
        Tensor(name=name, shape=(-1, 1, -1, 1) if "past" in name else (-1, -1), dtype=kinds.get(name, "float32"))
        for name in names
    )
    outputs = tuple(Tensor(name=name, shape=(), dtype="float32") for name in ("present.0.decoder.key", "logits"))
    return ModelSession(sha256="", provider="cpu", threads=1, note="", inputs=inputs, outputs=outputs, runner=runner)


PAST = ("past_key_values.0.decoder.key", "past_key_values.0.encoder.key")


def test_a_cached_decoder_is_given_the_last_token_and_the_past():
    one, two = Recorded(), Recorded(empty=True)
    first = session(one, "input_ids", "encoder_hidden_states", "encoder_attention_mask")
    then = session(two, "input_ids", "attention_mask", "position_ids", *PAST)
    steps = Decoding(first=first, then=then, states=np.ones((1, 2, 3), np.float32))
    assert written(steps, [0, 1], ends=frozenset({5}), most=9) == [2, 3, 4]
    assert [call["input_ids"].tolist() for call in one.calls] == [[[0, 1]]]
    assert one.calls[0]["encoder_attention_mask"].tolist() == [[1, 1]]
    assert [call["input_ids"].tolist() for call in two.calls] == [[[2]], [[3]], [[4]]]
    assert [call["position_ids"].tolist() for call in two.calls] == [[[2]], [[3]], [[4]]]
    assert [call["attention_mask"].shape[1] for call in two.calls] == [3, 4, 5]
    assert two.calls[-1][PAST[0]].ravel().tolist() == [0, 1, 2, 3]
    # What later steps give over the encoder's states is none.
    assert all(call[PAST[1]].shape == (1, 1, 2, 1) for call in two.calls)


def test_a_merged_decoder_has_an_empty_past_first():
    both = Recorded()
    merged = session(both, "input_ids", "encoder_hidden_states", "use_cache_branch", *PAST)
    steps = Decoding(first=merged, then=merged, states=np.ones((1, 2, 3), np.float32))
    assert written(steps, [0], ends=frozenset({3}), most=9) == [1, 2]
    assert [call["use_cache_branch"].tolist() for call in both.calls] == [[False], [True], [True]]
    assert both.calls[0][PAST[0]].shape == (1, 1, 0, 1)


def test_without_a_cache_all_tokens_are_given_each_time():
    plain = Recorded()
    first = session(plain, "input_ids", "encoder_hidden_states")
    steps = Decoding(first=first, then=None, states=np.ones((1, 2, 3), np.float32))
    assert written(steps, [0], ends=frozenset({3}), most=9) == [1, 2]
    assert [call["input_ids"].tolist() for call in plain.calls] == [[[0]], [[0, 1]], [[0, 1, 2]]]


def test_one_graph_takes_the_window_and_all_tokens():
    plain = Recorded()
    feeds = {"x": np.ones(1), "input_ids": np.zeros((1, 1), np.int32), "mask": np.zeros((1, 1), np.int64)}
    steps = OneGraph(runner=plain, feeds=feeds, held={"input_ids": "tokens", "mask": "token_mask"}, output="logits")
    assert written(steps, [0], ends=frozenset({3}), most=9) == [1, 2]
    assert [call["input_ids"].tolist() for call in plain.calls] == [[[0]], [[0, 1]], [[0, 1, 2]]]
    assert [call["mask"].tolist() for call in plain.calls] == [[[1]], [[1, 1]], [[1, 1, 1]]]
    assert all((call["x"] == 1).all() and call["input_ids"].dtype == np.int32 for call in plain.calls)


class Chain:
    """Logits that depend on the last two tokens alone."""

    def __init__(self, table):
        self.table = table

    def logits(self, tokens):
        return self.table[tokens[-2], tokens[-1]]

    def fork(self):
        return Chain(self.table)


def means(table, ends, most):
    """The mean log-probability of every answer there is, by its tokens."""
    logs = table - np.log(np.exp(table).sum(axis=-1, keepdims=True))
    found = {}
    size = table.shape[-1]
    for n in range(1, most + 1):
        for tokens in itertools.product(range(size), repeat=n):
            inner, last = tokens[:-1], tokens[-1]
            if {*inner} & ends or (n < most and last not in ends):
                continue
            path, score = [0, 0, *tokens], 0.0
            for number in range(n):
                score += logs[path[number], path[number + 1], path[number + 2]]
            found[inner if last in ends else tokens] = score / n
    return found


@pytest.mark.parametrize("seed", range(5))
def test_beams_that_hold_all_find_the_likeliest_answer(seed):
    table = np.random.default_rng(seed).normal(0, 2, (4, 4, 4))
    every = means(table, {3}, 4)
    found = searched(Chain(table), [0, 0], ends=frozenset({3}), most=4, beams=500)
    assert found == list(max(every, key=every.get))
    few = searched(Chain(table), [0, 0], ends=frozenset({3}), most=4, beams=3)
    greedy = written(Chain(table), [0, 0], ends=frozenset({3}), most=4)
    assert every[tuple(few)] >= every[tuple(greedy)] - 1e-12
    assert searched(Chain(table), [0, 0], ends=frozenset({3}), most=4, beams=1) == greedy


def test_beams_of_a_cached_decoder_keep_their_own_past():
    answers = []
    for cached in (False, True):
        first = session(Recorded(), "input_ids", "encoder_hidden_states")
        then = session(Recorded(), "input_ids", *PAST) if cached else None
        steps = Decoding(first=first, then=then, states=np.ones((1, 2, 3), np.float32))
        answers.append(searched(steps, [0, 1], ends=frozenset({5}), most=6, beams=4))
    assert answers == [[2, 3, 4]] * 2
