"""The text of a .proto file -> its FileDescriptorProto, without a compiler.

Read are packages, imports, messages, enums, fields, oneofs and maps, of proto2, proto3 and editions: the parts that
decide how bytes become values. Options, services, extensions and reserved numbers are passed over. The features of
editions that change values are refused. Names of types stay as they are written, and protobuf's own pool resolves them.

The language: https://protobuf.dev/reference/protobuf/proto3-spec
"""

import re
from collections.abc import Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

_TOKEN = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/
    | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<word>[A-Za-z0-9_.+-]+)
    | (?P<sign>[{}()\[\]<>;=,:/])""",
    re.VERBOSE | re.DOTALL,
)
_SCALARS = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in (
        *("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes"),
        *("uint32", "sfixed32", "sfixed64", "sint32", "sint64"),
    )
}
_LABELS = {
    "optional": FieldDescriptorProto.LABEL_OPTIONAL,
    "required": FieldDescriptorProto.LABEL_REQUIRED,
    "repeated": FieldDescriptorProto.LABEL_REPEATED,
}
_CLOSING = {"{": "}", "(": ")", "[": "]", "<": ">"}
_EDITIONS = {"2023": 1000, "2024": 1001}
_FEATURES = {"field_presence", "enum_type", "utf8_validation", "message_encoding"}  # change how bytes become values
_DEEPEST = 32  # messages within messages; protoc's own limit


class ProtoError(ValueError):
    """A text that is no .proto file, with the line."""


def file_of(text: str, name: str) -> FileDescriptorProto:
    """Return the compiled file called `name`. Raises ProtoError."""
    return _Parser(text, name).file()


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0
        self._file = FileDescriptorProto(name=name, syntax="proto2")

    def file(self) -> FileDescriptorProto:
        while (word := self._peek()) is not None:
            if word in {"syntax", "edition"}:
                self._syntax(self._next())
            elif word == "package":
                self._next()
                self._file.package = self._word()
                self._expect(";")
            elif word == "import":
                self._import()
            elif word == "message":
                self._next()
                self._message(self._file.message_type.add(), 0)
            elif word == "enum":
                self._next()
                self._enum(self._file.enum_type.add())
            elif word in {"option", "service", "extend", ";"}:
                self._skip()
            else:
                raise self._error(f"found {word}, expected a message, an enum, an import or an option")
        return self._file

    def _syntax(self, word: str) -> None:
        self._expect("=")
        value = self._string()
        self._expect(";")
        if word == "edition":
            if value not in _EDITIONS:
                raise self._error(f"found edition {value}, expected one of {', '.join(_EDITIONS)}")
            self._file.syntax, self._file.edition = "editions", _EDITIONS[value]
        elif value in {"proto2", "proto3"}:
            self._file.syntax = value
        else:
            raise self._error(f"found syntax {value}, expected proto2 or proto3")

    def _import(self) -> None:
        self._next()
        public = self._peek() == "public"
        if self._peek() in {"public", "weak"}:
            self._next()
        self._file.dependency.append(self._string())
        if public:
            self._file.public_dependency.append(len(self._file.dependency) - 1)
        self._expect(";")

    def _message(self, made: DescriptorProto, depth: int) -> None:
        if depth > _DEEPEST:
            raise self._error(f"found messages within messages, expected at most {_DEEPEST} levels")
        made.name = self._word()
        self._expect("{")
        optional: list[FieldDescriptorProto] = []
        while (word := self._peek()) != "}":
            if word == "message":
                self._next()
                self._message(made.nested_type.add(), depth + 1)
            elif word == "enum" and self._peek(2) == "{":
                self._next()
                self._enum(made.enum_type.add())
            elif word == "oneof" and self._peek(2) == "{":
                self._oneof(made)
            elif word in {"option", "reserved", "extensions", "extend", ";"}:
                self._skip()
            else:
                field = self._field(made)
                if field.proto3_optional:
                    optional.append(field)
        self._next()

        # The oneofs of single optional fields come after all others.
        for field in optional:
            field.oneof_index = len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{field.name}")

    def _oneof(self, made: DescriptorProto) -> None:
        self._next()
        index = len(made.oneof_decl)
        made.oneof_decl.add(name=self._word())
        self._expect("{")
        while self._peek() != "}":
            if self._peek() in {"option", ";"}:
                self._skip()
            else:
                self._field(made).oneof_index = index
        self._next()

    def _field(self, made: DescriptorProto) -> FieldDescriptorProto:
        field = made.field.add(label=FieldDescriptorProto.LABEL_OPTIONAL)
        label = self._next() if self._peek() in _LABELS and self._peek(1) not in {None, "="} else ""
        if label:
            field.label = _LABELS[label]
            field.proto3_optional = label == "optional" and self._file.syntax == "proto3"
        if self._peek() == "group":
            raise self._error("found a group, expected a message; groups are not read")

        if self._peek() == "map" and self._peek(1) == "<":
            entry = self._map(made)
            field.name = self._word()
            entry.name = f"{_camel(field.name)}Entry"
            field.label, field.type_name = FieldDescriptorProto.LABEL_REPEATED, entry.name
        else:
            _set_type(field, self._word())
            field.name = self._word()
        self._expect("=")
        field.number = self._number()
        if self._peek() == "[":
            self._skip_block()
        self._expect(";")
        return field

    def _map(self, made: DescriptorProto) -> DescriptorProto:
        self._next()
        self._expect("<")
        entry = made.nested_type.add()
        entry.options.map_entry = True
        for number, name in ((1, "key"), (2, "value")):
            _set_type(
                entry.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL), self._word()
            )
            self._expect("," if number == 1 else ">")
        return entry

    def _enum(self, made: EnumDescriptorProto) -> None:
        made.name = self._word()
        made.options.allow_alias = True  # two names of one number are allowed by an option, which is passed over
        self._expect("{")
        while (word := self._peek()) != "}":
            if word in {"option", "reserved", ";"} and self._peek(1) != "=":
                self._skip()
                continue
            name = self._word()
            self._expect("=")
            made.value.add(name=name, number=self._number())
            if self._peek() == "[":
                self._skip_block()
            self._expect(";")
        self._next()
        if len({value.number for value in made.value}) == len(made.value):
            made.options.ClearField("allow_alias")

    def _skip(self) -> None:
        """Pass over a statement: up to its semicolon, or its block in braces."""
        if self._peek() == "option":
            self._refuse_feature(1)
        while True:
            word = self._peek()
            if word in _CLOSING:
                self._skip_block()
                if word == "{" and self._peek() != ";":
                    return
            elif self._next() == ";":
                return

    def _skip_block(self) -> None:
        """Pass over brackets and what is in them."""
        options = self._peek() == "["
        open_ = [_CLOSING[self._next()]]
        while open_:
            if options and len(open_) == 1:
                self._refuse_feature()
            word = self._next()
            if word in _CLOSING:
                open_.append(_CLOSING[word])
            elif word == open_[-1]:
                open_.pop()

    def _refuse_feature(self, further: int = 0) -> None:
        """Raise ProtoError if an option of editions changes how bytes become values."""
        name = self._peek(further) or ""
        first, _, feature = name.partition(".")
        if first == "features" and (not feature or feature in _FEATURES) and self._peek(further + 1) == "=":
            cure = "compile the file (protoc --descriptor_set_out) and set schemas.files to the .desc"
            raise self._error(f"found the option {name}, which changes how values are read; {cure}", further)

    # Tokens

    def _peek(self, further: int = 0) -> str | None:
        at = self._at + further
        return self._tokens[at][0] if at < len(self._tokens) else None

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise ProtoError("the text ends within a statement")
        self._at += 1
        return self._tokens[self._at - 1][0]

    def _expect(self, sign: str) -> None:
        if (found := self._next()) != sign:
            raise self._error(f"found {found}, expected {sign}", -1)

    def _word(self) -> str:
        found = self._next()
        if not re.fullmatch(r"\.?[A-Za-z_][A-Za-z0-9_.]*", found):
            raise self._error(f"found {found}, expected a name", -1)
        return found

    def _string(self) -> str:
        found = self._next()
        if found[:1] not in {'"', "'"}:
            raise self._error(f"found {found}, expected a text in quotes", -1)
        return found[1:-1]

    def _number(self) -> int:
        found = self._next()
        try:
            number = int(found, 8 if re.fullmatch(r"-?0[0-7]+", found) else 0)
        except ValueError:
            raise self._error(f"found {found}, expected a whole number", -1) from None
        if not -(2**31) <= number < 2**31:
            raise self._error(f"found {found}, expected a number of 32 bits", -1)
        return number

    def _error(self, reason: str, back: int = 0) -> ProtoError:
        at = min(max(self._at + back, 0), len(self._tokens) - 1)
        line = self._text.count("\n", 0, self._tokens[at][1]) + 1
        return ProtoError(f"line {line}: {reason[:200]}")


def _tokens(text: str) -> Sequence[tuple[str, int]]:
    """Return words, texts and signs with their places."""
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ProtoError(
                f"line {text.count(chr(10), 0, at) + 1}: found {text[at]!r}, which no .proto file has there"
            )
        if found.lastgroup:
            tokens.append((found[0], at))
        at = found.end()
    return tokens


def _set_type(field: FieldDescriptorProto, name: str) -> None:
    if name in _SCALARS:
        field.type = _SCALARS[name]
    else:
        field.type_name = name


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
