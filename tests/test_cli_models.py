"""`monitor train` and `monitor rollback`: from a recording or a topic to a model in use, and back."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from structlog.testing import capture_logs

from monitor.observe.metrics import Metrics
from monitor.service.backends import make_source
from monitor.settings.exclude_spans import read_spans
from monitor.settings.load import load
from tests.brokers import mock_broker
from tests.commands import monitor, sets, small
from tests.core.machines import ASSETS, CHANNELS, STEP, model, rows
from tests.rig import ORIGIN, put_model, stored_models, values


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set a terminal width, run in an empty folder, and remove the program's variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith("MONITOR_")]:
        monkeypatch.delenv(name)


def recording(folder: Path, kind: str) -> list[Path]:
    """Write files of the small machines: one for both, or one for each in formats without assets."""
    batch = rows(640)
    if kind in {"jsonl", "json"}:
        path = folder / f"both.{kind}"
        path.write_bytes(b"".join(value + b"\n" for _, value, _ in values(batch)))
        return [path]
    times = ORIGIN + STEP * np.arange(640)
    paths = [folder / f"{name}.{kind}" for name in ASSETS]
    for asset, path in enumerate(paths):
        if kind == "npz":
            np.savez(path, time=times, values=batch[asset], channels=np.array(CHANNELS))
            continue
        stamps = np.datetime_as_string(times.astype("datetime64[ms]"))
        table = [",".join(("datetime", *CHANNELS))]
        table += [
            f"{stamp}Z,{','.join(f'{value:.6g}' for value in row)}"
            for stamp, row in zip(stamps.tolist(), batch[asset].tolist(), strict=True)
        ]
        path.write_text("\n".join(table) + "\n")
    return paths


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "npz"])
def test_files_of_every_kind_make_a_model(tmp_path: Path, kind: str) -> None:
    """A recording is read in the format of its suffix, a model is fitted on all of it and put into use."""
    result = monitor("train", *recording(tmp_path, kind), *small(tmp_path / "store", training__steps=25))
    assert result.exit_code == 0, result.output
    models = stored_models(tmp_path / "store")
    version = models.current()
    assert version is not None
    assert re.match(rf"{version} in use \(\d+ windows of 2 assets, 25 steps, held-out loss ", result.stdout)
    manifest = models.get(version).manifest
    assert manifest["channels"] == list(CHANNELS)
    assert manifest["training"]["parent"] is None
    # All blocks except those that the watermark has not closed yet.
    assert manifest["training"]["from_ms"] < ORIGIN + 20 * STEP
    assert manifest["training"]["to_ms"] > ORIGIN + 600 * STEP


def test_models_are_listed_and_shown(tmp_path: Path) -> None:
    """The list marks the model in use. A model is shown with its channels, and hours per asset and day by reason."""
    options = small(tmp_path / "store", training__steps=10)
    spans = tmp_path / "spans.jsonl"
    spans.write_text(json.dumps({"asset": "b", "start": ORIGIN, "end": ORIGIN + 320 * STEP}))
    files = recording(tmp_path, "jsonl")
    assert monitor("train", *files, *options, *sets(training__exclude_spans=str(spans))).exit_code == 0
    (version,) = stored_models(tmp_path / "store").versions()
    assert monitor("models", "list", *options).stdout == f"{version}  in use\n"
    shown = monitor("models", "show", version, *options).stdout
    assert shown.startswith(f"{version}, after no other model\nchannels: {', '.join(CHANNELS)}\nhistory: learned ")
    rows_of = {line.split()[1]: line for line in shown.splitlines()[3:]}
    assert "excluded span 0.0" in rows_of["b"]
    assert "excluded" not in rows_of["a"]

    # What fits worst can be put into the file as it is.
    spans.write_text("".join(f"{line}\n" for line in shown.splitlines() if line.startswith("  {")))
    found = read_spans(spans)
    assert found
    assert {each.asset for each in found} <= {"a", "b"}
    unknown = monitor("models", "show", "m-20250101T000000-00000000", *options)
    assert unknown.exit_code == 1
    assert "is not in the store" in unknown.stderr


def test_a_training_prints_how_csv_files_are_read(tmp_path: Path) -> None:
    """Each csv file's layout is on standard error, standard output has the result alone."""
    files = recording(tmp_path, "csv")
    result = monitor("train", *files, *small(tmp_path / "store", training__steps=10))
    for path in files:
        (line,) = [line for line in result.stderr.splitlines() if path.name in line]
        assert "comma" in line
        assert path.name not in result.stdout


def test_a_worker_logs_how_csv_files_are_read(tmp_path: Path) -> None:
    """The event names each file and its layout."""
    files = recording(tmp_path, "csv")
    given = {"source.kind": "files", "source.format": "csv", "source.paths": [str(path) for path in files]}
    source = make_source(load(None, {}, given), None, Metrics(), None)
    with capture_logs() as log:
        source.open(dict.fromkeys, lambda _: None, lambda _: None)
        source.close()
    texts = [entry["text"] for entry in log if entry["event"] == "table recognised"]
    assert [path.name in text for path, text in zip(files, texts, strict=True)] == [True] * len(files)


def test_a_path_may_have_any_characters(tmp_path: Path) -> None:
    """A file whose name has quotes and backslashes is read."""
    (path,) = recording(tmp_path, "jsonl")
    odd = path.rename(tmp_path / 'a "b" \\c.jsonl')
    result = monitor("train", odd, *small(tmp_path / "store", training__steps=10))
    assert result.exit_code == 0, result.output


def test_a_model_that_is_worse_is_refused(tmp_path: Path) -> None:
    """A candidate that fails the gate is refused with the reason and exit code 1; the old model stays in use."""
    version = put_model(tmp_path / "store")
    # Steps this large on one window each undo the training.
    spoilt = small(tmp_path / "store", training__learning_rate=0.1, training__batch=1, training__steps=60)
    result = monitor("train", *recording(tmp_path, "jsonl"), *spoilt)
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("refused: held-out loss ")
    models = stored_models(tmp_path / "store")
    assert models.versions() == [models.current()] == [version]


def test_after_a_lasting_change_a_model_can_be_trained_anew(tmp_path: Path) -> None:
    """What the model in use finds anomalous is left out, with the reason and the way out, and `--anew` learns it."""
    version = put_model(tmp_path / "store")
    path, options = tmp_path / "after.jsonl", small(tmp_path / "store", training__steps=25)
    changed = rows(640)
    changed[:, :, 1] += 60.0
    path.write_bytes(b"".join(value + b"\n" for _, value, _ in values(changed)))
    result = monitor("train", path, *options)
    assert result.exit_code == 1, result.output
    for said in ("blocks of history are too few", "anomalous", "--anew"):
        assert said in " ".join(result.stderr.split())
    models = stored_models(tmp_path / "store")
    assert models.current() == version

    result = monitor("train", path, *options, "--anew")
    assert result.exit_code == 0, result.output
    assert models.current() not in {None, version}
    assert monitor("rollback", *small(tmp_path / "store")).stdout == f"{version} in use\n"


def test_a_damaged_model_does_not_block_training(tmp_path: Path) -> None:
    """If the model in use is damaged, training makes a first model instead of failing each time."""
    version = put_model(tmp_path / "store")
    file = tmp_path / "store/detectors/test/models" / version / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    result = monitor("train", *recording(tmp_path, "jsonl"), *small(tmp_path / "store", training__steps=10))
    assert result.exit_code == 0, result.output
    models = stored_models(tmp_path / "store")
    assert models.current() not in {None, version}


def test_a_model_can_be_rolled_back(tmp_path: Path) -> None:
    """`rollback` puts the previous model back into use; without one it prints that and exits with 1."""
    first = put_model(tmp_path / "store")
    alone = monitor("rollback", *small(tmp_path / "store"))
    assert (alone.exit_code, alone.stdout) == (1, "")
    assert alone.stderr == "monitor: there is no earlier model to go back to\n"
    second = put_model(tmp_path / "store", replace(model(), channels=("flow", "temperature", "pressure")))
    models = stored_models(tmp_path / "store")
    assert models.current() == second
    result = monitor("rollback", *small(tmp_path / "store"))
    assert (result.exit_code, result.stdout) == (0, f"{first} in use\n")
    assert models.current() == first


@pytest.mark.parametrize("command", ["train", "backtest", "rollback"])
def test_an_unknown_detector_is_refused(tmp_path: Path, command: str) -> None:
    """A detector that the settings do not have is named, with those that they have, and nothing is read."""
    result = monitor(command, "--detector", "pumps", *small(tmp_path / "store"))
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr == "monitor: --detector: there is no detector 'pumps', expected test\n"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("folder", ["models", "history"])
def test_a_store_of_an_earlier_version_is_refused(tmp_path: Path, folder: str) -> None:
    """Models or histories at the root of a store are named, with the folder where they belong, and stay in place."""
    file = tmp_path / folder / "readings" / "0.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    result = monitor("rollback", "--detector", "test", *small(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"monitor: store.url: {tmp_path} has {folder}/ at its root")
    assert f"move it to detectors/test/{folder}" in result.stderr
    assert file.exists()


@pytest.mark.parametrize(
    ("name", "content", "code", "reason"),
    [
        (
            "short.jsonl",
            values(rows(10)),
            1,
            f"20 messages gave no window of 16 steps of 1 s: {ASSETS[0]}: 10 steps of 1 s were read",
        ),
        ("empty.jsonl", [], 1, "empty holds no message"),
        ("missing.jsonl", None, 78, "is no file"),
        ("what.txt", [], 78, 'source.format = "txt"'),
    ],
)
def test_a_recording_without_history_is_refused(
    tmp_path: Path, name: str, content: list[tuple[bytes, bytes, int]] | None, code: int, reason: str
) -> None:
    """Too little history, a missing file and an unknown format end with a reason, not a traceback."""
    if content is not None:
        (tmp_path / name).write_bytes(b"".join(value + b"\n" for _, value, _ in content))
    result = monitor("train", tmp_path / name, *small(tmp_path / "store"))
    assert result.exit_code == code
    assert reason in result.stderr
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_topic_is_trained_on_from_its_beginning(tmp_path: Path) -> None:
    """Without files the topics are read from the start, independent of source.reset, and nothing is committed."""
    with mock_broker({"readings": 3}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for asset, (key, value, at) in enumerate(values(rows(640))):
            producer.produce("readings", value, key, partition=asset % 2, timestamp=at)
        assert producer.flush(20) == 0
        kafka = sets(kafka__bootstrap_servers=broker.bootstrap, source__reset="latest", training__steps=10)
        result = monitor("train", *small(tmp_path / "store"), *kafka)
        assert result.exit_code == 0, result.output
        assert " windows of 2 assets, " in result.stdout
        for group in ("monitor", "monitor-train"):
            client = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
            try:
                partitions = [TopicPartition("readings", number) for number in range(3)]
                assert [part.offset for part in client.committed(partitions, 10)] == [-1001] * 3
            finally:
                client.close()
