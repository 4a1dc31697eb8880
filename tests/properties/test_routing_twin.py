"""Routing by asset, group and channel gives what asking the globs for each reading gives."""

from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core import routing
from monitor.core.decode.select import Globs
from monitor.core.records import ReadingBatch, Unwanted
from monitor.core.routing import Route, Router

ASSETS, CHANNELS, GROUPS = ("a1", "a2", "b1", "c"), ("flow", "temp", "x.y"), ("", "pump", "fan")
Row = tuple[str, str, str]  # asset, group, channel


def globs(names: tuple[str, ...]) -> st.SearchStrategy[Globs]:
    some = st.lists(st.sampled_from([*names, "*", "a*", "?1", "p*", "f*", "[!a]*"]), max_size=2).map(tuple)
    return st.builds(Globs, some, some)


WATCHED = st.lists(st.sampled_from(CHANNELS), max_size=1).map(tuple)
ROUTES = st.lists(st.builds(Route, globs(ASSETS), globs(GROUPS), globs(CHANNELS), WATCHED), min_size=1, max_size=4)
ROWS = st.lists(st.tuples(*(st.sampled_from(names) for names in (ASSETS, GROUPS, CHANNELS))), max_size=40)


def batch(rows: list[Row], *, grouped: bool) -> ReadingBatch:
    """Readings whose value is their place."""
    tables = [tuple(dict.fromkeys(column)) for column in zip(*rows, strict=True)] or [(), (), ()]
    codes = [np.array([table.index(row[at]) for row in rows], np.int32) for at, table in enumerate(tables)]
    places = np.arange(len(rows))
    times = places * 7 % 5 + places // 8  # some of them late
    readings = ReadingBatch(tables[0], tables[2], codes[0], codes[2], times, places.astype(np.float64), places)
    return replace(readings, groups=tables[1], group=codes[1]) if grouped else readings


def wants(given: Globs, name: str) -> bool:
    """Ask each glob."""
    included = not given.include or any(fnmatchcase(name, glob) for glob in given.include)
    return included and not any(fnmatchcase(name, glob) for glob in given.exclude)


def named(readings: ReadingBatch) -> list[tuple[str, str, int]]:
    assets, channels = (
        [names[code] for code in codes.tolist()]
        for names, codes in ((readings.assets, readings.asset), (readings.channels, readings.channel))
    )
    return list(zip(assets, channels, readings.value.astype(int).tolist(), strict=True))


@pytest.mark.parametrize("marked", [0, 2**22])
@given(routes=ROUTES, rows=st.lists(ROWS, min_size=1, max_size=3), grouped=st.booleans())
def test_each_detector_gets_the_readings_that_its_globs_want(
    marked: int, routes: list[Route], rows: list[list[Row]], grouped: bool
) -> None:
    """Of all batches of a stream, in both ways to find pairs; what none wants is counted by asset and group."""
    router = Router({str(at): route for at, route in enumerate(routes)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, "_MARKED", marked)
        for part in rows:
            sent = part if grouped else [(asset, "", channel) for asset, _, channel in part]
            routed = router.route(batch(sent, grouped=grouped))
            _check(routes, sent, routed)


def _check(routes: list[Route], rows: list[Row], routed: routing.Routed) -> None:
    """Compare with the twin."""
    times = batch(rows, grouped=False).time.tolist()
    moving = [at for at, time in enumerate(times) if time > max(times[:at], default=-1)]
    of_asset = [{(a, g) for a, g, _ in rows if wants(route.assets, a) and wants(route.groups, g)} for route in routes]
    for route, pairs, readings in zip(routes, of_asset, routed.readings, strict=True):
        read = {c for _, _, c in rows if wants(route.channels, c) or c in route.watched}
        expected = [(a, c, at) for at, (a, g, c) in enumerate(rows) if (a, g) in pairs and c in read]
        assert named(readings) == expected
        assert readings.assets == tuple(dict.fromkeys(asset for asset, _, _ in expected))
        own = [at for _, _, at in expected]
        passing = sorted({*own, *moving})
        assert readings.stream.offset.tolist() == passing
        assert readings.stream.place.tolist() == [passing.index(at) for at in own]
        assert readings.stream.time.tolist() == [times[at] for at in passing]

    lost = [(a, g) for a, g, _ in rows if not any((a, g) in pairs for pairs in of_asset)]
    assert list(routed.unwanted) == [Unwanted(a, g, lost.count((a, g))) for a, g in sorted(set(lost))]
    taken = {place for readings in routed.readings for _, _, place in named(readings)}
    assert routed.of_channels == len(rows) - len(lost) - len(taken)
