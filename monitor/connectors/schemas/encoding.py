"""The encoding that a schema describes, for schemas of a registry and of local files.

JSON behind a schema's number is read without a look at the schema: its members have their names in the body. A check
against the schema would refuse a message for one bad member, which the decoder skips by itself.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

_ENDINGS = {".avsc": "AVRO", ".proto": "PROTOBUF", ".desc": "PROTOBUF", ".pb": "PROTOBUF"}

Encoding = Callable[[bytes, Sequence[int]], bytes]  # body, and which message of the schema -> JSON; raises BodyError


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema as a registry returns it, with the ones that it refers to by the names that it calls them."""

    kind: str  # AVRO, PROTOBUF or JSON
    text: str
    references: Mapping[str, "Schema"] = field(default_factory=dict)


def as_json(body: bytes, _: Sequence[int] = ()) -> bytes:
    """Return a body that is JSON already."""
    return body


def encoding_of(schema: Schema) -> Encoding:
    """Return the encoding of a schema. Raises ValueError."""
    if schema.kind == "JSON":
        return as_json
    if schema.kind == "AVRO":
        from monitor.connectors.schemas.avro import Avro  # noqa: PLC0415 - the library is optional

        return Avro(schema.text, [each.text for each in _flat(schema).values()])
    if schema.kind == "PROTOBUF":
        from monitor.connectors.schemas.protobuf import Protobuf  # noqa: PLC0415 - as above

        others = {name: _proto(each.text, name) for name, each in _flat(schema).items()}
        return Protobuf(_proto(schema.text, "the schema"), others)
    raise ValueError(f"found a schema of type {schema.kind!r:.40}, expected AVRO, PROTOBUF or JSON")


def file_encoding(paths: Sequence[str], message: str) -> Encoding:
    """Return the encoding of messages that name no schema, by local files; `message` is the record's full name.

    The last file has the record; the others have types that it refers to. Raises ValueError, which names the setting.
    """
    kinds = {_ENDINGS.get(Path(path).suffix.lower(), "") for path in paths}
    if len(kinds) != 1 or "" in kinds:
        raise ValueError(
            f"schemas.files: expected files of one kind, {', '.join(_ENDINGS)}, found {', '.join(paths)}; JSON without "
            "the number of a schema is read without a file"
        )
    try:
        contents = {path: Path(path).read_bytes() for path in paths}
        kind = kinds.pop()
        return _avro_files(contents, message) if kind == "AVRO" else _proto_files(contents, message)
    except OSError as error:
        raise ValueError(f"schemas.files: {error.filename}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"schemas.files: found a byte that is no UTF-8, at {error.start}") from None
    except ValueError as error:
        raise ValueError(f"schemas.files, schemas.message: {error}") from None


def _avro_files(contents: Mapping[str, bytes], message: str) -> Encoding:
    from monitor.connectors.schemas.avro import Avro  # noqa: PLC0415 - the library is optional

    texts = [content.decode() for content in contents.values()]
    if not message:
        return Avro(texts[-1], texts[:-1])
    return Avro(message, texts)


def _proto_files(contents: Mapping[str, bytes], message: str) -> Encoding:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet  # noqa: PLC0415 - as above
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - as above

    from monitor.connectors.schemas.protobuf import Protobuf, message_names  # noqa: PLC0415 - as above

    files: list[FileDescriptorProto] = []
    for path, content in contents.items():
        if path.endswith(".proto"):
            files += _with_imports(Path(path), content.decode(), {each.name for each in files})
            continue
        try:
            files += FileDescriptorSet.FromString(content).file
        except DecodeError:
            raise ValueError(
                f"{path}: expected a set of descriptors, as protoc --descriptor_set_out writes it"
            ) from None

    # The last file that has the message, by full name.
    having = [each for each in files if not message or message in message_names(each)]
    if not having:
        names = ", ".join(name for each in files for name in message_names(each))
        raise ValueError(f"there is no message {message!r}; there are {names:.300}")
    main = having[-1]
    if not message and len(main.message_type) > 1:
        raise ValueError(f"found several messages ({', '.join(message_names(main)):.300}); name one of them")
    return Protobuf(main, {each.name: each for each in files if each is not main}, message)


def _with_imports(path: Path, text: str, known: set[str]) -> "list[FileDescriptorProto]":
    """Return a .proto file after those that it imports and that lie in its folder, or below it."""
    return _below(path.parent, path.name, text, known)


def _below(folder: Path, name: str, text: str, known: set[str]) -> "list[FileDescriptorProto]":
    if name in known:
        return []
    known.add(name)
    file = _proto(text, name)
    files = []
    for wanted in file.dependency:
        if (inner := folder / wanted).is_file() and folder in inner.resolve().parents:
            files += _below(folder, wanted, inner.read_text(encoding="utf-8"), known)
    return [*files, file]


def _flat(schema: Schema) -> dict[str, Schema]:
    """Return the schemas that a schema refers to, each after those that it refers to itself."""
    found: dict[str, Schema] = {}

    def add(references: Mapping[str, Schema]) -> None:
        for name, each in references.items():
            if name not in found:
                add(each.references)
                found.setdefault(name, each)

    add(schema.references)
    return found


def _proto(text: str, name: str) -> "FileDescriptorProto":
    """Return the compiled file of a text. A registry may also hold a compiled file in base64. Raises ValueError."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415 - the library is optional
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - as above

    from monitor.connectors.schemas.proto_text import file_of  # noqa: PLC0415 - as above

    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text, validate=True)) if text else None
    except (binascii.Error, ValueError, DecodeError):
        file = None
    if file is None or not file.message_type:
        return file_of(text, name)
    file.name = name
    return file
