"""From a file to alerts without an edit, by `monitor onboard` and `monitor backtest`, for data that misled both."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from monitor.onboard import cost
from monitor.settings.load import load
from monitor.simulator.plant import NAMES, Plant, PlantSettings
from tests.commands import monitor

STEPS, FAULT, LASTS = 4200, 3200, 300  # seconds
START = 1_750_000_000_000
Values = dict[str, float]
Sent = tuple[str, int, Values]  # asset, second, channels


def plant() -> Iterator[Sent]:
    """Yield the readings of three pumps each second. The flow of the second one falls by a third for five minutes."""
    made = Plant(PlantSettings(assets=3, step_ms=1000, start=START // 1000 * 1000))
    rows = made.rows(0, STEPS)
    flow = NAMES.index("flow")
    rows[1, FAULT : FAULT + LASTS, flow] *= 2 / 3
    for second in range(STEPS):
        for name, values in zip(made.names, rows[:, second].tolist(), strict=True):
            yield name, second, dict(zip(NAMES, values, strict=True))


def with_counters() -> Iterator[Sent]:
    """Add an energy, pieces that begin anew each twenty minutes, and hours of operation."""
    draw = np.random.default_rng(3)
    energy: dict[str, float] = {}
    pieces: dict[str, int] = {}
    for name, second, values in plant():
        energy[name] = energy.get(name, 1000.0) + values["current"] / 360
        pieces[name] = 0 if second % 1200 == 0 else pieces[name] + int(draw.random() < 0.3)
        counters = {"energy_kwh": round(energy[name], 2), "pieces": pieces[name], "hours": round(5000 + second / 60, 1)}
        yield name, second, values | counters


def on_change() -> Iterator[Sent]:
    """Yield a value only when it has moved by half of its spread, and a set point that changes each twenty minutes."""
    everything = list(plant())
    spread = {name: 0.5 * float(np.std([values[name] for _, _, values in everything[:3000]])) for name in NAMES}
    last: dict[tuple[str, str], float] = {}
    for asset, second, values in everything:
        moved = values | {"setpoint": 50.0 + 5 * (second // 1200 % 3)}
        for name, value in moved.items():
            before = last.get((asset, name))
            if before is None or abs(value - before) > spread.get(name, 0):
                last[asset, name] = value
                yield asset, second, {name: value}


def at_mixed_rates() -> Iterator[Sent]:
    """Yield two channels each second, the flow and four others each two seconds, and one each twelve."""
    every = dict.fromkeys(NAMES, 2) | {"vibration": 1, "current": 1, "bearing_temperature": 12}
    for asset, second, values in plant():
        for name, value in values.items():
            if second % every[name] == 0:
                yield asset, second, {name: value}


CASES: dict[str, tuple[Callable[[], Iterator[Sent]], float, set[str]]] = {
    "counters": (with_counters, 1.0, {"energy_kwh", "pieces", "hours"}),
    "report on change": (on_change, 2.0, {"setpoint"}),
    "mixed rates": (at_mixed_rates, 2.0, set()),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", sorted(CASES))
def test_a_fault_is_found_without_an_edit(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is that of the readings, what cannot be scored is left out, and the fault is found with few others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "RUN_S", 0.05)
    sent, step_s, left_out = CASES[case]
    with Path("in.jsonl").open("w") as out:
        for asset, second, values in sent():
            stamp = START + 1000 * second
            wide = case == "counters"
            rows = [{"values": values}] if wide else [{"channel": name, "value": each} for name, each in values.items()]
            out.writelines(json.dumps({"asset": asset, "timestamp": stamp, **row}) + "\n" for row in rows)
    label = {"asset": "pump-02", "start": START + 1000 * FAULT, "end": START + 1000 * (FAULT + LASTS)}
    Path("labels.jsonl").write_text(json.dumps(label))

    result = monitor("onboard", "--file", "in.jsonl", "--messages", "400000")
    assert result.exit_code == 0, result.output
    settings = load(Path("monitor.toml"), {}, {})
    assert settings.windows.step_s == step_s
    assert set(settings.select.channels_exclude) == left_out

    result = monitor("backtest", "-c", "monitor.toml", "--labels", "labels.jsonl")
    assert result.exit_code == 0, result.output
    found = re.search(r"labels: (\d) of 1 found, (\d+) false alerts", result.output)
    assert found is not None, result.output
    assert found[1] == "1"
    assert int(found[2]) <= 2
