"""Promises of docs/security.md that no other test covers: no code from data, no inconsistent model, no odd id.

Other tests cover every flipped bit of a file and every changed byte of snapshots and models (tests/store), secrets
(tests/test_security_secrets.py, tests/settings/test_secrets.py), log lines (tests/observe/test_logs.py), the training
child's environment (tests/training/test_trainer.py) and hostile inputs (tests/properties/test_hostile.py).
"""

import ast
import ctypes
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from confluent_kafka import Consumer, KafkaException

from monitor.connectors.kafka.options import DENIED, check_options
from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Message, State
from monitor.observe.logs import configure
from monitor.recorder.line_protocol import score_points
from monitor.settings.load import ConfigurationError, load
from monitor.store.files import open_blobs
from monitor.store.models import ModelInvalid, Models
from monitor.training.registry import ModelRegistry
from tests.core.machines import CHANNELS, L, model, rows
from tests.rig import ORIGIN, READINGS, committed, feed, put_model, running, settings, until, values

ROOT = Path(__file__).parent.parent
LOADERS = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "yaml", "cloudpickle", "imp"}
CALLS = {"eval", "exec", "compile", "__import__"}
FUNCTIONS = {"torch.load", "torch.save", "os.system", "os.popen", "subprocess.getoutput", "numpy.loadtxt"}


def test_nothing_in_the_program_runs_code_from_data() -> None:
    """No module unpickles, evaluates, loads yaml, starts a shell, or lets numpy or torch do so."""
    found = []
    for path in sorted((ROOT / "monitor").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            wrong = _imported(node) & LOADERS or (isinstance(node, ast.Call) and _runs_code(node))
            if wrong:
                found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    assert found == []


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def _runs_code(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name.rpartition(".")[2] == "load" and name.startswith(("np.", "numpy.")):
        return arguments.get("allow_pickle") != "False"
    return name in CALLS | FUNCTIONS or arguments.get("shell", "False") != "False" or "allow_pickle" in arguments


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("np.load(x)", True),
        ("np.load(x, allow_pickle=True)", True),
        ("np.load(x, allow_pickle=False)", False),
        ("torch.load(x)", True),
        ("eval(x)", True),
        ("network.eval()", False),
        ("subprocess.run(x, shell=True)", True),
        ("subprocess.run(x)", False),
    ],
)
def test_the_search_finds_what_it_is_for(code: str, wrong: bool) -> None:
    """Each way to run code from data is recognised, and its harmless counterpart is not."""
    (call,) = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert _runs_code(call) is wrong


Change = Callable[[dict[str, Any], State], object]
SPOILT: dict[str, Change] = {
    "a scale of 0": lambda _, tensors: tensors["scaling.scale"].fill(0),
    "a negative error": lambda _, tensors: tensors["calibration.error"].fill(-1),
    "a move of 0": lambda _, tensors: tensors["calibration.move"].fill(0),
    "no moves": lambda _, tensors: tensors.pop("calibration.move"),
    "too few quantiles": lambda _, tensors: tensors.update({"alarm.scores": np.zeros(3, np.float32)}),
    "a limit of 0": lambda _, tensors: tensors.update({"alarm.starts": np.zeros((3, 3), np.float32)}),
    "a limit without channels": lambda _, tensors: tensors.update({"alarm.starts": np.array(1, np.float32)}),
    "no forecaster": lambda _, tensors: tensors.pop("forecaster.weights"),
    "a misshapen forecaster": lambda _, tensors: tensors.update({"forecaster.weights": np.zeros((3, 3), np.float32)}),
    "a wrong scale": lambda _, tensors: tensors.update({"scaling.scale": np.ones((2, 2))}),
    "weights of float64": lambda _, tensors: tensors.update(
        {name: array.astype(np.float64) for name, array in tensors.items() if name.startswith("weights.")}
    ),
    "a misshapen weight": lambda _, tensors: tensors.update({"weights.mu.bias": np.zeros(99, np.float32)}),
    "a weight too many": lambda _, tensors: tensors.update({"weights.more": np.zeros(1, np.float32)}),
    "names nested deep": lambda _, tensors: tensors.update({"scaling.assets": np.frombuffer(b"[" * 5000, np.uint8)}),
    "layers without end": lambda manifest, _: manifest["architecture"].update(layers=10**12),
    "a width of float": lambda manifest, _: manifest["architecture"].update(hidden=8.0),
    "channels of numbers": lambda manifest, _: manifest.update(channels=[1, 2, 3]),
    "a channel twice": lambda manifest, _: manifest.update(channels=["flow", "flow", "pressure"]),
    "no architecture": lambda manifest, _: manifest.update(architecture=None),
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT)
def test_a_sound_file_with_a_senseless_model_is_refused(change: Change, tmp_path: Path) -> None:
    """A model with valid checksums whose parts do not fit together is refused."""
    manifest, packed = json.loads(json.dumps(model().pack()[0])), model().pack()[1]
    tensors = {name: array.copy() for name, array in packed.items()}
    change(manifest, tensors)
    models = Models(open_blobs(str(tmp_path)), lambda _: None)
    version = models.put(manifest, tensors, ORIGIN)
    library = ModelRegistry(models, L, lambda: 0.0, structlog.stdlib.get_logger("test"))
    with pytest.raises(ModelInvalid):
        library.scorer(version)


def test_librdkafkas_own_list_has_no_option_that_loads_code(tmp_path: Path) -> None:
    """Every option of librdkafka that can load or run code is refused by the monitor or by the client itself."""
    spec = find_spec("confluent_kafka")
    assert spec is not None
    assert spec.origin is not None
    (library,) = (Path(spec.origin).parent.parent / "confluent_kafka.libs").glob("librdkafka*.so*")
    known, system = ctypes.CDLL(str(library)), ctypes.CDLL(None)
    system.fopen.restype = ctypes.c_void_p
    listing = tmp_path / "options"
    file = ctypes.c_void_p(system.fopen(str(listing).encode(), b"w"))
    known.rd_kafka_conf_properties_show(file)
    system.fclose(file)
    keys = {line.partition("|")[0].strip() for line in listing.read_text().splitlines() if "|" in line}
    assert len(keys) > 150
    words = re.compile(r"librar|engine|plugin|provider|cmd|command|exec|intercept|callback_data|cb$|mock|path")
    suspicious = {key for key in keys if words.search(key)}
    assert {"plugin.library.paths", "sasl.kerberos.kinit.cmd", "rebalance_cb"} <= suspicious
    for key in suspicious:
        if not check_options({key: "x"}):
            with pytest.raises(KafkaException):
                Consumer({"group.id": "g", key: "x"})


@pytest.mark.parametrize("key", DENIED)
def test_a_denied_option_never_gets_through(key: str) -> None:
    """Each option on the list is refused by name, without its value, from the environment and from a flag."""
    given = json.dumps({key: "hunter2"})
    for env, flags in (({"MONITOR_KAFKA__OPTIONS": given}, {}), ({}, {"kafka.options": {key: "hunter2"}})):
        with pytest.raises(ConfigurationError) as caught:
            load(None, env, flags)
        assert any(f"{key}: not to be set" in problem for problem in caught.value.problems)
        assert "hunter2" not in str(caught.value)


HOSTILE_IDS = (
    *(
        "a\nb",
        'a"b',
        "a,b=c d",
        "a\x1b[2Jb",
        "a\r\nX-Evil: 1",
        "../../evil",
        "a\u202eb",
        "a\x00b",
        "a b",
        "ä",
        "a\\n",
        "",
    ),
    *("$(evil)", "'; evil --", "a" * 129, "a\u2028evil", "\x9b31m", "<evil>", "level=error evil"),
)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Return the log as text for a terminal, where control characters could do harm."""
    loggers = logging.getLogger(), logging.getLogger("monitor")
    before = [(logger, logger.level, logger.handlers.copy()) for logger in loggers]
    made = io.StringIO()
    configure("debug", "console", made)
    yield made
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    structlog.reset_defaults()


def test_ids_from_outside_reach_nothing_unescaped(tmp_path: Path, stream: io.StringIO) -> None:
    """Assets and channels with signs that mean something elsewhere lose these signs before they get any further."""
    put_model(tmp_path)
    broker = MemoryBroker()
    sent = values(rows(60))
    for number, name in enumerate(HOSTILE_IDS):
        as_asset = {"asset": name, "timestamp": ORIGIN, "values": {CHANNELS[0]: 1.0}}
        as_channel = {"asset": "a", "timestamp": ORIGIN, "values": {name: 1.0}}
        for place, body in enumerate((as_asset, as_channel)):
            sent.insert(4 * number + place, (name.encode(), json.dumps(body).encode(), ORIGIN))
    feed(broker, sent)
    with running(settings(tmp_path), broker):
        until(lambda: committed(broker) == len(sent))
    letters = [stored.record for part in broker.partitions("monitor.dead-letters") for stored in broker.read(part)]
    assert len(letters) == 2  # no name, and one that is too long
    for letter in letters:
        assert all(value.decode().isprintable() for _, value in letter.headers)
    scores = [stored.record for part in broker.partitions("monitor.scores") for stored in broker.read(part)]
    assert len(scores) == 2 * (60 - L + 1)
    for number, record in enumerate(scores):
        line = score_points(Message(READINGS, number, record.key, record.value, 0)).value or b""
        tags = {part for row in line.decode().split("\n") for part in row.split(" ")[0].split(",")[1:]}
        assert tags <= {"asset=a", "asset=b", "detector=test", *(f"channel={name}" for name in CHANNELS)}
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", name) and "evil" not in name for name in names)
    assert all(line.isprintable() for line in stream.getvalue().split("\n"))
    named = [line for line in stream.getvalue().split("\n") if "evil" in line]
    assert named
    assert all(re.search(r" name (changed|refused) ", line) for line in named)
