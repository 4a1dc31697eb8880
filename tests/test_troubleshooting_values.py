"""docs/troubleshooting.md quotes what is said about values, names and steps: each sentence is produced here."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from monitor.core.decode.format import Skip
from monitor.core.model.scorer import Scorer
from monitor.core.records import Count, Renamed
from monitor.observe.metrics import Metrics
from monitor.service.intake import Intake
from monitor.service.no_windows import why_no_windows
from monitor.settings.load import ConfigurationError, load
from monitor.training.trainer import Status
from monitor.worker.metrics_recorder import MetricsRecorder
from monitor.worker.partition_state import PartitionState
from monitor.worker.status import worker_status
from tests.core.machines import model, rows
from tests.rig import ORIGIN, only, readings
from tests.service.test_file_step import recorded, stepped
from tests.service.test_no_windows import PART, WINDOWS, every, intake
from tests.test_troubleshooting import quoted
from tests.worker.test_status import state  # noqa: F401 - a fixture

HEADING = "## Values, names and steps"


def values() -> Iterator[str]:
    """What commands say of values that were skipped, of empty messages and of repeated times."""
    counts = {Skip.TEXT: 1200, Skip.QUALITY: 300, Skip.NAME_TAKEN: 40}
    yield Intake(500, counts={f"values_skipped_{reason}": count for reason, count in counts.items()}).said()
    yield why_no_windows(Intake(500, partitions=[PART]), WINDOWS)
    yield why_no_windows(intake(*every(1, 50), counts={Count.READINGS_DUPLICATE: 80}), WINDOWS)


def unscored(given: PartitionState) -> str:
    """The reason of an asset of which most channels never came."""
    only(given).use(Scorer(model()))
    batch = rows(400)
    batch[0, :, 1:] = np.nan
    given.remember(given.process(readings(batch), ORIGIN + 10**9, lambda _: None))
    return worker_status([given], {"test": Status()}, {}).assets[0].reason


def renamed() -> Iterator[str]:
    """The log's lines about names."""
    recorder = MetricsRecorder(Metrics(), structlog.stdlib.get_logger("monitor"))
    with capture_logs() as lines:
        recorder._tell_names([Renamed("channel", "Bearing Temp", "Bearing_Temp")])
        recorder._tell_names([Renamed("channel", "Bearing-Temp?", "Bearing_Temp", "Bearing Temp")])
    for line in lines:
        fields = {key: value for key, value in line.items() if key not in {"event", "log_level"}}
        yield f"{line['event']} {json.dumps(fields)}"


def steps(folder: Path) -> Iterator[str]:
    """What is said of the step of a file."""
    path = recorded(folder / "pumps.csv", 10.0)
    yield from stepped(path)[1]
    yield from stepped(path, windows__step_s=1.0)[1]
    yield from stepped(recorded(folder / "fast.csv", 1.0), windows__step_s=60.0)[1]
    with pytest.raises(ValueError, match="come every") as refused:
        stepped(recorded(folder / "slow.csv", 3600.0), training__horizon_s=86_400.0)
    yield str(refused.value)


def settings(folder: Path) -> Iterator[str]:
    """What the settings say of an unknown encoding, and of one of a file without text."""
    (folder / "pump.csv").write_text("")
    files = {"source.kind": "files", "source.paths": [str(folder / "pump.csv")], "outputs.kind": "files"}
    for form, encoding in (("csv", "cp850"), ("parquet", "utf-8")):
        given = {"source.format": form, "source.encoding": encoding}
        with pytest.raises(ConfigurationError) as refused:
            load(None, {}, {**files, **given})
        yield from map(str, refused.value.problems)


def test_the_page_quotes_what_is_said(tmp_path: Path, state: PartitionState) -> None:  # noqa: F811
    """Every sentence in the section is one that the program says, and every one that it says is in the section."""
    said = [*values(), unscored(state), *renamed(), *steps(tmp_path), *settings(tmp_path)]
    assert quoted(HEADING) == said, json.dumps(said, indent=1, ensure_ascii=False)
