"""Say why messages gave no window: which condition failed, for which assets, and which setting would help.

Each sentence names what was found and what is needed. A setting is advised only where it would help.
"""

from collections.abc import Collection, Sequence

from monitor.core.records import FILTERED, Count
from monitor.core.windows.aggregates import base_of
from monitor.service.intake import AssetSeen, Grid, Intake
from monitor.settings.stages import WindowsSection

NAMED = 3  # assets and channels named in a sentence
_MANY = 0.5  # share of the readings from which their loss is a reason
_SURE = 3  # holes that are a reason where not all readings were looked at
_DROPPED = {  # count -> the reason, and the way out
    Count.READINGS_LATE: "came after their step had closed; raise windows.lateness_s, or check the machines' clocks",
    Count.READINGS_DUPLICATE: "repeat the time of an earlier reading of their channel; check format.timestamp",
    Count.READINGS_UNKNOWN_CHANNEL: "are of channels that the model does not know; train a model on these channels",
    Count.READINGS_REFUSED: "are of assets beyond windows.max_assets; raise it, or check which field names the asset",
    Count.READINGS_FLOOD: "are of too many new assets in a minute; check which field names the asset",
}


def why_no_windows(intake: Intake, windows: WindowsSection, channels: Sequence[str] = ()) -> str:
    """Return the reasons, joined by semicolons. `channels` are those of the model, if there is one.

    Assets for which no condition failed are not mentioned.
    """
    if not intake.messages:
        return _nothing_read(intake)

    reasons = []
    if intake.rejected or intake.skipped:
        reasons.append(intake.said())
    readings = intake.counts.get(Count.READINGS, 0)
    filtered = sum(intake.counts.get(name, 0) for name in FILTERED)
    if filtered and filtered >= _MANY * (readings + filtered):
        reasons.append(f"{filtered} readings were left out by [select]; include what is wanted")
    if not readings and not filtered and intake.rejected < intake.messages:
        reasons.append(f"{intake.messages - intake.rejected} messages hold no value that can be read; check format")
    for name, consequence in _DROPPED.items():
        dropped = intake.counts.get(name, 0)
        if dropped and dropped >= _MANY * readings:
            reasons.append(f"{dropped} of {readings} readings {consequence}")

    seen = intake.seen(Grid(windows.step_ms, windows.max_gap), _bases(channels, windows))
    reasons += _about_assets(seen, windows, cut=intake.cut)
    if not reasons and not seen and intake.unwanted:
        assets = and_more(sorted(intake.unwanted))
        reasons.append(f"the detector wants none of the assets that were read, {assets}; correct its assets and groups")
    if not reasons:
        closed, gaps = intake.counts.get(Count.STEPS_CLOSED, 0), intake.counts.get(Count.GAPS, 0)
        reasons.append(
            f"{len(intake.partitions)} partitions closed {closed} steps with {gaps} gaps; give a longer recording"
        )
    return "; ".join(reasons)


def why_not_scored(intake: Intake, windows: WindowsSection, channels: Sequence[str], scored: Collection[str]) -> str:
    """Return a sentence about the assets that were read and are not among those `scored`; empty if there is none."""
    seen = intake.seen(Grid(windows.step_ms, windows.max_gap), _bases(channels, windows))
    without = [each for each in seen if each.asset not in scored]
    if not without:
        return ""
    reasons = _about_assets(without, windows, cut=intake.cut)
    return "; ".join([f"not scored: {and_more([each.asset for each in without])}", *reasons])


def _bases(channels: Sequence[str], windows: WindowsSection) -> Sequence[str]:
    """Return the channels of a model as messages name them."""
    return list(dict.fromkeys(base_of(name, windows.aggregate) for name in channels))


def not_assigned(topics: Sequence[str], group: str, seconds: float) -> str:
    """Return the sentence for a group that assigned no partition in so many seconds."""
    return (
        f"no partition of {', '.join(topics)} was assigned to the group {group} within {seconds:g} s; "
        "`monitor check --connect` says whether the topic exists and the group may be joined"
    )


def _nothing_read(intake: Intake) -> str:
    if intake.outside:
        return f"{intake.outside} messages were read, and none lies between --from and --to"
    names = list(dict.fromkeys(part.topic for part in intake.partitions))
    return f"{and_more(names)} holds no message" if names else "there was nothing to read"


def _about_assets(assets: Sequence[AssetSeen], windows: WindowsSection, *, cut: bool) -> list[str]:
    """Return a sentence for each condition that failed for some assets, with the figures of the first of them."""
    failed: dict[str, list[tuple[str, str]]] = {}  # condition -> asset and sentence of each
    for seen in assets:
        condition, sentence = _failed(seen, windows, cut=cut)
        if condition:
            failed.setdefault(condition, []).append((seen.asset, sentence))

    sentences = []
    for each in failed.values():
        (first, sentence), *others = each
        alike = f" (likewise {and_more([name for name, _ in others])})" if others else ""
        sentences.append(f"{first}: {sentence}{alike}")
    return sentences


def _failed(seen: AssetSeen, windows: WindowsSection, *, cut: bool) -> tuple[str, str]:
    """Return the condition that failed for an asset, and a sentence about it; empty texts if none did."""
    step, length, gap = windows.step_s, windows.length, windows.max_gap
    bridged = (gap + 1) * windows.step_ms
    if seen.distance_ms > bridged:
        return "distance", (
            f"a reading comes every {_seconds(seen.distance_ms)}, but windows.step_s = {step:g} and windows.max_gap = "
            f"{gap} bridge {_seconds(bridged)}; set windows.step_s = {seen.distance_ms / 1000:g}, or raise "
            "windows.max_gap"
        )

    # The last steps are open until later readings come.
    still_open = round(windows.lateness_s * 1000) // windows.step_ms + 1
    if seen.stretch < length + still_open and seen.holes >= (_SURE if cut else 1):
        return "holes", (
            f"{seen.holes} holes are longer than windows.max_gap = {gap} steps of {step:g} s; the longest stretch "
            f"without one has {seen.stretch} steps, and a window needs windows.length = {length}; raise "
            "windows.max_gap, or windows.step_s"
        )
    if seen.stretch < length + still_open and not cut:
        return "short", (
            f"{seen.stretch} steps of {step:g} s were read, the last {still_open} of them still open, and a window "
            f"needs windows.length = {length}; give a longer recording, or lower windows.length"
        )
    if seen.share < windows.min_observed:
        return "observed", _little_observed(seen, windows)
    return "", ""


def _little_observed(seen: AssetSeen, windows: WindowsSection) -> str:
    least = windows.min_observed
    text = f"{seen.share:.0%} of the cells of a window are measured, and windows.min_observed = {least:g} is needed"
    own = seen.channels - len(seen.missing)
    if not seen.missing:
        return (
            f"{text}; raise windows.step_s, so that a step has a reading of each channel, or lower windows.min_observed"
        )

    text += f"; {len(seen.missing)} of {seen.channels} channels have never come: {and_more(seen.missing)}"
    if own and seen.share * seen.channels / own >= least:
        return (
            f"{text}; give the same channel the same name in all assets, or each kind of machine its own [[detectors]]"
        )
    return f"{text}; raise windows.step_s, or lower windows.min_observed"


def _seconds(ms: float) -> str:
    return f"{ms / 1000:g} s"


def and_more(names: Sequence[str]) -> str:
    """Name the first few."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
