"""The report of a backtest: its charts as text, and its rendering in a real browser."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup

from monitor.backtest.report.charts import BINS, HIGH, Axis, bins, box, line, marks, thin
from monitor.backtest.report.page import templates
from monitor.backtest.report.words import lasting, number
from tests.backtest.backtests import backtest, npz
from tests.core.machines import ASSETS
from tests.rig import put_model

PICTURES = Path(os.environ.get("PICTURES", "build/backtest"))  # screenshots are kept here for inspection


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Return a report on labelled faults, with HTML characters in the name of one asset."""
    put_model(tmp_path / "store")
    paths = npz(tmp_path)
    done = backtest(paths, "--model", "current", "--out", tmp_path / "report.html", store__url=str(tmp_path / "store"))
    assert done.exit_code == 0, done.output
    return tmp_path / "report.html"


def browser(*arguments: str) -> bytes:
    """Return the DOM printed by headless Chromium. Skip the test if there is none."""
    program = shutil.which("chromium")
    if program is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed")
    assert program is not None, "CI has a browser"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000"]
    return subprocess.run([program, *flags, *arguments], check=True, capture_output=True, timeout=90).stdout


def test_the_page_needs_nothing_else(page: Path) -> None:
    """The report has no script and no link to another server, and fetches nothing."""
    text = page.read_text()
    assert "<script" not in text
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert not re.search(r"(src|@import|url\()", text.replace("default-src", "").replace("style-src", ""))
    assert "default-src 'none'" in text


def test_the_browser_shows_what_was_found(page: Path) -> None:
    """The DOM has charts per channel with band and readings, marked alerts and labels, curves, map and distribution."""
    dom = browser("--dump-dom", page.as_uri()).decode()
    for index in range(len(ASSETS)):
        section = dom.partition(f'id="asset-{index}"')[2].partition("</section>")[0]
        assert section.count('<path class="band"') == 3
        assert section.count('<path class="seen"') == 4
        assert section.count('<path class="limit"') == 1
        assert section.count('<rect class="alert"') == 4
        assert section.count('<rect class="label"') == 4
    for name in ("precision over recall", "true over false positive rate", "map of the latent space", "distribution"):
        assert f'aria-label="{name}' in dom
    assert re.search(r'<g class="fired"><circle', dom)
    assert "threshold.percentile =" in dom
    assert "Thinned for drawing: of each 2.3 steps" in dom


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_screens_of_both_schemes(page: Path, scheme: str, width: int) -> None:
    """A screenshot in light and dark, at desktop and phone size, is a PNG of that size."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = (PICTURES / f"{scheme}-{width}.png").absolute()
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browser(*dark, f"--window-size={width},3000", f"--screenshot={picture}", page.as_uri())
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(head[16:20]) == width


def test_names_cannot_become_html() -> None:
    """External texts are escaped in cells and headings."""
    blocks: Any = templates().get_template("macros.html").module
    made = blocks.table(["<b>"], [["<script>alert(1)</script>"], [Markup("<i>ours</i>")]])
    assert "<script>" not in made
    assert "&lt;script&gt;" in made
    assert "<th>&lt;b&gt;</th>" in made
    assert "<td><i>ours</i></td>" in made


def test_labels_of_charts_cannot_become_html() -> None:
    """A channel's name is escaped in the text for screen readers."""
    assert 'aria-label="&#34;&gt;&lt;script&gt;"' in box(Markup(""), '"><script>')


def test_thinning_keeps_what_sticks_out() -> None:
    """The drawn path of a million steps with one spike reaches the spike and is short."""
    ends = np.arange(1_000_000, dtype=np.int64)
    values = np.zeros(len(ends), np.float32)
    values[777_777] = 10
    place = bins(ends, 0, int(ends[-1]))
    thinned = thin(place, values, values)
    assert len(thinned.at) == BINS
    assert (thinned.high.max(), thinned.low.max()) == (10, 0)
    path = line(thinned, Axis(0, 10), 3)
    assert re.search(r"L466 (200V0|0V200)", path)
    assert len(path) < 10 * BINS


def test_a_hole_interrupts_the_line() -> None:
    """After a long gap the path starts again, and non-finite values are left out."""
    place = np.array([0, 1, 2, 3, 100, 101], np.int64)
    values = np.array([1, np.nan, 1, 1, 1, 1], np.float32)
    path = line(thin(place, values, values), Axis(0, 2), 3)
    assert path == "M0 100L2 100L3 100M100 100L101 100"


def test_marks_cover_the_runs() -> None:
    """Each run has a rectangle that is wide enough to be visible."""
    on = np.array([0, 1, 1, 0, 1], np.bool_)
    made = marks(on, np.array([0, 10, 20, 30, 40], np.int64), "alert")
    assert re.findall(r'x="(\d+)" y="0" width="(\d+)"', made) == [("10", "11"), ("40", "2")]
    assert f'height="{HIGH}"' in made


@pytest.mark.parametrize(
    ("ms", "words"), [(None, "\u2013"), (0, "0 s"), (90_000, "90 s"), (600_000, "10.0 min"), (864_000_000, "10.0 d")]
)
def test_durations_read_well(ms: float | None, words: str) -> None:
    """A duration has a suitable unit, and a missing one is a dash."""
    assert lasting(ms) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "\u2013"), (float("nan"), "\u2013"), (1234567, "1\u202f234\u202f567"), (0.51234, "0.512")],
)
def test_numbers_read_well(value: float | None, words: str) -> None:
    """A number has three digits and separated thousands, and a missing one is a dash."""
    assert number(value) == words
