"""Encode alerts, scores and dead letters as records for a sink.

Alerts are CloudEvents 1.0 in Kafka's binary content mode (https://github.com/cloudevents/spec, kafka-protocol-binding
v1.0.2): attributes in `ce_` headers, the alert itself as JSON value. Scores are JSON values without attributes, since
there is one per window. Dead letters carry the original key and value unchanged and the reason in the headers that
Kafka Connect uses, so that tools which show and replay its dead letters work here, too. The fields of all three are
defined in `published.py`.

There is a score for every window, and after the network its record is the most expensive part of a window. So all
numbers of a batch are rounded and encoded at once and then placed between pieces of text that all records share: with
8 channels 7 µs a record, against 35 µs with a dictionary each (`python -m benchmarks.stages`).
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType

from monitor.core.arrays import Index
from monitor.core.decode.names import Names
from monitor.core.model.modes import label
from monitor.core.published import (
    CONNECT,
    TIMESTAMP,
    DeadLetterHeaders,
    PublishedAlert,
    PublishedBand,
    PublishedChannel,
    PublishedScore,
)
from monitor.core.records import Alert, ChannelShare, Message, Outputs, Record, ScoreBatch, ThresholdBatch
from monitor.core.windows.new_steps import passes

if TYPE_CHECKING:  # the recorder publishes dead letters and loads no network
    from monitor.core.pipeline import Pipeline

Doubles = npt.NDArray[np.float64]

_JSON = (("content-type", b"application/json"),)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEN = 10.0 ** np.arange(23)  # the powers of ten that float64 holds exactly
_AS_THEY_ARE = Names()
_encoder = msgspec.json.Encoder()


def alert_record(topic: str, alert: Alert, names: Names = _AS_THEY_ARE) -> Record:
    """Encode an alert as a CloudEvent, with the names as they came where ids differ from them.

    An event's id names one record, so `ce_id` is the alert's id followed by the sequence number.
    """
    body = PublishedAlert(
        id=alert.id,
        asset=alert.asset,
        asset_name=_differing(names.asset_name(alert.asset), alert.asset),
        state=alert.state,
        start=alert.start,
        end=alert.end,
        time=alert.time,
        severity=alert.severity,
        cause=alert.cause,
        fault=alert.fault,
        mode=alert.mode or UNSET,
        alarm=_number(alert.alarm),
        threshold=_number(alert.threshold),
        ratio=_number(alert.ratio),
        peak=_number(alert.peak),
        channels=tuple(_channel(share, names) for share in alert.channels),
        model=alert.model,
        detector=alert.detector,
        topic=alert.partition.topic,
        partition=alert.partition.number,
        offset=alert.offset,
        sequence=alert.sequence,
        linked=alert.linked or UNSET,
    )

    # CloudEvents' attributes; `ce_subject` repeats the key for tools that show headers only.
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": f"{alert.id}.{alert.sequence}",
        "ce_source": f"/monitor/{alert.detector}",
        "ce_type": f"monitor.alert.{alert.state}",
        "ce_subject": alert.asset,
        "ce_time": (_EPOCH + timedelta(milliseconds=alert.time)).isoformat(timespec="milliseconds"),
    }
    headers = tuple((name, text.encode()) for name, text in attributes.items()) + _JSON
    return Record(topic, alert.asset.encode(), _encoder.encode(body), headers)


def _differing(name: str, id_: str) -> str | UnsetType:
    return UNSET if name == id_ else name


def _channel(share: ChannelShare, names: Names) -> PublishedChannel:
    return PublishedChannel(
        channel=share.channel,
        name=_differing(names.channel_name(share.channel), share.channel),
        title=share.title or UNSET,
        unit=share.unit or UNSET,
        contribution=_number(share.contribution),
        observed=None if share.observed is None else _number(share.observed),
        observed_text=share.observed_text or UNSET,
        expected=_number(share.expected),
        expected_text=share.expected_text or UNSET,
        low=_number(share.low),
        high=_number(share.high),
        steps_ago=share.steps_ago,
    )


def _number(value: float) -> float | None:
    """Round to seven significant digits, all that float32 holds. A number that is not finite has no JSON form."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def scores_of(pipeline: "Pipeline", outputs: Outputs, topic: str, every_steps: int) -> list[Record]:
    """Encode the scores of a pipeline's outputs as `score_records` does, under the names that the pipeline has."""
    return score_records(
        topic,
        outputs,
        names=outputs.names,
        channels=pipeline.windows.channels,
        model=pipeline.model,
        detector=pipeline.name,
        every_steps=every_steps,
        step_ms=pipeline.windows.step_ms,
    )


def score_records(
    topic: str,
    outputs: Outputs,
    *,
    names: Sequence[str],
    channels: Sequence[str],
    model: str,
    detector: str,
    every_steps: int,
    step_ms: int,
) -> list[Record]:
    """Encode one record per scored window with which a multiple of `every_steps` grid steps is reached or passed."""
    if outputs.scores is None or outputs.thresholds is None:
        return []

    # Which windows: all, or those with their turn. A replay picks the same ones.
    if every_steps == 1:
        wanted = np.arange(len(outputs.windows))
    else:
        wanted = np.flatnonzero(passes(outputs.windows, outputs.windows.ends // step_ms, every_steps))
    if not len(wanted):
        return []

    # All numbers of the batch are rounded and encoded at once: per window score, alarm score, threshold
    # and ratio, then 5 per channel.
    judged = _judged(outputs.scores, outputs.thresholds, wanted)
    numbers = np.hstack((judged, _bands(outputs.scores, wanted).reshape(len(wanted), -1)))  # (K, 4 + 5 C)
    cells, width = _cells(_rounded(numbers)), numbers.shape[1]
    columns = (outputs.windows.ends, outputs.thresholds.anomalous, outputs.thresholds.warm)
    times, anomalous, warm = (_cells(column[wanted]) for column in columns)

    # Even places hold the text that all records share, odd places the values of one record.
    modes = outputs.scores.modes
    of_mode = [] if modes is None else [_mode(value, outputs) for value in modes.value[wanted].tolist()]
    text = [b""] * (2 * (width + bool(of_mode)) + 9)
    text[::2] = _template(channels, model, detector, modes=bool(of_mode))
    records = []
    for place, row in enumerate(outputs.windows.assets[wanted].tolist()):
        own = cells[place * width : (place + 1) * width]
        head = [_encoder.encode(names[row]), times[place], *own[:4], anomalous[place], warm[place]]
        text[1::2] = head + of_mode[place : place + 1] + own[4:]
        records.append(Record(topic, names[row].encode(), b"".join(text), _JSON))
    return records


def _mode(value: float, outputs: Outputs) -> bytes:
    return _encoder.encode(label(value, outputs.mode_texts))


def _template(channels: Sequence[str], model: str, detector: str, *, modes: bool) -> list[bytes]:
    """Encode a score with holes for values and return the text around them, in the order of the struct's fields.

    A hole is a control character; names of assets, channels, models and detectors hold none. With `modes` there is a
    hole for the mode.
    """
    hole: Any = "\0"
    band = PublishedBand(observed=hole, expected=hole, low=hole, high=hole, share=hole)
    score = PublishedScore(
        asset=hole,
        time=hole,
        score=hole,
        alarm=hole,
        threshold=hole,
        ratio=hole,
        anomalous=hole,
        warm=hole,
        mode=hole if modes else UNSET,
        model=model,
        detector=detector,
        channels=dict.fromkeys(channels, band),
    )
    return _encoder.encode(score).split(_encoder.encode(hole))


def _judged(scores: ScoreBatch, thresholds: ThresholdBatch, wanted: Index) -> Doubles:
    """Return score, alarm score, threshold and ratio of each wanted window (K, 4)."""
    columns = (scores.score, thresholds.alarm, thresholds.threshold)
    score, alarm, threshold = (column[wanted].astype(np.float64) for column in columns)
    return np.stack((score, alarm, threshold, alarm / threshold), 1)


def _bands(scores: ScoreBatch, wanted: Index) -> Doubles:
    """Return the numbers of `PublishedBand` per wanted window and channel (K, C, 5)."""
    names = ("newest", "expected", "spread", "by_channel")
    newest, expected, spread, parts = (getattr(scores, name)[wanted].astype(np.float64) for name in names)
    share = parts / np.maximum(parts.sum(1, keepdims=True), 1e-12)  # (K, C)
    return np.stack((newest, expected, expected - 2 * spread, expected + 2 * spread, share), 2)


def _rounded(x: Doubles) -> Doubles:
    """Round as `_number` does, many (K, n) at once; NaN where a number is not finite."""
    size = np.abs(x)
    plain = (size > 0) & (size < np.inf)
    power = np.floor(np.log10(np.where(plain, size, 1.0))).astype(np.int64) - 6  # of ten, of the seventh digit

    # One multiplication or division by an exact power of ten, one rounding, and back.
    exact = plain & (np.abs(power) < len(_TEN))
    above, below = (_TEN[np.where(exact, np.maximum(sign * power, 0), 0)] for sign in (1, -1))
    result: Doubles = np.rint(np.where(exact, x, 0.0) / above * below) / below * above
    result[~(size < np.inf)] = np.nan

    # Numbers beyond those powers are rare: one by one.
    for place in zip(*np.nonzero(plain & ~exact), strict=True):
        result[place] = float(f"{x[place]:.7g}")
    return result


def _cells(column: npt.NDArray[Any]) -> list[bytes]:
    """Encode each number of an array as JSON, NaN as null."""
    return _encoder.encode(column.ravel().tolist())[1:-1].split(b",")


def dead_letter(topic: str, message: Message, stage: str, error: str, reason: str) -> Record:
    """Return the message unchanged, with its origin and the reason for its rejection in more headers."""
    headers = DeadLetterHeaders(
        topic=message.partition.topic,
        partition=str(message.partition.number),
        offset=str(message.offset),
        timestamp=str(message.timestamp),
        stage=stage,
        exception_class_name=error,
        exception_message=reason,
    )
    # Whoever wrote the message does not decide what the dead letter says.
    own = tuple(each for each in message.headers if each[0] != TIMESTAMP and not each[0].startswith(CONNECT))
    return Record(topic, message.key, message.value, own + headers.encode())
