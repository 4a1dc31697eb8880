"""The statistics of new assets against a twin that keeps every cell, in plain loops."""

from itertools import accumulate, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model.new_assets import CELLS, CLASS_ROWS, LEVEL, SCALE, WIDE, NewAssets
from monitor.core.model.scaling import Scaling
from monitor.core.records import WindowBatch
from tests.examples import examples

STEP, L, C = 1000, 4, 2
CHANNELS = ("x", "y")
NAMES = ("known", "new", "newer")
SCALING = Scaling(("known",), np.array([[7.0, 7.0], [0.0, 100.0]]), np.array([[3.0, 3.0], [1.0, 20.0]]))


def twin(values: np.ndarray, observed: np.ndarray, masked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return center and scale (T, C) that apply to the window ending at each step of rows (T, C).

    The first window at or after each L-th step is learned whole. Steps without a reading have no window.
    """
    centers, scales, before = [], [], -1
    cells: list[list[float]] = [[] for _ in range(C)]
    for end in range(len(values)):
        row = []
        for c in range(C):
            center, scale = SCALING.center[-1, c], SCALING.scale[-1, c]
            n = len(cells[c])
            mean, variance = (np.mean(cells[c]), np.var(cells[c])) if n else (0.0, 0.0)
            weight = n / (n + CLASS_ROWS)
            moved = min(max(weight * (mean - center), -LEVEL * scale), LEVEL * scale)
            own = np.sqrt(weight * variance + (1 - weight) * (WIDE * scale) ** 2)
            row.append((center + moved, min(max(own, scale / SCALE), scale * SCALE)))
        centers.append([center for center, _ in row])
        scales.append([scale for _, scale in row])
        read = observed[end].any()
        due = read and (end + 1) // L > (before + 1) // L
        before = end if read else before
        if end >= L - 1 and due:
            for c in range(C):
                center, scale = SCALING.center[-1, c], SCALING.scale[-1, c]
                for step in range(end - L + 1, end + 1):
                    if observed[step, c] and not masked[step, c]:
                        cells[c].append(min(max(values[step, c], center - CELLS * scale), center + CELLS * scale))
    return np.array(centers), np.array(scales)


def windows(values: np.ndarray, observed: np.ndarray, masked: np.ndarray) -> WindowBatch:
    """Return every window of rows (A, T, C) that ends with a reading, by end, then asset."""
    A, T, _ = values.shape
    cut = np.lib.stride_tricks.sliding_window_view(values, L, axis=1).transpose(1, 0, 2, 3).reshape(-1, C, L)
    seen, faulty = (
        np.lib.stride_tricks.sliding_window_view(cells, L, axis=1).transpose(1, 0, 2, 3).reshape(-1, C, L).copy()
        for cells in (observed & ~masked, masked)
    )
    ends = np.repeat(np.arange(L - 1, T), A) * STEP
    assets = np.tile(np.arange(A, dtype=np.int32), T - L + 1)
    read = np.lib.stride_tricks.sliding_window_view(observed, L, axis=1).transpose(1, 0, 2, 3).reshape(-1, C, L)
    whole = WindowBatch(assets, ends, np.where(read, cut, np.nan).astype(np.float32), seen, ends, faulty)
    return whole.take(np.flatnonzero(read[:, :, -1].any(1)))


def stage() -> NewAssets:
    made = NewAssets(length=L, step_ms=STEP)
    made.use(CHANNELS)
    return made


@settings(max_examples=examples(100), deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(L, 60),
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
    st.sampled_from([0.9, 0.5]),
)
def test_scalings_are_the_twins_however_windows_are_cut(seed: int, steps: int, cuts: list[int], share: float) -> None:
    """Scalings equal the twin's for new assets and the model's for known ones, whatever the cuts and restores."""
    draw = np.random.default_rng(seed)
    A = len(NAMES)
    scale = np.array([1.0, 20.0]) * draw.choice([0.1, 1.0, 8.0])
    values = (draw.normal(draw.choice([0.0, 50.0]), 1, (A, steps, C)) * scale).astype(np.float32)
    observed, masked = draw.random((A, steps, C)) < share, draw.random((A, steps, C)) < 0.1
    batch = windows(values, observed, masked)
    whole, moving = stage(), stage()
    found = whole.update(batch, NAMES, SCALING)
    for asset in range(A):
        mine = np.flatnonzero(batch.assets == asset)
        center, scale = found.scaling.center[found.rows[mine]], found.scaling.scale[found.rows[mine]]
        if asset == 0:
            assert (center == 7.0).all()
            assert (scale == 3.0).all()
            assert not found.unknown[mine].any()
            continue
        wanted = twin(values[asset].astype(float), observed[asset], masked[asset])
        ends = batch.ends[mine] // STEP
        np.testing.assert_allclose(center, wanted[0][ends], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(scale, wanted[1][ends], rtol=1e-9)
        assert found.unknown[mine].all()
    parts = []
    for begin, end in pairwise([0, *(place for place in accumulate(cuts) if place < len(batch)), len(batch)]):
        part = moving.update(batch.take(np.arange(begin, end)), NAMES, SCALING)
        parts.append((part.scaling.center[part.rows], part.scaling.scale[part.rows]))
        state, moving = moving.save_state(), stage()
        moving.load_state(state)
        moving.use(CHANNELS)
    assert np.array_equal(np.concatenate([center for center, _ in parts]), found.scaling.center[found.rows])
    assert np.array_equal(np.concatenate([scale for _, scale in parts]), found.scaling.scale[found.rows])
    ours, theirs = whole.save_state(), moving.save_state()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
