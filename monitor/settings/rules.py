"""Sections with names of their own: exceptions for machines, [assets.NAME], and for channels, [channels.NAME].

A name may be a glob. Of several sections that match a name, the first one in the file counts.
"""

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import field_validator

from monitor.core.decode.parsers.members import number_of
from monitor.core.decode.select import STATE, Globs
from monitor.core.rules import AssetRule, ChannelRule, Rules
from monitor.settings.base import Glob, Section, expected, globs, setting

JUDGING = ("direction", "least", "low", "high", "unit", "title")  # settings of a channel that may change live
_MOST_TEXTS, _LONGEST_TEXT = 256, 128
_SHARE = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*%\s*")
_LEAST_FORM = 'a number from 0, or a share of the expected value such as "5%"'


def is_text(text: str) -> bool:
    """Return whether messages can hold the text, and nothing reads it as something else."""
    fit = 0 < len(text) <= _LONGEST_TEXT and text.isprintable() and text == text.strip()
    return fit and number_of(text) is None and text.lower() not in {"true", "false"}


class ChannelSection(Section):
    """One channel, or all channels that a glob matches: `[channels."*.energy"]`.

    If several sections match a channel, the first one in the file counts. A name with other characters than letters,
    digits, _ and - needs quotes. All but `as`, `texts`, `hold_s` and `span` may change while the worker
    runs.
    """

    kind: Literal["measurement", "rate", "state", "angle", "ignore"] = setting(
        "measurement",
        "What the channel is read as. rate: a counter, whose change a second takes the place of its value under the "
        "same name. A gap gives the mean rate over it. A reset, and a reading that is not newer than the one before, "
        "gives no value. state: true and false are 1 and 0; elsewhere a boolean is skipped. A channel with `texts` "
        "is a state. angle: in degrees; its sine and cosine take its place as NAME.sin and NAME.cos, so 359 to 1 is no "
        "jump, and alerts show degrees. "
        "ignore: left out, as by select.channels_exclude. After a change, train anew: the model in use takes no "
        "notice. If a counter becomes a rate or back, the history for training is set aside, too.",
        key="as",
    )
    texts: tuple[str, ...] = setting(
        (),
        'Texts of a channel that is no number, such as ["STOP", "RUN"]: a state, whose value is the place of the text '
        "from 0 on. Spaces around a text do not count, case does. Conditions, alerts and modes name the text. Another "
        "text is skipped, counted and named in the log (text unknown). Add new ones at the end: places must not "
        "change while a model is in use. The channel of the modes can have at most 64 modes.",
        form="a list of at most 256 different texts of 1 to 128 characters, none of them a number, true or false",
    )
    hold_s: float = setting(
        0.0,
        "How long the channel's last value holds until the next one, and counts as measured. 0: learned for each asset "
        "from the channel's own silences, once four of them were seen: three times the longest usual one. A channel "
        "that comes with each step holds nothing, nor does one with a time shorter than windows.step_s. A channel that "
        "stays silent for longer is not measured, and then a faulty sensor. No value holds over a silence of the whole "
        "asset that is longer than windows.max_gap.",
        unit="s",
        low=0,
        high=31_536_000,
    )
    span: float = setting(
        0.0,
        "From the smallest to the largest value that the channel takes in normal operation, over all its life and in "
        "its unit, such as 100 for a load in percent. A channel that was quiet while the model learned counts as "
        "deviating only from a share of it: one deviation is at least a tenth of the span. 0: not known. It is not "
        "what the sensor can measure, which may be far more. After a change, the next training brings it.",
        low=0,
        high=1e300,
    )
    direction: Literal["both", "above", "below"] = setting(
        "both",
        "Deviations from the expected value that count. above: a reading below it causes no alert, and below: one "
        "above it. The score leaves out what does not count, so it can only fall.",
    )
    least: float | str = setting(
        0.0,
        "Smallest deviation from the expected value that counts, in the channel's unit or as a share of the expected "
        'value, such as "5%". Smaller ones cause no alert, however unusual they are.',
        form=_LEAST_FORM,
    )
    low: float | None = setting(
        None,
        "Smallest value that the channel's sensor can measure. A lower reading is a sensor fault. Not set: no limit.",
        form="a number",
    )
    high: float | None = setting(
        None,
        "Largest value that the channel's sensor can measure. A higher reading is a sensor fault. Not set: no limit.",
        form="a number",
    )
    unit: str = setting("", "Unit of the channel's values, shown with them.", form="a text of at most 64 characters")
    title: str = setting(
        "", "Name of the channel for people, shown beside its own.", form="a text of at most 64 characters"
    )

    @field_validator("least")
    @classmethod
    def _refuse_other_texts(cls, value: float | str) -> float | str:
        if isinstance(value, str) and _SHARE.fullmatch(value) is None:
            raise ValueError(_LEAST_FORM)
        if not isinstance(value, str) and value < 0:
            raise ValueError(_LEAST_FORM)
        return value

    @field_validator("texts")
    @classmethod
    def _refuse_what_is_read_otherwise(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        fit = len(value) <= _MOST_TEXTS and len(set(value)) == len(value) and all(map(is_text, value))
        if not fit:
            raise ValueError(expected(cls.model_fields["texts"]))
        return value

    @field_validator("unit", "title")
    @classmethod
    def _refuse_what_cannot_be_shown(cls, value: str) -> str:
        if len(value) > 64 or not value.isprintable():
            raise ValueError("a text of at most 64 characters that can be shown")
        return value

    @property
    def read_as(self) -> str:
        """What the channel is read as; one with texts is a state."""
        return STATE if self.texts else self.kind

    def rule(self) -> ChannelRule:
        """Return the core's form of these settings."""
        share = _SHARE.fullmatch(self.least) if isinstance(self.least, str) else None
        return ChannelRule(
            direction=self.direction,
            least=0.0 if isinstance(self.least, str) else self.least,
            least_share=float(share[1]) / 100 if share else 0.0,
            low=-np.inf if self.low is None else self.low,
            high=np.inf if self.high is None else self.high,
            unit=self.unit,
            title=self.title,
        )


class AssetSection(Section):
    """One machine, or all machines that a glob matches: `[assets."pump-07"]`, `[assets."mixer-*"]`.

    If several sections match a machine, the first one in the file counts. What a section does not give is as for all
    machines. All of it may change while the worker runs.
    """

    off: bool = setting(
        False,
        "true: the machine is not watched. It gets no scores and no alerts, open alerts end, and nothing is learned "
        "from it. Its state is shown as off.",
    )
    margin: float | None = setting(
        None,
        "Factor on the percentile in place of threshold.margin. With a budget of alarms it has no effect.",
        form="a number from 1 to 100",
        low=1,
        high=100,
    )
    alarms_per_day: float | None = setting(
        None,
        "Alarm budget in place of alerting.alarms_per_day; 0 = none, and the margin applies.",
        unit="alarms a day",
        form="a number from 0 to 1000",
        low=0,
        high=1000,
    )
    channels: tuple[Glob, ...] = globs(
        "Channels of this machine to watch. The others are masked, as those of a faulty sensor: they cause no alert, "
        "and the machine's score is that of the channels that are left."
    )
    channels_exclude: tuple[Glob, ...] = globs("Channels of this machine not to watch, masked in the same way.")

    def rule(self) -> AssetRule:
        """Return the core's form of these settings."""
        return AssetRule(
            margin=self.margin,
            alarms_per_day=self.alarms_per_day,
            channels=Globs(self.channels, self.channels_exclude),
            off=self.off,
        )


def make_rules(assets: Mapping[str, AssetSection], channels: Mapping[str, ChannelSection]) -> Rules:
    """Return the rules of these sections."""
    return Rules(
        tuple((glob, section.rule()) for glob, section in assets.items()),
        tuple((glob, section.rule()) for glob, section in channels.items()),
    )
