"""Hostile inputs against everything that reads bytes or state from outside. `benchmarks.fuzz` runs for longer."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import Tally, fuzz, run_batch
from monitor.core.decode.decode import decode
from monitor.core.fitting.corpus import Corpus
from monitor.settings.load import ConfigurationError, load
from tests.core.decode.decoding import LINE, TELEGRAF, bad, good, message
from tests.core.decode.malformed import FORMATS, GOOD, NOW
from tests.core.decode.mapped.maps import MAPS, MAPS_GOOD
from tests.core.machines import L, history, rows
from tests.properties.hostile_schemas import schema_targets
from tests.properties.hostile_stores import pipeline, store_targets
from tests.properties.hostile_targets import Alone, Broken, Decoder, Sent, Target, input_targets

NAMES = [
    *(f"decode {form}" for form in (*FORMATS, *MAPS)),
    *("decode avro", "decode protobuf", "schema headers", "Avro schemas", "Protobuf schemas"),
    *("points of alerts", "points of scores", "CSV rows", "Parquet files", "configuration"),
    *("Windows.load_state", "Threshold.load_state", "Budget.load_state", "MachineAlerts.load_state"),
    *(
        "Sensors.load_state",
        "SensorAlerts.load_state",
        "Clocks.load_state",
        "NewAssets.load_state",
        "ChannelLimits.load_state",
        "Ranking.load_state",
        "Histogram.load_state",
        "History.load_state",
        "Corpus.unpack",
    ),
    *("tensors.unpack", "Snapshots.newest", "Models.get, Model.unpack"),
]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    made = [*input_targets(tmp_path_factory.mktemp("hostile")), *schema_targets(), *store_targets()]
    return {target.name: target for target in made}


def test_every_target_is_tried(targets: dict[str, Target]) -> None:
    """The list of names contains every target and no other."""
    assert sorted(targets) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_no_hostile_input_does_harm(name: str, targets: dict[str, Target]) -> None:
    """No input raises an unexpected error, takes a second, or changes other state."""
    few = 2 if name.startswith("Models") else 16  # a network is built for each

    @settings(max_examples=15, deadline=None, database=None)
    @given(st.integers(0, 2**32))
    def attack(seed: int) -> None:
        run_batch(targets[name], str(seed), few, Tally(name))

    attack()


@cache
def decoders() -> list[Decoder]:
    return [Decoder(form) for form in (*FORMATS, *MAPS)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, len(FORMATS) + len(MAPS) - 1),
    st.lists(
        st.builds(
            Sent,
            st.none() | st.just(b"a") | st.binary(max_size=9),
            st.binary(max_size=90) | st.text('{}[]":,=\\ \n0123456789.eE-+iuatfnrl', max_size=60).map(str.encode),
            st.sampled_from([NOW, 0, -1, 2**62]),
        ),
        max_size=6,
    ),
)
def test_any_bytes_are_taken_or_rejected(number: int, sent: list[Sent]) -> None:
    """Each message of any bytes is accepted or rejected as if it were alone, and valid neighbours are unchanged."""
    decoder = decoders()[number]
    decoder.together(sent, [decoder.judge(each)[1] for each in sent])


@pytest.mark.parametrize(
    "value", ["9" * 19_000 + "x", "1." + "9" * 18_000 + "x", "1e" + "9" * 18_000, "-" + "9" * 18_000]
)
def test_a_long_number_takes_no_time(value: str) -> None:
    """A line with a number of thousands of digits is decoded in a single pass."""
    decoder = Decoder("influx_line")
    tally = Tally("long")
    run_batch(_Given(decoder, Sent(None, f"m,host=a f={value}".encode(), NOW)), "0", 1, tally)
    assert tally.slowest_ms < 200
    readings, rejected = decode([message(f"m,host=a f={value}".encode())], LINE, NOW)
    assert not len(readings)
    assert [each.error for each in rejected] == (["BadLine"] if value.endswith("x") else [])


@pytest.mark.parametrize("form", [*FORMATS, *MAPS])
def test_time_grows_with_length_only(form: str) -> None:
    """The time for a message with a long run of one character does not grow quadratically."""
    key, value = (GOOD | MAPS_GOOD)[form][1]
    decoder, tally = Decoder(form), Tally(form)
    for sign in (b"9", b"a", b"\\", b" "):
        for at in range(0, len(value) + 1, 2):
            sent = Sent(key, value[:at] + sign * 8000 + b"x" + value[at:], NOW)
            run_batch(_Given(decoder, sent), "0", 1, tally)
    assert tally.slowest_ms < 200


class _Given(Alone):
    """A target with one given input."""

    def __init__(self, target: Target, given_: Any) -> None:
        self.name, self._target, self._given = target.name, target, given_

    def make(self, _: Random) -> Any:
        return self._given

    def judge(self, given: Any) -> tuple[bool, Any]:
        return self._target.judge(given)


def test_an_array_given_twice_is_explained() -> None:
    """A fault in the first of two repeated arrays of metrics, the second being shorter, rejects the message."""
    first = '{"name":"m","tags":{"host":"a"},"fields":{"f":1},"timestamp":1700000000}'
    value = f'{{"metrics":[{first},{{"name":"m"}}],"metrics":[[]]}}'.encode()
    assert bad(TELEGRAF, value).error == "MissingField"
    assert len(good(TELEGRAF, f'{{"metrics":[{first}]}}'.encode())) == 1


Spoil = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.update(end=np.array(7)),
        lambda state: state.update(end=state["end"].astype(np.float64)),
        lambda state: state.update(step_ms=np.array([0])),
        lambda state: state.update(step_ms=np.array([np.nan])),
        lambda state: state.update(assets=np.frombuffer(b"[" * 5000, np.uint8)),
        lambda state: state.update(assets=np.frombuffer(b'["a","a"]', np.uint8)),
        lambda state: state.update(spans=np.zeros(2, np.int64)),
        lambda state: state.update(spans=np.zeros((1, 3), np.int64)),
        lambda state: state.update(spacing=np.array([np.inf])),
        lambda state: state.update(seen=np.zeros((2, 1), np.int64)),
    ],
)
def test_a_history_that_does_not_fit_changes_nothing(spoil: Spoil) -> None:
    """A history with an array of another type or shape raises ValueError and changes nothing."""
    made = history(rows(6 * L))
    before = made.save_state()
    state = dict(before)
    spoil(state)
    with pytest.raises(ValueError, match=r"history|names"):
        made.load_state(state)
    after = made.save_state()
    assert all(after[name].tobytes() == array.tobytes() for name, array in before.items())


def test_a_corpus_of_no_arrays_is_refused() -> None:
    """A corpus file without arrays raises ValueError that names the first missing array."""
    with pytest.raises(ValueError, match="channels is missing"):
        Corpus.unpack({})


@pytest.mark.parametrize("name", ["windows", "threshold"])
def test_a_state_of_another_kind_changes_nothing(name: str) -> None:
    """Deeply nested names, or counts that are no integers, raise ValueError and change nothing in the stage."""
    stage = getattr(pipeline(), name)
    before = stage.save_state()
    wrong = {"windows": {"assets": np.frombuffer(b"[" * 5000, np.uint8)}, "threshold": {"count": np.array([np.inf])}}
    with pytest.raises(ValueError, match=r"state of|names are"):
        stage.load_state({**before, **wrong[name]})
    after = stage.save_state()
    assert all(after[key].tobytes() == array.tobytes() for key, array in before.items())


@pytest.mark.parametrize("value", ["[" * 3000, "9" * 5000])
def test_a_configuration_beyond_the_parser_is_a_mistake(value: str, tmp_path: Path) -> None:
    """Thousands of brackets or digits are reported as a configuration error."""
    (tmp_path / "monitor.toml").write_text(f"name = {value}\n")
    with pytest.raises(ConfigurationError, match="not TOML"):
        load(tmp_path / "monitor.toml", {}, {})


class _Faulty(Alone):
    """A faulty reader that accepts every third message and fails at the tenth."""

    name = "faulty"

    def __init__(self) -> None:
        self.given = 0

    def make(self, _: Random) -> int:
        self.given += 1
        return self.given

    def judge(self, given: int) -> tuple[bool, Any]:
        if given == 10:
            raise IndexError(given)
        return given % 3 == 0, None


def test_a_failure_is_found_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The run counts its inputs, stops a target at the first failure, names that input, and continues."""
    with tempfile.TemporaryDirectory() as folder:
        targets = {target.name: target for target in input_targets(Path(folder))}
        faulty, sound = fuzz([_Faulty(), targets["points of scores"]], 400, 7, 60.0)
    assert (faulty.inputs, faulty.taken, len(faulty.failures)) == (9, 3, 1)
    assert "faulty, batch 7-0, input 9: 10" in capsys.readouterr().err
    assert (sound.inputs, sound.failures) == (272, [])  # the faulty target had the other 128


def test_a_slow_input_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that takes longer than the limit is reported like one that raises."""
    monkeypatch.setattr("benchmarks.fuzz.SLOWEST_S", 0.0)
    with pytest.raises(Broken, match="took"):
        run_batch(_Given(Decoder("json_long"), Sent(None, b"{}", NOW)), "0", 1, Tally("slow"))
