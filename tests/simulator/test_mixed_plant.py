"""The mixed plant: reproducible by day, healthy in its first week, and changed exactly where its labels say."""

import json

import numpy as np
import pytest

from monitor.core.records import NEW_MODE, NOT_RUNNING, SILENCE
from monitor.settings.load import load
from monitor.simulator.demo_plants import mixed_plant
from monitor.simulator.mixed.compressors import Compressors
from monitor.simulator.mixed.faults import EVENTS, HEALTHY, STEPS, Event
from monitor.simulator.mixed.machines import DAY, HOUR, Machines, rounded
from monitor.simulator.mixed.mixers import NEW_RECIPE, RECIPES, SLOT, SLOTS, Mixers
from monitor.simulator.mixed.plant import MixedPlant
from monitor.simulator.mixed.shift_pumps import ShiftPumps
from monitor.simulator.signals import Doubles

PLANT = MixedPlant(0)
PUMPS, MIXERS, COMPRESSORS = PLANT.kinds


def column(kind: Machines, name: str) -> int:
    return [channel.name for channel in kind.channels].index(name)


def readings(kind: Machines, machine: int, day: int, name: str) -> Doubles:
    return PLANT.readings(kind, machine, day)[:, column(kind, name)]


def test_a_seed_is_a_mixed_plant() -> None:
    """The same seed gives the same messages, and another seed gives others."""
    sent = list(PLANT.messages(1))
    assert list(MixedPlant(0).messages(1)) == sent
    assert list(MixedPlant(1).messages(1)) != sent
    assert len(sent) == DAY * len(PLANT.names)
    assert [each.time for each in sent] == sorted(each.time for each in sent)


def test_pumps_run_in_two_shifts_of_the_workdays() -> None:
    """A pump runs from about 06:00 to 22:00 on Monday to Friday, and sends a speed of about zero otherwise."""
    for day in range(7):
        for machine in range(len(PUMPS.names)):
            speed = readings(PUMPS, machine, day, "speed")
            assert np.all(speed[: 6 * HOUR] < 1)
            assert np.all(speed[22 * HOUR :] < 1)
            assert np.all((speed[7 * HOUR : 21 * HOUR] > 1000) == (day < 5))


def test_a_bearing_needs_an_hour_to_become_warm() -> None:
    """The temperature of a pump still rises ten minutes after the start, and no longer after two hours."""
    heat = readings(PUMPS, 0, 0, "bearing_temperature")
    begin = 6 * HOUR
    assert heat[begin + 60 : begin + 120].mean() > heat[begin : begin + 10].mean() + 10
    assert abs(heat[begin + 120 : begin + 180].mean() - heat[begin + 180 : begin + 240].mean()) < 4


def test_a_mixer_makes_each_recipe_equally_often() -> None:
    """Each healthy day has four batches of each recipe, whose number comes with every reading."""
    for day in range(HEALTHY // DAY):
        batches = readings(MIXERS, 0, day, "recipe").reshape(SLOTS, SLOT)
        assert np.all(batches == batches[:, :1])
        assert sorted(batches[:, 0]) == sorted([*RECIPES] * (SLOTS // len(RECIPES)))


def test_a_counter_rises_by_day_and_begins_at_zero() -> None:
    """The energy never falls within a day, begins at zero, and rises faster while the valve loads the compressor."""
    energy, loaded = readings(COMPRESSORS, 0, 0, "energy"), readings(COMPRESSORS, 0, 0, "loaded")
    steps = np.diff(energy)
    assert energy[0] < 2
    assert steps.min() >= 0
    assert set(loaded) == {0, 1}
    assert steps[loaded[1:] == 1].mean() > 2 * steps[loaded[1:] == 0].mean()


def test_midnight_shows_in_no_other_channel_of_a_compressor() -> None:
    """Over midnight a compressor's readings move as little as within two minutes of the day at most."""
    names = ("pressure", "flow", "current", "outlet_temperature")
    for day in range(3):
        for name in names:
            before, after = readings(COMPRESSORS, 1, day, name), readings(COMPRESSORS, 1, day + 1, name)
            assert abs(after[:2].mean() - before[-2:].mean()) <= np.abs(before[2:] - before[:-2]).max()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.asset}-{event.kind}")
def test_an_event_changes_its_steps_and_nothing_else(event: Event) -> None:
    """Readings differ from those of the healthy machine within the event's steps, and in its channels only."""
    kinds: tuple[Machines, ...] = (ShiftPumps(0, 4, {}), Mixers(0, 2, {}), Compressors(0, 4))  # without faults
    kind = next(place for place, each in enumerate(kinds) if event.asset in each.names)
    machine = kinds[kind].names.index(event.asset)
    found = []
    for day in range(event.start // DAY, -(-(event.start + event.steps) // DAY)):
        healthy = rounded(kinds[kind].channels, kinds[kind].day(machine, day))
        differ = PLANT.readings(PLANT.kinds[kind], machine, day) != healthy
        steps = np.arange(day * DAY, (day + 1) * DAY)
        own = [each for each in EVENTS if each.asset == event.asset and each is not event]
        others = np.any([(each.start <= steps) & (steps < each.start + each.steps) for each in own] or [steps < 0], 0)
        columns = [column(kinds[kind], name) for name in event.channels] or list(range(differ.shape[1]))
        if event.channels and event.kind != NEW_MODE:
            assert not np.delete(differ, columns, 1)[~others].any()
        found += list(steps[differ[:, columns].any(1) & ~others])

    tail = {NOT_RUNNING: 90, "leak": DAY}.get(event.kind, 0)  # the bearing is warm later; a counter keeps its count
    assert min(found) >= event.start - 15  # a pump may be due up to 15 steps before its label
    assert event.start + event.steps - 60 < max(found) < event.start + event.steps + tail
    assert len(set(found)) > 0.2 * event.steps


def test_the_first_week_is_healthy() -> None:
    """No label lies in the part to learn from, none leaves the plant, and each kind of machine has some."""
    shown = mixed_plant(0)
    assert all(shown.learned <= label.start < label.end <= PLANT.time(STEPS) for label in shown.labels)
    assert {label.asset.partition("-")[0] for label in shown.labels} == {"pump", "mixer", "compressor"}
    assert {label.kind for label in shown.labels} > {SILENCE, NOT_RUNNING, NEW_MODE}


def test_machines_behind_a_dead_gateway_send_nothing() -> None:
    """Both machines behind the gateway have no message within their labels, and the valve's state is a boolean."""
    (start, end) = {(label.start, label.end) for label in PLANT.labels() if label.kind == SILENCE}.pop()
    sent = [each for each in PLANT.messages(12) if start <= each.time < end]
    assert {json.loads(each.value)["asset"] for each in sent} == set(PLANT.names) - {"compressor-03", "compressor-04"}
    body = next(json.loads(each.value) for each in sent if each.key == b"compressor-01")
    assert isinstance(body["values"]["loaded"], bool)


def test_a_new_recipe_is_made_in_one_batch_only() -> None:
    """The recipe that was never learned comes in the labelled batch of one mixer, and nowhere else."""
    label = next(label for label in PLANT.labels() if label.kind == NEW_MODE)
    for machine, name in enumerate(MIXERS.names):
        new = [
            PLANT.time(day * DAY + int(step))
            for day in range(STEPS // DAY)
            for step in np.flatnonzero(readings(MIXERS, machine, day, "recipe") == NEW_RECIPE)
        ]
        expected = range(label.start, label.end, 60_000) if name == label.asset else []
        assert new == list(expected)


def test_the_configuration_has_a_detector_for_each_machine() -> None:
    """The settings load, and each machine of the plant has a detector, the compressors two."""
    settings = load(mixed_plant(0).config, {}, {})
    routes = {each.name: each.route() for each in settings.per_detector()}
    wanted = {name: [by for by, route in routes.items() if route.assets.want(name)] for name in PLANT.names}
    assert wanted["pump-01"] == ["pumps"]
    assert wanted["mixer-02"] == ["mixers"]
    assert wanted["compressor-04"] == ["compressors", "compressors-slow"]
    assert all(wanted.values())
