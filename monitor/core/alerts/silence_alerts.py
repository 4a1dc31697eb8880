"""Alerts of assets that send nothing new while the rest of their partition goes on.

An asset speaks with each reading that is newer than all of its earlier ones. Repeated readings, duplicates and a driver
that sends old times again are no speech. The alert fires once the partition has gone on for the asset's delay without
it, and is resolved when the asset speaks again. docs/decisions/0033-silence.md has the reasons.

**Going time.** Silence is measured on a clock of the partition that no message can move far: each advance of the
partition's time (the largest time of any reading so far, also of other detectors' assets) counts with at most a quarter
of `silence_ms`. So after a pause of the whole partition the first asset that speaks does not make all others silent.

**Delay.** At least `silence_ms`, and 1.5 times the third longest pause of the asset within the last two to four weeks.
A pause that has come three times is usual, so an asset that speaks every 10 minutes, or rests every night, is not
silent each time. A single outage of days changes nothing. An asset is judged once it has spoken in four different
eighths of `silence_ms`, so that names that come once have no alert.

Guaranteed: alerts and state are a function of the sequence of readings, however it is cut into batches. Only pauses
longer than two thirds of `silence_ms`, and assets that become silent, are handled one by one.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from monitor.core.alerts.lifecycle import Lifecycle, Observation, warning
from monitor.core.alerts.stage import load_with_columns
from monitor.core.arrays import FARTHEST, NEVER, first_of_run, last_of_run, run_max
from monitor.core.records import SILENCE, Alert, Bools, Partition, State, Times
from monitor.core.state import Column, Columns
from monitor.core.windows.heard import Heard

NAME = "silence alerts"
ABSENT, STALE = "absent", "stale"  # nothing comes; what comes is not newer than the last reading

ENOUGH = 4  # eighths of `silence_ms` in which an asset must have spoken before it is judged
ADVANCE_MS = 75_000  # counts at most for one advance of the partition's time where no asset becomes silent
PAUSES = 3  # the third longest pause is usual
EPOCH_MS = 14 * 86_400_000  # pauses are kept for one to two epochs

_TABLE = {
    "newest": Column("i8", fill=NEVER),  # largest time of the asset's readings
    "heard": Column("i8", fill=NEVER),  # going time when the asset spoke last; NEVER = not yet
    "heard_at": Column("i8", fill=NEVER),  # the partition's time then
    "echo": Column("i8", fill=NEVER),  # going time of the asset's last reading, news or not
    "parts": Column("i8", low=0, high=ENOUGH),  # eighths in which it has spoken
    "planned": Column("?"),  # the present silence is expected, and no alert
    "pauses": Column("i8", ("A", PAUSES), low=0),  # longest pauses of this epoch
    "earlier": Column("i8", ("A", PAUSES), low=0),  # and of the one before
    "clocks": Column("i8", (2,)),  # going time, and the partition's time
}

# Whether an asset (its row) that last spoke at this time of the partition did not run then, so that its silence is
# expected. Asked once for each silence.
Expected = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class _News:
    """Readings (n,) that are newer than all earlier ones of their asset, ordered by asset row, then place."""

    row: Times
    place: Times
    time: Times
    before: Times  # going time when the asset spoke before; NEVER = it had not
    before_at: Times  # the partition's time then
    parts: Times  # eighths in which the asset had spoken before


def nothing_expected(row: int, heard_at: int) -> bool:  # noqa: ARG001 - an Expected
    """Return False: no asset is off."""
    return False


class SilenceAlerts:
    """The silent assets of one partition."""

    def __init__(self, detector: str, partition: Partition, silence_ms: int) -> None:
        """Use the delay `silence_ms`; 0 = no asset becomes silent, and open alerts end when their assets speak."""
        self._least_ms = silence_ms or FARTHEST
        self._advance_ms = silence_ms // 4 or ADVANCE_MS
        self._lifecycle = Lifecycle(NAME, detector, partition, on_delay_ms=0, off_delay_ms=0, gap_ms=None)
        self._columns = Columns(NAME, _TABLE)
        self._going = 0
        self._clock = NEVER
        self._delay = np.empty(0, np.int64)  # (A,) from the pauses
        self._silent = np.empty(0, np.bool_)  # (A,) with an open alert

    @property
    def newest(self) -> Times:
        """Return the time (A,) of each asset's newest reading; NEVER = none."""
        newest: Times = self._columns["newest"][: self._columns.rows]
        return newest

    @property
    def clock(self) -> int:
        """Return the partition's time, the largest of any reading, for this stage and others; NEVER = no reading."""
        return self._clock

    @property
    def going(self) -> int:
        """Return the going time in ms since the partition's first reading."""
        return self._going

    def update(
        self,
        heard: Heard,
        names: Sequence[str],
        model: str,
        expected: Expected = nothing_expected,
        muted: Bools | None = None,
    ) -> list[Alert]:
        """Return the records that these readings cause, in order.

        Args:
            heard: The readings. No silence begins where machines are judged by alerts of not running.
            names: Of asset rows.
            model: Version, for the records.
            expected: Asked once for each silence; the answer holds until the asset speaks.
            muted: Assets (A,) that have no alert of silence now; None = none of them.
        """
        self._reserve(len(names))
        muted = np.zeros(len(names), np.bool_) if muted is None else muted
        alerts: list[Alert] = []
        for part, going in self._parts(heard):
            events = [*self._take(part, going, muted, expected), *self._fall_silent(part, going, muted, expected)]
            self._columns["echo"][part.row] = going[part.place]  # of several of an asset the last one counts
            # By place, then row, so that the order of records does not depend on how batches are cut.
            alerts += [self._publish(event, names[event.row], model) for event in sorted(events)]
        return alerts

    def end(self, row: int, position: int, model: str) -> list[Alert]:
        """Return the resolution, at `position`, of the alert of an asset that is evicted or not watched any more."""
        life = self._lifecycle.life(row)
        if life is None:
            return []
        self._silent[row] = False
        return [self._publish(_Event(0, row, True, life.start, self._clock, position, life.fault), life.asset, model)]

    def _parts(self, heard: Heard) -> Iterator[tuple[Heard, Times]]:
        """Yield the batch, cut where an epoch ends, each part with its going time (N,)."""
        if not len(heard.passed):
            return
        clock = np.maximum(np.maximum.accumulate(heard.passed), self._clock)
        heard = replace(heard, passed=clock)  # from here on the partition's time at each reading
        previous = clock[0] if self._clock == NEVER else self._clock
        advance = np.minimum(np.diff(clock, prepend=previous), self._advance_ms)
        going = self._going + np.cumsum(advance)

        before, turned = self._going // EPOCH_MS, np.zeros(1, np.int64)
        if going[-1] // EPOCH_MS > before:  # next to never
            turned = np.diff(going // EPOCH_MS, prepend=before)
        begins = np.flatnonzero(turned).tolist()
        if begins[:1] != [0]:
            begins = [0, *begins]
        for begin, end in itertools.pairwise([*begins, len(going)]):
            if turned[begin]:
                self._turn(int(turned[begin]))
            yield heard.part(begin, end), going[begin:end]
        self._going, self._clock = int(going[-1]), int(clock[-1])

    def _turn(self, epochs: int) -> None:
        """Forget the pauses that are older than an epoch."""
        pauses, earlier = self._columns["pauses"], self._columns["earlier"]
        earlier[:] = pauses if epochs == 1 else 0
        pauses[:] = 0
        self._delay = self._delays(0, self._columns.rows)

    def _take(self, heard: Heard, going: Times, muted: Bools, expected: Expected) -> "list[_Event]":
        """Note the assets that speak. Return the silences that end within the batch, and the beginnings of these."""
        if not len(heard.row):
            return []
        news, columns = self._news(heard, going), self._columns
        spoke = going[news.place]
        gap = np.where(news.before == NEVER, 0, spoke - news.before)

        # Long pauses, one by one: each may begin or end a silence, and makes later ones usual.
        events: list[_Event] = []
        for at in np.flatnonzero((gap * 3 > self._least_ms * 2) | self._silent[news.row]).tolist():
            row, place, since = int(news.row[at]), int(news.place[at]), int(news.before_at[at])
            begin = heard.unjudged(int(np.searchsorted(going, news.before[at] + self._delay[row])))
            judged = news.parts[at] >= ENOUGH and not columns["planned"][row] and not muted[row]
            if judged and not self._silent[row] and begin < place and not expected(row, since):
                events.append(self._begin(row, int(news.before[at]), since, heard, going, begin))
            if self._silent[row]:
                events.append(_Event(place, row, True, since, int(heard.passed[place]), int(heard.offset[place]), ""))
            self._silent[row] = columns["planned"][row] = False
            if gap[at] * 3 > self._least_ms * 2:
                self._remember(row, int(gap[at]))

        last = last_of_run(news.row)
        rows = news.row[last]
        columns["newest"][rows] = news.time[last]
        columns["heard"][rows] = spoke[last]
        columns["heard_at"][rows] = heard.passed[news.place[last]]
        columns["parts"][rows] = np.minimum(news.parts + self._new_part(news.before, spoke), ENOUGH)[last]
        columns["planned"][rows] = False
        return events

    def _news(self, heard: Heard, going: Times) -> _News:
        """Return the readings with which assets speak."""
        # Of a message's readings of one time only the first can be news.
        fresh = first_of_run(heard.row)
        fresh[1:] |= heard.time[1:] != heard.time[:-1]
        fresh &= heard.time > self._columns["newest"][heard.row]
        row, time, place = heard.row[fresh], heard.time[fresh], heard.place[fresh]

        # By asset: newer than all before within the batch, too.
        order = np.argsort(row.astype(np.uint16), kind="stable")
        row, time, place = row[order], time[order], place[order]
        highest = np.append(NEVER, run_max(row, time)[:-1])
        newer = first_of_run(row) | (time > highest)
        row, time, place = row[newer], time[newer], place[newer]

        first = first_of_run(row)
        before = np.where(first, self._columns["heard"][row], np.append(NEVER, going[place][:-1]))
        before_at = np.where(first, self._columns["heard_at"][row], np.append(NEVER, heard.passed[place][:-1]))

        # Eighths before each news: those of the state and those of earlier news of the batch.
        parts = self._columns["parts"][row]
        if len(row) and parts.min() < ENOUGH:
            steps = np.cumsum(self._new_part(before, going[place]))
            begin = np.maximum.accumulate(np.where(first, np.arange(len(row)), 0))
            parts = np.minimum(parts + np.append(0, steps[:-1]) - np.append(0, steps)[begin], ENOUGH)
        return _News(row, place, time, before, before_at, parts)

    def _new_part(self, before: Times, going: Times) -> Times:
        """Return 1 (n,) where an asset speaks in another eighth than before, otherwise 0."""
        part = max(1, self._least_ms // 8)
        new: Times = ((before == NEVER) | (going // part > before // part)).astype(np.int64)
        return new

    def _fall_silent(self, heard: Heard, going: Times, muted: Bools, expected: Expected) -> "list[_Event]":
        """Return the silences that begin in the batch and last beyond it."""
        columns, rows = self._columns, self._columns.rows
        if heard.unjudged(0) == len(going):
            return []
        due = columns["heard"][:rows] + self._delay
        late = (due <= going[-1]) & (columns["parts"][:rows] >= ENOUGH) & ~self._silent & ~columns["planned"][:rows]
        late &= ~muted[:rows]
        events = []
        for row in np.flatnonzero(late).tolist():
            since = int(columns["heard_at"][row])
            begin = heard.unjudged(int(np.searchsorted(going, due[row])))
            if begin == len(going):
                continue
            if expected(row, since):
                columns["planned"][row] = True
                continue
            events.append(self._begin(row, int(columns["heard"][row]), since, heard, going, begin))
        return events

    def _begin(  # noqa: PLR0917 - of the row, then of the batch
        self, row: int, before: int, since: int, heard: Heard, going: Times, place: int
    ) -> "_Event":
        """Return the beginning of a silence at `place`, of an asset that last spoke at going time `before`."""
        own = heard.place[heard.row == row]
        earlier = int(np.searchsorted(own, place))
        echo = going[own[earlier - 1]] if earlier else self._columns["echo"][row]
        self._silent[row] = True
        delay = int(self._delay[row])
        fault = STALE if 2 * (echo - before) > delay else ABSENT
        return _Event(place, row, False, since, int(heard.passed[place]), int(heard.offset[place]), fault, delay)

    def _publish(self, event: "_Event", asset: str, model: str) -> Alert:
        """Take a beginning or an end, and return its record."""
        silent_s = (event.end - event.start) / 1000
        delay_s = event.delay_ms / 1000
        if event.over:
            life = self._lifecycle.life(event.row)
            assert life is not None and life.alert is not None, "a silence fires when it begins"  # noqa: PT018
            delay_s = life.alert.threshold

        seen = Observation(
            row=event.row,
            asset=asset,
            sensor="",
            fault=event.fault,
            start=event.start,
            end=event.end,
            position=event.position,
            ratio=silent_s / delay_s,
            active=True,
            quiet_from=None,
        )

        change = self._lifecycle.observe(seen)
        if event.over:  # the alert lasted until now, and ends
            change = self._lifecycle.observe(seen._replace(active=False, quiet_from=event.end))
        assert change is not None, "there are no delays, so each observation changes the alert"
        return self._lifecycle.publish(change, warning(SILENCE, silent_s, delay_s, model))

    def _remember(self, row: int, pause_ms: int) -> None:
        """Note a pause; if it is among the longest, the delay may grow."""
        pauses = self._columns["pauses"][row]
        shortest = int(pauses.argmin())
        if pause_ms > pauses[shortest]:
            pauses[shortest] = pause_ms
            pauses.sort()
            self._delay[row] = self._delays(row, row + 1)[0]

    def _delays(self, begin: int, end: int) -> Times:
        """Return the delay of rows from `begin` to before `end`."""
        both = np.concatenate((self._columns["pauses"][begin:end], self._columns["earlier"][begin:end]), axis=1)
        usual = np.sort(both, axis=1)[:, -PAUSES]
        delays: Times = np.maximum(self._least_ms, usual * 3 // 2)
        return delays

    def _reserve(self, rows: int) -> None:
        known = self._columns.rows
        if rows > known:
            self._columns.reserve(rows)
            self._delay = np.append(self._delay, np.full(rows - known, self._least_ms))
            self._silent = np.append(self._silent, np.zeros(rows - known, np.bool_))

    def _restore(self) -> None:
        """Set what follows from the columns and the open alerts."""
        self._delay = self._delays(0, self._columns.rows)
        self._silent = np.zeros(self._columns.rows, np.bool_)
        self._silent[self._lifecycle.rows()] = True

    def states(self) -> dict[int, str]:
        """Return the fault of each silent asset by row."""
        rows = np.flatnonzero(self._silent).tolist()
        return {row: life.fault for row in rows if (life := self._lifecycle.life(row)) is not None}

    def open_alerts(self) -> list[Alert]:
        """Return the record published last of every open alert, by asset row."""
        return self._lifecycle.open_alerts()

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset. An open alert was ended by `end`."""
        self._columns.clear(row)
        self._lifecycle.clear(row)
        if row < len(self._silent):
            self._silent[row] = False
            self._delay[row] = self._least_ms

    def save_state(self) -> State:
        """Return the state as arrays, for `load_state`."""
        clocks = np.array([self._going, self._clock], np.int64)
        return {**self._columns.save(clocks=clocks), **self._lifecycle.save_state()}

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError, and changes nothing, if the state does not fit."""
        load_with_columns(NAME, state, self._columns, self._lifecycle)
        self._going, self._clock = (int(number) for number in state["clocks"])
        self._restore()


class _Event(NamedTuple):
    """The beginning of a silence, or its end."""

    place: int  # in the part of the batch
    row: int
    over: bool
    start: int  # ms UTC: the partition's time when the asset last spoke
    end: int  # and at the reading that causes the event
    position: int  # offset of that reading
    fault: str
    delay_ms: int = 0  # of a beginning
