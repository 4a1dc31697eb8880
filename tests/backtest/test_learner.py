"""What a backtest says of a model that it learned itself."""

from pathlib import Path

from monitor.backtest.replay import Learner
from tests.core.machines import ASSETS, corpus
from tests.rig import settings


def test_the_times_that_the_model_fits_worst_are_named(tmp_path: Path) -> None:
    """The sentence on the model has asset and times of the worst fit, as a report and a log event have them."""
    small = settings(tmp_path, training__steps=20)
    _, said = Learner(lambda *_: None).learn(small, [corpus()])
    _, _, worst = said.partition("; fits worst: ")
    assert worst.split()[0] in ASSETS
    assert " to 1970-01-01T00:" in worst
