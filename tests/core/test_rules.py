"""Rules of assets and channels by name and by row."""

import numpy as np
import pytest

from monitor.core.decode.select import Globs, Kinds
from monitor.core.rules import AssetRule, ChannelRule, RowRules, Rules

RULES = Rules(
    assets=(
        ("pump-07", AssetRule(margin=2.0, channels=Globs(exclude=("vib*",)))),
        ("pump-*", AssetRule(alarms_per_day=0.5)),
        ("mixer-*", AssetRule(off=True, channels=Globs(include=("flow",)))),
    ),
    channels=(("vib*", ChannelRule(direction="above")), ("vibration", ChannelRule(least=1.0))),
)
CHANNELS = ("flow", "vib_x", "vib_y")
NAMES = ["pump-01", "mixer-1", "pump-07", "fan"]


def by_row(names: list[str] = NAMES) -> RowRules:
    made = RowRules(1.6, 0.1, RULES)
    made.update(names, CHANNELS)
    return made


def test_the_first_glob_that_matches_counts() -> None:
    """A later section of the same name has no effect, and a name without a section has the rule of all."""
    assert RULES.asset("pump-07").margin == 2.0
    assert RULES.asset("pump-07").alarms_per_day is None
    assert RULES.asset("fan") == AssetRule()
    assert RULES.channel("vibration").least == 0.0
    assert RULES.channel("flow") == ChannelRule()


def test_rules_are_known_by_row() -> None:
    """Margin, budget, off and channels of each row are those of its asset's section, otherwise those of all."""
    rows, rules = np.arange(4), by_row()
    assert rules.margin(rows).tolist() == [1.6, 1.6, 2.0, 1.6]
    assert rules.budget(rows).tolist() == [0.5, 0.1, 0.1, 0.1]
    assert rules.off(rows).tolist() == [False, True, False, False]
    unread = rules.unread(rows)
    assert unread is not None
    assert unread.tolist() == [[False] * 3, [False, True, True], [False, True, True], [False] * 3]
    assert rules.budgeted


def test_a_row_that_goes_to_another_asset_gets_its_rules() -> None:
    """After `forget` the row's rules are those of the name it has then; the other rows keep theirs."""
    rules = by_row()
    rules.forget(2)
    rules.update(["pump-01", "mixer-1", "fan", "pump-07"], CHANNELS)
    assert rules.margin(np.array([2])).tolist() == [1.6]
    rules.forget(3)
    rules.update(["pump-01", "mixer-1", "fan", "pump-07", "mixer-2"], CHANNELS)
    assert rules.margin(np.array([2, 3])).tolist() == [1.6, 2.0]
    assert rules.off(np.array([3, 4])).tolist() == [False, True]


def test_channels_that_come_later_follow_the_globs() -> None:
    """A channel that is learned later is masked where the asset's section leaves it out."""
    rules = by_row()
    rules.update(NAMES, (*CHANNELS, "vib_z", "temp"))
    unread = rules.unread(np.array([1, 2]))
    assert unread is not None
    assert unread.tolist() == [[False, True, True, True, True], [False, True, True, True, False]]


def test_aggregates_and_angles_follow_the_sections_of_their_channel() -> None:
    """Mean and sine of a channel have the rule of its section; of a standard deviation only title and unit count."""
    given = (("vib*", ChannelRule(direction="above", low=0.0, title="Vibration")), ("wind", ChannelRule(title="Wind")))
    rules = Rules(RULES.assets, given, Kinds((("wind", "angle"),)), ("mean", "std"))
    assert rules.channel("vib_x.mean") == given[0][1]
    assert rules.channel("vib_x.std") == ChannelRule(title="Vibration")
    assert rules.channel("wind.cos.mean").title == "Wind"
    assert Rules(channels=given).channel("wind.cos") == ChannelRule()
    rows = RowRules(1.6, 0.1, rules)
    rows.update(["mixer-1", "pump-07"], ("flow.mean", "flow.std", "vib_x.mean"))
    unread = rows.unread(np.array([0, 1]))
    assert unread is not None
    assert unread.tolist() == [[False, False, True], [False, False, True]]


def test_sections_that_match_nothing_are_named() -> None:
    """A glob that matches no asset, or only assets of an earlier section, is returned."""
    assert by_row(["pump-07", "fan"]).unmatched == {"pump-*", "mixer-*"}
    assert by_row().unmatched == set()


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        ((("flow", "measurement"),), ()),
        ((("flow", "measurement"), ("hours", "rate")), (("hours", "rate"),)),
        ((("hours", "rate"), ("*", "measurement")), (("hours", "rate"),)),
        ((("flow", "measurement"), ("*", "rate")), (("flow", "measurement"), ("*", "rate"))),
        ((("f*", "measurement"), ("hours", "state")), (("f*", "measurement"), ("hours", "state"))),
    ],
)
def test_only_globs_that_decide_a_kind_are_left(
    globs: tuple[tuple[str, str], ...], left: tuple[tuple[str, str], ...]
) -> None:
    """A section of a measurement counts only if it may keep a later section from making something else."""
    assert Kinds(globs).deciding() == Kinds(left)
