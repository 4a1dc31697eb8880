"""Puts on each message the function that turns its value into JSON, by a schema from local files or from a registry.

A schema never changes under its number, so it is asked for once. That a registry does not have a schema is remembered
for a minute: messages with such a number are dead letters, and a flood of them must not become a flood of requests.
While the registry cannot be asked, a message with a new number gets no function, and the caller keeps it back.
"""

import time
from collections.abc import Callable, Sequence

from monitor.connectors.base import Unavailable
from monitor.connectors.schemas.encoding import Encoding, Schema, as_json, encoding_of
from monitor.connectors.schemas.framing import PREFIX, Frame, frame_of, indexes, mark_of, path_of
from monitor.connectors.schemas.registry import NoSchemaError, Registry
from monitor.connectors.schemas.values import most_text, too_large
from monitor.core.decode.bodies import BodyError
from monitor.core.records import Message

MOST_ASKED = 32  # schemas for one batch, so that a poll ends; the messages of others wait for the next one
LONGEST_S = 5.0  # after this, no further schema is asked for
_ABSENT_S = 60.0  # until a schema that was not there is asked for again
_MOST_MARKS = 10_000  # a header may end in any bytes
_SPACE = b" \t\r\n"  # before JSON
_ODD = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)  # of a library, for odd input

Unpack = Callable[[bytes], bytes]


class Resolver:
    """See the module. Used by one thread."""

    def __init__(
        self, registry: Registry | None, local: Encoding | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`local` is the encoding of messages that name no schema; None = they are JSON."""
        self._registry = registry
        self._plain = _as_text if local is None else _by_file(local, framed=registry is None)
        self._monotonic = monotonic
        self._encodings: dict[Frame, tuple[Encoding, bool]] = {}  # and whether a message of it names its index
        self._refused: dict[Frame, BodyError] = {}
        self._absent: dict[Frame, BodyError] = {}
        self._absent_until = 0.0
        self._functions: dict[bytes, Unpack] = {b"": self._plain}  # by mark

    def resolve(self, messages: Sequence[Message], *, ask: bool = True) -> tuple[list[Message | None], str]:
        """Return the messages with their functions, None for those that wait, and why a registry cannot be asked.

        Without `ask`, the registry is not asked.
        """
        now = self._monotonic()
        if now >= self._absent_until:
            self._absent.clear()
            self._absent_until = now + _ABSENT_S
        if len(self._functions) > _MOST_MARKS:
            self._functions = {b"": self._plain}

        marks = [b""] * len(messages) if self._registry is None else list(map(mark_of, messages))
        functions, why = self._known_or_asked(dict.fromkeys(marks), MOST_ASKED if ask else 0)
        ready = [
            _with(message, functions[mark]) if mark in functions else None
            for message, mark in zip(messages, marks, strict=True)
        ]
        return ready, why

    def resolved(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages with their functions. Raises Unavailable if a registry cannot be asked."""
        done: list[Message] = []
        while len(done) < len(messages):
            ready, why = self.resolve(messages[len(done) :])
            if why:
                raise Unavailable(why)
            stop = ready.index(None) if None in ready else len(ready)
            done += [message for message in ready[:stop] if message is not None]
        return done

    def _known_or_asked(self, marks: dict[bytes, None], most: int) -> tuple[dict[bytes, Unpack], str]:
        """Return the functions of marks whose schemas are known or among the `most` asked for, and why not of more."""
        functions: dict[bytes, Unpack] = {}
        asked, why, begin = 0, "", self._monotonic()
        for mark in marks:
            if (known := self._functions.get(mark)) is not None:
                functions[mark] = known
                continue
            frame = frame_of(mark)
            if not self._is_known(frame):
                if why or asked >= most or self._monotonic() - begin > LONGEST_S:
                    continue
                asked += 1
                if why := self._fetch(frame):
                    continue
            function, lasting = self._function(mark, frame)
            functions[mark] = function
            if lasting:
                self._functions[mark] = function
        return functions, why

    def _is_known(self, frame: Frame) -> bool:
        return frame in self._encodings or frame in self._refused or frame in self._absent

    def _fetch(self, frame: Frame) -> str:
        """Ask the registry for a schema, and return why it cannot be asked."""
        assert self._registry is not None, "only a registry's messages have marks"
        url = self._registry.url
        try:
            schema: Schema = self._registry.schema(frame)
            self._encodings[frame] = encoding_of(schema), schema.kind == "PROTOBUF"
        except Unavailable as error:
            return str(error)
        except NoSchemaError as error:
            said = f" ({error})" if str(error) else ""
            reason = (
                f"found {frame}, which the registry {url} does not have{said}; set schemas.registry_url to the "
                "registry of the senders, or register the schema, then replay the dead letters"
            )
            self._absent[frame] = BodyError("UnknownSchema", reason)
        except _ODD as error:
            self._refused[frame] = BodyError(
                "BadSchema", f"found {frame} of {url}, which cannot be used: {error!s:.300}"
            )
        return ""

    def _function(self, mark: bytes, frame: Frame) -> tuple[Unpack, bool]:
        """Return the function of a mark whose schema is known, and whether it may be kept."""
        if fault := self._refused.get(frame) or self._absent.get(frame):
            return _refusing(fault), frame in self._refused
        encoding, indexed = self._encodings[frame]
        where = f"{frame} of {self._registry.url}" if self._registry else str(frame)
        if not mark.startswith(b"h"):
            return _behind_prefix(encoding, where, indexed=indexed), True
        try:
            return _whole(encoding, where, path_of(mark) if indexed else ()), True
        except BodyError as error:
            return _refusing(BodyError(error.error, f"{error} ({where})")), True


def _with(message: Message, unpack: Unpack) -> Message:
    return Message(
        message.partition, message.offset, message.key, message.value, message.timestamp, message.headers, unpack
    )


def _refusing(fault: BodyError) -> Unpack:
    def unpack(_: bytes) -> bytes:
        raise BodyError(fault.error, str(fault))

    return unpack


def _read(encoding: Encoding, body: bytes, path: Sequence[int]) -> bytes:
    """Return a body as JSON. Raises BodyError, also for whatever a library raises for odd bytes."""
    try:
        text = encoding(body, path)
    except BodyError:
        raise
    except _ODD as error:
        why = f"found a body that cannot be read ({type(error).__name__}: {str(error)!r:.100})"
        raise BodyError("SchemaMismatch", why) from error
    if len(text) > most_text(body):
        raise too_large(body)
    return text


def _behind_prefix(encoding: Encoding, where: str, *, indexed: bool) -> Unpack:
    """Return the function for values that begin with the number of their schema."""

    def unpack(value: bytes) -> bytes:
        try:
            path, at = indexes(value, PREFIX) if indexed else ((), PREFIX)
            return _read(encoding, value[at:], path)
        except BodyError as error:
            raise BodyError(error.error, f"{error} ({where})") from None

    return unpack


def _whole(encoding: Encoding, where: str, path: tuple[int, ...]) -> Unpack:
    """Return the function for values whose schema a header names."""

    def unpack(value: bytes) -> bytes:
        try:
            return _read(encoding, value, path)
        except BodyError as error:
            raise BodyError(error.error, f"{error} ({where})") from None

    return unpack


def _by_file(encoding: Encoding, *, framed: bool) -> Unpack:
    """Return the function for values that name no schema. `framed`: whether there is no registry for those that do."""

    def unpack(value: bytes) -> bytes:
        try:
            return _read(encoding, value, ())
        except BodyError as error:
            cure = ""
            if framed and value[:1] == b"\x00" and len(value) > PREFIX:
                number = int.from_bytes(value[1:PREFIX], "big")
                cure = f"; it begins like one with the number of a schema ({number}), which needs schemas.registry_url"
            raise BodyError(error.error, f"{error} (schemas.files){cure}") from None

    return unpack


def _as_text(value: bytes) -> bytes:
    """Return JSON as it is. Raises BodyError for bytes that are none."""
    if value.lstrip(_SPACE)[:1] not in {b"{", b"["}:  # Protobuf often begins with a line feed: its first field
        raise BodyError(
            "NoSchema",
            f"found a value that begins with {value[:5].hex(' ')}, expected 00 and the number of a schema, or JSON; "
            "set schemas.files for messages that name no schema",
        )
    return as_json(value)
