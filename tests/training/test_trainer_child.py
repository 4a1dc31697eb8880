"""The child process that trains: its limits, its end, and that of its parent."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.training.trainer import RETRY_S
from tests.core.machines import FAST, history, rows
from tests.rig import PATIENCE_S, until
from tests.training.training import LONG, alive, made_in, rig


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


def test_a_training_that_takes_too_long_is_ended(store: Path, folders: Path) -> None:
    """At its time limit the child is killed, nothing is adopted, and RETRY_S pass from there, not from its start."""
    with rig(store, recipe=LONG) as it:
        it.tick()
        pid = it.pid
        assert len(made_in(folders)) == 1
        it.tick(1799)
        assert alive(pid)
        it.tick(1)
        assert not alive(pid)
        assert it.trainer.status.result == "failed: it took longer than 1800 s"
        assert not made_in(folders)
        assert it.models.current() is None
        it.tick(RETRY_S - 1)
        assert not it.running()
        it.tick(1)
        assert it.running()


def test_the_last_words_of_a_child_that_crashes_are_told(store: Path) -> None:
    """A child that ends with an error is a failed run, and its last line is the reason."""
    with rig(store, [history(rows(64))], first_steps=20) as it:
        it.tick()
        result = it.finish()
        assert result.startswith("failed: the process ended with 1: ValueError: ")
        assert "blocks of history" in result
        assert it.runs("failed") == 1


def test_a_child_that_is_killed_is_a_failed_run(store: Path) -> None:
    """If something else ends the child, the run has failed without a message, and the loop goes on."""
    with rig(store, recipe=LONG) as it:
        it.tick()
        os.kill(it.pid, signal.SIGKILL)
        assert it.finish() == "failed: the process ended with -9: no message"


@pytest.mark.slow
def test_a_child_that_needs_too_much_memory_fails(store: Path) -> None:
    """Beyond its memory limit the child fails by itself with the reason; this process is not touched."""
    huge = replace(FAST, hidden=256, batch=4096, kernel=15)
    with rig(store, recipe=huge, memory_mb=512) as it:
        it.tick()
        result = it.finish()
        assert result.startswith("failed: the process ended with ")
        assert "memory" in result
        assert it.models.current() is None


def test_closing_ends_the_child(store: Path, folders: Path) -> None:
    """When the worker ends, the child does so too, and its folder goes."""
    with rig(store, recipe=LONG) as it:
        it.tick()
        pid = it.pid
        it.trainer.close()
        assert not alive(pid)
        assert not made_in(folders)
        it.trainer.close()


def test_the_child_knows_none_of_our_settings(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that may hold secrets of ours are not handed on."""
    monkeypatch.setenv("MONITOR_RECORDER__TOKEN", "hunter2")
    with rig(store, recipe=LONG) as it:
        it.tick()
        environ = Path(f"/proc/{it.pid}/environ")
        until(lambda: environ.read_bytes() != b"")  # empty for a moment, until the program has started
        environment = environ.read_bytes()
        assert b"hunter2" not in environment
        assert b"PATH=" in environment


_PARENT = """
import sys, tempfile, time
from pathlib import Path
from tests.core.machines import history, rows
from tests.training.training import LONG, Rig
tempfile.tempdir = sys.argv[2]
it = Rig(Path(sys.argv[1]), [history(rows(400))], recipe=LONG)
it.tick()
print("child", it.pid, flush=True)
while True:
    it.tick()
    if it.trainer.status.progress:
        print("training", flush=True)
        break
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["at once", "later"])
def test_the_child_ends_with_its_parent(store: Path, folders: Path, when: str) -> None:
    """After a kill -9 of the worker the child ends by itself, and takes its folder along."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(store), str(folders)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    try:
        lines = iter(parent.stdout.readline, "")
        child = int(next(line for line in lines if line.startswith("child ")).split()[1])
        if when == "later":
            assert "training\n" in lines
        assert alive(child)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    begin = time.monotonic()
    until(lambda: not alive(child))
    assert time.monotonic() - begin < PATIENCE_S
    assert not made_in(folders)
