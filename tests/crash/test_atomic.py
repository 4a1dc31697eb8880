"""Writers that are killed with SIGKILL at any moment, and the order that a power cut demands."""

import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from monitor.core.records import Partition
from monitor.store.atomic import is_temporary, remove_leftovers, write_atomic
from monitor.store.base import Notice
from monitor.store.files import open_blobs
from monitor.store.models import Models
from monitor.store.snapshots import Snapshots

PARTITION = Partition("readings", 0)
KILLS = 15

# Saves snapshots of 4 MB without end, from the offset after argv[2] on, and tells of each that it is durable.
SAVER = """
import sys
import numpy as np
from monitor.core.saved import Part, SavedDetectors
from monitor.core.records import Partition
from monitor.store.files import open_blobs
from monitor.store.snapshots import Snapshot, Snapshots
snapshots = Snapshots(open_blobs(sys.argv[1]), print, keep=2)
offset = int(sys.argv[2])
while True:
    offset += 1
    state = {"ring": np.full(1 << 20, offset, np.float32), "count": np.array([offset])}
    snapshots.save(Snapshot(Partition("readings", 0), offset, SavedDetectors({}, {"pumps": Part("", "s", state)})))
    print(offset, flush=True)
"""

# Puts models and makes them current without end, telling the version after each.
TRAINER = """
import sys, time
import numpy as np
from monitor.store.files import open_blobs
from monitor.store.models import Models
models = Models(open_blobs(sys.argv[1]), print)
while True:
    models.set_current(version := models.put({}, {"w": np.ones(1000)}, time.time_ns() // 1_000_000))
    print(version, flush=True)
"""

# Begins a write, tells so, and waits for its last part until stdin closes.
SLOW_WRITER = """
import sys
from pathlib import Path
from monitor.store.atomic import write_atomic
def parts():
    yield b"first"
    print("writing", flush=True)
    yield sys.stdin.buffer.read() or b" last"
write_atomic(Path(sys.argv[1]), parts())
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_after(program: str, delay: float, *arguments: object) -> list[str]:
    """Run `program`, kill it `delay` seconds after its first word, and return the lines it told."""
    with start(program, *arguments) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, "the writer ended by itself"
        timer = threading.Timer(delay, process.kill)
        timer.start()
        told = [first, *process.stdout]
        timer.join()
    assert process.returncode == -signal.SIGKILL
    return [line.strip() for line in told if line.endswith("\n")]


def temporaries(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if is_temporary(path.name)]


@pytest.mark.slow
def test_a_killed_writer_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    """After each SIGKILL the newest snapshot is whole and no older than the last one told of; no part survives."""
    moments = random.Random(20)
    told, interrupted = 0, 0
    for _ in range(KILLS):
        told = int(kill_after(SAVER, moments.uniform(0, 0.08), tmp_path, told)[-1])
        interrupted += bool(temporaries(tmp_path))
        notices: list[Notice] = []
        found = Snapshots(open_blobs(str(tmp_path)), notices.append).newest(PARTITION, told + 1)
        assert found is not None
        assert found.offset in (told, told + 1)
        ring = found.detectors.parts["pumps"].state["ring"]
        np.testing.assert_array_equal(ring, np.full(1 << 20, found.offset, np.float32))
        assert notices == []
        assert temporaries(tmp_path) == []
        assert len([path for path in tmp_path.rglob("*") if path.is_file()]) <= 3
    assert interrupted, f"none of {KILLS} kills fell into a write: the test proves nothing"


@pytest.mark.slow
def test_a_killed_trainer_leaves_a_sound_current_model(tmp_path: Path) -> None:
    """After each SIGKILL the current model verifies and is the last one told of or a later one."""
    moments = random.Random(21)
    for _ in range(5):
        told = kill_after(TRAINER, moments.uniform(0, 0.05), tmp_path)[-1]
        notices: list[Notice] = []
        models = Models(open_blobs(str(tmp_path)), notices.append)
        current = models.current()
        assert current is not None
        assert current[:17] >= told[:17]
        assert [models.get(version).version for version in models.versions()] == models.versions()
        json.loads((tmp_path / "models/current.json").read_text())
        assert notices == []


def test_a_leftover_is_told_from_a_write_under_way(tmp_path: Path) -> None:
    """Opening the store removes the part of a dead writer and spares that of a living one, which then completes."""
    dead, living = tmp_path / "dead", tmp_path / "living"
    with start(SLOW_WRITER, dead) as killed, start(SLOW_WRITER, living) as writer:
        for process in (killed, writer):
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
        assert len(temporaries(tmp_path)) == 2
        killed.kill()
        killed.wait(10)
        assert remove_leftovers(tmp_path) == 1
        assert [path.name[:7] for path in temporaries(tmp_path)] == [".living"]
        assert writer.stdin is not None
        writer.stdin.close()
        assert writer.wait(10) == 0
    assert living.read_bytes() == b"first last"
    assert not dead.exists()
    assert temporaries(tmp_path) == []


def test_bytes_are_synced_before_the_name_and_the_name_before_returning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New directories, then the file while its name is not yet there, then its directory: all survives a power cut."""
    path = tmp_path / "a" / "b" / "file"
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        else:
            name = f"file of {os.fstat(descriptor).st_size} bytes"
        synced.append((name, path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    assert write_atomic(path, [b"12", b"3"]) == 3
    assert synced == [(tmp_path.name, False), ("a", False), ("file of 3 bytes", False), ("b", True)]
