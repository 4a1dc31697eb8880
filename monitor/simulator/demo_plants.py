"""The plants that `monitor demo` can show: their configuration, messages, labels, and the part to learn from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor.evaluation.label import Label
from monitor.simulator.faults import KINDS, ROUND, fault_schedule, faulty_rows
from monitor.simulator.mixed.faults import HEALTHY, STEPS
from monitor.simulator.mixed.machines import DAY, STEP_MS
from monitor.simulator.mixed.plant import MixedPlant
from monitor.simulator.plant import Plant, PlantSettings, Sent, messages

_CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG = _CONFIGS / "demo.toml"
CONFIG_MIXED = _CONFIGS / "demo-mixed.toml"
CLEAN = 1700  # steps: the history the first model needs, the first window, and some to spare
TAIL = 100  # steps after the last round, for its alerts to be resolved


@dataclass(frozen=True, slots=True)
class DemoPlant:
    """A plant to be shown, whose messages come by time."""

    config: Path  # settings of the monitor
    assets: int
    speed: float  # usual simulated seconds per second, once every detector has a model
    learned: int  # ms UTC; the plant is healthy until then, long enough for the first model of each detector
    chunk_ms: int  # event time that is written at once
    grace_ms: int  # an alert within this time after a fault, a window's length, still finds the fault
    labels: tuple[Label, ...]
    count: int  # messages in all, or a few more
    messages: Callable[[], Iterator[Sent]]


def pump_plant(assets: int, seed: int) -> DemoPlant:
    """Return pumps of one kind, a reading a second, with faults of up to two minutes. Every kind of fault occurs."""
    plant = Plant(PlantSettings(assets, seed=seed))
    rounds = max(2, -(-len(KINDS) // assets))
    faults = fault_schedule(plant, CLEAN, rounds)
    values = faulty_rows(plant, faults, 0, CLEAN + rounds * ROUND + TAIL)
    return DemoPlant(
        config=CONFIG,
        assets=assets,
        speed=40.0,
        learned=plant.time(CLEAN),
        chunk_ms=20 * plant.settings.step_ms,
        grace_ms=64 * plant.settings.step_ms,
        labels=faults,
        count=assets * values.shape[1],
        messages=lambda: messages(plant, 0, values),
    )


def mixed_plant(seed: int) -> DemoPlant:
    """Return pumps in shifts, mixers and compressors, a reading a minute, for two weeks."""
    plant = MixedPlant(seed)
    return DemoPlant(
        config=CONFIG_MIXED,
        assets=len(plant.names),
        speed=20_000.0,
        learned=plant.time(HEALTHY),
        chunk_ms=60 * STEP_MS,
        grace_ms=64 * STEP_MS,
        labels=plant.labels(),
        count=STEPS * len(plant.names),
        messages=lambda: plant.messages(STEPS // DAY),
    )
