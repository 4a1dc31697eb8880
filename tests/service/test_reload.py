"""Settings that change while the worker runs: which, when, and what a replay makes of it."""

import logging
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.pipeline import LiveSettings, saved_live
from monitor.core.records import State
from monitor.core.saved import Part, SavedDetectors
from monitor.observe.metrics import Metrics
from monitor.service.pipelines import fingerprint
from monitor.service.reload import Reloader
from monitor.settings.live import ADOPTED, LIVE, RULES, changes, live_settings, rules_of, with_live
from monitor.settings.load import ConfigurationError, load
from monitor.settings.sections import NAMED, fields
from monitor.settings.tree import Settings
from monitor.store.files import open_blobs
from monitor.store.snapshots import Snapshot, Snapshots
from monitor.worker.partition_state import PartitionState
from tests.core.machines import rows
from tests.rig import READINGS, away, feed, only, published, put_model, readings, running, settings, until, values
from tests.rig import committed as committed_offset
from tests.service.reloading import Site
from tests.worker.managing import NEVER, ManagerRig, committed, process, same

SECTIONS = {"channels": {"as": "rate"}, "assets": {"off": True}}
OTHER = {"threshold.margin": 30.0, "alerting.on_delay_s": 0.0}


@pytest.fixture(autouse=True)
def _level() -> Any:
    """The level of the log as it was."""
    loggers = logging.getLogger("monitor"), logging.getLogger()
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def other(key: str) -> Any:
    """A value that differs from the default and is of its type."""
    if key in NAMED:
        return {"x": NAMED[key].model_validate(SECTIONS[key])}
    default = fields()[key].default
    return default + 1 if isinstance(default, int | float) and not isinstance(default, bool) else "changed"


def altered(key: str) -> Settings:
    """The defaults but for one setting; not checked, as it is only compared."""
    part, _, leaf = key.rpartition(".")
    defaults = load(None, {}, {})
    if not part:
        return defaults.model_copy(update={leaf: other(key)})
    return defaults.model_copy(update={part: getattr(defaults, part).model_copy(update={leaf: other(key)})})


@pytest.mark.parametrize("key", [key for key in fields() if key != "detectors"])
def test_every_setting_is_live_or_refused_with_a_reason(key: str) -> None:
    """A setting that differs is either applied, or refused with its name, both values and why."""
    live, refused = changes(load(None, {}, {}), altered(key))
    assert (live, len(refused)) == (([key], 0) if key in LIVE else ([], 1))
    assert all(text.startswith(f"{key}: ") and "restart" in text for text in refused)


@pytest.mark.parametrize("key", [key for key in fields() if key not in {"detectors", *RULES}])
def test_a_refusal_says_whether_the_state_is_lost(key: str) -> None:
    """The refusal of a setting that decides the shape of the state says that the detector begins without state."""
    before, after = load(None, {}, {}), altered(key)
    if key == "threshold.kind":
        after = load(None, {}, {key: "histogram"})
    if key == "windows.aggregate":
        after = load(None, {}, {key: ["mean"]})
    refused = " ".join(changes(before, after)[1])
    assert ("begins without state" in refused) is (fingerprint(before) != fingerprint(after))


@pytest.mark.parametrize("first", [True, False])
def test_the_first_detectors_and_the_last_ones_need_a_restart(first: bool) -> None:
    """The refusal names the detectors before and after, the restart, and which of them keeps its state."""
    without, given = load(None, {}, {}), load(None, {}, {"detectors": [{"name": "pumps"}, {"name": "fans"}]})
    old, new = (without, given) if first else (given, without)
    _, (text,) = changes(old, new)
    names = ["monitor is in force", "restart for pumps fans"] if first else ["pumps fans is in force", "for monitor"]
    assert [word for word in (*names, "named monitor", "keeps its state") if word not in text] == []


def test_a_token_that_was_replaced_is_no_change(tmp_path: Path) -> None:
    """The recorder reads its token's file again by itself, so another token in it does not stop a reload."""
    (tmp_path / "token").write_text("one")
    old = load(None, {}, {"recorder.token_file": str(tmp_path / "token")})
    (tmp_path / "token").write_text("two")
    assert changes(old, load(None, {}, {"recorder.token_file": str(tmp_path / "token")})) == ([], [])
    _, refused = changes(load(None, {}, {"recorder.token": "one"}), load(None, {}, {"recorder.token": "two"}))
    assert "one" not in refused[0]
    assert "two" not in refused[0].partition(": ")[2]


class Desk:
    """A reloader whose file a test writes."""

    def __init__(self, file: Path) -> None:
        self.file, self.metrics, self.turns = file, Metrics(), list[Settings]()
        self.write("")
        self.reloader = Reloader(self.read(), self.read, self.metrics, structlog.stdlib.get_logger("monitor"))

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def read(self) -> Settings:
        return load(self.file, {}, {})

    def reload(self, text: str) -> dict[str, Any]:
        """The line of log that a reload of this text leaves."""
        self.write(text)
        with structlog.testing.capture_logs() as lines:
            self.reloader.reload(self.turns.append)
        (line,) = lines
        return dict(line)

    def counted(self, result: str) -> bool:
        return f'monitor_config_reloads_total{{result="{result}"}} 1.0' in self.metrics.render().decode()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "monitor.toml")


def test_what_is_live_is_applied(desk: Desk) -> None:
    """Level and live settings that differ are in force after a reload, and the log names them."""
    line = desk.reload('[log]\nlevel = "error"\n[threshold]\nmargin = 2.5\n')
    assert (line["event"], line["changed"]) == (
        "configuration reloaded",
        {"threshold.margin": 2.5, "log.level": "error"},
    )
    assert [live_settings(each) for each in desk.turns] == [
        {**live_settings(load(None, {}, {})), "threshold.margin": 2.5}
    ]
    assert logging.getLogger("monitor").level == logging.ERROR
    assert desk.counted("applied")
    assert desk.reload("")["changed"] == {"threshold.margin": 1.4, "log.level": "info"}


def test_one_setting_that_cannot_change_holds_all_back(desk: Desk) -> None:
    """If anything else differs nothing is applied, and the next reload is compared with what is in force."""
    logging.getLogger("monitor").setLevel("INFO")
    line = desk.reload('[log]\nlevel = "error"\n[threshold]\nmargin = 2.5\nmemory = 5000\nwarm = 900\n')
    assert line["result"] == "refused"
    assert [text.partition(":")[0] for text in line["problems"]] == ["threshold.memory", "threshold.warm"]
    assert desk.turns == []
    assert logging.getLogger("monitor").level == logging.INFO
    assert desk.counted("refused")
    assert desk.reload("[threshold]\nmargin = 2.5\n")["changed"] == {"threshold.margin": 2.5}


@pytest.mark.parametrize("text", ["[threshold\n", "[threshold]\nmargin = 0.5\n", "[threshold]\nmragin = 2.5\n"])
def test_a_broken_file_is_refused_as_check_refuses_it(desk: Desk, text: str) -> None:
    """A file that cannot be used changes nothing, and the problems are those that `monitor check` names."""
    line = desk.reload(text)
    assert line["result"] == "invalid"
    with pytest.raises(ConfigurationError) as refused:
        desk.read()
    assert line["problems"] == refused.value.problems
    assert desk.turns == []
    assert desk.counted("invalid")


def test_live_settings_out_of_range_are_refused() -> None:
    """Values that a settings file could not say raise ValueError; unknown ones are left alone."""
    defaults = load(None, {}, {})
    assert with_live(defaults, {"threshold.colour": 3.0}) == defaults
    assert live_settings(with_live(defaults, OTHER)) == {**live_settings(defaults), **OTHER}
    assert rules_of({"assets": {"a": {"off": True}}}).asset("a").off
    for wrong in ({"assets": {"a": {"margin": 0.5}}}, {"channels": {"a": {"least": "5"}}}, {"assets": [1]}):
        with pytest.raises(ValueError, match=r"margin|least|assets"):
            rules_of(wrong)
    with pytest.raises(ValueError, match="margin"):
        with_live(defaults, {"threshold.margin": 0.0})


def rig(path: Path, **overrides: object) -> ManagerRig:
    return ManagerRig(path, settings(path, **overrides))


def faulty() -> Any:
    batch = rows(300)
    batch[1, 260:, 1] += 8.0
    return readings(batch)


def in_force(state: PartitionState) -> dict[str, float]:
    return {key: value for key, value in only(state).live.items() if key in OTHER}


def test_a_replay_uses_the_live_settings_of_its_snapshot(tmp_path: Path) -> None:
    """What is read again after a restart gives the very same alerts, though other settings are in force by now."""
    put_model(tmp_path)
    sent = faulty()
    before = rig(tmp_path)
    state = before.manager.assign(READINGS, None, NEVER)
    process(state, sent[:400])
    before.manager.write_snapshot(committed(state))
    whole = process(state, sent[400:])
    assert [alert.state for alert in whole.alerts] == ["firing"]

    after = rig(tmp_path, threshold__margin=30.0, alerting__on_delay_s=0.0)
    again = after.manager.assign(READINGS, 600, NEVER)
    assert in_force(again) == {"threshold.margin": 1.4, "alerting.on_delay_s": 3.0}
    assert same(process(again, sent[400:]), whole)
    assert not after.manager.up_to_date(again)


def test_live_settings_are_adopted_with_a_snapshot_that_names_them(tmp_path: Path) -> None:
    """At a checkpoint the live settings change together with a snapshot; the state and the model stay as they were."""
    version = put_model(tmp_path)
    sent = faulty()
    first = rig(tmp_path)
    state = first.manager.assign(READINGS, None, NEVER)
    process(state, sent[:460])  # scores came since a percentile was computed: one computed too early would show
    first.manager.write_snapshot(committed(state))
    before = only(state).save_state()

    turned_to = rig(tmp_path, threshold__margin=30.0, alerting__on_delay_s=0.0)
    turned_to.adopt(state, only(state).scorer)
    assert in_force(state) == OTHER
    assert turned_to.newest() == (460, version)
    after = only(state).save_state()
    assert saved_live(after) == only(state).live
    assert {name for name in before if before[name].tobytes() != after[name].tobytes()} == {"live"}
    whole = process(state, sent[460:])
    assert whole.thresholds is not None

    again = first.manager.assign(READINGS, 600, NEVER)  # another worker, not told yet
    assert in_force(again) == OTHER
    assert same(process(again, sent[460:]), whole)


def test_an_alarm_budget_is_taken_up_and_given_up(tmp_path: Path) -> None:
    """A budget added by a reload starts with nothing seen and is logged; removed again, it leaves nothing."""
    put_model(tmp_path)
    state = rig(tmp_path).manager.assign(READINGS, None, NEVER)
    process(state, faulty()[:460])
    with structlog.testing.capture_logs() as lines:
        rig(tmp_path, alerting__alarms_per_day=5.0).adopt(committed(state), only(state).scorer)
    assert [line["asset_days"] for line in lines if line["event"] == "alarm budget forecast"] == [0.0]
    process(state, faulty()[460:])
    assert only(state).save_state()["budget.alarms"].shape[0] == 2
    rig(tmp_path).adopt(committed(state), only(state).scorer)
    assert not [name for name in only(state).save_state() if name.startswith("budget.")]


def test_no_live_settings_are_adopted_while_the_store_is_away(tmp_path: Path) -> None:
    """Without its snapshot a change waits, and the live settings stay as they are."""
    path = tmp_path / "store"
    put_model(path)
    state = rig(path).manager.assign(READINGS, None, NEVER)
    process(state, faulty()[:100])
    other_settings = rig(path, threshold__margin=30.0)
    with away(path):
        other_settings.adopt(committed(state), only(state).scorer)
    assert only(state).live["threshold.margin"] == 1.4
    other_settings.adopt(state)
    assert only(state).live["threshold.margin"] == 30.0


@pytest.mark.parametrize("saved", [None, b'{"threshold.colour": 1}'])
def test_a_snapshot_without_these_live_settings_fits(tmp_path: Path, saved: bytes | None) -> None:
    """A state saved without live settings, or with unknown ones, goes on with those in force."""
    version = put_model(tmp_path)
    first = rig(tmp_path, threshold__margin=30.0)
    state = first.manager.assign(READINGS, None, NEVER)
    process(state, faulty()[:100])
    arrays = only(state).save_state()
    assert set(saved_live(arrays)) == {*ADOPTED, *RULES}
    del arrays["live"]
    if saved is not None:
        arrays["live"] = np.frombuffer(saved, np.uint8)
    first.manager._snapshots.save(snapshot(first, 100, version, arrays))
    again = rig(tmp_path, threshold__margin=20.0).manager.assign(READINGS, 100, NEVER)
    assert again.next == 100
    assert only(again).live["threshold.margin"] == 20.0


@pytest.mark.parametrize("saved", [b"[1]", b'{"threshold.margin": true}', b'{"threshold.margin": 0}', b"{", b"\xff"])
def test_senseless_live_settings_are_refused_with_their_snapshot(tmp_path: Path, saved: bytes) -> None:
    """A state whose live settings are not numbers is refused; the detector starts without state at the snapshot."""
    put_model(tmp_path)
    first = rig(tmp_path)
    state = first.manager.assign(READINGS, None, NEVER)
    process(state, faulty()[:100])
    arrays = {**only(state).save_state(), "live": np.frombuffer(saved, np.uint8)}
    first.manager._snapshots.save(snapshot(first, 90, "", arrays))
    again = first.manager.assign(READINGS, 100, NEVER)
    assert again.next == 90
    assert not only(again).windows.assets


def test_a_running_worker_adopts_live_settings(tmp_path: Path) -> None:
    """What did not alert under the old margin does under the new one, and the newest snapshot names it."""
    put_model(tmp_path)
    broker = MemoryBroker()
    batch = rows(500)
    batch[1, 300:, 1] += 8.0
    wanted = settings(tmp_path, threshold__margin=99.0)
    with running(wanted, broker) as service:
        feed(broker, values(batch[:, :400]))
        until(lambda: committed_offset(broker) == 800)
        assert published(broker, "monitor.alerts") == []
        service.apply(with_live(wanted, {"threshold.margin": 1.0}))
        until(lambda: snapshot_live(tmp_path, 800).get("threshold.margin") == 1.0)
        feed(broker, values(batch[:, 400:], 400))
        until(lambda: published(broker, "monitor.alerts"))
    assert published(broker, "monitor.alerts")[0]["asset"] == "b"


def snapshot_live(path: Path, at_most: int) -> LiveSettings:
    """Of the newest snapshot."""
    found = Snapshots(open_blobs(str(path)), lambda _: None).newest(READINGS, at_most)
    return {} if found is None else saved_live(found.detectors.parts["test"].state)


def snapshot(rig: ManagerRig, offset: int, version: str, arrays: State) -> Snapshot:
    """A snapshot of the only detector."""
    part = Part(version, fingerprint(rig.settings), arrays)
    return Snapshot(READINGS, offset, SavedDetectors({}, {"test": part}))


def test_a_signal_reloads_the_file(tmp_path: Path) -> None:
    """SIGHUP applies what changed in the file to a running process, which goes on; a broken file changes nothing."""
    site = Site(tmp_path)
    site.file.write_text(site.text(reload__on_change=False))
    with site.worker() as worker:
        site.file.write_text(site.text(reload__on_change=False, threshold__margin=2.0))
        worker.send_signal(signal.SIGHUP)
        assert site.wait(worker, "settings adopted", 1)["threshold.margin"] == 2.0
        site.file.write_text(site.text(reload__on_change=False, threshold__margin=0.0))
        worker.send_signal(signal.SIGHUP)
        assert site.wait(worker, "configuration refused", 1)["result"] == "invalid"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    assert len(site.lines("settings adopted")) == 1


def test_other_texts_of_a_channel_need_a_restart() -> None:
    """Two texts are not one with a comma in it."""
    one, two = (load(None, {}, {"channels": {"x": {"texts": texts}}}) for texts in (["A, B"], ["A", "B"]))
    live, (sentence,) = changes(one, two)
    assert live == []
    assert sentence.startswith("channels: ")


def test_a_snapshot_is_of_its_counters() -> None:
    """Other counters or aggregates refuse older snapshots; states and what is left out do not change a state."""
    plain, states = load(None, {}, {}), load(None, {}, {"channels": {"x": {"as": "state"}, "y": {"as": "ignore"}}})
    counters = load(None, {}, {"channels": {"x": {"as": "rate"}}})
    assert fingerprint(states) == fingerprint(plain) != fingerprint(counters)
    means, recipes = ({"windows.aggregate": '["mean"]', "modes.channel": name} for name in ("", "recipe"))
    assert fingerprint(load(None, {}, {"modes.channel": "recipe"})) == fingerprint(plain)
    assert fingerprint(load(None, {}, recipes)) != fingerprint(load(None, {}, means)) != fingerprint(plain)
