"""States as stages save them: arrays of the storable dtypes, of any shape, under any names."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitor.core.records import State

DTYPES = [np.dtype(name) for name in ("float64", "int64", "float32", "int32", "uint16", "uint8", "bool")]

ARRAYS: st.SearchStrategy[Any] = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
STATES: st.SearchStrategy[State] = st.dictionaries(NAMES, ARRAYS, max_size=5)


def assert_same(left: State, right: State) -> None:
    """Both states hold the same names, dtypes, shapes and bytes (so NaN and -0.0 count too)."""
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert (array.dtype, array.shape) == (right[name].dtype, right[name].shape)
        assert array.tobytes() == right[name].tobytes()
