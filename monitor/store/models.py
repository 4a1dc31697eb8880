"""Stored models: weights as safetensors, a readable manifest, and a pointer to the current model.

    models/<version>/weights.safetensors
    models/<version>/learned.json          history it was learned from, and parts left out; older models lack it
    models/<version>/manifest.json         written last; a model without it does not exist
    models/current.json                    {"current": version, "history": [versions before it, newest first]}
    models/training.json                   {"begun_ms": when the last training began, whatever its outcome}

A version ("m-20250131T120000-1a2b3c4d") consists of the time of training and the start of the manifest's sha256. The
manifest holds the sha256 of the weights, so neither can change unnoticed. Models are never changed or deleted here:
past alerts refer to them, and a model takes a few hundred kilobytes.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from monitor.core.records import State
from monitor.store.base import Blobs, Notice, OnNotice, quarantine
from monitor.store.tensors import Damaged, pack, unpack

FORMAT = 2  # 1 had no forecaster and no limits of channels

# Versions the pointer remembers for `rollback`: two weeks of daily retraining.
HISTORY = 14

_VERSION = re.compile(r"m-[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")
_POINTER = "models/current.json"
_TRAINING = "models/training.json"

# Exceptions that damaged bytes can cause while they are parsed.
_DAMAGE = (ValueError, KeyError, TypeError, RecursionError)


class ModelInvalid(Exception):  # noqa: N818 - reads as the state it reports
    """A model is missing, damaged or cannot be stored; the message names version and reason."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model with its manifest."""

    version: str
    created_ms: int  # ms UTC
    manifest: dict[str, Any]  # JSON values
    tensors: State


class Models:
    """The models in a store. Every method raises StoreUnavailable; that moves nothing to quarantine/."""

    def __init__(self, blobs: Blobs, on_notice: OnNotice) -> None:
        self._blobs = blobs
        self._on_notice = on_notice

    def put(
        self, manifest: dict[str, Any], tensors: State, created_ms: int, learned: dict[str, Any] | None = None
    ) -> str:
        """Store a model durably and return its version; the same arguments give the same version.

        `manifest` and `learned`, the report of the training, hold JSON values. The model does not become current.
        Raises ModelInvalid if a number is not finite, a dtype cannot be stored, or the manifest is not JSON.
        """
        try:
            _check_finite(tensors)
            weights = b"".join(pack(tensors, {"format": str(FORMAT)}))
            text = _manifest(manifest, tensors, created_ms, hashlib.sha256(weights).hexdigest())
        except (ValueError, TypeError) as error:
            raise ModelInvalid(f"cannot be stored: {error}") from error

        moment = datetime.fromtimestamp(created_ms // 1000, UTC)
        version = f"m-{moment:%Y%m%dT%H%M%S}-{hashlib.sha256(text).hexdigest()[:8]}"
        # The manifest last: with it the model exists.
        if learned is not None:
            self._blobs.write(f"models/{version}/learned.json", json.dumps(learned).encode() + b"\n")
        self._blobs.write(f"models/{version}/weights.safetensors", weights)
        self._blobs.write(f"models/{version}/manifest.json", text)
        return version

    def get(self, version: str) -> StoredModel:
        """Return the model, verified byte for byte. Raises ModelInvalid.

        A damaged model is moved to quarantine/, with a notice. A model of an earlier or a later program stays: other
        processes on this store may use it.
        """
        if not _VERSION.fullmatch(version):
            raise ModelInvalid(f"{version[:100]!r} is not a model version")

        # Without a manifest there is no model; without weights there is a damaged one.
        try:
            text = self._blobs.read(f"models/{version}/manifest.json")
        except FileNotFoundError as error:
            raise ModelInvalid(f"{version} is not in the store") from error

        try:
            weights = self._blobs.read(f"models/{version}/weights.safetensors")
            return _parse(version, text, weights)
        except FileNotFoundError as error:
            self._quarantine_model(version, "the weights are missing")
            raise ModelInvalid(f"{version}: the weights are missing") from error
        except _DAMAGE as error:
            self._quarantine_model(version, repr(error))
            raise ModelInvalid(f"{version}: {error}") from error

    def learned(self, version: str) -> dict[str, Any] | None:
        """Return the report of a model's training; None if there is none. Raises ModelInvalid if it is unreadable."""
        try:
            report: dict[str, Any] = json.loads(self._blobs.read(f"models/{version}/learned.json"))
        except FileNotFoundError:
            return None
        except _DAMAGE as error:
            raise ModelInvalid(f"{version}: the report of its training cannot be read: {error!r}") from error
        return report

    def versions(self) -> list[str]:
        """Return every version in the store, newest first, without verifying them."""
        parts = [name.split("/") for name in self._blobs.names("models")]
        found = [part[1] for part in parts if len(part) == 3 and part[2] == "manifest.json"]
        return sorted((version for version in found if _VERSION.fullmatch(version)), reverse=True)

    def current(self) -> str | None:
        """Return the current version, or None if none was ever set. `get` verifies it.

        An unreadable pointer is moved to quarantine/, with a notice, and counts as none.
        """
        pointer = self._pointer()
        return pointer[0] if pointer else None

    def set_current(self, version: str) -> None:
        """Verify `version` and make it current, durably. Raises ModelInvalid."""
        self.get(version)
        pointer = self._pointer()
        if pointer[:1] != [version]:
            self._point([version, *(old for old in pointer if old != version)])

    def rollback(self) -> str:
        """Make the version before the current one current again, and return it.

        Damaged versions are skipped. Raises ModelInvalid if none is left.
        """
        pointer = self._pointer()
        for position, version in enumerate(pointer[1:], start=1):
            try:
                self.get(version)
            except ModelInvalid:  # with a notice if it was damaged
                continue
            self._point(pointer[position:])
            return version
        raise ModelInvalid("there is no earlier model to go back to")

    def training_begun_ms(self) -> int | None:
        """Return when the last training began, ms UTC; None if there was none, or its note is unreadable."""
        try:
            return _whole(json.loads(self._blobs.read(_TRAINING))["begun_ms"])
        except FileNotFoundError:
            return None
        except _DAMAGE as error:
            self._quarantine(_TRAINING, f"the time of the last training cannot be read: {error!r}")
            return None

    def note_training(self, begun_ms: int) -> None:
        """Store when a training began, durably: processes restart more often than models are trained."""
        self._blobs.write(_TRAINING, json.dumps({"begun_ms": begun_ms}).encode() + b"\n")

    def _pointer(self) -> list[str]:
        """Return the current version and those before it; empty if there is none."""
        try:
            text = self._blobs.read(_POINTER)
        except FileNotFoundError:
            return []
        try:
            return _parse_pointer(text)
        except _DAMAGE as error:
            self._quarantine(_POINTER, f"the pointer to the current model cannot be read: {error!r}")
            return []

    def _point(self, versions: list[str]) -> None:
        pointer = {"current": versions[0], "history": versions[1 : HISTORY + 1]}
        self._blobs.write(_POINTER, json.dumps(pointer, indent=2).encode() + b"\n")

    def _quarantine_model(self, version: str, reason: str) -> None:
        for file in ("manifest.json", "weights.safetensors"):  # the manifest first: without it the model does not exist
            self._quarantine(f"models/{version}/{file}", reason)

    def _quarantine(self, name: str, reason: str) -> None:
        moved = quarantine(self._blobs, name, "corrupt")
        if moved is not None:
            self._on_notice(Notice("corrupt", name, moved, reason))


def _describe(tensors: State) -> dict[str, Any]:
    return {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in sorted(tensors.items())}


def _manifest(manifest: dict[str, Any], tensors: State, created_ms: int, sha256: str) -> bytes:
    """Return the text of manifest.json. Raises ValueError or TypeError for a value that JSON cannot hold exactly."""
    content = {
        "format": FORMAT,
        "created": datetime.fromtimestamp(created_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "created_ms": created_ms,
        "model": manifest,
        "weights": {"file": "weights.safetensors", "sha256": sha256, "tensors": _describe(tensors)},
    }
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    if json.loads(text) != content:
        raise ValueError("the manifest is changed by JSON (tuples, keys that are not strings)")
    return text.encode() + b"\n"


def _parse(version: str, text: bytes, weights: bytes) -> StoredModel:
    """Parse a model. Raises ModelInvalid for another format, one of `_DAMAGE` for any other difference to `put`."""
    if hashlib.sha256(text).hexdigest()[:8] != version[-8:]:
        raise ValueError("the checksum of the manifest is not the one in the version")

    content = json.loads(text)
    if content["format"] != FORMAT:
        raise ModelInvalid(f"{version}: {_other_format(content['format'])}")

    described = content["weights"]
    if hashlib.sha256(weights).hexdigest() != described["sha256"]:
        raise Damaged("the weights do not match the manifest's checksum")
    tensors, _ = unpack(weights)
    if _describe(tensors) != described["tensors"]:
        raise Damaged("names, shapes or dtypes differ from the manifest")
    _check_finite(tensors)
    return StoredModel(version, content["created_ms"], content["model"], tensors)


def _other_format(written: object) -> str:
    """Return why a model of another format is refused."""
    if written == 1:
        return f"written by an earlier version (format 1, expected {FORMAT}); a new model has to be trained"
    return f"format {written!r} is not {FORMAT}"


def _whole(value: object) -> int:
    """Raises TypeError."""
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _parse_pointer(text: bytes) -> list[str]:
    """Raises one of `_DAMAGE`."""
    pointer = json.loads(text)
    versions = [pointer["current"], *pointer["history"]]
    if not all(_VERSION.fullmatch(version) for version in versions):
        raise ValueError("holds something that is not a model version")
    return versions


def _check_finite(tensors: State) -> None:
    """Raises ValueError."""
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
