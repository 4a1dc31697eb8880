"""The file format: what goes in comes out, and nothing else ever does."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.records import State
from monitor.store.tensors import MAX_HEADER_BYTES, Damaged, pack, unpack
from tests.examples import examples
from tests.store.strategies import NAMES, STATES, assert_same

STATE: State = {
    "ring": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "count": np.array(7),
    "seen": np.array([True, False, True]),
    "none": np.empty((0, 4), np.float64),
}
PREFIX = b'{"__metadata__":{"sha256":"'


def packed(state: State = STATE) -> bytes:
    return b"".join(pack(state, {"format": "1", "topic": "readings"}))


def sealed(rest: bytes, tensors: bytes = b"", size: int | None = None) -> bytes:
    """A file with a right checksum around any header, as an attacker or a broken program would make it."""
    header = PREFIX + b"0" * 64 + rest
    whole = (len(header) if size is None else size).to_bytes(8, "little") + header + tensors
    digest = hashlib.sha256(whole).hexdigest().encode()
    return whole.replace(b"0" * 64, digest, 1)


@given(STATES, st.dictionaries(NAMES.filter(lambda name: name != "sha256"), st.text(max_size=9), max_size=4))
def test_arrays_and_metadata_come_back(state: State, metadata: dict[str, str]) -> None:
    """Any names, dtypes and shapes survive, zero sizes, NaN and single numbers included."""
    metadata = {key: value.encode("utf-8", "ignore").decode() for key, value in metadata.items()}
    tensors, found = unpack(b"".join(pack(state, metadata)))
    assert_same(tensors, state)
    assert found == metadata


@given(STATES)
def test_the_same_state_gives_the_same_bytes(state: State) -> None:
    """Neither the order of the names nor the layout in memory shows in the file."""
    reordered = {name: np.asfortranarray(state[name]) for name in reversed(state)}
    assert packed(state) == packed({name: reordered[name].reshape(state[name].shape) for name in reordered})


def test_loaded_arrays_belong_to_the_caller() -> None:
    """Every loaded array can be written to."""
    tensors, _ = unpack(packed())
    assert all(array.flags.writeable and array.flags.aligned for array in tensors.values())


def test_other_programs_read_the_file(tmp_path: Path) -> None:
    """The file is a plain safetensors file, metadata included."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(packed())
    assert_same(safetensors.numpy.load(packed()), STATE)
    with safetensors.safe_open(path, "numpy") as file:
        assert {"format": "1", "topic": "readings"}.items() <= file.metadata().items()


def test_any_flipped_bit_is_caught() -> None:
    """There is no bit in a file whose flip goes unnoticed: not in numbers, names, shapes, metadata or padding."""
    good = packed()
    for position in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            with pytest.raises(Damaged):
                unpack(bytes(bad))


def test_any_truncation_or_extension_is_caught() -> None:
    """A file of any other length than its own is refused."""
    good = packed()
    for length in range(len(good)):
        with pytest.raises(Damaged):
            unpack(good[:length])
    with pytest.raises(Damaged):
        unpack(good + b"\0")


@settings(max_examples=examples(300))
@given(st.data())
def test_mutilated_files_are_refused(data: st.DataObject) -> None:
    """Pieces cut out, doubled or overwritten give Damaged or, if nothing has changed, the same state."""
    good = packed()
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, len(good)))
    bad = good[:start] + data.draw(st.binary(max_size=20) | st.just(good[start:stop] * 2)) + good[stop:]
    try:
        tensors, _ = unpack(bad)
    except Damaged:
        assert bad != good
    else:
        assert bad == good
        assert_same(tensors, STATE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "I64", "BOOL", "F16", "BF16", "F8_E4M3", "?"]) | JSON,
        "shape": st.lists(st.integers(-1, 4) | st.integers(2**31, 2**64), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-1, 40) | st.integers(2**31, 2**64), min_size=2, max_size=2) | JSON,
    }
)


@settings(max_examples=examples(300))
@given(st.dictionaries(st.text(max_size=5), ENTRY | JSON, max_size=3), st.binary(max_size=40))
def test_headers_that_lie_are_refused(entries: dict[str, Any], tensors: bytes) -> None:
    """Behind a right checksum, any header gives Damaged or arrays within the file; never another error."""
    try:
        found, _ = unpack(sealed(b'"},' + json.dumps(entries).encode()[1:], tensors))
    except Damaged:
        return
    assert sum(array.nbytes for array in found.values()) == len(tensors)


@settings(max_examples=examples(300))
@given(st.binary(max_size=200), st.binary(max_size=40), st.none() | st.integers(0, 2**64 - 1))
def test_arbitrary_bytes_are_refused(header: bytes, tensors: bytes, size: int | None) -> None:
    """Bytes that are no header give Damaged, with and without a right checksum, for any length they claim."""
    for data in (header, sealed(header, tensors, size)):
        with pytest.raises(Damaged):
            unpack(data)


def test_a_header_is_bounded_and_may_nest_without_harm() -> None:
    """A header beyond the bound, and one of nothing but brackets, are refused without crash."""
    with pytest.raises(Damaged, match="header"):
        unpack(sealed(b'"}' + b" " * MAX_HEADER_BYTES + b"}"))
    with pytest.raises(Damaged):
        unpack(sealed(b'"},"a":' + b"[" * 200_000))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.zeros(1, ">f4"), np.zeros(1, np.float16)])
def test_what_is_not_a_plain_number_cannot_be_packed(array: Any) -> None:
    """Text, objects and other byte orders are refused when written, not when read."""
    with pytest.raises(ValueError, match="cannot be stored"):
        pack({"a": array}, {})


def test_names_of_the_format_and_floods_of_names_are_refused() -> None:
    """A state cannot use the format's own names, nor so many that its header could not be read again."""
    for state, metadata in (({"__metadata__": np.zeros(1)}, {}), ({}, {"sha256": ""})):
        with pytest.raises(ValueError, match="belong to the format"):
            pack(state, metadata)
    with pytest.raises(ValueError, match="surrogates"):
        pack({"\ud800": np.zeros(1)}, {})
    with pytest.raises(ValueError, match="header"):
        pack({f"{number:0200d}": np.zeros(1) for number in range(5000)}, {})
