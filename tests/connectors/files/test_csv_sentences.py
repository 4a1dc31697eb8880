"""docs/troubleshooting.md quotes what is said about a CSV file that cannot be read: each sentence is produced here."""

import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.connectors.files.layout import TableOptions
from monitor.connectors.files.tables import table_rows

PAGE = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
HOUR = [f"2026-10-25 {minute // 60:02}:{minute % 60:02}:00" for minute in (*range(120, 180), *range(120, 180))]
ONCE = [f"2026-10-25 {minute // 60:02}:{minute % 60:02}:00" for minute in range(60, 240)]


def _lines(header: str, *rows: str) -> str:
    return "\n".join([header, *rows])


CASES = [
    (_lines("time,flow", "02/03/2026 06:00:00,1"), {}),
    (_lines("time;flow", "2026-03-02;1,500"), {}),
    (_lines("time;flow;temp", "2026-03-02;1,25;20.5"), {}),
    (_lines("time,flow", *(f"{stamp},1" for stamp in HOUR)), {}),
    (_lines("time,flow", *(f"{stamp},1" for stamp in ONCE)), {"timezone": "Europe/Berlin"}),
    (_lines("time,Strang,flow", *(f"2026-03-02 06:00:{n:02},S{m},{m}" for n in range(9) for m in (1, 2))), {}),
    (_lines("time,flow", *(f"2026-03-02 06:00:{n // 4:02},{n}" for n in range(40))), {}),
    (_lines("time,machine,flow", "2026-03-02,P1,1", "2026-03-02,P2,1"), {"asset": "pump"}),
    (_lines("time,tag,value", *(f"2026-03-02,{tag},1" for tag in ("P1.flow", "P1.temp", "P2.flow"))), {}),
    (_lines("when,then,flow", "2026-03-02 06:00,2026-03-02 07:00,1"), {}),
    (_lines("time,flow", "06:00:00,1"), {}),
    ("", {}),
    ("time,flow\r2026-03-02,1\r", {}),
    ("PK\x03\x04", {}),
    ("PAR1", {}),
    (_lines("time flow", "2026-03-02T06:00:00 1"), {}),
    (_lines("2026-03-02 06:00:00,1", "2026-03-02 06:00:01,1"), {}),
    (_lines("time,flow", "2026-03-02 06:00:00,1,2", "2026-03-02 06:00:01,1,2"), {}),
    (_lines("time,flow,flow", "2026-03-02 06:00:00,1,2"), {}),
    (_lines("time,flow,temp", "2026-03-02,1,2", "time,temp,flow", "2026-03-03,1,2"), {}),
    (_lines("time,machine,flow", "2026-03-02,P1,1", "2026-03-02,,1"), {}),
    (_lines("time,flow", "2026-03-02 06:00:00 CET,1"), {}),
    (_lines("time,flow", "46083.25,1"), {}),
    (_lines("time,flow", "2026-03-02,1"), {"timezone": "Europe/Berlln"}),
]


@pytest.mark.parametrize(("text", "options"), CASES)
def test_the_page_quotes_the_refusal(tmp_path: Path, text: str, options: dict[str, Any]) -> None:
    """Each refusal of a table stands on the page word for word, after the file's name."""
    path = tmp_path / "pump.csv"
    path.write_bytes(text.encode())
    with pytest.raises(ValueError, match=r"pump\.csv: ") as refused:
        table_rows(path, TableOptions(**options), lambda _: None).open()
    sentence = str(refused.value).removeprefix(f"{tmp_path}/")
    assert f"\n{sentence}\n" in PAGE.read_text(), sentence


def test_the_page_quotes_the_refusals_of_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another format, and a host without the extra, are refused in the words of the page."""
    path = tmp_path / "pump.parquet"
    path.write_text("time,flow\n")
    for absent in (False, True):
        if absent:
            monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ValueError, match=r"pump\.parquet: ") as refused:
            table_rows(path, TableOptions(), lambda _: None, kind="parquet").open()
        sentence = str(refused.value).removeprefix(f"{tmp_path}/")
        assert f"\n{sentence}\n" in PAGE.read_text(), sentence
