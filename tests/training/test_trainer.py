"""When models are trained, and what follows from how it ended."""

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from monitor.core.fitting.exclude import Span
from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.records import Alert, Partition
from monitor.store.base import StoreUnavailable
from monitor.training import trainer
from monitor.training.trainer import LOOK_S, RETRY_S
from monitor.training.trainers import Backlog
from tests.core.machines import CHANNELS, FAST, STEP, L, history, model, rows
from tests.rig import READINGS, put_model, until
from tests.training.training import INTERVAL_S, made_in, rig


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the folders of children are made; at the end of each test none is left."""
    where = tmp_path / "folders"
    where.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(where))
    yield where
    assert not made_in(where)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def incident() -> History:
    """A history that lies within an alert from its beginning to its end."""
    made = history(rows(400))
    for asset in ("a", "b"):
        made.note(
            [
                Alert(
                    *("x", asset, "firing", 0, None, 0, "warning", 2.0, 1.0, 2.0, 2.0, ()),
                    *("m", "d", READINGS, 0, 0, 0),
                )
            ]
        )
    return made


@pytest.mark.parametrize(("needed", "due"), [(248, False), (240, True)])
def test_the_first_training_waits_for_the_median_asset(store: Path, needed: int, due: bool) -> None:
    """It begins once half of the assets, over all partitions, have given the steps that are needed."""
    short, long = history(rows(80)), history(rows(400))
    with rig(store, [short, long], first_steps=needed) as it:
        it.tick()
        assert (it.trainer.status.steps, it.trainer.status.needed) == ((80 + 400) // 2, needed)
        assert it.trainer.status.share == min(1, 240 / needed)
        assert it.running() is it.trainer.first_running is due


def test_the_first_training_waits_for_partitions_that_are_behind(store: Path) -> None:
    """While a partition has more to read and has not given enough itself, the first model waits for it."""
    short, long = history(rows(80)), history(rows(400))
    with rig(store, [short, long], first_steps=240) as it:
        empty = History(HistoryOptions(budget=9, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
        assert [it.trainer.enough(each) for each in (short, long, empty)] == [False, True, False]
        it.trainers.tick({"test": it.held()}, dict.fromkeys(it.held(), Backlog(0, {})))
        assert it.trainer.status.share == 1
        assert not it.running()
        it.tick()
        assert it.running()


def test_a_follower_never_trains(store: Path) -> None:
    """Whoever does not hold the group's first partition trains neither the first model nor a later one."""
    with rig(store, leads=lambda held: Partition("other", 0) in held) as it:
        it.tick()
        assert (it.trainer.learning, it.trainer.status.share, it.running()) == (True, 1, False)
        put_model(store)
        it.tick(INTERVAL_S)
        it.tick(INTERVAL_S)
        assert (it.trainer.learning, it.running()) == (False, False)


def test_a_new_leader_goes_by_the_model_of_the_last(store: Path) -> None:
    """Who becomes the trainer after another has made a model trains an interval after that model, not at once."""
    held: list[bool] = []
    with rig(store, leads=lambda _: bool(held)) as it:
        put_model(store)
        it.tick()
        put_model(store, replace(model(), channels=tuple(reversed(model().channels))))
        it.tick(INTERVAL_S)
        it.models.note_training(it.wall_ms())
        held.append(True)
        it.tick(INTERVAL_S - 1)
        assert not it.running()
        it.tick(1)
        assert it.running()


def test_histories_of_other_partitions_count(store: Path) -> None:
    """The first model waits for the history of the whole group, looked up once a minute, and learns from all of it."""
    others: list[History] = [history(rows(80))]
    asked: list[set[Partition]] = []

    def elsewhere(mine: Collection[Partition]) -> Iterator[History]:
        asked.append(set(mine))
        return iter(others)

    with rig(store, [history(rows(240))], first_steps=320, elsewhere=elsewhere) as it:
        it.tick()
        assert (it.trainer.status.steps, it.running()) == (160, False)
        others[:] = [history(rows(480))]
        it.tick(LOOK_S - 1)
        assert it.trainer.status.steps == 160
        with structlog.testing.capture_logs() as lines:
            it.tick(1)
        assert (it.trainer.status.steps, it.running()) == (360, True)
        (begun,) = [line for line in lines if line["event"] == "training started"]
        assert begun["blocks"] == sum(len(each.normal()) for each in [*it.histories, *others])
        assert asked[0] == set(it.held())


def test_the_time_left_follows_the_pace(store: Path) -> None:
    """The time until the history suffices follows from the rate so far, and is unknown before there is one."""
    with rig(store, [], first_steps=320) as it:
        it.tick()
        assert it.trainer.status.eta_s is None
        it.histories = [history(rows(32))]
        it.tick(5)
        assert it.trainer.status.eta_s is None
        it.histories = [history(rows(64))]
        it.tick(8)
        assert it.trainer.status.eta_s == pytest.approx((320 - 64) / 4)


def test_a_candidate_that_passes_becomes_the_model_in_use(store: Path) -> None:
    """The first model is stored with its origin and made current when the child ends; the next is an interval later."""
    with rig(store, recipe=FAST) as it, structlog.testing.capture_logs() as lines:
        it.tick()
        assert (it.trainer.learning, it.trainer.first_running) == (True, True)
        seen: set[float] = set()
        until(lambda: it.tick() or seen.add(it.trainer.status.progress) or not it.running())  # type: ignore[func-returns-value]
        version = it.models.current()
        assert version is not None
        assert it.trainer.status.result == f"adopted: {version}"
        assert (it.runs("adopted"), it.trainer.first_running) == (1, False)
        scorer = it.library.in_use()
        assert scorer is not None
        assert scorer.model.version == version
        assert {0.0} < seen <= {n / 1000 for n in range(1001)}
        manifest = it.models.get(version).manifest
        assert manifest["training"]["parent"] is None
        assert manifest["training"]["to_ms"] == (400 - 1) * STEP
        assert [line["windows"] for line in lines if line["event"] == "training ended"] == [
            manifest["training"]["windows"]
        ]
        it.tick(INTERVAL_S - 1)
        assert not it.trainer.learning
        assert not it.running()
        it.tick(1)
        assert it.running()


def test_a_later_training_comes_after_the_interval(store: Path) -> None:
    """With a model in use nothing is trained before the interval is over, and then with that model as a start."""
    version = put_model(store)
    with rig(store) as it:
        it.tick()
        it.tick(INTERVAL_S - 1)
        assert not it.trainer.learning
        assert not it.running()
        it.tick(1)
        assert it.running()
        assert not it.trainer.first_running
        assert f'"incumbent": "{version}"' in next((store.parent / "folders").glob("*/job.json")).read_text()


def test_the_interval_outlives_the_process(store: Path) -> None:
    """Processes that are restarted more often than the interval train when it is over, and then not at each restart."""
    put_model(store)
    running, seconds = [], 0.38 * INTERVAL_S
    for run in range(9):  # from 0 to 3 intervals
        with rig(store) as it:
            it.clock.now += run * seconds
            it.tick()
            running.append(it.running())
            if not running[-1]:
                it.tick(seconds / 2)
                assert not it.running()
    assert running == [run in {3, 6} for run in range(9)]


def test_a_clock_set_back_costs_one_interval(store: Path) -> None:
    """A training that the clock says is yet to come counts as one that begins now, for this process and the next."""
    put_model(store)
    with rig(store) as it:
        it.tick()
    for running in (False, True):
        with rig(store) as it:
            it.skew_ms = -int(300 * INTERVAL_S * 1000)
            it.clock.now += INTERVAL_S * (2 if running else 1)
            it.tick()
            assert it.running() is running


def test_a_training_that_ends_the_worker_is_not_begun_again(store: Path) -> None:
    """That it begins is noted before histories are read: out of memory there, the next process waits an interval."""
    put_model(store)

    def deadly(_: Collection[Partition]) -> Iterator[History]:
        raise MemoryError

    with rig(store, elsewhere=deadly) as it:
        it.tick()
        with pytest.raises(MemoryError):
            it.tick(INTERVAL_S)
        now = it.clock.now
    with rig(store) as it:
        it.clock.now = now
        it.tick()
        assert not it.running()


def test_a_store_that_is_away_puts_training_off(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store cannot tell when the last training began none begins; it is asked again RETRY_S later."""
    put_model(store)
    with rig(store) as it:
        it.tick()
        asked: list[float] = []

        def away() -> int:
            asked.append(it.clock.now)
            raise StoreUnavailable("store", "no route")

        it.clock.now += INTERVAL_S
        with monkeypatch.context() as patch:
            patch.setattr(it.models, "training_begun_ms", away)
            it.tick()
            it.tick(RETRY_S - 1)
        assert (asked, it.running()) == ([it.clock.now - (RETRY_S - 1)], False)
        it.tick(1)
        assert it.running()


def test_a_training_that_could_not_be_noted_is_tried_again(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the store goes away just as a training is due it has failed, and RETRY_S later it begins."""
    put_model(store)
    with rig(store) as it:
        it.tick()

        def away(_: int) -> None:
            raise StoreUnavailable("store", "no route")

        with monkeypatch.context() as patch:
            patch.setattr(it.models, "note_training", away)
            it.tick(INTERVAL_S)
        assert it.trainer.status.result == "failed: the store is away: store: no route"
        it.tick(RETRY_S - 1)
        assert not it.running()
        it.tick(1)
        assert it.running()


def test_each_history_that_is_read_is_a_sign_of_life(store: Path) -> None:
    """Many partitions take long to read; after each of them the loop says that it lives."""
    with rig(store, [history(rows(400))] * 3, elsewhere=lambda _: iter([history(rows(400))])) as it:
        it.tick()
        assert it.running()
        assert it.beats == 4


def test_the_history_of_many_partitions_is_thinned(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all partitions have given is thinned until it takes no more than its share of the child's memory."""
    given = [history(rows(400)) for _ in range(4)]
    blocks, size = sum(len(each.normal()) for each in given), L * (5 * len(CHANNELS) + 16)
    monkeypatch.setattr(trainer, "CORPUS_SHARE", 65_536 * 2**20 // (blocks * size * 3 // 10))
    with rig(store, given[:2], elsewhere=lambda _: iter(given[2:])) as it, structlog.testing.capture_logs() as lines:
        it.tick()
        assert it.running()
    (begun,) = [line for line in lines if line["event"] == "training started"]
    assert blocks // 5 < begun["blocks"] <= blocks * 3 // 10


def test_with_an_interval_of_0_only_the_first_is_trained(store: Path) -> None:
    """Without an interval a model in use is never retrained."""
    put_model(store)
    with rig(store, interval_s=0.0) as it:
        for _ in range(3):
            it.tick(INTERVAL_S)
            assert not it.running()


def test_times_to_leave_out_are_read_before_each_training(store: Path) -> None:
    """A file of times that cannot be read fails the training with its reason; once mended, the times are left out."""
    faults = [ValueError("spans.jsonl: line 2: end: found none, expected ms UTC")]

    def spans() -> tuple[Span, ...]:
        if faults:
            raise faults.pop()
        return (Span("*", 0, 160 * STEP),)

    with rig(store, spans=spans) as it:
        it.tick()
        assert it.trainer.status.result == "failed: spans.jsonl: line 2: end: found none, expected ms UTC"
        with structlog.testing.capture_logs() as log:
            it.tick(RETRY_S)
            assert it.finish().startswith("adopted")
        (ended,) = [entry for entry in log if entry["event"] == "training ended"]
        assert ended["left_out"] == "excluded span 0.1 h"
        assert ended["dropped_channels"] == "none"
        report = it.models.learned(it.models.versions()[0])
        assert report is not None
        assert report["hours"]["excluded span"] == pytest.approx(20 * L * STEP / 3_600_000, abs=1e-3)
        assert report["fits_worst"]
        for worst in report["fits_worst"]:
            assert f"{worst['start']} to {worst['end']} ({worst['score']:g})" in ended["fits_worst"]


def test_a_failed_first_training_is_tried_again(store: Path) -> None:
    """Without normal history there is nothing to train on; RETRY_S later it is tried again."""
    with rig(store, [incident()]) as it:
        it.tick()
        assert it.trainer.status.result == "failed: there is no normal history to train on"
        it.tick(RETRY_S - 1)
        assert it.runs("failed") == 1
        it.tick(1)
        assert it.runs("failed") == 2
        it.histories = [history(rows(400))]
        it.tick(RETRY_S)
        assert it.running()


def test_a_refused_candidate_changes_nothing(store: Path) -> None:
    """A candidate that does not pass the gate is neither stored nor adopted, and the reason is logged."""
    version = put_model(store)
    with rig(store, margin=-10.0) as it:
        it.tick()
        it.tick(INTERVAL_S)
        result = it.finish()
        assert result.startswith("refused: held-out loss ")
        assert it.runs("refused") == 1
        assert it.models.versions() == [it.models.current()] == [version]
        it.tick(INTERVAL_S - 1)
        assert not it.running()


def test_a_training_that_cannot_begin_has_failed(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for the history in the temporary folder the run has failed, and the loop goes on."""
    with rig(store) as it:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        it.tick()
        assert it.trainer.status.result.startswith("failed: it could not be started: ")
        assert not it.trainer.first_running


@pytest.mark.slow
def test_a_model_that_cannot_be_made_current_is_a_failed_run(store: Path) -> None:
    """If the store goes away while the child trains, the run has failed, and nothing else happens."""
    with rig(store) as it:
        it.tick()
        until(lambda: it.trainer._child is None or it.trainer._child.poll() is not None)
        for file in store.rglob("weights.safetensors"):
            file.write_bytes(b"")
        it.tick()
        assert "could not be made current" in it.trainer.status.result
        assert it.models.current() is None


def test_nothing_is_trained_where_that_is_switched_off(store: Path) -> None:
    """With training disabled there is no child, whatever the history, and no wait for a first model."""
    with rig(store, enabled=False) as it:
        for _ in range(3):
            it.tick(INTERVAL_S)
        assert not it.running()
        assert not it.trainer.learning
