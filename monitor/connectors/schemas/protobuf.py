"""Protobuf: a message in its binary encoding -> the JSON text of its values.

Fields have the names of the .proto file. A field without presence that was not sent has its default, 0 or an empty
text, because that is how a sender writes 0. A field with presence that was not sent is absent. Enums become texts,
int64 numbers, times (google.protobuf.Timestamp) texts in ISO 8601, durations seconds. Bytes become a text with their
size.

Protobuf itself limits how deep messages may be nested, to 100.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from monitor.connectors.schemas.values import iso, most_text, size, to_json, too_large
from monitor.core.decode.bodies import BodyError

_KNOWN = {
    module.DESCRIPTOR.name: FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    for module in (
        *(any_pb2, descriptor_pb2, duration_pb2, empty_pb2),
        *(field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2),
    )
}
_WRAPPERS = {f"google.protobuf.{kind}Value" for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32")}
_WRAPPERS |= {"google.protobuf.BoolValue", "google.protobuf.StringValue"}

Convert = Callable[[Any], Any]


class Protobuf:
    """The encoding of the messages of one file."""

    def __init__(self, main: FileDescriptorProto, others: Mapping[str, FileDescriptorProto], message: str = "") -> None:
        """Compile a file with those that it imports, by the names that it imports them by.

        `message` is the full name of the message in bodies that do not name theirs. Empty = the only one of the file.
        Raises ValueError.
        """
        self._pool = DescriptorPool()
        self._main = main
        self._converters: dict[str, _Converter] = {}
        self._readers: dict[str, tuple[Any, _Converter]] = {}
        self._paths: dict[tuple[int, ...], str] = {}
        self._entries: set[str] = set()  # full names of the maps' entries that are read as messages
        self._room = _Room()
        self._add(main, {**_KNOWN, **others}, set())

        names = [_full(main, each.name) for each in main.message_type]
        if message and not self._has(message):
            raise ValueError(f"there is no message {message!r} in {main.name}; it has {', '.join(names) or 'none'}")
        self.name = message or (names[0] if len(names) == 1 else "")
        if self.name:
            self._reader(self.name)

    def __call__(self, body: bytes, path: Sequence[int] = ()) -> bytes:
        """Return the message of `body` as JSON. Raises BodyError.

        `path` says which message of the file it is: an index at each level. Empty = as given to the constructor.
        """
        name = self._name_of(tuple(path)) if path else self.name
        if not name:
            listed = ", ".join(_full(self._main, each.name) for each in self._main.message_type)
            raise BodyError("SchemaMismatch", f"found a body that does not say which of {listed:.300} it is")
        kind, convert = self._reader(name)
        try:
            message = kind.FromString(body)
        except (DecodeError, RecursionError) as error:
            raise BodyError("SchemaMismatch", f"found a body that is no {name} ({error!s:.100})") from None
        if body and not message.ListFields():
            raise BodyError("SchemaMismatch", f"found a body without any field of {name}")
        self._room.left = most_text(body)
        try:
            return to_json(convert(message))
        except _FullError:
            raise too_large(body) from None

    def _add(self, file: FileDescriptorProto, known: Mapping[str, FileDescriptorProto], added: set[str]) -> None:
        """Add a file to the pool, after its imports. An import that nothing is known of may serve options only."""
        added.add(file.name)
        copy = FileDescriptorProto.FromString(file.SerializeToString())
        missing = [name for name in file.dependency if name not in known]
        del copy.dependency[:], copy.public_dependency[:], copy.weak_dependency[:]
        for index, name in enumerate(file.dependency):
            if name in missing:
                continue
            if name not in added:
                self._add(known[name], known, added)
            copy.dependency.append(name)
            if index in file.public_dependency:
                copy.public_dependency.append(len(copy.dependency) - 1)

        if file.syntax != "proto3":
            self._open_maps(copy, copy.message_type, ())
        try:
            self._pool.Add(copy)
        except (TypeError, ValueError) as error:
            hint = f"; imported, and not given: {', '.join(missing)}" if missing else ""
            raise ValueError(f"{file.name}: {error!s:.300}{hint}") from None

    def _open_maps(self, file: FileDescriptorProto, inner: Sequence[DescriptorProto], around: tuple[str, ...]) -> None:
        """Make the entries of maps messages like any others: the library has no value for a key that is not UTF-8."""
        for each in inner:
            key = next((field for field in each.field if field.name == "key"), None)
            if each.options.map_entry and key is not None and key.type == FieldDescriptor.TYPE_STRING:
                each.options.map_entry = False
                self._entries.add(_full(file, *around, each.name))
            self._open_maps(file, each.nested_type, (*around, each.name))

    def _has(self, name: str) -> bool:
        try:
            self._pool.FindMessageTypeByName(name)
        except KeyError:
            return False
        return True

    def _name_of(self, path: tuple[int, ...]) -> str:
        """Return the full name of the message at `path`.

        Clients that count by descriptors count the entries of maps, too. Those that count in the text do not. An entry
        is never sent by itself, so an index that hits one is of the other kind.
        """
        if path not in self._paths:
            inner: Any = self._main.message_type
            names = []
            for index in path:
                if not 0 <= index < len(inner):
                    found = ".".join(map(str, path[:8]))
                    raise BodyError("SchemaMismatch", f"found message {found}, which {self._main.name} does not have")
                chosen = inner[index]
                if chosen.options.map_entry:
                    others = [each for each in inner if not each.options.map_entry]
                    chosen = others[index] if index < len(others) else chosen
                names.append(chosen.name)
                inner = chosen.nested_type
            self._paths[path] = _full(self._main, *names)
        return self._paths[path]

    def _reader(self, name: str) -> tuple[Any, "_Converter"]:
        """Return class and converter of a message."""
        if name not in self._readers:
            descriptor = self._pool.FindMessageTypeByName(name)
            self._readers[name] = GetMessageClass(descriptor), self._converter(descriptor)
        return self._readers[name]

    def _converter(self, descriptor: Descriptor) -> "_Converter":
        """Return the converter of a message. One that contains itself is entered before its fields."""
        name = descriptor.full_name
        if name not in self._converters:
            self._converters[name] = converter = _Converter(self._room)
            converter.set([self._field(field) for field in descriptor.fields])
        return self._converters[name]

    def _field(self, field: FieldDescriptor) -> tuple[str, bool, Convert | None]:
        """Return name and presence of a field, and the function for its value; None = as it is."""
        entry = field.message_type if field.type == FieldDescriptor.TYPE_MESSAGE else None
        if entry is not None and entry.GetOptions().map_entry:
            single = self._single(entry.fields_by_name["value"])
            return field.name, False, _map_of(single)
        if entry is not None and entry.full_name in self._entries:
            return field.name, False, _entries_of(self._single(entry.fields_by_name["value"]))
        single = self._single(field)
        if field.is_repeated:
            return field.name, False, _list_of(single)
        return field.name, field.has_presence, single

    def _single(self, field: FieldDescriptor) -> Convert | None:
        """Return the function for one value of a field."""
        if field.type == FieldDescriptor.TYPE_BYTES:
            return size
        if field.type == FieldDescriptor.TYPE_STRING:
            return _text
        if field.type == FieldDescriptor.TYPE_ENUM:
            return _names(field.enum_type)
        if field.type not in {FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP}:
            return None
        return _WELL_KNOWN.get(field.message_type.full_name) or self._converter(field.message_type)


class _FullError(Exception):
    """A message becomes more JSON than it may."""


class _Room:
    """The bytes of JSON that the message being read may still become. What must be written is counted before."""

    left = 0


class _Converter:
    """A message -> an object."""

    def __init__(self, room: _Room) -> None:
        self._fields: Sequence[tuple[str, bool, Convert | None]] = ()
        self._room = room
        self._least = 2  # bytes of JSON

    def set(self, fields: Sequence[tuple[str, bool, Convert | None]]) -> None:
        """Take over name, presence and function of each field."""
        self._fields = fields
        self._least = 2 + sum(len(name) + 4 for name, presence, _ in fields if not presence)

    def __call__(self, message: Any) -> dict[str, Any]:
        self._room.left -= self._least
        if self._room.left < 0:
            raise _FullError
        made = {}
        for name, presence, convert in self._fields:
            if presence and not message.HasField(name):
                continue
            value = getattr(message, name)
            made[name] = value if convert is None else convert(value)
        return made


def message_names(file: FileDescriptorProto) -> list[str]:
    """Return the full names of all messages of a file."""

    def below(messages: Sequence[DescriptorProto], around: tuple[str, ...]) -> list[str]:
        names = []
        for each in messages:
            if not each.options.map_entry:
                names += [_full(file, *around, each.name), *below(each.nested_type, (*around, each.name))]
        return names

    return below(file.message_type, ())


def _full(file: FileDescriptorProto, *names: str) -> str:
    return ".".join([file.package, *names] if file.package else names)


def _names(enum: EnumDescriptor) -> Convert:
    names = {value.number: value.name for value in reversed(enum.values)}  # of two names the first one counts
    return lambda number: names.get(number, f"{enum.name} {number}")


def _list_of(single: Convert | None) -> Convert:
    return list if single is None else lambda values: [single(each) for each in values]


def _map_of(single: Convert | None) -> Convert:
    if single is None:
        return lambda values: {str(key): value for key, value in values.items()}
    return lambda values: {str(key): single(value) for key, value in values.items()}


def _entries_of(single: Convert | None) -> Convert:
    convert = single or (lambda value: value)
    return lambda entries: {_text(entry.key): convert(entry.value) for entry in entries}


def _text(value: str | bytes) -> str:
    """Return a text. The library returns bytes for one of proto2 that is not UTF-8."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _timestamp(message: Any) -> str:
    return iso(message.seconds * 1_000_000_000 + message.nanos, 1_000_000_000)


def _duration(message: Any) -> float:
    return float(message.seconds + message.nanos / 1e9)


def _decimal(message: Any) -> float:
    """Return the number of a confluent.type.Decimal."""
    if len(message.value) > 256 or abs(message.scale) > 1000:  # float64 has room for 128 bytes
        return float("inf")
    try:
        unscaled = int.from_bytes(message.value, "big", signed=True)
        return unscaled / 10**message.scale if message.scale >= 0 else float(unscaled * 10**-message.scale)
    except OverflowError:
        return float("inf")


def _struct(message: Any) -> dict[str, Any]:
    return {name: _value(value) for name, value in message.fields.items()}


def _value(message: Any) -> Any:
    """Return the value of a google.protobuf.Value."""
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(message.struct_value)
    if kind == "list_value":
        return [_value(each) for each in message.list_value.values]
    return None if kind in {None, "null_value"} else getattr(message, kind)


_WELL_KNOWN: dict[str, Convert] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _value,
    "google.protobuf.ListValue": lambda message: [_value(each) for each in message.values],
    "confluent.type.Decimal": _decimal,
    "google.protobuf.BytesValue": lambda message: size(message.value),
    **dict.fromkeys(_WRAPPERS, lambda message: message.value),
}
