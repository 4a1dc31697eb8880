"""What is published: alerts, scores and dead letters as records for a sink.

Alerts are CloudEvents 1.0 in Kafka's binary content mode (https://github.com/cloudevents/spec, kafka-protocol-binding
v1.0.2): attributes in `ce_` headers, the alert itself as JSON value. Scores are JSON values without attributes, since
there is one per window. Dead letters carry the original key and value unchanged and the reason in the headers that
Kafka Connect uses, so that the tools which show and replay those work here too.

JSON has no NaN: what was not measured is null. Times are integers, ms UTC.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from monitor.core.grid import Index
from monitor.core.records import Alert, ChannelShare, Message, Outputs, Record, ScoreBatch, ThresholdBatch, WindowBatch

_JSON = (("content-type", b"application/json"),)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encoder = msgspec.json.Encoder()


def alert_record(topic: str, alert: Alert) -> Record:
    """An alert as CloudEvent; `ce_id` adds the sequence number, since an event's id names one record, not the alert."""
    body = {
        "id": alert.id,
        "asset": alert.asset,
        "state": alert.state,
        "start": alert.start,
        "end": alert.end,
        "time": alert.time,
        "severity": alert.severity,
        "cause": alert.cause,
        "fault": alert.fault,
        "score": _number(alert.score),
        "threshold": _number(alert.threshold),
        "ratio": _number(alert.ratio),
        "peak": _number(alert.peak),
        "channels": [_share(share) for share in alert.channels],
        "model": alert.model,
        "detector": alert.detector,
        "topic": alert.partition.topic,
        "partition": alert.partition.number,
        "offset": alert.offset,
        "sequence": alert.sequence,
    }
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


def _share(share: ChannelShare) -> dict[str, Any]:
    return {
        "channel": share.channel,
        "contribution": _number(share.contribution),
        "observed": None if share.observed is None else _number(share.observed),
        "expected": _number(share.expected),
        "low": _number(share.low),
        "high": _number(share.high),
        "steps_ago": share.steps_ago,
    }


def _number(value: float) -> float | None:
    """Seven significant digits, all that float32 holds; a number that is not finite has no JSON form."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def score_records(
    topic: str,
    outputs: Outputs,
    *,
    names: Sequence[str],
    channels: Sequence[str],
    model: str,
    every_steps: int,
    step_ms: int,
) -> list[Record]:
    """One record per scored window whose end falls on a multiple of `every_steps` grid steps."""
    if outputs.scores is None or outputs.thresholds is None:
        return []
    wanted = np.flatnonzero((outputs.windows.ends // step_ms) % every_steps == 0)
    bodies = _score_bodies(outputs.windows, outputs.scores, outputs.thresholds, wanted)
    by_channel = _channel_columns(outputs.scores, wanted)
    records = []
    for row, body, bands in zip(outputs.windows.assets[wanted].tolist(), bodies, by_channel, strict=True):
        whole = {"asset": names[row], **body, "model": model, "channels": dict(zip(channels, bands, strict=True))}
        records.append(Record(topic, names[row].encode(), _encoder.encode(whole), _JSON))
    return records


def _score_bodies(
    windows: WindowBatch, scores: ScoreBatch, thresholds: ThresholdBatch, wanted: Index
) -> list[dict[str, Any]]:
    columns = (windows.ends, scores.score, thresholds.threshold, thresholds.anomalous, thresholds.warm)
    return [
        {
            "time": time,
            "score": _number(score),
            "threshold": _number(threshold),
            "ratio": _number(score / threshold),
            "anomalous": anomalous,
            "warm": warm,
        }
        for time, score, threshold, anomalous, warm in zip(*(c[wanted].tolist() for c in columns), strict=True)
    ]


def _channel_columns(scores: ScoreBatch, wanted: Index) -> list[list[dict[str, Any]]]:
    """Per wanted window and channel: what was read at the newest step beside the model's band of two deviations."""
    names = ("newest", "expected", "spread", "by_channel")
    newest, expected, spread, parts = (getattr(scores, name)[wanted].astype(np.float64) for name in names)
    share = parts / np.maximum(parts.sum(1, keepdims=True), 1e-12)  # (K, C)
    stacked = np.stack([newest, expected, expected - 2 * spread, expected + 2 * spread, share], 2).tolist()  # (K, C, 5)
    labels = ("observed", "expected", "low", "high", "share")
    return [[dict(zip(labels, map(_number, cells), strict=True)) for cells in row] for row in stacked]


def dead_letter(topic: str, message: Message, stage: str, error: str, reason: str) -> Record:
    """The message as it came, with where it came from and why it was refused in Kafka Connect's header names."""
    attributes = {
        "topic": message.partition.topic,
        "partition": str(message.partition.number),
        "offset": str(message.offset),
        "stage": stage,
        "exception.class.name": error,
        "exception.message": reason,
    }
    headers = tuple((f"__connect.errors.{name}", text.encode()) for name, text in attributes.items())
    return Record(topic, message.key, message.value, headers)
