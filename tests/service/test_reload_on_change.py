"""A configuration file that changes while the worker runs: when it is read, and what is made of halves and mistakes."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import structlog

from monitor.observe.metrics import Metrics
from monitor.service.reload import Reloader, content
from monitor.settings.load import load
from monitor.settings.tree import Settings
from tests.service.reloading import Site

MARGIN = "[threshold]\nmargin = 2.5\n"


class Watched:
    """A reloader and the file it looks at."""

    def __init__(self, file: Path) -> None:
        self.file, self.turns = file, list[Settings]()
        file.write_text("")
        self.reloader = Reloader(
            self.read(), self.read, Metrics(), structlog.stdlib.get_logger("monitor"), lambda: content(file)
        )

    def read(self) -> Settings:
        return load(self.file, {}, {})

    def looks(self, times: int = 1) -> list[Any]:
        """What so many looks leave in the log: the changed settings, or the problems."""
        with structlog.testing.capture_logs() as lines:
            for _ in range(times):
                self.reloader.look(self.turns.append)
        return [line.get("changed", line.get("problems")) for line in lines]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """One that has been looked at since the start."""
    made = Watched(tmp_path / "monitor.toml")
    assert made.looks(5) == []
    return made


def test_a_file_that_stays_is_not_read(watched: Watched) -> None:
    """Looks at the same content, the first ones included, tell nothing and apply nothing; a new time is no change."""
    os.utime(watched.file, (0, 0))
    assert watched.looks(3) == []
    assert watched.turns == []


def test_a_change_is_applied_once_it_has_stayed(watched: Watched) -> None:
    """The look that finds another content waits, the next one applies it, further ones do nothing."""
    watched.file.write_text(MARGIN)
    assert watched.looks() == []
    assert watched.looks() == [{"threshold.margin": 2.5}]
    assert watched.looks(3) == []
    assert [turn.threshold.margin for turn in watched.turns] == [2.5]


def test_what_changed_before_the_first_look_is_applied(tmp_path: Path) -> None:
    """A file that was replaced between the start's reading and the first look is not missed."""
    made = Watched(tmp_path / "monitor.toml")
    made.file.write_text(MARGIN)
    assert made.looks(2) == [{"threshold.margin": 2.5}]


def test_a_file_that_grows_is_left_alone(watched: Watched) -> None:
    """While each look finds more, nothing is read, whatever the half file would mean."""
    for end in range(1, len(MARGIN) + 1):
        watched.file.write_text(MARGIN[:end])
        assert watched.looks() == []
    assert watched.looks() == [{"threshold.margin": 2.5}]


def test_half_a_file_is_refused_once_and_read_when_it_is_whole(watched: Watched) -> None:
    """The reason for an unreadable file is logged once; nothing is applied until the file has changed again."""
    watched.file.write_text("[threshold\nmargin = 2.5\n")
    (problems,) = watched.looks(5)
    assert "not TOML" in problems[0]
    watched.file.write_text(MARGIN)
    assert watched.looks(3) == [{"threshold.margin": 2.5}]


def test_a_file_that_is_away_is_refused_and_read_when_it_is_back(watched: Watched) -> None:
    """A missing file is compared again, since an editor may be replacing it; if it stays missing, that is logged."""
    watched.file.unlink()
    assert watched.looks() == []
    watched.file.write_text("")
    assert watched.looks(3) == []
    watched.file.unlink()
    (problems,) = watched.looks(3)
    assert "cannot be read" in problems[0]
    watched.file.write_text(MARGIN)
    assert watched.looks(3) == [{"threshold.margin": 2.5}]


def test_what_cannot_change_live_is_refused_as_on_a_signal(watched: Watched) -> None:
    """If anything else differs, nothing is applied, and the reason is the one that SIGHUP gives."""
    watched.file.write_text(MARGIN + "memory = 5000\nwarm = 900\n")
    (problems,) = watched.looks(3)
    with structlog.testing.capture_logs() as lines:
        watched.reloader.reload(watched.turns.append)
    assert [problem.partition(":")[0] for problem in problems] == ["threshold.memory", "threshold.warm"]
    assert lines[0]["problems"] == problems
    assert watched.turns == []


def test_it_can_be_left_to_the_signal(watched: Watched) -> None:
    """Turned off, a change waits for SIGHUP; and what SIGHUP has read is not read again by a look."""
    watched.file.write_text("[reload]\non_change = false\n")
    assert watched.looks(2) == [{"reload.on_change": False}]
    watched.file.write_text(MARGIN)
    assert watched.looks(3) == []
    watched.reloader.reload(watched.turns.append)
    assert watched.turns[-1].threshold.margin == 2.5
    assert watched.looks(3) == []


def test_a_secret_file_is_not_looked_at(tmp_path: Path) -> None:
    """Another password in its file is no change of the configuration's, and no look reads it."""
    (tmp_path / "password").write_text("one")
    made = Watched(tmp_path / "monitor.toml")
    made.file.write_text(
        f'[kafka]\nsecurity_protocol = "sasl_ssl"\nsasl_mechanism = "PLAIN"\nsasl_username = "monitor"\n'
        f'sasl_password_file = "{tmp_path / "password"}"\n'
    )
    made.reloader = Reloader(
        made.read(), made.read, Metrics(), structlog.stdlib.get_logger("monitor"), lambda: content(made.file)
    )
    assert made.looks(2) == []
    (tmp_path / "password").write_text("two")
    assert made.looks(3) == []


def test_a_process_follows_its_file(tmp_path: Path) -> None:
    """A swapped link, as of a ConfigMap, and a replaced file are adopted without a signal; half a file is refused."""
    site = Site(tmp_path)
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
    (tmp_path / "v1/monitor.toml").write_text(site.text())
    (tmp_path / "v2/monitor.toml").write_text(site.text(threshold__margin=2.0))
    (tmp_path / "data").symlink_to("v1")
    site.file.symlink_to("data/monitor.toml")
    with site.worker() as worker:
        (tmp_path / "data.new").symlink_to("v2")
        (tmp_path / "data.new").rename(tmp_path / "data")
        assert site.wait(worker, "settings adopted", 1)["threshold.margin"] == 2.0
        whole = site.text(threshold__margin=3.0)
        site.file.write_text(whole[: whole.index("threshold.margin") + len("threshold.margin = ")])  # through the links
        assert "not TOML" in site.wait(worker, "configuration refused", 1)["problems"][0]
        (tmp_path / "new.toml").write_text(whole)
        (tmp_path / "new.toml").rename(site.file)
        assert site.wait(worker, "settings adopted", 2)["threshold.margin"] == 3.0
        site.file.write_text(site.text(threshold__margin=3.0, windows__length=32))
        refused = site.wait(worker, "configuration refused", 2)
        assert (refused["result"], refused["problems"][0].partition(":")[0]) == ("refused", "windows.length")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    assert [len(site.lines(event)) for event in ("settings adopted", "configuration refused")] == [2, 2]
