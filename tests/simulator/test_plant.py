"""The simulated plant: reproducible in any pieces, realistic, and faulty exactly where its labels say."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.decode.decode import Format, decode
from monitor.core.records import Message, Partition
from monitor.evaluation.label import Label
from monitor.simulator.faults import KINDS, QUIET, ROUND, fault_round, fault_schedule, faulty_rows
from monitor.simulator.plant import BLOCK, DAY, LOADS, NAMES, Plant, PlantSettings, Sent, messages
from monitor.simulator.signals import Doubles

CLEAN = 500
PLANT = Plant(PlantSettings())
FAULTS = fault_schedule(PLANT, CLEAN, 2)
END = CLEAN + 2 * ROUND
SPEED, POWER, CURRENT, INLET = (NAMES.index(name) for name in ("speed", "power", "current", "inlet_pressure"))


def interval(fault: Label, plant: Plant = PLANT) -> slice:
    """Return the steps of a fault."""
    return slice(plant.step(fault.start), plant.step(fault.end))


def place(fault: Label) -> tuple[int, slice, int]:
    """Return a fault's place in the rows from step 0 on."""
    return PLANT.names.index(fault.asset), interval(fault), NAMES.index(fault.channels[0])


def of(kind: str) -> list[Label]:
    return [fault for fault in FAULTS if fault.kind == kind]


def correlation(x: Doubles, y: Doubles) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def received(sent: list[Sent]) -> list[Message]:
    """Return messages as a source delivers them."""
    return [Message(Partition("readings", 0), at, s.key, s.value, s.time) for at, s in enumerate(sent)]


@pytest.fixture(scope="module")
def healthy() -> Doubles:
    return PLANT.rows(0, END)


@pytest.fixture(scope="module")
def faulty() -> Doubles:
    return faulty_rows(PLANT, FAULTS, 0, END)


def test_a_seed_is_a_plant() -> None:
    """The same settings give the same plant and faults, and another seed gives others."""
    again, other = Plant(PlantSettings()), Plant(PlantSettings(seed=1))
    assert fault_schedule(again, CLEAN, 2) == FAULTS
    np.testing.assert_array_equal(again.rows(0, 50), PLANT.rows(0, 50))
    assert fault_schedule(other, CLEAN, 2) != FAULTS
    assert (other.rows(0, 50) != PLANT.rows(0, 50)).mean() > 0.9


@settings(max_examples=40, deadline=None)
@given(begin=st.integers(0, END - 1), length=st.integers(1, 2 * BLOCK))
def test_pieces_are_the_whole(begin: int, length: int, healthy: Doubles, faulty: Doubles) -> None:
    """Rows made from any step on equal those of a stream made at once, with and without faults."""
    end = min(begin + length, END)
    np.testing.assert_array_equal(PLANT.rows(begin, end), healthy[:, begin:end])
    np.testing.assert_array_equal(faulty_rows(PLANT, FAULTS, begin, end), faulty[:, begin:end])


def test_a_smaller_plant_is_part_of_a_larger_one() -> None:
    """The number of assets does not change the readings of one asset."""
    np.testing.assert_array_equal(Plant(PlantSettings(assets=2)).rows(0, 40), PLANT.rows(0, 40)[:2])


@pytest.mark.parametrize("seed", range(3))
def test_every_load_is_visited_often(seed: int) -> None:
    """In 1500 steps each pump runs at each load for more than a fifth of the time, at least 25 steps in a row."""
    speed = Plant(PlantSettings(seed=seed)).rows(0, 1500)[:, :, SPEED]
    for row in speed:
        mode = np.abs(row[:, None] / np.median(row) - (1000 + 2000 * LOADS) / (1000 + 2000 * LOADS[1])).argmin(1)
        assert np.all(np.bincount(mode, minlength=3) > 0.2 * len(row))
        changes = np.flatnonzero(np.diff(mode))
        dwells = np.diff(changes)[np.diff(changes) > 8]  # a pass through the middle load on a ramp does not count
        assert dwells.min() >= 25


def test_loads_change_by_ramps(healthy: Doubles) -> None:
    """No healthy channel moves by a quarter of its range within a step, except inlet pressure and vibration."""
    steady = np.delete(healthy, [INLET, NAMES.index("vibration")], 2)
    assert np.all(np.abs(np.diff(steady, axis=1)).max(1) < 0.25 * np.ptp(steady, axis=1))


def test_channels_are_related(healthy: Doubles) -> None:
    """Power correlates with current and speed, and the bearing temperature follows the load with a delay."""
    for rows in healthy:
        assert correlation(rows[:, POWER], rows[:, CURRENT]) > 0.95
        assert correlation(rows[:, POWER], rows[:, SPEED]) > 0.9
        heat = rows[:, NAMES.index("bearing_temperature")]
        assert correlation(heat[30:], rows[:-30, SPEED]) > correlation(heat, rows[:, SPEED]) + 0.1


def test_the_plant_is_stationary() -> None:
    """A later day has the means of the first day within half a standard deviation, so a model stays valid."""
    first, later = PLANT.rows(0, 2 * DAY), PLANT.rows(20 * DAY, 22 * DAY)
    assert np.all(np.abs(first.mean(1) - later.mean(1)) < 0.5 * first.std(1))


def test_pumps_differ(healthy: Doubles) -> None:
    """The pumps' mean levels differ on every channel, and each is within 20 % of the common mean."""
    level = healthy.mean(1)
    assert np.all(level.std(0) > 0.005 * level.mean(0))
    assert np.all(np.abs(level / level.mean(0) - 1) < 0.2)


def test_faults_change_their_interval_and_nothing_else(healthy: Doubles, faulty: Doubles) -> None:
    """Each fault visibly changes its channel of its asset from start to end, and no other reading."""
    rest = faulty.copy()
    for fault in FAULTS:
        part = place(fault)
        changed = np.nan_to_num(faulty[part], nan=np.inf) - healthy[part]
        spread = healthy[part[0], :, part[2]].std()
        assert np.sqrt(np.mean(changed**2)) > 0.3 * spread, fault
        assert np.mean(changed != 0) > 0.7, fault
        rest[part] = healthy[part]
    np.testing.assert_array_equal(rest, healthy)


@pytest.mark.parametrize("assets", [1, 3, 8, 11])
def test_a_schedule_has_every_kind_and_quiet_between(assets: int) -> None:
    """All kinds occur, none in the clean part, and each asset has no fault for 200 steps before each fault."""
    plant = Plant(PlantSettings(assets=assets))
    faults = fault_schedule(plant, CLEAN, -(-8 // assets))
    assert set(KINDS) == {fault.kind for fault in faults}
    assert [fault.start for fault in faults] == sorted(fault.start for fault in faults)
    for name in plant.names:
        own = [interval(fault, plant) for fault in faults if fault.asset == name]
        assert own[0].start >= CLEAN + QUIET
        assert all(before.stop + QUIET <= after.start for before, after in pairwise(own))
    for fault in faults:
        part, kind = interval(fault, plant), KINDS[fault.kind]
        assert kind.steps[0] <= part.stop - part.start <= kind.steps[1]
        assert set(fault.channels) <= set(kind.channels)


def test_a_schedule_too_short_for_all_kinds_is_refused() -> None:
    """A schedule that would leave out a kind raises an error."""
    with pytest.raises(ValueError, match="leave out"):
        fault_schedule(Plant(PlantSettings(assets=3)), CLEAN, 2)


def test_rounds_make_an_endless_stream() -> None:
    """A round depends on its number alone and stays within its own steps, and an asset's kinds rotate."""
    assert [fault for number in range(2) for fault in fault_round(PLANT, CLEAN, number)] == list(FAULTS)
    late = fault_round(PLANT, CLEAN, 1000)
    assert all(CLEAN + 1000 * ROUND <= interval(fault).start < CLEAN + 1001 * ROUND for fault in late)
    kinds = Counter(f.kind for n in range(8) for f in fault_round(PLANT, CLEAN, n) if f.asset == PLANT.names[0])
    assert kinds == Counter(list(KINDS))


def test_a_frozen_sensor_holds_its_last_value(healthy: Doubles, faulty: Doubles) -> None:
    """A frozen channel repeats the reading before the fault."""
    for fault in of("frozen"):
        asset, steps, channel = place(fault)
        assert set(faulty[asset, steps, channel]) == {healthy[asset, steps.start - 1, channel]}


def test_a_drift_begins_small_and_grows(healthy: Doubles, faulty: Doubles) -> None:
    """The deviation of a drift rises linearly from the first step to its full size at the last."""
    for fault in of("drift"):
        size = abs(faulty[place(fault)] - healthy[place(fault)])
        if faulty[place(fault)].min() > 0:  # otherwise the transmitter's lower end cuts it off
            assert size[-1] == pytest.approx(abs(fault.size), rel=0.01)
            assert size[len(size) // 2] == pytest.approx(abs(fault.size) / 2, rel=0.05)


def test_a_decoupled_channel_loses_its_relations() -> None:
    """A decoupled channel keeps its own mean and spread, but no longer correlates with the others."""
    long = Label("pump-01", "decoupled", ("power",), PLANT.time(0), PLANT.time(6000), seed=7)
    rows, before = faulty_rows(PLANT, [long], 0, 6000)[0], PLANT.rows(0, 6000)[0]
    assert correlation(before[:, POWER], before[:, CURRENT]) > 0.95
    assert abs(correlation(rows[:, POWER], rows[:, CURRENT])) < 0.3
    assert rows[:, POWER].mean() == pytest.approx(before[:, POWER].mean(), rel=0.1)
    assert rows[:, POWER].std() == pytest.approx(before[:, POWER].std(), rel=0.1)


def test_the_frequency_of_the_swing_changes() -> None:
    """The strongest period of the inlet pressure is ten steps, and five under a fault of factor two."""
    long = Label("pump-01", "frequency", ("inlet_pressure",), PLANT.time(0), PLANT.time(1000), size=2.0)
    for rows, period in ((PLANT.rows(0, 1000), 10), (faulty_rows(PLANT, [long], 0, 1000), 5)):
        power = np.abs(np.fft.rfft(rows[0, :, INLET]))[50:]  # periods of 20 steps and below
        assert 1000 / (50 + power.argmax()) == pytest.approx(period, rel=0.05)


def test_an_unknown_kind_is_refused() -> None:
    """A fault that cannot be labelled raises an error."""
    with pytest.raises(ValueError, match="kind must be one of"):
        faulty_rows(PLANT, [Label("pump-01", "melted", ("flow",), PLANT.time(0), PLANT.time(9))], 0, 9)


@pytest.mark.parametrize("wrong", [{"assets": 0}, {"step_ms": 0}, {"seed": -1}, {"start": 1500}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    """Invalid settings of a plant raise an error that names them."""
    with pytest.raises(ValueError, match=r"at least 1|multiple"):
        PlantSettings(**wrong)


@pytest.mark.parametrize("kind", ["json_wide", "json_long"])
def test_messages_say_what_the_rows_hold(kind: str, faulty: Doubles) -> None:
    """Decoded messages of a stretch with dropouts give exactly its readings, without rejections."""
    begin = CLEAN + QUIET
    part = faulty[:, begin : begin + 280]
    assert np.isnan(part).any()
    sent = list(messages(PLANT, begin, part, kind=kind, late=0.05))
    batch, rejected = decode(received(sent), Format(kind), sent[-1].time)
    assert rejected == []
    found = np.full_like(part, np.nan)
    asset = np.array([PLANT.names.index(name) for name in batch.assets])[batch.asset]
    channel = np.array([NAMES.index(name) for name in batch.channels])[batch.channel]
    found[asset, (batch.time - PLANT.time(begin)) // 1000, channel] = batch.value
    np.testing.assert_array_equal(found, part)
    assert len(batch) == np.count_nonzero(~np.isnan(part))


def test_late_messages_come_behind_their_successor() -> None:
    """The configured share of messages is sent one step late, keyed by asset, and send times never decrease."""
    sent = list(messages(PLANT, 0, PLANT.rows(0, 400), late=0.1))
    batch, _ = decode(received(sent), Format("json_wide"), sent[-1].time)
    assert all(before.time <= after.time for before, after in pairwise(sent))
    assert [item.key.decode() for item in sent] == [batch.assets[code] for code in batch.asset[:: len(NAMES)]]
    behind = np.array([item.time for item in sent]) - batch.time[:: len(NAMES)]
    assert set(behind.tolist()) == {0, 1000}
    assert np.mean(behind > 0) == pytest.approx(0.1, abs=0.03)
    late = int(np.flatnonzero(behind)[0])
    overtaken = [at for at in range(late) if sent[at].key == sent[late].key and sent[at].time == sent[late].time]
    assert len(overtaken) == 1


def test_an_asset_without_any_reading_sends_nothing() -> None:
    """A silent asset sends nothing, and the other assets still send."""
    rows = PLANT.rows(0, 3)
    rows[0] = np.nan
    assert {item.key for item in messages(PLANT, 0, rows)} == {name.encode() for name in PLANT.names[1:]}


def test_an_unknown_format_is_refused() -> None:
    """A message format that the plant does not support raises an error."""
    with pytest.raises(ValueError, match="json_wide or json_long"):
        list(messages(PLANT, 0, PLANT.rows(0, 1), kind="influx_line"))


def test_days_differ_only_if_a_day_has_a_length() -> None:
    """With a day's length production follows the hour, and means of days differ; any pieces give the same readings."""
    plant = Plant(PlantSettings(assets=2, day=8640))
    rows = plant.rows(0, 4 * 8640)
    assert np.array_equal(plant.rows(8000, 9000), rows[:, 8000:9000])

    days = rows[:, :, SPEED].reshape(2, 4, 2, -1).mean(3)  # machine, day, before and after noon
    assert (days[:, :, 0] > days[:, :, 1]).all()
    usual = PLANT.rows(0, 4 * 8640)[:2, :, SPEED].reshape(2, 4, -1).mean(2)
    assert (np.ptp(days.mean(2), axis=1) > 2 * np.ptp(usual, axis=1)).all()
