"""Reading while servers fail: retries that are counted, not waited for, and what is given up says why."""

from __future__ import annotations

import itertools
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest

from tests.support.file_server import Fault, serve
from tests.support.scenes import TOP, asset_of, grid, write_raster
from tilewright.tasks.read.access import Reading
from tilewright.tasks.read.failures import Failure, FailureLog, ReadError
from tilewright.tasks.read.reader import read_asset
from tilewright.tasks.read.retry import RetryPolicy, UnreadableError, retry_after_s

QUIET = RetryPolicy(attempts=6, sleep=lambda seconds: None)


def faulty(
    path: Path, fault: Fault, *, retry: RetryPolicy = QUIET, sign: object = None
) -> tuple[np.ndarray, list[str]]:
    with serve(path.parent, fault) as proxy:
        asset = asset_of(path, href=proxy.href(path.name))
        signed = sign or (lambda: asset.href)
        with_policy = Reading(retry=retry)
        pixels = [
            read_asset(
                asset, grid(75, 400, top=TOP - 750 * part), resampling="nearest", reading=with_policy, sign=signed
            )
            for part in range(4)
        ]
        return np.concatenate([piece.values for piece in pixels]), proxy.requests


@pytest.mark.parametrize("kind", ["500", "429", "503", "cut", "short"])
def test_a_fault_here_and_there_changes_no_pixel(noise: tuple[Path, np.ndarray], kind: str) -> None:
    path, values = noise
    for when in range(4):
        found, _ = faulty(path, lambda number, when=when: kind if number == when else None)
        assert np.array_equal(found, values)


def test_faults_at_a_twentieth_of_all_requests_change_no_pixel(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise
    kinds = ["500", "429", "cut", "short"]
    failing = iter(np.random.default_rng(1).random(10_000) < 0.05)
    rotation = itertools.cycle(kinds)
    for _ in range(8):
        found, _ = faulty(path, lambda number: next(rotation) if next(failing) else None)
        assert np.array_equal(found, values)


def test_retry_after_is_waited_for(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise
    waits: list[float] = []
    retry = RetryPolicy(attempts=4, first_wait_s=0.001, sleep=waits.append)
    with serve(path.parent, lambda number: "429" if number < 2 else None) as proxy:
        proxy.retry_after = "7"
        asset = asset_of(path, href=proxy.href(path.name))
        reading = Reading(retry=retry)
        pixels = read_asset(asset, grid(300, 400), resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert np.array_equal(pixels.values, values)
    assert waits == [7.0]


def test_retry_after_may_be_a_date_and_no_clock_has_to_agree(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise
    waits: list[float] = []
    reading = Reading(retry=RetryPolicy(attempts=4, first_wait_s=0.001, sleep=waits.append))
    with serve(path.parent, lambda number: "429" if number < 2 else None) as proxy:
        proxy.retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        asset = asset_of(path, href=proxy.href(path.name))
        pixels = read_asset(asset, grid(300, 400), resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert np.array_equal(pixels.values, values)
    assert len(waits) == 1
    assert 10 < waits[0] <= 20


def test_what_a_retry_after_says() -> None:
    sent = "Fri, 20 Nov 2026 10:00:00 GMT"
    assert retry_after_s("120", sent=None) == 120
    assert retry_after_s("Fri, 20 Nov 2026 10:01:30 GMT", sent=sent) == 90
    assert retry_after_s("Friday, 20-Nov-26 10:01:30 GMT", sent=sent) == 90
    assert retry_after_s("Fri, 20 Nov 2026 09:00:00 GMT", sent=sent) == 0
    for nonsense in (None, "", "soon", "-5", "inf", "nan"):
        assert retry_after_s(nonsense, sent=sent) is None
    assert retry_after_s("Fri, 20 Nov 2026 10:01:30 GMT", sent=None) is None


def test_a_403_that_stays_renews_the_signature_exactly_once(noise: tuple[Path, np.ndarray]) -> None:
    path, _ = noise
    signed: list[str] = []

    def sign() -> str:
        signed.append(f"{asset.href}?sig={len(signed)}")
        return signed[-1]

    with serve(path.parent, lambda number: "403") as proxy:
        asset = asset_of(path, href=proxy.href(path.name))
        with pytest.raises(UnreadableError, match="the server answers 403"):
            read_asset(asset, grid(300, 400), resampling="nearest", reading=Reading(retry=QUIET), sign=sign)
    assert len(signed) == 2


def test_waits_grow_with_jitter_that_is_the_same_every_time() -> None:
    policy = RetryPolicy(first_wait_s=1.0, longest_wait_s=10.0)
    waits = [policy.wait_s(attempt, href="http://a/b.tif?sig=1") for attempt in range(8)]
    assert waits == [policy.wait_s(attempt, href="http://a/b.tif?sig=2") for attempt in range(8)]
    assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits[:3]))
    assert max(waits) <= 10.0


def test_a_403_renews_the_signature_once(noise: tuple[Path, np.ndarray]) -> None:
    path, values = noise
    with serve(path.parent) as proxy:
        proxy.fault = lambda number: "403" if "sig=old" in proxy.requests[number] else None
        asset = asset_of(path, href=proxy.href(path.name))
        signatures = iter(["old", "new", "unused"])
        pixels = read_asset(
            asset,
            grid(300, 400),
            resampling="nearest",
            reading=Reading(retry=QUIET),
            sign=lambda: f"{asset.href}?sig={next(signatures)}",
        )
        assert np.array_equal(pixels.values, values)
        assert next(signatures) == "unused"


@pytest.mark.parametrize("status", ["403", "404"])
def test_what_cannot_heal_is_given_up_at_once_and_shows_no_signature(
    noise: tuple[Path, np.ndarray], status: str
) -> None:
    path, _ = noise
    signed = []
    with serve(path.parent, lambda number: status) as proxy:
        asset = asset_of(path, href=proxy.href(path.name))

        def sign() -> str:
            signed.append(1)
            return f"{asset.href}?sig=secret"

        with pytest.raises(UnreadableError, match=status) as caught:
            read_asset(asset, grid(4, 4), resampling="nearest", reading=Reading(retry=QUIET), sign=sign)
    assert "secret" not in str(caught.value)
    assert len(signed) == (2 if status == "403" else 1)


def test_an_error_names_what_failed_and_survives_a_process_border() -> None:
    error = ReadError(
        item="S2A", band="red", href="http://a/b.tif?sig=secret", reason="/vsicurl/http://a?x=1 no", block="3_4"
    )
    assert str(error) == "item S2A, band red in block 3_4 could not be read from http://a/b.tif: /vsicurl/http://a no"
    revived = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(revived) == str(error)
    assert revived.failure == Failure(item="S2A", band="red", block="3_4", reason="/vsicurl/http://a no")


def test_the_log_counts_each_item_band_and_block_once_and_then_raises() -> None:
    log = FailureLog(tolerance=1)
    first = ReadError(item="a", band="red", href="x", reason="gone", block="0_0")
    log.record(first)
    log.record(first)
    assert len(log.failures) == 1
    with pytest.raises(ReadError, match="0_1"):
        log.record(ReadError(item="a", band="red", href="x", reason="gone", block="0_1"))
    assert len(pickle.loads(pickle.dumps(log)).failures) == 2  # noqa: S301


def test_the_file_is_closed_when_a_read_fails(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "cut.tif", np.random.default_rng(4).integers(1, 9, (256, 256), dtype=np.uint16))
    asset = asset_of(path)
    path.write_bytes(path.read_bytes()[:20_000])
    quick = Reading(retry=RetryPolicy(attempts=2, sleep=lambda seconds: None))
    with pytest.raises(UnreadableError, match="after 2 attempts"):
        read_asset(asset, grid(256, 256), resampling="nearest", reading=quick, sign=lambda: asset.href)


@pytest.mark.parametrize(
    ("content", "remote", "n_tries", "final"),
    [
        (b"no picture", False, 1, True),
        (b"", False, 1, True),
        (None, False, 1, True),
        (b"<html>log in</html>", True, 3, False),
        (None, True, 1, True),
    ],
)
def test_what_will_not_heal_is_not_tried_for_minutes(
    tmp_path: Path, content: bytes | None, remote: bool, n_tries: int, final: bool
) -> None:
    good = write_raster(tmp_path / "good.tif", np.ones((20, 20), np.uint16))
    path = tmp_path / "bad.tif"
    if content is not None:
        path.write_bytes(content)
    waits: list[float] = []
    reading = Reading(retry=RetryPolicy(attempts=6, sleep=waits.append))
    with serve(tmp_path) as server:
        asset = asset_of(good, href=server.href("bad.tif") if remote else str(path))
        with pytest.raises((UnreadableError, FileNotFoundError)) as refused:
            read_asset(asset, grid(4, 4), resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert len(waits) == n_tries - 1
    assert getattr(refused.value, "final", True) is final


@pytest.mark.parametrize("damage", ["cut", "zeros", "noise"])
def test_damaged_pixels_of_a_local_file_are_tried_three_times(tmp_path: Path, damage: str) -> None:
    values = np.random.default_rng(4).integers(1, 9, (256, 256), dtype=np.uint16)
    path = write_raster(tmp_path / "scene.tif", values)
    asset, content = asset_of(path), path.read_bytes()
    other = {"cut": b"", "zeros": bytes(4000), "noise": np.random.default_rng(5).bytes(4000)}[damage]
    path.write_bytes(content[:9000] + other + (b"" if damage == "cut" else content[13_000:]))
    waits: list[float] = []
    reading = Reading(retry=RetryPolicy(attempts=6, sleep=waits.append))
    with pytest.raises(UnreadableError, match="after 3 attempts") as refused:
        read_asset(asset, grid(256, 256), resampling="nearest", reading=reading, sign=lambda: asset.href)
    assert refused.value.final
    assert len(waits) == 2


def test_the_verdict_on_a_read_survives_a_pickle() -> None:
    again = pickle.loads(pickle.dumps(UnreadableError("gone", final=True)))  # noqa: S301
    assert (str(again), again.final) == ("gone", True)
