"""What a saved state of `Windows` holds, and whether one that was read back fits."""

import numpy as np

from monitor.core.arrays import FARTHEST, MOST_ASSETS, NEVER
from monitor.core.records import State
from monitor.core.state import unpack_names
from monitor.core.windows.admission import MINUTE

COUNTS = (
    "steps_closed",
    "readings_late",
    "readings_duplicate",
    "readings_unknown_channel",
    "readings_refused",
    "readings_flood",
    "windows_skipped_warmup",
    "windows_skipped_unobserved",
    "gaps",
    "assets_forgotten",
)
_SHAPES = {  # what a saved state holds: dtype, and shape in A assets, C channels, G open steps, H = L - 1, K counts
    "assets": ("u1", "*"),
    "channels": ("u1", "*"),
    "settings": ("i8", "3"),  # step_ms, length, frozen
    "counts": ("i8", "K"),
    "admission": ("i8", "2"),
    "clock": ("i8", "1"),
    "newest": ("i8", "A"),
    "seen": ("i8", "A"),
    "frontier": ("i8", "A"),
    "open_row": ("i8", "G"),
    "open_step": ("i8", "G"),
    "open_offset": ("i4", "GC"),
    "open_values": ("f4", "GC"),
    "values": ("f4", "ACH"),
    "observed": ("?", "ACH"),
    "newest_step": ("i8", "A"),
    "filled": ("i8", "A"),
    "carried": ("f4", "AC"),
    "carried_step": ("i8", "AC"),
}


def check_windows(state: State, step_ms: int, length: int) -> tuple[list[str], list[str]]:
    """Assets and channels of a saved state. Raises ValueError that says what is missing, too much or misshapen."""
    if state.keys() != _SHAPES.keys():
        missing, extra = sorted(_SHAPES.keys() - state.keys()), sorted(state.keys() - _SHAPES.keys())
        raise ValueError(f"state of windows lacks {missing} and has unexpected {extra}")
    for name, (dtype, _) in _SHAPES.items():
        if state[name].dtype != np.dtype(dtype):
            raise ValueError(f"state of windows: {name} is {state[name].dtype}, expected {np.dtype(dtype)}")
    assets, channels = unpack_names(state["assets"]), unpack_names(state["channels"])
    if len(set(assets)) < len(assets) or len(set(channels)) < len(channels):
        raise ValueError("state of windows names an asset or a channel twice")
    sizes = {"A": len(assets), "C": len(channels), "G": state["open_row"].size, "H": length - 1, "K": len(COUNTS)}
    for name, (_, shape) in _SHAPES.items():
        array = state[name]
        expected = array.shape if shape == "*" else tuple(sizes[axis] if axis in sizes else int(axis) for axis in shape)
        if array.shape != expected:
            raise ValueError(
                f"state of windows: {name} is {array.dtype} {array.shape}, expected {array.dtype} {expected}"
            )
    if state["settings"][:2].tolist() != [step_ms, length]:
        raise ValueError(f"state has (step_ms, length) {state['settings'][:2].tolist()}, expected {[step_ms, length]}")
    if np.any((state["open_row"] < 0) | (state["open_row"] >= len(assets))):
        raise ValueError("state of windows: open_row names an asset that is not there")
    _check_admission(*state["admission"].tolist())
    return assets, channels


def _check_admission(since: int, level: int) -> None:
    if not (NEVER <= since <= 2 * FARTHEST and 0 <= level <= MOST_ASSETS * MINUTE):
        raise ValueError(f"state of windows: admission is {since}, {level}")
