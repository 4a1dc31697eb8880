"""Published records as other programs read them: alerts, scores, and the headers of dead letters.

The structs below are the only definition. `publish.py` encodes them, `decode_alert` and `decode_score` read them back
for the recorder, the demo and the evaluation, and `schemas` gives the JSON Schemas in docs/schemas.

JSON has no NaN and no infinity: a number that is not finite, and a value that was not measured, is null. Times are
integers, ms UTC. A decoder ignores unknown fields, so a reader may be older than the detector that wrote the record.

This module does not check what a value means.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from monitor.core.decode.format import shown
from monitor.core.records import AlertState

Number = float | None
CONNECT = "__connect.errors."  # prefix of Kafka Connect's header names
TIMESTAMP = "monitor.timestamp"  # header of a dead letter; Kafka Connect has none for it
VALUE_GONE = ("value", b"too large to be kept")  # header of a dead letter that came without its value
_AS_IT_CAME = "The name as it came, if it has characters that became _; otherwise absent."
_STATE = (
    "firing, adapted (no longer above its limit because the limit rose to it) or resolved. An adapted alert is "
    "resolved when the alarm score at the channel limits as they were when the alert opened is clearly below the limit "
    "as it was at firing."
)
REPLAYED = "monitor.replayed"  # header of a message that was a dead letter: its first place, topic[partition]@offset


class PublishedChannel(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One channel's part in an alert. Values are those of the step with the channel's largest error."""

    channel: Annotated[str, Meta(description="Name of the channel.")]
    name: Annotated[str | UnsetType, Meta(description=_AS_IT_CAME)] = UNSET
    title: Annotated[str | UnsetType, Meta(description="Name for people, if the settings have one.")] = UNSET
    unit: Annotated[str | UnsetType, Meta(description="Unit of the values, if the settings have one.")] = UNSET
    contribution: Annotated[Number, Meta(description="Share of the summed channel scores, 0 to 1.")]
    observed: Annotated[Number, Meta(description="Reading, in the channel's unit; null = not measured.")]
    observed_text: Annotated[str | UnsetType, Meta(description="Text of `observed`, of a channel of texts.")] = UNSET
    expected: Annotated[Number, Meta(description="Value that the model expects.")]
    expected_text: Annotated[
        str | UnsetType, Meta(description="Text that is nearest to `expected`, of a channel of texts.")
    ] = UNSET
    low: Annotated[Number, Meta(description="Lower edge of the expected band, 2 spreads below `expected`.")]
    high: Annotated[Number, Meta(description="Upper edge of the expected band, 2 spreads above `expected`.")]
    steps_ago: Annotated[int, Meta(description="Steps from that step to the end of the window.")]

    def reading(self) -> str:
        """Return the reading and the expected band as text, for instance "4.2 bar, expected 2 to 2.9 bar".

        Of a channel of texts: "STOP, expected RUN".
        """
        unit = f" {self.unit}" if self.unit else ""
        text = "not measured" if self.observed is None else f"{self.observed:.4g}{unit}"
        if self.expected_text:
            return f"{self.observed_text or text}, expected {self.expected_text}"
        if self.low is None or self.high is None:
            return text
        return f"{text}, expected {self.low:.4g} to {self.high:.4g}{unit}"

    def label(self) -> str:
        """Return the title with the channel's name; without a title the name."""
        return f"{self.title} ({self.channel})" if self.title else self.channel


class PublishedAlert(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One state change of an alert. Records of one alert share `id`; the highest `sequence` is the newest."""

    id: Annotated[str, Meta(description="Id of the alert, the same from firing to resolution.")]
    asset: Annotated[str, Meta(description="Name of the asset; also the key of the Kafka record.")]
    asset_name: Annotated[str | UnsetType, Meta(description=_AS_IT_CAME)] = UNSET
    state: Annotated[AlertState, Meta(description=_STATE)]
    start: Annotated[
        int,
        Meta(
            description="ms UTC: end of the first anomalous window, of a sensor start of the fault, of silence the "
            "partition's time at the asset's last new reading, of not_running since when."
        ),
    ]
    end: Annotated[
        int | None,
        Meta(description="ms UTC: end of the last anomalous window, of silence its end; null while firing."),
    ]
    time: Annotated[
        int,
        Meta(
            description="ms UTC: end of the window that caused this record, of silence the partition's time at the "
            "reading that did."
        ),
    ]
    severity: Annotated[str, Meta(description="warning or critical.")]
    cause: Annotated[
        str, Meta(description="machine, sensor, silence, not_running or new_mode. Records of older versions lack it.")
    ] = "machine"
    fault: Annotated[
        str,
        Meta(
            description="Of a sensor: limits, dropout, frozen, jump or clock. Of silence: absent (nothing comes) or "
            "stale (what comes is not newer than the last reading). Of not_running: off (it says so) or silent. Of a "
            "new mode: value, of the modes' channel, or unlike, if no learned mode fits. Empty for a machine."
        ),
    ] = ""
    mode: Annotated[
        str | UnsetType,
        Meta(description="Operating mode of the window, or the new mode; absent if there is one mode, or none fits."),
    ] = UNSET
    alarm: Annotated[
        Number,
        Meta(
            description="Of a machine: alarm score of the window. Of a sensor: steps; of a clock: seconds ahead; of "
            "silence: seconds without news; of not_running: seconds."
        ),
    ]
    threshold: Annotated[Number, Meta(description="Limit of `alarm`, in the same unit.")]
    ratio: Annotated[Number, Meta(description="alarm / threshold; 1.0 = the limit.")]
    peak: Annotated[Number, Meta(description="Highest ratio since the alert opened.")]
    channels: Annotated[
        tuple[PublishedChannel, ...],
        Meta(
            description="Channels by contribution, largest first. Of a sensor: that sensor. Of a clock, of silence "
            "and of not_running: none."
        ),
    ]
    model: Annotated[str, Meta(description="Version of the model. Empty while there is none.")]
    detector: Annotated[str, Meta(description="Name of the detector.")]
    topic: Annotated[str, Meta(description="Source topic of the window that opened the alert.")]
    partition: Annotated[int, Meta(description="Partition of that topic.")]
    offset: Annotated[
        int,
        Meta(
            description="Offset of the message that closed the window that opened the alert; of silence and "
            "not_running, of the message that told."
        ),
    ]
    sequence: Annotated[int, Meta(description="0 at firing, then 1, 2, ... for each further record of the alert.")]
    linked: Annotated[
        str | UnsetType,
        Meta(
            description="Id of the oldest alert of the asset that was firing when this one fired, in another detector: "
            "very likely the same fault. Absent if there was none."
        ),
    ] = UNSET


class PublishedBand(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One channel at the newest step of a window."""

    observed: Annotated[Number, Meta(description="Reading, in the channel's unit; null = not measured.")]
    expected: Annotated[Number, Meta(description="Value that the model expects.")]
    low: Annotated[Number, Meta(description="Lower edge of the expected band, 2 spreads below `expected`.")]
    high: Annotated[Number, Meta(description="Upper edge of the expected band, 2 spreads above `expected`.")]
    share: Annotated[Number, Meta(description="Share of the summed channel scores, 0 to 1.")]


class PublishedScore(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The scores of one window of an asset: one to rank by, and one that is compared with the threshold."""

    asset: Annotated[str, Meta(description="Name of the asset; also the key of the Kafka record.")]
    time: Annotated[int, Meta(description="ms UTC: end of the window.")]
    score: Annotated[
        Number, Meta(description="Ranking score: higher = more anomalous; 1.0 = the edge of clean windows.")
    ]
    alarm: Annotated[Number, Meta(description="Alarm score: compared with the threshold, decides alerts.")]
    threshold: Annotated[Number, Meta(description="Limit of the alarm score for this asset and window.")]
    ratio: Annotated[Number, Meta(description="alarm / threshold; 1.0 = the limit.")]
    anomalous: Annotated[bool, Meta(description="Whether the alarm score exceeds the threshold.")]
    warm: Annotated[bool, Meta(description="False while the threshold is borrowed from the model's calibration.")]
    mode: Annotated[
        str | UnsetType,
        Meta(description="Operating mode at the window's end, empty if none fits; absent if the model has one mode."),
    ] = UNSET
    model: Annotated[str, Meta(description="Version of the model.")]
    detector: Annotated[str, Meta(description="Name of the detector. Records of older versions lack it.")] = ""
    channels: Annotated[dict[str, PublishedBand], Meta(description="Channels by name.")]


def _connect_name(name: str) -> str:
    return TIMESTAMP if name == "timestamp" else CONNECT + name.replace("_", ".")


class DeadLetterHeaders(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename=_connect_name):
    """Headers of a dead letter, named as in Kafka Connect, in UTF-8.

    Key, value and all other headers are those of the message.
    """

    # A record that the monitor itself could not write has no partition and offset, and keeps its own headers.

    topic: Annotated[str | UnsetType, Meta(description="Topic of the message.")] = UNSET
    partition: Annotated[str | UnsetType, Meta(description="Partition of the message, as a decimal number.")] = UNSET
    offset: Annotated[str | UnsetType, Meta(description="Offset of the message, as a decimal number.")] = UNSET
    timestamp: Annotated[
        str | UnsetType, Meta(description="Timestamp of the message, ms UTC. Dead letters of older versions lack it.")
    ] = UNSET
    stage: Annotated[
        str, Meta(description="decode: input not readable. output: refused by the broker. record: refused by InfluxDB.")
    ]
    exception_class_name: Annotated[str | UnsetType, Meta(description="Class of the fault, such as WrongType.")] = UNSET
    exception_message: Annotated[str, Meta(description="What was found and what was expected.")]

    def encode(self) -> tuple[tuple[str, bytes], ...]:
        """Return the headers as a record carries them."""
        return tuple((name, text.encode()) for name, text in msgspec.to_builtins(self).items())

    @classmethod
    def decode(cls, headers: Iterable[tuple[str, bytes]]) -> "DeadLetterHeaders":
        """Read the headers of a record. Raises ValueError if it is no dead letter."""
        texts = {name: value.decode(errors="replace") for name, value in headers}
        try:
            return msgspec.convert(texts, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"no dead letter: {_explained(str(error))}") from None


_Decoded = TypeVar("_Decoded", PublishedAlert, PublishedScore)
_alerts = msgspec.json.Decoder(PublishedAlert)
_scores = msgspec.json.Decoder(PublishedScore)

# msgspec's error messages.
_GOT = re.compile(r"Expected (?P<expected>.+), got (?P<found>.+)")
_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`")
_ENUM = re.compile(r"Invalid enum value (?P<found>.+)")


def decode_alert(value: bytes | None) -> PublishedAlert:
    """Read the value of an alert record. Raises ValueError that names the field, the value and what was expected."""
    return _decode(_alerts, value)


def decode_score(value: bytes | None) -> PublishedScore:
    """Read the value of a score record. Raises ValueError that names the field, the value and what was expected."""
    return _decode(_scores, value)


def _decode(decoder: msgspec.json.Decoder[_Decoded], value: bytes | None) -> _Decoded:
    if value is None:
        raise ValueError("value: found none, expected a JSON object")
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise ValueError(_explained(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"value: found {shown(value)} ({error}), expected a JSON object") from None


def _explained(text: str) -> str:
    """Turn msgspec's "Expected `float`, got `str` - at `$.score`" into "score: found str, expected float"."""
    text, _, path = text.partition(" - at `$")
    where = path.strip(".`")

    if match := _MISSING.fullmatch(text):
        return f"{where}{where and '.'}{match['name']}: found none, expected one"
    if match := _GOT.fullmatch(text):
        return f"{where or 'value'}: found {match['found']}, expected {match['expected']}".replace("`", "")
    if match := _ENUM.fullmatch(text):  # `state` is the only enumeration
        return f"{where}: found {match['found']}, expected {' or '.join(get_args(AlertState))}"
    return f"{where}: found a value refused as {text!r}, expected a number of 64 bits"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (2020-12) of each kind of record, by name."""
    kinds = {"alert": PublishedAlert, "score": PublishedScore, "dead-letter-headers": DeadLetterHeaders}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {name: dialect | msgspec.json.schema(kind) for name, kind in kinds.items()}
