"""What a source of files does beyond the contract: pace, standard input, offsets, and files that are not right."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from monitor.connectors.base import Committed, Unavailable
from monitor.connectors.files import lines as file_rows
from monitor.connectors.files.layout import TableOptions
from monitor.connectors.files.source import FileSource, OffsetOptions, ReplayOptions
from monitor.core.records import Message, Partition
from tests.contracts.member import Member


def _write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def _drain(source: FileSource) -> list[Message]:
    member = Member(source).open()
    member.poll(timeout=0)
    while not source.ended():
        assert member.poll(timeout=0), "neither ended nor anything to deliver"
    member.close()
    return member.messages


class _Clock:
    """A clock that waiting moves on."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, descriptors: Sequence[int], seconds: float) -> None:
        assert seconds > 0, "waited for nothing"
        assert not descriptors, "waits for more to read though it has a row that is not due"
        self.waits.append(seconds)
        self.time += seconds


def _times_of(lines: Sequence[bytes]) -> list[int | None]:
    return list(map(_time_of, lines))


def _time_of(line: bytes) -> int | None:
    return int(line) if line.isdigit() else None


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_replay_keeps_the_rhythm(tmp_path: Path, speed: float) -> None:
    """Rows come when they are due at the chosen speed, those of several files in the order of their times."""
    one = _write(tmp_path / "one.jsonl", "5000", "65000", "65000", "185000")
    two = _write(tmp_path / "two.jsonl", "35000", "125000")
    clock = _Clock()
    source = FileSource([one, two], replay=ReplayOptions(speed, _times_of, clock.now, clock.wait))
    member = Member(source).open()
    arrived = []
    while not source.ended():
        arrived += [(round((clock.time - 1000) * speed), message.timestamp) for message in member.poll(timeout=1000)]
    assert arrived == [(time - 5, time * 1000) for time in (5, 35, 65, 65, 125, 185)]


def test_waiting_for_a_row_ends_with_the_timeout(tmp_path: Path) -> None:
    """A poll returns empty after its timeout when the next row is due later; a row without a time is due at once."""
    path = _write(tmp_path / "a.jsonl", "0", "100000", "{}")
    clock = _Clock()
    source = FileSource([path], replay=ReplayOptions(1, _times_of, clock.now, clock.wait))
    member = Member(source).open()
    assert len(member.poll(timeout=30)) == 1
    assert member.poll(timeout=30) == []
    assert clock.waits == [30.0]
    assert len(member.poll(timeout=100)) == 2
    assert clock.waits == [30.0, 70.0]


def test_replay_starts_at_the_row_it_goes_on_with(tmp_path: Path) -> None:
    """After a restart the rows before the committed offset are not waited for."""
    path = _write(tmp_path / "a.jsonl", "0", "1000000", "1001000")
    clock = _Clock()
    committed = {Partition("a", 0): 1}
    source = FileSource(
        [path], replay=ReplayOptions(1, _times_of, clock.now, clock.wait), offsets=OffsetOptions(committed)
    )
    assert [message.offset for message in Member(source).open().poll(timeout=0)] == [1]


def test_tables_know_their_times(tmp_path: Path) -> None:
    """Rows of CSV are called after their file or as told, carry their time, and are paced by it."""
    path = _write(tmp_path / "pump 1.csv", "time,a", "2024-01-01 00:00:00,1", "2024-01-01 00:01:00,2")
    clock = _Clock()
    source = FileSource([path], "csv", replay=ReplayOptions(1, None, clock.now, clock.wait))
    member = Member(source).open()
    member.poll(timeout=90)
    assert source.lag() == {Partition("pump_1", 0): 1}
    member.poll(timeout=90)
    first = b"@timestamp,a\n2024-01-01 00:00:00,1"
    assert member.messages[0] == Message(Partition("pump_1", 0), 0, b"pump 1", first, 1_704_067_200_000)
    assert clock.waits == [60.0]
    assert _drain(FileSource([path], "csv", tables=TableOptions("P/7")))[0].key == b"P/7"


def test_it_has_ended_right_after_the_last_row(tmp_path: Path) -> None:
    """The poll that returns the last row is followed by the end, without another poll; blank lines do not matter."""
    path = _write(tmp_path / "a.jsonl", "", "1", "", "2", "")
    source = FileSource([path, _write(tmp_path / "empty.jsonl")])
    member = Member(source, starts=lambda _: {Partition("a", 0): 1, Partition("empty", 1): None}).open()
    assert not source.ended()
    assert member.poll(1, 0)[0].value == b"1"
    assert not source.ended()
    assert sum(source.lag().values()) >= 1
    member.next = {Partition("a", 0): 3}
    assert member.poll(1, 0)[0].value == b"2"
    assert source.ended()
    assert set(source.lag().values()) == {0}


def test_no_file_starves(tmp_path: Path) -> None:
    """A long file that fills every poll does not keep the others waiting."""
    paths = [_write(tmp_path / f"{name}.jsonl", *["1"] * 50) for name in "abc"]
    member = Member(FileSource(paths)).open()
    for _ in range(3):
        member.poll(10, 0)
    assert {message.partition.topic for message in member.messages} == {"a", "b", "c"}


def test_a_last_line_without_an_end_is_a_line(tmp_path: Path) -> None:
    """A file that stops in the middle of a line is delivered to its last byte."""
    (tmp_path / "a.jsonl").write_bytes(b"1\r\n2")
    member = Member(FileSource([tmp_path / "a.jsonl"])).open()
    assert [message.value for message in member.poll(1, 0)] == [b"1"]
    assert member.source.lag() == {Partition("a", 0): 1}
    assert [message.value for message in member.poll(1, 0)] == [b"2"]
    assert member.source.lag() == {Partition("a", 0): 0}


def test_an_endless_line_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line over the limit is delivered as its beginning, which is too long for any decoder; the next is whole."""
    monkeypatch.setattr(file_rows, "MAX_LINE", 10)
    path = _write(tmp_path / "a.jsonl", "x" * 35, "1" * 10, "2")
    assert [message.value for message in _drain(FileSource([path]))] == [b"x" * 11, b"1" * 10, b"2"]


def test_offsets_are_saved_before_a_commit_returns(tmp_path: Path) -> None:
    """All committed offsets go to `save`; if it fails the commit is refused and the old ones stay."""
    paths = [_write(tmp_path / f"{name}.jsonl", "1", "2") for name in "ab"]
    a, b = Partition("a", 0), Partition("b", 1)
    saved: list[dict[Partition, int]] = []
    broken = False

    def save(offsets: Mapping[Partition, int]) -> None:
        if broken:
            raise OSError(28, "No space left on device")
        saved.append(dict(offsets))

    member = Member(FileSource(paths, offsets=OffsetOptions({b: 1}, save))).open()
    member.poll()
    member.source.commit({a: 1}, 1)
    broken = True
    with pytest.raises(Unavailable, match="No space left"):
        member.source.commit({a: 2}, 1)
    broken = False
    member.source.commit({b: 2}, 1)
    assert saved == [{a: 1, b: 1}, {a: 1, b: 2}]
    with pytest.raises(Unavailable, match="not assigned"):
        member.source.commit({Partition("c", 2): 1}, 1)


def test_a_start_behind_the_end_is_said(tmp_path: Path) -> None:
    """Offsets that reach beyond a file mean that it was replaced: it has ended, and a notice says why."""
    notices: list[str] = []
    path = _write(tmp_path / "a.jsonl", "1", "2")
    assert _drain(FileSource([path], offsets=OffsetOptions({Partition("a", 0): 2}), on_notice=notices.append)) == []
    assert notices == []
    assert _drain(FileSource([path], offsets=OffsetOptions({Partition("a", 0): 3}), on_notice=notices.append)) == []
    assert len(notices) == 1
    assert notices[0].startswith("a: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing file is an error of `open`, for every format; the source does not wait for it."""
    for form in ("jsonl", "csv", "npz"):
        source = FileSource([tmp_path / "none.x"], form)
        with pytest.raises(FileNotFoundError, match=r"none\.x"):
            source.open(dict, print, print)
        source.close()


def test_contradicting_arguments_are_refused() -> None:
    """Unknown formats, speed without times, and standard input among other paths are refused by the constructor."""
    with pytest.raises(ValueError, match="format must be"):
        FileSource(["a"], "xml")
    with pytest.raises(ValueError, match="times_of"):
        FileSource(["a"], replay=ReplayOptions(1))
    with pytest.raises(ValueError, match="negative"):
        FileSource(["a"], "csv", replay=ReplayOptions(-1))
    for paths, form in ((["-", "a"], "jsonl"), (["-"], "csv")):
        with pytest.raises(ValueError, match="standard input"):
            FileSource(paths, form)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's ends for reading and writing; the test closes the second."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_standard_input_is_read_as_it_comes(pipe: tuple[int, int]) -> None:
    """A poll returns when a line comes, keeps half lines until they are whole, and the end of input is the end."""
    reading, writing = pipe
    source = FileSource(["-"], stdin=reading)
    member = Member(source).open()
    assert member.poll(timeout=0) == []
    os.write(writing, b"1\n2\r\n3")
    assert [message.value for message in member.poll(timeout=0)] == [b"1", b"2"]
    threading.Timer(0.1, os.write, (writing, b"3\n")).start()
    assert [message.value for message in member.poll(timeout=60)] == [b"33"]
    assert not source.ended()
    os.write(writing, b"4")
    os.close(writing)
    assert [message.value for message in member.poll(timeout=60)] == [b"4"]
    assert source.ended()
    assert source.lag() == {Partition("stdin", 0): 0}


def test_standard_input_can_be_paced_and_started_late(pipe: tuple[int, int]) -> None:
    """Lines before the one to start with are left out, and those that are not due yet are held back."""
    reading, writing = pipe
    os.write(writing, b"1000\n2000\n5000\n")
    clock = _Clock()
    source = FileSource(["-"], replay=ReplayOptions(1, _times_of, clock.now, clock.wait), stdin=reading)
    member = Member(source, lambda _: {Partition("stdin", 0): 1}).open()
    assert [message.value for message in member.poll(timeout=10)] == [b"2000"]
    assert [message.value for message in member.poll(timeout=10)] == [b"5000"]
    assert clock.waits == [3.0]
    os.close(writing)


def test_offsets_of_standard_input_are_not_kept(pipe: tuple[int, int]) -> None:
    """Line 1 of the next input is another line: a commit is accepted, but neither saved nor returned."""
    reading, writing = pipe
    os.write(writing, b"1\n2\n")
    os.close(writing)
    saved: list[Mapping[Partition, int]] = []
    told: list[Committed] = []

    def starts(committed: Committed) -> Committed:
        told.append(dict(committed))
        return committed

    stdin = Partition("stdin", 0)
    member = Member(FileSource(["-"], offsets=OffsetOptions({stdin: 1}, saved.append), stdin=reading), starts).open()
    assert len(member.poll(timeout=0)) == 2
    member.source.commit({stdin: 2}, 1)
    assert told == [{stdin: None}]
    assert saved == [{stdin: 1}], "what was there is left alone"


def test_an_endless_line_of_standard_input_is_cut(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Input without line ends does not fill the memory: its beginning is delivered, the rest of the line is not."""
    monkeypatch.setattr(file_rows, "MAX_LINE", 10)
    reading, writing = pipe
    member = Member(FileSource(["-"], stdin=reading)).open()
    for part in (b"x" * 11, b"y" * 30, b"z\n1\n2"):
        os.write(writing, part)
        member.poll(timeout=0)
    os.close(writing)
    member.poll(timeout=0)
    assert [message.value for message in member.messages] == [b"x" * 11, b"1", b"2"]


def test_the_process_reads_its_own_standard_input() -> None:
    """By default "-" is the standard input of the program."""
    program = (
        "from monitor.connectors.files.source import FileSource\n"
        "source = FileSource(['-'])\n"
        "source.open(dict, print, print)\n"
        "while not source.ended():\n"
        "    for message in source.poll(10, 5):\n"
        "        print(message.offset, message.value)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=b"a\n\nb\n", capture_output=True, check=True)
    assert done.stdout == b"0 b'a'\n2 b'b'\n"
