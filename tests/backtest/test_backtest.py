"""`monitor backtest`: labels, models, time ranges, comparisons and refusals."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from monitor.backtest.labels import spans_in, spans_of
from monitor.core.threshold.budget import MARGINS
from monitor.settings.load import load
from tests.backtest.backtests import FAULTS, SHAPE, STEPS, backtest, batch, csv, jsonl, npz, read
from tests.brokers import mock_broker
from tests.commands import monitor, sets
from tests.core.machines import ASSETS, CHANNELS, STEP, rows
from tests.rig import ORIGIN, put_model, values


@pytest.fixture(autouse=True)
def workplace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store whose model fits the small machines, so that no training is needed."""
    put_model(tmp_path / "store")
    return tmp_path / "store"


def figures(page: Path) -> dict[str, str]:
    """Return the key figures at the top of a report."""
    top = page.read_text().partition("<h2>")[0]
    return {about: value for value, about in re.findall(r"<div><b>([^<]*)</b><span>([^<]*)</span></div>", top)}


def with_model(paths: list[Path], store: Path, *options: object, **given: object) -> Any:
    return backtest(paths, "--model", "current", *options, store__url=str(store), **given)


def test_labels_of_an_array_are_found(tmp_path: Path, store: Path) -> None:
    """Faults labelled in npz recordings are found with their delay, and there is no other alert."""
    done = with_model(npz(tmp_path), store)
    assert done.exit_code == 0, done.output
    assert "labels: 2 of 2 found, 0 false alerts" in done.stdout
    shown = figures(tmp_path / "backtest.html")
    assert shown["labels found"] == "2 of 2"
    assert shown["labels missed"] == shown["false alerts"] == "0"
    assert 2 <= float(shown["median delay"].removesuffix(" s")) <= 10


@pytest.mark.parametrize(
    ("allowed", "ahead"), [(0.5, "it can be held once 8 were scored"), (1000.0, r"[\d.]+ expected from here on")]
)
def test_a_replay_says_how_a_budget_was_held(tmp_path: Path, store: Path, allowed: float, ahead: str) -> None:
    """The report lists the alarms and the budget, whether the replay is long enough for a forecast, and the margins."""
    done = with_model(npz(tmp_path), store, alerting__alarms_per_day=allowed)
    assert done.exit_code == 0, done.output
    sentence = rf"alarm budget {allowed:g} a day and asset: ([\d.]+) came in ([\d.]+) asset-days; {ahead}; margins from"
    (came, days, smallest) = map(float, re.findall(rf"{sentence} ([\d.]+)", done.stdout)[0])
    assert days == pytest.approx(2 * STEPS * STEP / 86_400_000, rel=0.2)
    assert came * days == pytest.approx(int(figures(tmp_path / "backtest.html")["alerts"]), rel=0.2)
    assert MARGINS[0] - 0.01 < smallest < MARGINS[-1]
    assert "alarm budget forecast" not in with_model(npz(tmp_path), store).stdout


def test_labels_of_a_column_are_found(tmp_path: Path, store: Path) -> None:
    """The named csv column is read as label and not as a channel."""
    done = with_model(csv(tmp_path), store, "--label-column", "wrong")
    assert "labels: 2 of 2 found, 0 false alerts" in done.stdout
    assert "wrong" not in (tmp_path / "backtest.html").read_text()


def test_a_machine_that_falls_silent_is_told_apart(tmp_path: Path, store: Path) -> None:
    """One machine stops while the other goes on: one alert of silence after the delay, no false alert, none per day."""
    whole = tmp_path / "whole.jsonl"
    kept = [value for key, value, time in values(rows(STEPS)) if key != b"b" or time < ORIGIN + 500 * STEP]
    whole.write_bytes(b"".join(value + b"\n" for value in kept))
    label = {"asset": "b", "start": ORIGIN + 499 * STEP, "end": ORIGIN + STEPS * STEP, "kind": "silence"}
    (tmp_path / "labels.jsonl").write_text(json.dumps(label) + "\n")
    options = ("--labels", "labels.jsonl", "--alerts", "a.jsonl")
    done = with_model([whole], store, *options, alerting__silence_s=60.0)
    assert done.exit_code == 0, done.output
    assert ", 0 alerts and 1 of silence in " in done.stdout
    assert "labels: 1 of 1 found, 0 false alerts" in done.stdout
    (record,) = read(tmp_path / "a.jsonl")
    assert (record["asset"], record["cause"], record["fault"]) == ("b", "silence", "absent")
    assert record["time"] - record["start"] == 60_000
    shown = figures(tmp_path / "backtest.html")
    assert (shown["alerts"], shown["alerts of silence"], shown["alerts per asset and day"]) == ("0", "1", "0")
    assert shown["median delay"] == "60 s"


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_labels_of_a_file_are_found_or_missed(tmp_path: Path, store: Path, kind: str) -> None:
    """Spans of a file count: one found, one missed, one missed as its asset was never scored, one before all scores."""
    spans = [(ASSETS[0], *FAULTS[0][1:]), (ASSETS[0], 300, 310), ("elsewhere", 300, 310), (ASSETS[0], -9, -3)]
    rows = [{"asset": a, "start": ORIGIN + b * STEP, "end": ORIGIN + c * STEP} for a, b, c in spans]
    path = tmp_path / f"labels.{kind}"
    lines = [json.dumps(row) for row in rows] if kind == "jsonl" else ["asset,start,end"]
    lines += [",".join(map(str, row.values())) for row in rows] if kind == "csv" else []
    path.write_text("\n".join(lines) + "\n")
    done = with_model(jsonl(tmp_path), store, "--labels", path)
    assert "labels: 1 of 3 found, 1 false alerts" in done.stdout
    assert "1 of those missed lie where elsewhere was not scored" in done.stdout
    assert "1 lie before the first score" in done.stdout
    assert "1 lie before the first score and do not count" in (tmp_path / "backtest.html").read_text()
    assert "1 count as missed" in (tmp_path / "backtest.html").read_text()


def test_labels_of_machines_of_another_detector_are_set_apart(tmp_path: Path, store: Path) -> None:
    """They are neither found nor missed, and the sentence names the detector that was replayed."""
    spans = [{"asset": ASSETS[n], "start": ORIGIN + b * STEP, "end": ORIGIN + e * STEP} for n, b, e in FAULTS]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(span) + "\n" for span in spans))
    one = json.dumps([{"name": "test", "assets": [ASSETS[0]]}])
    done = with_model(jsonl(tmp_path), store, "--labels", path, detectors=one)
    assert "labels: 1 of 1 found, 0 false alerts, 1 are of machines that the detector test does not" in done.stdout
    assert "1 are of machines that are not watched here and do not count" in (tmp_path / "backtest.html").read_text()


@pytest.fixture
def twins(store: Path) -> str:
    """Return two detectors of the same machines, both with a model in the store."""
    for name in ("fast", "slow"):
        put_model(store, detector=name)
    return json.dumps([{"name": "fast"}, {"name": "slow", "windows": {"step_s": 2.0}, "threshold": {"margin": 1.2}}])


def rows_of(text: str) -> dict[str, list[str]]:
    """Return the cells of the table of detectors on the terminal, by detector."""
    lines = [re.split(r" {2,}", line) for line in text.split("\n\n")[1].splitlines()]
    return {cells[0]: cells[1:] for cells in lines}


def test_all_detectors_are_replayed_and_linked_alerts_are_one(tmp_path: Path, store: Path, twins: str) -> None:
    """Each detector has its figures, and a fault that both find is one alert of all together."""
    done = with_model(npz(tmp_path), store, "--alerts", "a.jsonl", detectors=twins)
    assert done.exit_code == 0, done.output
    rows = rows_of(done.stdout)
    column = rows["detector"].index
    found = {name: (cells[column("alerts")], cells[column("found")]) for name, cells in rows.items()}
    records = read(tmp_path / "a.jsonl")
    fired = {record["id"]: record for record in records}
    for name in ("fast", "slow"):
        number = sum(record["detector"] == name for record in fired.values())
        assert found[name] == (str(number), "2 of 2")
    linked = {id_ for id_, record in fired.items() if record.get("linked")}
    assert linked
    assert found["together"] == (str(len(fired.keys() - linked)), "2 of 2")
    assert rows["together"][column("machine-days")] == rows["fast"][column("machine-days")]
    page = (tmp_path / "backtest.html").read_text()
    assert "Scores of slow" in page
    assert {f"{fired[id_]['detector']}, linked" for id_ in linked} == set(re.findall(r"\w+, linked", page))


def test_one_detector_alone_is_replayed_with_its_own_alerts(tmp_path: Path, store: Path, twins: str) -> None:
    """The alerts of the one that is named are those that it has next to the others, apart from links."""
    paths = npz(tmp_path)
    of_all, alone = ("--alerts", "all.jsonl"), ("--alerts", "slow.jsonl", "--detector", "slow")
    for options in (of_all, alone):
        assert with_model(paths, store, *options, detectors=twins).exit_code == 0
    own = [record for record in read(tmp_path / "all.jsonl") if record["detector"] == "slow"]
    assert own
    found = read(tmp_path / "slow.jsonl")
    assert found == [{key: value for key, value in record.items() if key != "linked"} for record in own]
    assert "together" not in (tmp_path / "backtest.html").read_text()


def test_a_detector_without_history_is_told_and_the_others_are_scored(tmp_path: Path, store: Path) -> None:
    """Its sentence says what it lacks; a model in use needs no history."""
    put_model(store, detector="fast")
    late = {"name": "late", "windows": {"step_s": 10.0}, "training": {"first_steps": 500}}
    done = with_model(npz(tmp_path), store, detectors=json.dumps([{"name": "fast"}, late]))
    assert done.exit_code == 0, done.output
    assert "late: nothing was scored:" in done.stdout
    assert "training.first_steps = 500" in done.stdout
    assert rows_of(done.stdout)["late"][0] == "0"
    assert "late: nothing was scored:" in (tmp_path / "backtest.html").read_text()
    assert "labels: 2 of 2 found" in done.stdout


def test_alerts_of_one_detector_are_gained(tmp_path: Path, store: Path, twins: str) -> None:
    """Against a file in which one of two detectors finds nothing, its alerts are gained, and its setting is named."""
    blunt = as_file(tmp_path / "blunt.toml", store)
    margins = {"fast": SHAPE.get("threshold.margin", 1.4), "slow": 90.0}
    with blunt.open("a") as file:
        for name, margin in margins.items():
            step = {"fast": 1.0, "slow": 2.0}[name]
            file.write(f'[[detectors]]\nname = "{name}"\nwindows.step_s = {step}\nthreshold.margin = {margin}\n')
    done = with_model(npz(tmp_path), store, "--against", blunt, "--alerts", "a.jsonl", detectors=twins)
    assert done.exit_code == 0, done.output
    fired = {record["id"]: record["detector"] for record in read(tmp_path / "a.jsonl")}
    counts = {name: list(fired.values()).count(name) for name in margins}
    assert f"{counts['slow']} gained, 0 lost, 0 earlier, 0 later, {counts['fast']} same" in done.stdout
    assert "<td>slow: threshold.margin</td><td>1.2</td><td>90.0</td>" in (tmp_path / "backtest.html").read_text()


def test_a_version_needs_its_detector(tmp_path: Path, twins: str, store: Path) -> None:
    """A version is the model of one detector, so it cannot be that of several."""
    done = backtest(npz(tmp_path), "--model", "m-20250101T000000-00000000", store__url=str(store), detectors=twins)
    assert done.exit_code == 1
    assert "--detector, one of fast, slow" in done.stderr


def test_a_condition_on_a_channel_that_never_came_is_told(tmp_path: Path, store: Path) -> None:
    """A condition of running says nothing then, which is told; one of training ends the command, with what there is."""
    done = with_model(jsonl(tmp_path), store, running__when="curent > 5")
    assert "running.when is unknown, as curent never came, so a, b counts as running" in done.stdout
    for key, value in (("training__exclude", "stat == 3"), ("modes__channel", "stat")):
        done = backtest(jsonl(tmp_path), **{key: value})
        assert done.exit_code == 1
        assert f"{key.replace('__', '.')} = {value!r}: the history has no channel stat, expected one of" in done.stderr
        assert "training.first_steps" not in done.stderr


def test_without_labels_nothing_is_judged(tmp_path: Path, store: Path) -> None:
    """Without labels the report has alerts and scores, but no labels found, missed or false, and no curves."""
    done = with_model(npz(tmp_path, labelled=False), store)
    assert done.exit_code == 0
    assert "labels" not in done.stdout
    text = (tmp_path / "backtest.html").read_text()
    assert figures(tmp_path / "backtest.html")["alerts"] == "2"
    assert "labels found" not in text
    assert "ROC" not in text


def test_a_suggested_percentile_gives_the_limit(tmp_path: Path, store: Path) -> None:
    """The suggested percentile matches the share of normal windows in the labels."""
    done = with_model(npz(tmp_path), store)
    (percentile,) = re.findall(r"suggest threshold.percentile = ([\d.]+)", done.stdout)
    faulty = 100 * sum(last - first for _, first, last in FAULTS) / (2 * STEPS)
    assert 100 - 3 * faulty < float(percentile) < 100


def test_a_range_of_time_is_a_range_of_alerts(tmp_path: Path, store: Path) -> None:
    """With --from and --to only messages in that range are read, and one of the two faults is found."""
    begin, end = ORIGIN + 1000 * STEP, ORIGIN + 1300 * STEP
    done = with_model(jsonl(tmp_path), store, "--from", begin, "--to", end, "--alerts", "a.jsonl")
    assert done.exit_code == 0, done.output
    assert {record["asset"] for record in read(tmp_path / "a.jsonl")} == {ASSETS[FAULTS[1][0]]}
    assert "600 windows" not in done.stdout
    assert f"{2 * 3 * 300} readings" in done.stdout


def test_the_store_is_left_alone(tmp_path: Path, store: Path) -> None:
    """Neither a model in use nor a newly trained one changes anything in the store."""

    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file()}

    before = files()
    assert with_model(npz(tmp_path), store).exit_code == 0
    assert backtest(npz(tmp_path), store__url=str(store)).exit_code == 0
    assert files() == before


def as_file(path: Path, store: Path, **given: object) -> Path:
    """Write the settings of the small machines, with the given changes, to a file."""
    texts = {**SHAPE, "store.url": str(store), **{key.replace("__", "."): value for key, value in given.items()}}
    lines = [f"{key} = {json.dumps(value)}" for key, value in texts.items() if "." not in key]
    for part in dict.fromkeys(key.partition(".")[0] for key in texts if "." in key):
        own = {key.partition(".")[2]: value for key, value in texts.items() if key.startswith(f"{part}.")}
        lines += [f"[{part}]", *(f"{key} = {json.dumps(value)}" for key, value in own.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_tighter_limit_gains_alarms(tmp_path: Path, store: Path) -> None:
    """Compared with a margin that finds nothing, both alarms are gained, and in reverse both are lost."""
    blunt = as_file(tmp_path / "blunt.toml", store, threshold__margin=90.0)
    plain = as_file(tmp_path / "plain.toml", store)
    done = with_model(npz(tmp_path), store, "--against", blunt)
    assert "blunt.toml: 2 gained, 0 lost, 0 earlier, 0 later, 0 same" in done.stdout, done.output
    page = (tmp_path / "backtest.html").read_text()
    assert "<td>threshold.margin</td><td>1.4</td><td>90.0</td>" in page
    back = monitor("backtest", *npz(tmp_path), "-c", blunt, "--model", "current", "--against", plain)
    assert "0 gained, 2 lost" in back.stdout, back.output


def test_a_longer_delay_comes_later(tmp_path: Path, store: Path) -> None:
    """With a longer on-delay alerts fire later by the difference."""
    plain = as_file(tmp_path / "plain.toml", store, alerting__on_delay_s=2.0)
    done = with_model(npz(tmp_path), store, "--against", plain, alerting__on_delay_s=5.0)
    assert "0 gained, 0 lost, 0 earlier, 2 later, 0 same" in done.stdout, done.output
    page = (tmp_path / "backtest.html").read_text()
    assert page.count("<td>3 s</td>") == 2  # 5 s instead of 2 s
    other = with_model(npz(tmp_path), store, "--against", plain, alerting__on_delay_s=1.0)
    assert "2 earlier, 0 later" in other.stdout


def test_a_model_is_compared_with_itself(tmp_path: Path, store: Path) -> None:
    """Compared with its own version, every alarm is the same."""
    version = next(path.name for path in (store / "detectors/test/models").iterdir() if path.is_dir())
    done = with_model(npz(tmp_path), store, "--against", version)
    assert "0 gained, 0 lost, 0 earlier, 0 later, 2 same" in done.stdout, done.output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "the first model needs training.first_steps = 5000"),
        (("--model", "current"), "no model is in use"),
        (("--model", "nonsense"), "not a model version"),
        (("--labels", "absent.jsonl"), "absent.jsonl"),
        (("--from", "yesterday"), "yesterday"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, options: tuple[str, ...], reason: str) -> None:
    """A short recording or a missing model or label file gives the reason, exit code 1, and no report."""
    given = {"training__first_steps": 5000, "store__url": str(tmp_path / "none")}
    done = backtest(npz(tmp_path), *options, **given)
    assert done.exit_code == 1
    assert reason in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "backtest.html").exists()


def test_no_score_after_the_model_is_said(tmp_path: Path) -> None:
    """If the recording ends with the model, the text says after how many messages, and what helps."""
    done = backtest(jsonl(tmp_path), "--to", ORIGIN + 650 * STEP, store__url=str(tmp_path / "none"))
    assert done.exit_code == 1, done.output
    assert "the model was learned from the first 1300 of 1300 messages" in done.stderr
    assert "lower training.first_steps" in done.stderr


def test_lowering_the_first_steps_is_not_advised_in_vain(tmp_path: Path) -> None:
    """Readings too far apart for any window are named with their distance, and no setting of the training is."""
    given = {"windows__step_s": 0.1, "windows__lateness_s": 0.2, "store__url": str(tmp_path / "none")}
    done = backtest(npz(tmp_path), **given)
    assert done.exit_code == 1
    assert f"{ASSETS[0]}: a reading comes every 1 s" in done.stderr
    assert "windows.step_s = 0.1 and windows.max_gap = " in done.stderr
    assert f"likewise {ASSETS[1]}" in done.stderr
    assert "first_steps" not in done.stderr


def test_a_fault_that_could_not_be_seen_is_missed(tmp_path: Path, store: Path) -> None:
    """A fault of a machine whose messages could not be read counts as missed, and the messages are counted."""
    asset, begin, end = FAULTS[1]
    label = {"asset": ASSETS[asset], "start": ORIGIN + begin * STEP, "end": ORIGIN + end * STEP}
    (tmp_path / "labels.jsonl").write_text(json.dumps(label) + "\n")
    (path,) = jsonl(tmp_path)
    lines = path.read_text().splitlines()
    gone = [place for place, line in enumerate(lines) if ASSETS[asset] in line][800:]
    for place in gone:
        lines[place] = lines[place][:-1]
    path.write_text("\n".join(lines) + "\n")
    given = {"delivery__dead_letters_share": 1.0, "delivery__dead_letters_in_a_row": 10**6}
    done = with_model([path], store, "--labels", tmp_path / "labels.jsonl", **given)
    assert done.exit_code == 0, done.output
    assert "labels: 0 of 1 found" in done.stdout
    assert f"1 of those missed lie where {ASSETS[asset]} was not scored" in done.stdout
    assert f"{len(gone)} of {len(lines)} messages and 0 values could not be read; the first:" in done.stdout


def test_an_asset_that_is_never_scored_is_named(tmp_path: Path, store: Path) -> None:
    """A machine that is read too seldom to be scored is named, with the reason, though others are scored."""
    (path,) = jsonl(tmp_path)
    rare = [{"asset": "slow", "timestamp": ORIGIN + 90_000 * n, "values": {"flow": 1.0}} for n in range(15)]
    messages = [*map(json.loads, path.read_text().splitlines()), *rare]
    messages.sort(key=lambda message: int(message["timestamp"]))
    path.write_text("".join(json.dumps(message) + "\n" for message in messages))
    done = with_model([path], store)
    assert done.exit_code == 0, done.output
    assert "not scored: slow; slow: a reading comes every 90 s" in done.stdout
    assert "not scored" not in with_model(npz(tmp_path), store).stdout


def test_a_model_of_other_channels_scores_nothing(tmp_path: Path, store: Path) -> None:
    """With a model whose channels the recording lacks, the text says that the readings are of unknown channels."""
    paths = npz(tmp_path)
    for path in paths:
        arrays = dict(np.load(path))
        np.savez(path, **{**arrays, "channels": np.array(["x", "y", "z"])})
    done = with_model(paths, store)
    assert done.exit_code == 1
    assert "readings are of channels that the model does not know" in done.stderr


@pytest.mark.parametrize(
    "content", ['{"asset": "a", "start": 1}', '{"asset": "a", "start": 5, "end": 4}', "nonsense", "[1]"]
)
def test_a_label_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    """An invalid label line is refused with its number."""
    path = tmp_path / "labels.jsonl"
    path.write_text('{"asset": "a", "start": 1, "end": 2}\n' + content + "\n")
    with pytest.raises(ValueError, match="label 2"):
        spans_in(path)


def test_labels_of_another_shape_are_refused(tmp_path: Path) -> None:
    """An array of labels with another length than the times is refused."""
    path = tmp_path / "m.npz"
    np.savez(path, time=np.arange(5), values=np.zeros((5, 1)), channels=np.array(["c"]), label=np.ones(4))
    with pytest.raises(ValueError, match="shape"):
        spans_of([path], load(None, {}, {"source.format": "npz"}), "")


def test_a_topic_is_replayed(tmp_path: Path, store: Path) -> None:
    """Without files the topics are read, nothing is committed, and the report equals that of the files."""
    with mock_broker({"readings": 2}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for asset, (key, value, at) in enumerate(values(batch())):
            producer.produce("readings", value, key, partition=asset % 2, timestamp=at)
        assert producer.flush(20) == 0
        kafka = sets(**{**SHAPE, "kafka.bootstrap_servers": broker.bootstrap, "store.url": str(store)})
        done = monitor("backtest", "--model", "current", *kafka)
        assert done.exit_code == 0, done.output
    shown = figures(tmp_path / "backtest.html")
    assert (shown["alerts"], shown["assets scored"]) == ("2", "2")


def test_names_as_they_came_are_in_the_report_and_the_alerts(tmp_path: Path, store: Path) -> None:
    """Columns and files whose names are no ids give the same alerts, with the names as they came beside the ids."""
    (tmp_path / "odd").mkdir()
    plain = csv(tmp_path)
    odd = [tmp_path / "odd" / f"{path.stem} №1.csv" for path in plain]
    for path, new in zip(plain, odd, strict=True):
        head, _, rest = path.read_text().partition("\n")
        new.write_text(f"{head.replace(CHANNELS[0], 'Lager [°C]')}\n{rest}")

    found = []
    for files in (plain, odd):
        done = backtest(files, "--out", tmp_path / "r.html", "--alerts", tmp_path / "a", source__ignore=["wrong"])
        assert done.exit_code == 0, done.output
        found.append([json.loads(line) for line in (tmp_path / "a").read_text().splitlines()])
    assert [each["asset_name"] for each in found[1]] == [f"{each['asset']} №1" for each in found[0]]
    named = {share["channel"]: share.get("name") for each in found[1] for share in each["channels"]}
    assert named == {"Lager___C_": "Lager [°C]", **dict.fromkeys(CHANNELS[1:])}
    page = (tmp_path / "r.html").read_text()
    assert "Lager [°C]" in page
    assert f"{ASSETS[0]} №1" in page
    assert "Lager___C_" not in page
