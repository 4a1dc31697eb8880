"""All that detectors can do at once, on random streams: outputs and state do not depend on the cut into batches.

Three detectors watch the same machines. Their settings use modes, rest and work by a condition and by learned levels,
starts of a learned length, expected work, silence, holds, states, texts, rates, exceptions of machines and channels,
budgets, and eviction. They choose by groups, assets and channels, and messages have channels outside their values.
"""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import settings as hypothesis

from monitor.core.detectors import Detectors
from monitor.core.fitting.fit import fit
from monitor.core.model.model import Model
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import saved_live
from monitor.core.records import Message, Outputs, PartitionOutputs
from monitor.core.running.levels import Levels
from monitor.service.pipelines import make_detectors, make_pipeline
from monitor.settings.live import live_settings
from monitor.settings.tree import Settings
from monitor.store.files import LocalBlobs
from monitor.store.snapshots import Snapshot, Snapshots
from tests.core.fitting.test_modes import with_recipe
from tests.core.machines import FAST, model, rows
from tests.examples import FULL
from tests.rig import ORIGIN, READINGS, settings

SEEDS = 24 if hypothesis.get_current_profile_name() == FULL else 1
STEPS = 340
NAMES = ("a", "b", "c", "d", "e")
GROUPS = ("north", "north", "north", "north", "south")
GHOST = "ghost"  # an asset that no detector wants
RECIPES = ["none", "A", "B", "C", "D", "E", "F", "G"]
STATES = ["STOP", "RUN", "SETUP"]
RATE = 40.0  # added to the temperature, whose sum the counter is

DETECTORS: list[dict[str, Any]] = [
    {
        "name": "plain",
        "assets_exclude": [GHOST],
        "windows": {"max_assets": 4, "forget_s": 60},
        "running": {
            "when": 'state == "RUN" or speed > 200',
            "stop_delay_s": 3,
            "start_delay_s": 5,
            "expected": ["Mon-Sun 00:00-24:00"],
            "expected_delay_s": 60,
        },
    },
    {
        "name": "slow",
        "assets": ["?"],
        "channels_exclude": ["valve"],
        "windows": {"step_s": 4, "length": 16, "aggregate": ["mean", "max"], "idle": 4},
        "running": {"start_delay_s": 8, "expected": "sisters", "expected_delay_s": 60},
        "alerting": {"alarms_per_day": 20},
    },
    {
        "name": "recipes",
        "groups": ["north"],
        "channels": ["flow", "pressure", "temperature", "recipe"],
        "windows": {"max_assets": 3, "forget_s": 30},
        "running": {"when": 'speed > 50 and not state == "SETUP"'},
        "modes": {"channel": "recipe"},
        "threshold": {"margin": 1.3, "memory": 500},
    },
]
FILE: dict[str, Any] = {
    "format__extra_channels": ["recipe"],
    "format__group": "line",
    "alerting__silence_s": 24.0,
    "alerting__on_delay_s": 2.0,
    "threshold__percentile": 98.0,
    "threshold__warm": 60,
    "threshold__memory": 200,
    "assets": {"c": {"margin": 1.5}, "b": {"channels_exclude": ["pressure"]}},
    "channels": {
        "counter": {"as": "rate"},
        "recipe": {"texts": RECIPES},
        "stat?": {"texts": STATES},
        "valve": {"hold_s": 30},
        "flow": {"least": 0.01, "direction": "above", "high": 60.0, "unit": "m3/h"},
    },
}
LATER: dict[str, Any] = FILE | {
    "threshold__clip": 2.0,
    "alerting__on_delay_s": 4.0,
    "assets": {"a": {"off": True}, "d": {"margin": 3.0, "alarms_per_day": 5}},
    "channels": {**FILE["channels"], "flow": {"low": -60.0, "title": "Flow"}},
}


class Checkpoint(NamedTuple):
    """A place in the stream at which other settings and models are adopted."""

    offset: int
    settings: Settings
    before: dict[str, Model]  # models until then; empty = none, so channels are learned meanwhile
    models: dict[str, Model]
    only: str = ""  # name of the only detector; empty = all


@cache
def models() -> dict[str, Model]:
    """A model for each detector, of few steps of training; what it finds does not matter."""
    one = model()
    scaling = one.scaling
    counted = replace(scaling, center=scaling.center + np.array([0, 0, RATE]))
    modes = fit(with_recipe(0, (1.0, 2.0)), replace(FAST, mode_channel="recipe", steps=40), None, lambda *_: None).model
    return {
        "plain": replace(one, channels=("flow", "pressure", "counter"), scaling=counted),
        "slow": replace(
            one,
            channels=("flow.mean", "pressure.mean", "flow.max"),
            levels=Levels(("flow.mean", "pressure.mean"), (0.02, 0.02), settle_ms=20_000),
        ),
        "recipes": replace(modes, version="m-20250101T000000-00000001"),
    }


@cache
def newer() -> dict[str, Model]:
    """Other models of the same channels, with another scale of scores."""
    return {
        name: replace(
            each,
            version="m-20250102T000000-00000000",
            alarm=replace(each.alarm, scores=(each.alarm.scores * 1.3).astype(np.float32)),
            levels=None if each.levels is None else replace(each.levels, settle_ms=8_000),
        )
        for name, each in models().items()
    }


class Plant(NamedTuple):
    """What the machines measure at each step, and whether they are silent (A, T)."""

    values: Any  # (A, T, 3) flow, pressure, temperature
    speed: Any
    recipe: Any
    silent: Any


def plant(draw: np.random.Generator, seed: int) -> Plant:
    """Return a plant with faults, stops, silences, recipes and sensors that stick or are missing, at random."""
    values = np.concatenate([rows(STEPS, seed), rows(STEPS, seed + 1), rows(STEPS, seed + 2)])[: len(NAMES)]
    speed, recipe = np.full((len(NAMES), STEPS), 100.0), np.ones((len(NAMES), STEPS))
    silent = np.zeros((len(NAMES), STEPS), np.bool_)
    for _ in range(14):
        asset, begin = draw.integers(len(NAMES)), draw.integers(20, STEPS - 20)
        span = slice(begin, begin + draw.integers(8, 130))
        match draw.integers(6):
            case 0:
                values[asset, span, draw.integers(3)] += draw.choice([-6, 6, 60])
            case 1:
                speed[asset, span], values[asset, span, :2] = 0, 0.01
            case 2:
                silent[asset, span] = True
            case 3:
                recipe[asset, span] = draw.choice([2, 7])
            case 4:
                values[asset, span, draw.integers(3)] = np.nan
            case _:
                values[asset, span, draw.integers(3)] = 1.0
    silent[3, : draw.integers(40, 200)] = silent[4, : draw.integers(40, 200)] = True  # assets that come later
    silent[:, draw.integers(150, 250) :][:, :20] = True  # a pause of all
    return Plant(values, speed, recipe, silent)


def stream(seed: int) -> list[Message]:
    """A random stream of a plant, with messages that come late, twice, or without some channels."""
    draw = np.random.default_rng(seed)
    values, speed, recipe, silent = plant(draw, seed)
    counter = np.cumsum(np.nan_to_num(values[:, :, 2]) + RATE, 1)
    counter[1, 200:] -= counter[1, 200]  # a reset

    sent: list[tuple[float, str, int]] = []
    for asset, step in np.argwhere(~silent).tolist():
        flow, pressure, temperature = values[asset, step].tolist()
        row = {"flow": flow, "pressure": pressure, "temperature": temperature, "counter": counter[asset, step]}
        row |= {"speed": speed[asset, step]}
        row |= {"valve": float(step // 60)} if step % 20 == 0 else {}
        kept: dict[str, Any] = {
            key: float(value)
            for key, value in row.items()
            if value == value and draw.random() > 0.02  # noqa: PLR0124
        }
        if draw.random() > 0.02:
            usual = "RUN" if speed[asset, step] else "STOP"
            kept["state"] = usual if draw.random() > 0.03 else [" SETUP ", "odd", "1", 1, True, None][draw.integers(6)]
        outside = {"line": GROUPS[asset], "recipe": RECIPES[int(recipe[asset, step])]}
        outside = {key: value for key, value in outside.items() if draw.random() > 0.01}
        at = step * 1000 + int(draw.integers(0, 900))
        body = json.dumps({"asset": NAMES[asset], "timestamp": ORIGIN + at, "values": kept, **outside})
        late = float(draw.choice([0, 0, 0, 0, 0, 0, 0, 1500, 6000]))
        sent.append((at + late, body, at))
        if draw.random() < 0.03:
            sent.append((at + late + float(draw.integers(0, 9000)), body, at))
    for step in draw.integers(0, STEPS, 30).tolist():
        at = step * 1000 + int(draw.integers(0, 3000))  # up to two steps ahead of the others
        sent.append((step * 1000.0, json.dumps({"asset": GHOST, "timestamp": ORIGIN + at, "values": {"flow": 1}}), at))
    sent.sort()
    return [Message(READINGS, n, None, body.encode(), ORIGIN + at) for n, (_, body, at) in enumerate(sent)]


def wanted(path: Path, given: dict[str, Any], name: str = "") -> Settings:
    """Return the settings of all detectors, or of one alone."""
    return settings(path, detectors=[each for each in DETECTORS if name in {"", each["name"]}], **given)


def detectors(made: Settings, used: dict[str, Model]) -> Detectors:
    """Detectors in their first state, each with its model if it has one."""
    each = make_detectors(made.per_detector(), READINGS)
    for name, first in used.items():
        each.pipelines[name].use(Scorer(first))
    return each


def changed(old: Detectors, checkpoint: Checkpoint) -> Detectors:
    """Detectors in the state of `old` with the settings and models of the checkpoint."""
    pipelines = {}
    for each in checkpoint.settings.per_detector():
        before = old.pipelines[each.name]
        pipelines[each.name] = make_pipeline(each, READINGS, live_settings(each))
        pipelines[each.name].load_state(before.save_state())
        if before.scorer is not None:
            pipelines[each.name].use(before.scorer)
        pipelines[each.name].adopt(Scorer(checkpoint.models[each.name]))
    return replace(old, pipelines=pipelines)


def restarted(
    path: Path, old: Detectors, offset: int, by_version: dict[tuple[str, str], Model], only: str
) -> Detectors:
    """Detectors that continue from a snapshot in a file."""
    blobs = LocalBlobs(path / "store")
    blobs.open()
    snapshots = Snapshots(blobs, lambda notice: pytest.fail(str(notice)))
    snapshots.save(Snapshot(READINGS, offset, old.save()))
    found = snapshots.newest(READINGS, offset)
    assert found is not None
    assert found.offset == offset

    made = {each.name: each for each in wanted(path, FILE, only).per_detector()}
    new = make_detectors(list(made.values()), READINGS)
    new.load_shared(found.detectors.shared)
    pipelines = {}
    for name, part in found.detectors.parts.items():
        pipelines[name] = make_pipeline(made[name], READINGS, saved_live(part.state))
        pipelines[name].load_state(part.state)
        if part.model:
            pipelines[name].use(Scorer(by_version[name, part.model]))
    new.pipelines = pipelines
    return new


class Seen:
    """All outputs of a run, each as bytes: those that have an order in it, windows and counts apart."""

    def __init__(self) -> None:
        self.alerts: list[bytes] = []
        self.of_detector: dict[str, list[bytes]] = defaultdict(list)
        self.windows: dict[str, dict[tuple[str, int], bytes]] = defaultdict(dict)
        self.counts: dict[str, int] = defaultdict(int)
        self.unwanted: Counter[tuple[str, str]] = Counter()
        self.unknown: set[tuple[str, str]] = set()

    def take(self, outputs: PartitionOutputs) -> None:
        self.alerts += [msgspec.json.encode(alert) for alert in outputs.alerts]
        self._count("", outputs.counts)
        self.unknown |= set(outputs.unknown_texts)
        for asset, group, readings in outputs.unwanted:
            self.unwanted[asset, group] += readings
        for name, own in outputs.detectors.items():
            self.of_detector[name] += [msgspec.json.encode(alert) for alert in own.alerts]
            self._count(name, own.counts)
            for key, value in _windows(own):
                assert key not in self.windows[name]
                self.windows[name][key] = value

    def _count(self, name: str, counts: dict[str, int]) -> None:
        for key, count in counts.items():
            self.counts[f"{name} {key}"] += count


def _windows(outputs: Outputs) -> Iterable[tuple[tuple[str, int], bytes]]:
    """Yield the asset and the end of each window, and all that is known of it."""
    windows, scores, limits = outputs.windows, outputs.scores, outputs.thresholds
    columns = [windows.values, windows.observed, windows.position]
    if scores is not None and limits is not None:
        columns += [scores.score, scores.by_channel, scores.expected, scores.spread, scores.newest]
        columns += [limits.alarm, limits.threshold, limits.anomalous, limits.warm]
    for part in (windows.masked, windows.held):
        columns.append(np.zeros_like(windows.observed) if part is None else part)
    if scores is not None and scores.modes is not None:
        columns += [scores.modes.mode, scores.modes.value, scores.modes.new]
    for place in range(len(windows)):
        key = outputs.names[windows.assets[place]], int(windows.ends[place])
        yield key, b"".join(column[place].tobytes() for column in columns)


def run(
    path: Path, sent: Sequence[Message], checkpoint: Checkpoint, draw: Random | None, restarts: int = 0
) -> tuple[Seen, dict[str, bytes]]:
    """Process messages, cut at random and at the checkpoint, with some restarts, and return all that comes of it."""
    at, seen = detectors(wanted(path, FILE, checkpoint.only), checkpoint.before), Seen()
    versions = {(key, each.version): each for used in (models(), newer()) for key, each in used.items()}
    cuts, stops = {0, checkpoint.offset, len(sent)}, set[int]()
    if draw is not None:
        cuts |= {draw.randrange(len(sent)) for _ in range(draw.choice([3, 12, 30]))}
        begin = draw.randrange(len(sent) - 60)
        cuts |= {begin + n for n in range(20)}  # messages one by one
        stops = set(draw.sample(sorted(cuts - {0, len(sent)}), restarts))
    places = sorted(cuts)
    for begin, end in itertools.pairwise(places):
        if begin == checkpoint.offset:
            at = changed(at, checkpoint)
        if begin in stops:
            at = restarted(path, at, begin, versions, checkpoint.only)
        seen.take(at.process(sent[begin:end], ORIGIN + 10**9, lambda _: None))
    saved = at.save()
    state = {f"{each}/{key}": array for each, part in saved.parts.items() for key, array in part.state.items()}
    return seen, {key: array.tobytes() for key, array in (saved.shared | state).items()}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_outputs_and_state_do_not_depend_on_cuts_and_restarts(tmp_path: Path, seed: int) -> None:
    """Windows, scores, limits, alerts, counts and the last state are equal byte for byte, over a live change, too."""
    draw, sent = Random(seed), stream(seed)
    place = draw.randrange(len(sent) // 3, len(sent) * 2 // 3)
    before = {} if seed % 3 == 2 else models()
    checkpoint = Checkpoint(place, wanted(tmp_path, LATER), before, newer())
    whole, expected = run(tmp_path, sent, checkpoint, None)
    cut, found = run(tmp_path, sent, checkpoint, draw, restarts=5)
    assert cut.of_detector == whole.of_detector
    assert cut.alerts == whole.alerts
    for name in (each["name"] for each in DETECTORS):
        assert cut.windows[name].keys() == whole.windows[name].keys()
        assert [key for key, value in whole.windows[name].items() if cut.windows[name][key] != value] == []
        assert len(whole.windows[name]) > 50
    assert cut.counts == whole.counts
    assert cut.unwanted == whole.unwanted
    assert whole.unwanted.keys() == {(GHOST, "")}
    assert cut.unknown == whole.unknown <= {("state", "odd"), ("state", "1")}
    assert [key for key in expected if expected[key] != found.get(key)] == []
    assert found.keys() == expected.keys()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_detector_gives_the_same_alone(tmp_path: Path, seed: int) -> None:
    """Windows, scores, limits, alerts and counts of a detector are those that it has without the others."""
    draw, sent = Random(seed), stream(seed)
    place = draw.randrange(len(sent) // 3, len(sent) * 2 // 3)
    before = {} if seed % 3 == 2 else models()
    together, _ = run(tmp_path, sent, Checkpoint(place, wanted(tmp_path, LATER), before, newer()), None)
    for name in (each["name"] for each in DETECTORS):
        own = {key: made for key, made in before.items() if key == name}
        checkpoint = Checkpoint(place, wanted(tmp_path, LATER, name), own, newer(), name)
        alone, _ = run(tmp_path, sent, checkpoint, draw, restarts=2)
        assert alone.of_detector[name] == together.of_detector[name]
        assert alone.windows[name] == together.windows[name]
        counts = {key: count for key, count in together.counts.items() if key.startswith(f"{name} ")}
        assert {key: count for key, count in alone.counts.items() if key.startswith(f"{name} ")} == counts
