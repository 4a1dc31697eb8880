"""Arrays by name as safetensors bytes with a checksum: any flipped bit is found before use.

The header's first entry is the sha256 of the whole file, computed with 64 zeros in its own place. So it covers names,
shapes, metadata and padding, not only the numbers. The checksum protects against accidents. It does not protect against
attackers, who could recompute it; against them it helps that the format holds numbers and text only, never code.

The safetensors library reads the files, since it checks every offset. Writing is done here, because the library orders
metadata at random (the same state must give the same bytes) and copies everything twice.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError, deserialize

from monitor.core.records import State

# A header entry takes about 100 bytes and a stage saves tens of arrays; the bound is for hostile lengths.
MAX_HEADER_BYTES = 1 << 20

_START = b'{"__metadata__":{"sha256":"'
_BLANK = b"0" * 64
_DIGEST = 8 + len(_START)  # where in the file the 64 hexadecimal digits begin
_NAMES = {
    "<f8": "F64", "<i8": "I64", "<f4": "F32", "<i4": "I32", "<u2": "U16", "|u1": "U8", "|b1": "BOOL",
}  # fmt: skip
_DTYPES = {name: np.dtype(code) for code, name in _NAMES.items()}


class Damaged(ValueError):  # noqa: N818 - reads as the state it reports
    """The bytes are not what `pack` wrote."""


def pack(tensors: State, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """Return the file as parts to write one after another; the arrays are not copied unless they have holes.

    The same arrays and metadata give the same bytes. Raises ValueError for a dtype other than float64, int64, float32,
    int32, uint16, uint8 and bool, and for names that are not Unicode text.
    """
    if "__metadata__" in tensors or "sha256" in metadata:
        raise ValueError("the names __metadata__ and sha256 belong to the format")

    # Large items first: so every array stays aligned. The name decides among equals, for equal bytes.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    entries: dict[str, object] = {"__metadata__": {"sha256": _BLANK.decode(), **dict(sorted(metadata.items()))}}
    parts: list[bytes | memoryview] = []
    position = 0
    for name in order:
        array = tensors[name]
        if array.dtype.str not in _NAMES:
            raise ValueError(f"{name}: arrays of {array.dtype} cannot be stored")
        offsets = [position, position + array.nbytes]
        entries[name] = {"dtype": _NAMES[array.dtype.str], "shape": list(array.shape), "data_offsets": offsets}
        parts.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        position += array.nbytes

    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"{len(tensors)} arrays give a header of {len(header)} bytes; {MAX_HEADER_BYTES} are allowed")

    # The checksum covers the header with zeros in its own place.
    start = len(header).to_bytes(8, "little") + header
    digest = hashlib.sha256(start)
    for part in parts:
        digest.update(part)
    return [start[:_DIGEST] + digest.hexdigest().encode() + start[_DIGEST + len(_BLANK) :], *parts]


def unpack(data: bytes) -> tuple[State, dict[str, str]]:
    """Return the arrays, each writable and owned by the caller, and the metadata given to `pack`. Raises Damaged."""
    size = int.from_bytes(data[:8], "little")
    if not len(_START) + len(_BLANK) <= size <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise Damaged(f"{len(data)} bytes cannot hold a header of {size} bytes")
    # The checksum has a fixed place, so that it can be verified before anything is parsed.
    if data[8:_DIGEST] != _START:
        raise Damaged("the header does not begin with the checksum")

    digest = hashlib.sha256(data[:_DIGEST])
    digest.update(_BLANK)
    digest.update(memoryview(data)[_DIGEST + len(_BLANK) :])
    if data[_DIGEST : _DIGEST + len(_BLANK)] != digest.hexdigest().encode():
        raise Damaged("the checksum does not match")

    try:
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        tensors = {
            name: np.frombuffer(view["data"], _DTYPES[view["dtype"]]).reshape(view["shape"])
            for name, view in deserialize(data)  # type: ignore[no-untyped-call]
        }
        del metadata["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise Damaged(f"not a safetensors file: {error}") from error
    return tensors, metadata
