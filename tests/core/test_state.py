"""State tables: columns grow, clear, select channels, save and load by one table, and errors have one form."""

from typing import Any

import numpy as np
import pytest

from monitor.core.state import FINITE, Column, Columns, check_state, pack, pack_names, unpack, unpack_distinct

TABLE = {
    "count": Column("i8", low=0),
    "value": Column("f4", ("A", "C"), fill=np.nan, low=-FINITE, high=FINITE, nan=True),
    "ring": Column("f8", ("A", "C", "W"), fill=-1),
    "owner": Column("i8", ("G",), below="A"),
    "clock": Column("i8", (1,)),
}
CLOCK, OWNER = np.array([7]), np.array([0, 1, 1])


def filled() -> Columns:
    """Return two rows of three channels with different numbers."""
    columns = Columns("stages", TABLE, W=4)
    columns.pick(np.full(3, -1))
    columns.reserve(2)
    columns["count"][:] = 5, 6
    columns["value"][:] = np.arange(6).reshape(2, 3)
    columns["ring"][:] = np.arange(24).reshape(2, 3, 4)
    return columns


def saved(**changed: Any) -> dict[str, Any]:
    """Return the state of `filled` with some arrays replaced. None removes an array."""
    state = filled().save(clock=CLOCK, owner=OWNER) | changed
    return {name: array for name, array in state.items() if array is not None}


def test_new_rows_hold_the_fill_values() -> None:
    """Newly reserved rows hold the fill values, and existing rows keep their data."""
    columns = filled()
    columns.reserve(3)
    assert columns["count"][:3].tolist() == [5, 6, 0]
    assert np.isnan(columns["value"][2]).all()
    assert (columns["ring"][2] == -1).all()


def test_fewer_rows_take_nothing_away() -> None:
    """Reserving fewer rows than exist changes nothing."""
    columns = filled()
    columns.reserve(1)
    assert columns.rows == 2


def test_a_cleared_row_is_as_new() -> None:
    """Clearing resets every column of that row only, and an unknown row is ignored."""
    columns = filled()
    columns.clear(0)
    columns.clear(9)
    assert columns["count"][:2].tolist() == [0, 6]
    assert np.isnan(columns["value"][0]).all()
    assert (columns["ring"][0] == -1).all()
    assert columns["value"][1].tolist() == [3, 4, 5]


def test_picked_channels_keep_their_data() -> None:
    """Selected channels keep their data, new channels hold the fill values, and columns without a channel axis stay."""
    columns = filled()
    columns.pick(np.array([2, -1]))
    np.testing.assert_array_equal(columns["value"][:2], [[2, np.nan], [5, np.nan]])
    np.testing.assert_array_equal(columns["ring"][0], [[8, 9, 10, 11], [-1, -1, -1, -1]])
    assert columns["count"][:2].tolist() == [5, 6]


def test_a_loaded_state_saves_the_same() -> None:
    """A loaded state is saved unchanged, and the stage has its own copy."""
    state, stage = saved(), Columns("stages", TABLE, W=4)
    assert stage.check(state) == {"A": 2, "C": 3, "W": 4, "G": 3}
    stage.load(state)
    again = stage.save(clock=CLOCK, owner=OWNER)
    assert again.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array)
    stage["count"][0] = 99
    assert state["count"][0] == 5


def test_an_axis_that_was_saved_shorter_is_padded() -> None:
    """An array saved with a shorter axis is loaded at the start, and the rest holds the fill value."""
    stage = Columns("stages", TABLE, W=6)
    stage.load(saved())
    assert stage["ring"][1, 2].tolist() == [20, 21, 22, 23, -1, -1]


def test_channels_of_a_loaded_state_replace_those_before() -> None:
    """A state with fewer channels than the stage is loaded as it is, without padding."""
    state, stage = saved(), filled()
    stage.pick(np.array([0, 1, 2, -1, -1]))
    stage.load(state)
    assert stage["value"].shape == (2, 3)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"count": None}, "count is missing, expected int64 (A,)"),
        ({"more": CLOCK}, "more is unknown, expected only clock, count, owner, ring, value"),
        ({"count": np.zeros(2)}, "count is float64 (2,), expected int64 (A,)"),
        ({"count": np.zeros((2, 1), np.int64)}, "count is int64 (2, 1), expected int64 (A,)"),
        ({"value": np.zeros((3, 3), np.float32)}, "value is float32 (3, 3), expected float32 (2, C)"),
        ({"ring": np.zeros((2, 4, 4))}, "ring is float64 (2, 4, 4), expected float64 (2, 3, W)"),
        ({"clock": np.array([1, 2])}, "clock is int64 (2,), expected int64 (1,)"),
        ({"count": np.array([5, -1])}, "count[1] is -1, expected at least 0"),
        ({"value": np.full((2, 3), np.inf, np.float32)}, "value[0, 0] is inf, expected a finite number"),
        ({"owner": np.array([0, 2])}, "owner[1] is 2, expected 0 to 1"),
        ({"owner": np.array([-1])}, "owner[0] is -1, expected 0 to 1"),
    ],
)
def test_a_refusal_names_stage_array_and_both_sides(changed: dict[str, Any], sentence: str) -> None:
    """Each error is "state of STAGE: ARRAY is FOUND, expected EXPECTED"."""
    with pytest.raises(ValueError, match="expected") as refused:
        check_state("stages", saved(**changed), TABLE)
    assert str(refused.value) == f"state of stages: {sentence}"


def test_given_sizes_bind_the_arrays() -> None:
    """A size known to the stage is checked and not taken from the state."""
    with pytest.raises(ValueError, match=r"value is float32 \(2, 3\), expected float32 \(2, 4\)"):
        check_state("stages", saved(), TABLE, C=4)


def test_nan_is_refused_where_it_is_not_allowed() -> None:
    """A range without `nan` refuses NaN."""
    with pytest.raises(ValueError, match=r"x\[0\] is nan, expected 0 to 1"):
        check_state("stages", {"x": np.array([np.nan])}, {"x": Column("f8", low=0, high=1)})


def test_packed_values_come_back() -> None:
    """JSON in a byte array is loaded as its type, and any other content is refused with the array's name."""
    assert unpack("stages", "watches", pack([1, 2]), list[int]) == [1, 2]
    for wrong in (pack(["a"]), np.array([255], np.uint8), np.zeros(1)):
        with pytest.raises(ValueError, match="state of stages: watches is"):
            unpack("stages", "watches", wrong, list[int])


def test_names_are_distinct() -> None:
    """Names are loaded in order, and duplicate names or bytes that are no names are refused."""
    assert unpack_distinct("stages", "assets", pack_names(["b", "ä"])) == ["b", "ä"]
    with pytest.raises(ValueError, match="assets is a list with 'b' twice"):
        unpack_distinct("stages", "assets", pack_names(["b", "b"]))
    with pytest.raises(ValueError, match="assets is unreadable"):
        unpack_distinct("stages", "assets", np.zeros(1))
