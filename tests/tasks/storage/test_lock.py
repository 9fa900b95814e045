from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict, replace

import pytest

from tests.support.fault_proxy import proxy_before
from tests.support.output_places import open_place, owned, owner_of
from tilewright.tasks.storage import lock as lock_module
from tilewright.tasks.storage.errors import FencedError
from tilewright.tasks.storage.fence import LOCK
from tilewright.tasks.storage.lock import (
    GENERATION,
    LONGEST_LOCK,
    SHORTEST_LOCK,
    SeenLock,
    current_fence,
    lock_age,
    look_at_lock,
    parse_owner,
    read_lock,
    release_lock,
    renew_lock,
    take_lock,
)
from tilewright.tasks.storage.storage import open_storage


@pytest.fixture(params=["folder", "bucket"])
def storage(request, tmp_path, monkeypatch):
    endpoint = request.getfixturevalue("moto") if request.param == "bucket" else ""
    return open_place(request.param, tmp_path, monkeypatch, endpoint)


def test_each_acquisition_gets_a_greater_number_through_release_takeover_and_damage(storage):
    numbers = [owned(storage).fence.generation]
    for disturb in (
        lambda: release_lock(storage, current_fence(storage), owner_of("one")),
        lambda: None,  # taken over
        lambda: storage.delete([LOCK]),
        lambda: storage.write(LOCK, b""),
        lambda: storage.write(LOCK, b'{"run": "one", "gen'),
        lambda: storage.write(LOCK, b'{"run": 1, "host": null, "pid": "x", "beat": NaN}'),
        lambda: storage.write(LOCK, b"[" * 50_000),
        lambda: storage.delete([GENERATION]),
        lambda: storage.write(GENERATION, b"garbage"),
        # An older Tilewright: no number, no state, removed at the end of its run.
        lambda: storage.write_json(LOCK, {"run": "old", "host": "h", "pid": 1, "beat": 1.0, "born": 0.0}),
    ):
        disturb()
        numbers.append(owned(storage).fence.generation)
    assert numbers == sorted(set(numbers)), numbers
    assert numbers[:3] == [1, 2, 3]


def test_a_lock_that_changed_since_it_was_seen_is_not_taken(storage):
    free = look_at_lock(storage)
    mine = owned(storage)
    held = look_at_lock(storage)
    assert take_lock(storage, free, owner_of("two")) is None
    assert renew_lock(storage, mine.fence, owner_of("one", beats=1))
    assert take_lock(storage, held, owner_of("two")) is None, "it gave a sign of life in between"
    assert release_lock(storage, mine.fence, owner_of("one"))
    assert take_lock(storage, held, owner_of("two")) is None
    assert read_lock(storage) is None
    assert look_at_lock(storage).owner.generation == mine.fence.generation, "the number stays"


def test_of_many_that_take_the_same_lock_one_gets_it(storage):
    for state in ("free", "held"):
        seen = look_at_lock(storage)
        assert seen.free == (state == "free")
        start, fences = threading.Barrier(6), []

        def take(number, seen=seen, start=start, fences=fences, state=state):
            start.wait()
            fences.append(take_lock(storage, seen, owner_of(f"{state}-{number}")))

        threads = [threading.Thread(target=take, args=(number,)) for number in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        won = [fence for fence in fences if fence is not None]
        assert [fence.run for fence in won] == [read_lock(storage).run]


@pytest.mark.parametrize("how", ["taken over", "removed", "garbage"])
def test_a_run_that_slept_neither_renews_nor_releases_nor_recreates_a_lock_that_is_not_its_own(storage, how):
    mine = owned(storage)
    if how == "taken over":
        owned(storage, "two")
    elif how == "removed":
        storage.delete([LOCK])
    else:
        storage.write(LOCK, b"?")
    before = storage.read(LOCK)
    assert not renew_lock(storage, mine.fence, owner_of("one", beats=7))
    assert not release_lock(storage, mine.fence, owner_of("one", beats=8))
    assert storage.read(LOCK) == before


def test_the_age_of_a_lock_is_told_by_the_clock_that_stamps_the_objects(storage, monkeypatch):
    owned(storage)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's own clock says nothing
    assert -1.5 < lock_age(storage, look_at_lock(storage)) < 10
    if storage.folder is not None:
        for offset in (-200, 200):
            now = (storage.folder / LOCK).stat().st_mtime
            os.utime(storage.folder / LOCK, (now, now + offset))
            assert abs(lock_age(storage, look_at_lock(storage)) + offset) < 10
            os.utime(storage.folder / LOCK, (now, now))
    assert [key for key in list(storage.keys()) if "probe" in key or "staging" in key] == []


def test_a_lock_lasts_as_long_as_its_own_run_says_within_bounds():
    for said, lasts in ((30.0, 30.0), (0.0, SHORTEST_LOCK), (-5, SHORTEST_LOCK), (1e12, LONGEST_LOCK)):
        assert SeenLock(content=b"x", owner=owner_of("one", lasts=said)).lasts == lasts
    assert SeenLock(content=b"x").lasts == lock_module.LOCK_SECONDS


@pytest.mark.parametrize(
    "content",
    [
        None, b"", b"{", b"[]", b"7", b'"text"', b"null", b"\xff\xfe", b"{}", b'{"run": "one"}', b"[" * 100_000,
        b'{"run": "one", "host": "h", "pid": 1, "beat": NaN}', b'{"run": "one", "host": "h", "pid": 1, "beat": 1e999}',
        b'{"run": "one", "host": "h", "pid": "1", "beat": 1.0}', b'{"run": null, "host": "h", "pid": 1, "beat": 1.0}',
        b'{"run": "one", "host": "h", "pid": 1, "beat": 1.0, "generation": 1.5}',
        b'{"run": "one", "host": "h", "pid": 1, "beat": 1.0, "generation": 99999999999999999999}',
    ],
)  # fmt: skip
def test_what_is_no_lock_has_no_owner(content):
    assert parse_owner(content) is None


def test_a_lock_of_another_version_has_an_owner_whatever_it_adds_or_lacks():
    old = {"run": "old", "host": "h", "pid": 1, "beat": 1.0, "born": 0.0}
    assert parse_owner(json.dumps(old).encode()).generation == 0
    assert not SeenLock(content=b"x", owner=parse_owner(json.dumps(old).encode())).free
    new = {**asdict(owner_of("new", generation=5)), "colour": "red", "state": "held"}
    assert parse_owner(json.dumps(new).encode()) == owner_of("new", generation=5)
    assert not SeenLock(content=b"x", owner=owner_of("new", state="unheard of")).free


def test_what_comes_without_a_number_belongs_to_the_run_that_holds_the_lock_now(storage):
    with pytest.raises(FencedError, match="No run owns"):
        current_fence(storage)
    mine = owned(storage)
    assert current_fence(storage) == replace(mine.fence, conditional=True)
    release_lock(storage, mine.fence, owner_of("one"))
    with pytest.raises(FencedError, match="No run owns"):
        current_fence(storage)


@pytest.mark.parametrize("conditions", ["dropped", "refused"])
def test_a_bucket_without_conditions_is_noticed_and_has_one_owner_all_the_same(moto, tmp_path, monkeypatch, conditions):
    monkeypatch.setattr(lock_module, "SETTLE_SECONDS", 0.5)
    with proxy_before(moto) as proxy:
        proxy.conditions = conditions
        storage = open_place("bucket", tmp_path, monkeypatch, proxy.url)
        seen, start, fences = look_at_lock(storage), threading.Barrier(3), []

        def take(number):
            start.wait()
            fences.append(take_lock(storage, seen, owner_of(f"run-{number}")))

        threads = [threading.Thread(target=take, args=(number,)) for number in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        won = [fence for fence in fences if fence is not None]
        assert [(fence.run, fence.conditional) for fence in won] == [(read_lock(storage).run, False)]
        mine = replace(storage, fence=won[0])
        mine.write("a", b"1")
        assert mine.create_json("b", {})
        assert not mine.create_json("b", {})
        assert renew_lock(storage, mine.fence, owner_of(won[0].run, beats=1))
        owned(storage, "later")
        with pytest.raises(FencedError):
            mine.write("a", b"2")
        with pytest.raises(FencedError):
            mine.create_json("c", {})


def test_a_bucket_with_conditions_keeps_them(moto, tmp_path, monkeypatch):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    assert owned(storage).fence.conditional


def test_no_answer_to_a_put_that_was_done_costs_nobody_the_lock(moto, tmp_path, monkeypatch):
    with proxy_before(moto, share=0.25, seed=3) as proxy:
        place = open_place("bucket", tmp_path, monkeypatch, moto)
        storage = open_storage(place.uri, options={**place.options, "endpoint": proxy.url})
        mine = owned(storage)
        for beat in range(8):
            assert renew_lock(storage, mine.fence, owner_of("one", beats=beat))
        assert release_lock(storage, mine.fence, owner_of("one", beats=9)) or read_lock(storage) is None
        assert proxy.faults
