"""`Windows` against its plain twin, over streams with all the faults of a plant, cut into any batches."""

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monitor.core.decode.select import Kinds
from monitor.core.records import Floats, ReadingBatch, WindowBatch
from monitor.core.windows.aggregates import channels_of
from monitor.core.windows.options import WindowOptions
from monitor.core.windows.pace import LEARNED, Holds
from monitor.core.windows.windows import Windows
from tests.examples import examples
from tests.properties.naive_windows import NaiveWindows, Reading

STEP = 10  # ms
CHANNELS = ("pressure", "flow", "speed", "level")
ASSETS = ("pump-1", "pump-2", "press", "fan", "saw", "mill", "lathe")

Switch = tuple[int, list[str], bool]  # before which reading the channels change, the new channels, frozen


def batch(readings: Sequence[Reading]) -> ReadingBatch:
    """Return readings as columns. The name tuples include unused names, in their own order."""
    assets, channels = ("never", *ASSETS[::-1]), ("none", *CHANNELS[::-1])
    return ReadingBatch(
        assets,
        channels,
        np.array([assets.index(reading.asset) for reading in readings], np.int32),
        np.array([channels.index(reading.channel) for reading in readings], np.int32),
        np.array([reading.time for reading in readings], np.int64),
        np.array([reading.value for reading in readings], np.float64),
        np.array([reading.offset for reading in readings], np.int64),
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Reading]:
    """Return messages of one asset and several channels: out of order, repeated, late, with short and long gaps."""
    message = st.tuples(
        st.sampled_from([0, 0, 0, 1, 1, 2, 3]),  # asset, the later ones send rarely
        st.sampled_from([0b11, 0b11, 0b11, 0b01, 0b10, 0b111, 0b1000, 0b1100]),  # its channels, as bits
        st.sampled_from([0, 1, 4, 10, 10, 10, 11, 25, 60, 150]),  # ms that the stream advances
        st.sampled_from([0, 0, 0, 1, 9, 10, 21, 45]),  # ms that the message lags
    )
    start = draw(st.sampled_from([0, -95, 1_700_000_000_003]))
    size = draw(st.integers(1, 40))
    readings: list[Reading] = []
    for offset, (asset, bits, ahead, behind) in enumerate(draw(st.lists(message, min_size=size, max_size=size))):
        start += ahead
        for place, channel in enumerate(CHANNELS):
            if bits >> place & 1:
                value = float(len(readings))
                readings.append(Reading(ASSETS[asset], channel, start - behind, value, 100 + 3 * offset))
    return readings


SETTINGS = st.fixed_dictionaries(
    {
        "step_ms": st.just(STEP),
        "length": st.integers(1, 4),
        "lateness_ms": st.sampled_from([0, 5, 10, 30, 200]),
        "max_gap": st.integers(0, 5),
        "max_fill": st.integers(0, 3),
        "min_observed": st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0]),
        "idle": st.integers(1, 8),
        "max_assets": st.integers(1, 4),
        "max_channels": st.integers(1, 4),
        "new_assets": st.sampled_from([1, 2, 60_000]),
        "forget_ms": st.just(2**45),
        "aggregates": st.sampled_from([("last",), ("last",), ("mean", "max"), ("min", "std", "last"), ("mean",)]),
        "holds": st.sampled_from(
            [LEARNED, LEARNED, Holds((("flow", 35), ("*", 0))), Holds((("speed", 1), ("pressure", 200)))]
        ),
        "kinds": st.sampled_from(
            [Kinds(), Kinds((("pressure", "rate"), ("level", "rate"))), Kinds((("flow", "rate"),))]
        ),
    }
)
FLOODS = st.fixed_dictionaries(
    {"new_assets": st.integers(1, 4), "forget_ms": st.sampled_from([80, 5000, 30_000]), "max_assets": st.integers(1, 4)}
)


@st.composite
def floods(draw: st.DrawFn) -> list[Reading]:
    """Return messages of few or many assets, at once or minutes apart."""
    message = st.tuples(
        st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5, 6]),  # asset
        st.sampled_from([0b01, 0b11, 0b100]),  # its channels, as bits
        st.sampled_from([0, 0, 0, 10, 10, 20, 100, 5000, 15_000, 60_000]),  # ms that the stream advances
        st.sampled_from([0, 0, 0, 10, 3000]),  # ms that the message lags
    )
    start = 1_700_000_000_003
    readings: list[Reading] = []
    for offset, (asset, bits, ahead, behind) in enumerate(draw(st.lists(message, min_size=1, max_size=60))):
        start += ahead
        for place, channel in enumerate(CHANNELS):
            if bits >> place & 1:
                readings.append(Reading(ASSETS[asset], channel, start - behind, float(len(readings)), offset))
    return readings


@st.composite
def polls(draw: st.DrawFn) -> list[Reading]:
    """What collectors send that poll: changed values with their new time, unchanged ones with their old time, or both.

    Now and then a value goes back, comes out of order, or comes with the time of another one.
    """
    message = st.tuples(
        st.sampled_from([0, 0, 0, 1, 2]),  # asset
        st.sampled_from([0b1111, 0b1111, 0b11, 0b01, 0b10, 0b100]),  # channels polled, as bits
        st.sampled_from([0, 0, 0b1, 0b1, 0b10, 0b1000, 0b1111]),  # and those that changed
        st.sampled_from([0, 1, 9, 10, 10, 10, 25, 60]),  # ms the stream moves on
        st.sampled_from([0, 0, 0, 0, 3, 15, 45]),  # ms a changed value lags behind
        st.sampled_from([0.0, 0.0, 0.0, 1.0]),  # added to values that are repeated
    )
    now = draw(st.sampled_from([0, -95, 1_700_000_000_003]))
    last: dict[tuple[int, int], tuple[int, float]] = {}
    readings: list[Reading] = []
    for offset, (asset, bits, changed, ahead, behind, other) in enumerate(
        draw(st.lists(message, min_size=1, max_size=40))
    ):
        now += ahead
        for place, channel in enumerate(CHANNELS):
            if not bits >> place & 1:
                continue
            key = asset, place
            if key not in last or changed >> place & 1:
                last[key] = now - behind, draw(st.sampled_from([1.0, 2.0, 7.0]))
            time, value = last[key]
            readings.append(Reading(ASSETS[asset], channel, time, value + other, offset))
    return readings


@st.composite
def paces(draw: st.DrawFn) -> list[Reading]:
    """Return readings of channels at their own paces, some of which come twice in a step, with losses and silences."""
    periods = draw(st.lists(st.sampled_from([3, 5, 9, 10, 20, 30, 30, 70]), min_size=4, max_size=4))
    lost = draw(st.sets(st.integers(0, 79), max_size=12))
    silent = draw(st.sampled_from([0, 0, 60, 300]))
    start = draw(st.sampled_from([0, -95, 1_700_000_000_003]))
    times = [
        (start + time + silent * (time > 200), place)
        for place, period in enumerate(periods[: draw(st.integers(1, 4))])
        for time in range(place, 400, period)
    ]
    shift = draw(st.sampled_from([0, 0, 4, 15]))  # ms by which every third reading lags behind
    times.sort(key=lambda each: each[0] + shift * (each[0] % 3 == 0))
    return [
        Reading(ASSETS[number % 7 == 0], CHANNELS[place], time, float(number % 13), number)
        for number, (time, place) in enumerate(times[: draw(st.integers(1, 160))])
        if number % 80 not in lost
    ]


CUTS = st.lists(st.sampled_from([1, 2, 3, 7, 20, 500]), min_size=1, max_size=4)  # sizes of the batches, repeated
FROZEN = st.sampled_from([["pressure", "flow"], ["flow", "pressure", "speed"], ["pressure"], []])


def begins(size: int, cuts: Sequence[int], switches: Sequence[Switch] = ()) -> list[int]:
    """Return the start of each batch of a stream of `size` readings."""
    regular = itertools.takewhile(lambda place: place < size, itertools.accumulate(itertools.cycle(cuts)))
    return sorted({0, *regular, *(place for place, _, _ in switches)})


def run(
    windows: Windows,
    readings: list[Reading],
    cuts: list[int],
    switches: Sequence[Switch] = (),
    kept: Collection[int] = (),
) -> tuple[Windows, list[WindowBatch]]:
    """Push the readings in batches, cut at `cuts` and at every switch of channels."""
    places = begins(len(readings), cuts, switches)
    batches = []
    for begin, end in zip(places, [*places[1:], len(readings)], strict=True):
        for place, names, frozen in switches:
            if place == begin:
                windows.set_channels(names, frozen=frozen)
        batches += walk(windows, batch(readings[begin:end]), kept)
    return windows, batches


def walk(windows: Windows, readings: ReadingBatch, kept: Collection[int]) -> list[WindowBatch]:
    """Push the readings as a pipeline does, cut where an asset is evicted."""
    batches = []
    while len(readings):
        count = windows.room(readings, kept)
        if not count:
            windows.evict(kept)
            count = 1
        batches.append(windows.push(readings.part(0, count)))
        readings = readings.part(count, len(readings))
    return batches


def named(names: Sequence[str], options: dict[str, Any]) -> list[str]:
    """Return the channels that a model of these base channels may have."""
    channels = [channel for name in names for channel in channels_of(name, options["aggregates"])]
    return channels if len(channels) == len(names) else channels[::-1][1:]


def rows_of(batches: list[WindowBatch], channels: int) -> list[tuple[Any, ...]]:
    """Return windows as comparable tuples, ordered as in one batch, with later channels as not observed."""
    rows = []
    for part in batches:
        for at in range(len(part)):
            missing = ((0, channels - part.values.shape[1]), (0, 0))
            values = np.pad(part.values[at], missing, constant_values=np.nan)
            observed = np.pad(part.observed[at], missing)
            held = np.zeros_like(observed) if part.held is None else np.pad(part.held[at], missing)
            key = (int(part.position[at]), int(part.assets[at]), int(part.ends[at]))
            rows.append((*key, _rounded(values), observed.tolist(), held.tolist()))
    return sorted(rows)


def twin_rows(twin: NaiveWindows) -> list[tuple[Any, ...]]:
    """Return the twin's windows in the form of `rows_of`."""
    rows = []
    for window in twin.windows:
        values, observed, held = twin.arrays(window)
        rows.append((*window[:3], _rounded(values), observed.tolist(), held.tolist()))
    return sorted(rows)


def _rounded(values: Floats) -> list[list[float]]:
    """Return values without the last bits of means and deviations."""
    rows: list[list[float]] = np.nan_to_num(values, nan=-1).round(2).tolist()
    return rows


def bytes_of(windows: Windows) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return the stage's state in a form that compares bit by bit."""
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in windows.save_state().items()}


@settings(max_examples=examples(250), deadline=None)
@given(options=SETTINGS, readings=st.one_of(streams(), polls(), paces()), cuts=CUTS)
def test_learning_windows_match_the_twin(options: dict[str, Any], readings: list[Reading], cuts: list[int]) -> None:
    """While channels are learned, windows, positions and counts equal the twin's, however the stream is cut."""
    twin = NaiveWindows(**options)
    for reading in readings:
        twin.push(reading)
    windows, batches = run(Windows(WindowOptions(**options)), readings, cuts)
    assert windows.counts == twin.counts
    for steps in (0, 2):
        assert windows.not_scored(steps * STEP).keys() == twin.not_scored(steps)
    assert (windows.assets, list(windows.channels)) == (twin.names(), twin.channels)
    assert rows_of(batches, len(twin.channels)) == twin_rows(twin)


@settings(max_examples=examples(350), deadline=None)
@given(options=SETTINGS, readings=st.one_of(streams(), polls(), paces()), cuts=CUTS, names=FROZEN)
def test_frozen_windows_match_the_twin(
    options: dict[str, Any], readings: list[Reading], cuts: list[int], names: list[str]
) -> None:
    """With fixed channels, windows, positions and counts equal the twin's, however the stream is cut."""
    options = options | {"max_channels": 4}
    names = named(names, options)
    twin = NaiveWindows(**options)
    twin.set_channels(names, frozen=True)
    for reading in readings:
        twin.push(reading)
    windows, batches = run(Windows(WindowOptions(**options)), readings, cuts, [(0, names, True)])
    assert windows.counts == twin.counts
    for steps in (0, 2):
        assert windows.not_scored(steps * STEP).keys() == twin.not_scored(steps)
    assert windows.assets == list(twin.assets)
    assert rows_of(batches, len(names)) == twin_rows(twin)
    full = [max(0, options["length"] - len(asset.rows)) for asset in twin.assets.values()]
    assert windows.rows_until_full().tolist() == full


@settings(max_examples=examples(200), deadline=None)
@given(
    options=SETTINGS,
    readings=st.one_of(streams(), polls(), paces()),
    cuts=CUTS,
    switches=st.lists(st.tuples(st.integers(0, 120), FROZEN, st.booleans()), max_size=3, unique_by=lambda s: s[0]),
)
def test_changes_of_channels_match_the_twin(
    options: dict[str, Any], readings: list[Reading], cuts: list[int], switches: list[Switch]
) -> None:
    """A switch of channels in mid-stream gives the same windows and counts as in the twin."""
    assume(readings)  # each batch must have one
    options = options | {"max_channels": 4}
    switches = [(at, named(names, options), frozen) for at, names, frozen in switches if at < len(readings)]
    twin = NaiveWindows(**options)
    expected: list[tuple[Any, ...]] = []
    for place, reading in enumerate(readings):
        for at, names, frozen in switches:
            if at == place:
                expected += [row[:3] for row in twin_rows(twin)]
                twin.windows.clear()
                twin.set_channels(names, frozen=frozen)
        twin.push(reading)
    windows, batches = run(Windows(WindowOptions(**options)), readings, cuts, switches)
    last = max((place for place, _, _ in switches), default=0)
    places = begins(len(readings), cuts, switches)
    since = [part for begin, part in zip(places, batches, strict=True) if begin >= last]
    before = [part for begin, part in zip(places, batches, strict=True) if begin < last]
    assert windows.counts == twin.counts
    for steps in (0, 2):
        assert windows.not_scored(steps * STEP).keys() == twin.not_scored(steps)
    assert rows_of(since, len(twin.channels)) == twin_rows(twin)
    widest = max((part.values.shape[1] for part in before), default=0)
    assert [row[:3] for row in rows_of(before, widest)] == sorted(expected)


@settings(max_examples=examples(150), deadline=None)
@given(options=SETTINGS, readings=st.one_of(streams(), polls(), paces()), cuts=CUTS, frozen=st.booleans())
def test_state_does_not_depend_on_cuts_or_on_moving(
    options: dict[str, Any], readings: list[Reading], cuts: list[int], frozen: bool
) -> None:
    """A stage saved and loaded at every cut ends with the same state, bit by bit, as one that saw a single batch."""
    options = options | {"max_channels": 4}
    names = named(CHANNELS[:2], options) if frozen else []
    whole, _ = run(Windows(WindowOptions(**options)), readings, [500], [(0, names, frozen)])
    moving = Windows(WindowOptions(**options))
    moving.set_channels(names, frozen=frozen)
    places = [*begins(len(readings), cuts), len(readings)]
    for begin, end in itertools.pairwise(places):
        moving.push(batch(readings[begin:end]))
        loaded = Windows(WindowOptions(**options))
        loaded.load_state(moving.save_state())
        moving = loaded
    assert bytes_of(moving) == bytes_of(whole)
    assert (moving.counts, moving.assets, moving.channels) == (whole.counts, whole.assets, whole.channels)


@settings(max_examples=examples(100), deadline=None)
@given(options=SETTINGS, readings=st.one_of(streams(), polls(), paces()), frozen=st.booleans())
def test_a_batch_is_ordered(options: dict[str, Any], readings: list[Reading], frozen: bool) -> None:
    """Windows of a batch are ordered by position, then asset row, then end."""
    windows = Windows(WindowOptions(**options | {"max_channels": 4}))
    windows.set_channels(named(["pressure", "flow"], options) if frozen else [], frozen=frozen)
    part = windows.push(batch(readings))
    keys = list(zip(part.position.tolist(), part.assets.tolist(), part.ends.tolist(), strict=True))
    assert keys == sorted(set(keys))


@settings(max_examples=examples(600), deadline=None)
@given(
    options=SETTINGS,
    limits=FLOODS,
    readings=floods(),
    cuts=CUTS,
    names=st.one_of(st.none(), FROZEN),
    kept=st.sets(st.integers(0, 3), max_size=2),
)
def test_floods_of_assets_match_the_twin(
    *,
    options: dict[str, Any],
    limits: dict[str, int],
    readings: list[Reading],
    cuts: list[int],
    names: list[str] | None,
    kept: set[int],
) -> None:
    """Assets are admitted, refused and evicted as in the twin, however the stream is cut."""
    options = options | limits | {"max_channels": 4}
    twin = NaiveWindows(**options, kept=kept)
    switches: list[Switch] = []
    if names is not None:
        names = named(names, options)
        twin.set_channels(names, frozen=True)
        switches = [(0, names, True)]
    for reading in readings:
        twin.push(reading)
    kept_rows = {row for row in kept if row < options["max_assets"]}
    windows, batches = run(Windows(WindowOptions(**options)), readings, cuts, switches, kept_rows)
    assert windows.counts == twin.counts
    for steps in (0, 2):
        assert windows.not_scored(steps * STEP).keys() == twin.not_scored(steps)
    assert windows.assets == twin.names()
    assert rows_of(batches, len(twin.channels)) == twin_rows(twin)


@settings(max_examples=examples(200), deadline=None)
@given(options=SETTINGS, limits=FLOODS, readings=floods(), cuts=CUTS, frozen=st.booleans())
def test_the_state_in_a_flood_does_not_depend_on_cuts_or_on_moving(
    options: dict[str, Any], limits: dict[str, int], readings: list[Reading], cuts: list[int], frozen: bool
) -> None:
    """The admission level and evicted rows are saved, so any cuts and moves end with the same state, bit by bit."""
    options = options | limits | {"max_channels": 4}
    names = named(CHANNELS[:2], options) if frozen else []
    whole, _ = run(Windows(WindowOptions(**options)), readings, [500], [(0, names, frozen)])
    moving = Windows(WindowOptions(**options))
    moving.set_channels(names, frozen=frozen)
    for begin, end in itertools.pairwise([*begins(len(readings), cuts), len(readings)]):
        walk(moving, batch(readings[begin:end]), ())
        loaded = Windows(WindowOptions(**options))
        loaded.load_state(moving.save_state())
        moving = loaded
    assert bytes_of(moving) == bytes_of(whole)
    assert moving.assets == whole.assets
