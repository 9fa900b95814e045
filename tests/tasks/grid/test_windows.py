from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.models.measure.window import WindowChoice
from tilewright.tasks.block.merge import blend_weights, kept_scores, start_blend
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.grid import GridError
from tilewright.tasks.grid.windows import block_windows, lattice_of


def lattice(*, step, trim, block, stride=8, merge="trim", wider=0):
    window = step + 2 * trim + wider
    return lattice_of(
        WindowChoice(window=window, step=step, trim=trim, stride=stride, merge=merge, why=""), block=block
    )


def test_a_block_is_rounded_up_to_whole_steps():
    made = lattice(step=64, trim=16, block=130)
    assert (made.trim, made.window, made.block, made.halo) == (16, 96, 192, 16)


def test_a_fixed_window_that_is_no_multiple_of_the_stride_is_wider_on_the_far_side():
    made = lattice(step=184, trim=32, block=184, wider=2)
    assert (made.trim, made.step, made.window, made.halo) == (32, 184, 250, 34)


def test_a_step_off_the_stride_is_refused():
    with pytest.raises(GridError, match=r"tile\.step is 60"):
        lattice(step=60, trim=16, block=60)


@given(
    row=st.integers(-20, 20),
    col=st.integers(-20, 20),
    step=st.sampled_from([8, 24, 64]),
    trim=st.integers(0, 9).map(lambda strides: 8 * strides),
    merge=st.sampled_from(["trim", "blend"]),
)
def test_windows_lie_on_the_lattice_inside_the_halo_and_keep_each_pixel_once(row, col, step, trim, merge):
    made = lattice(step=step, trim=trim, block=step * 3, merge=merge)
    block = block_at(row=row, col=col, block=made.block, halo=made.halo)
    count = np.zeros(block.inner.shape, dtype=int)
    for window in block_windows(block.inner, made):
        assert (window.outer.row_start + made.trim) % step == 0
        assert (window.outer.col_start + made.trim) % step == 0
        assert window.outer.intersect(block.outer) == window.outer
        count[window.kept.intersect(block.inner).slices_in(block.inner)] += 1
    assert (count == 1).all() if merge == "trim" else (count >= 1).all()


@given(offset=st.tuples(st.integers(-2, 2), st.integers(-2, 2)))
def test_a_blended_pixel_is_the_same_in_every_block_that_computes_it(offset):
    made = lattice(step=16, trim=8, stride=1, block=32, merge="blend")
    weights = blend_weights(made, size=(made.window, made.window))

    def blended(row, col, block):
        inner = block_at(row=row, col=col, block=block, halo=0).inner
        blend = start_blend(inner, n_scores=1)
        for window in block_windows(inner, made):
            seed = abs(hash((window.row, window.col))) % 2**32
            scores = np.random.default_rng(seed).normal(size=(1, *window.outer.shape)).astype(np.float32)
            blend.add(window.outer, scores, weights)
        return blend.scores()[0]

    small, large = blended(*offset, 32), blended(offset[0] // 2, offset[1] // 2, 64)
    top, left = (offset[0] % 2) * 32, (offset[1] % 2) * 32
    assert np.array_equal(small, large[top : top + 32, left : left + 32])


def test_blending_equal_scores_gives_them_back():
    made = lattice(step=16, trim=8, stride=4, block=64, merge="blend")
    inner = block_at(row=0, col=0, block=made.block, halo=0).inner
    blend = start_blend(inner, n_scores=2)
    weights = blend_weights(made, size=(32, 32))
    for window in block_windows(inner, made):
        blend.add(window.outer, np.full((2, 32, 32), 0.25, dtype=np.float32), weights)
    assert blend.scores() == pytest.approx(0.25, rel=1e-6)


def test_kept_scores_are_the_core_also_at_another_scale():
    made = lattice(step=8, trim=4, stride=4, block=8)
    window = next(iter(block_windows(block_at(row=0, col=0, block=8, halo=4).inner, made)))
    scores = np.arange(32 * 32, dtype=np.float32).reshape(1, 32, 32)
    assert np.array_equal(kept_scores(window, scores, up=2, down=1), scores[:, 8:24, 8:24])
    coarse = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    assert np.array_equal(kept_scores(window, coarse, up=1, down=4), coarse[:, 1:3, 1:3])
