"""The lines that `monitor onboard` prints: findings, remarks and the estimated cost."""

from collections.abc import Iterator, Mapping, Sequence

from monitor.connectors.base import Sample
from monitor.core.decode.format import Format, place, shown
from monitor.core.decode.ids import legal
from monitor.core.decode.select import IGNORE, RATE
from monitor.onboard.cost import Estimate
from monitor.onboard.dashboard import unit
from monitor.onboard.detectors import Part
from monitor.onboard.format.recognise import DetectedFormat, reasons
from monitor.onboard.format.tags import split
from monitor.onboard.survey import Survey
from monitor.settings.tree import Settings

_LISTED = 20  # channels; the rest is counted
_FEW = 5  # assets or fields named in a sentence
_SHARE = 0.001  # of readings, from which a remark is made
MERGED = 0.2  # share of readings that contradict others, from which a format is refused
_LITTLE = 0.02  # share of missing readings that needs no remark


def report(
    settings: Settings,
    sample: Sample,
    recognised: DetectedFormat,
    figures: Survey,
    skipped: Mapping[str, float],
    *,
    parts: Sequence[Part] = (),
) -> Iterator[str]:
    """Yield lines about the topic, which may hold several classes of machines."""
    held = sum(sample.held.values())
    cut = f" ({sample.cut})" if sample.cut else ""
    yield f"read      {figures.messages} of {held} messages in {_count(len(sample.held), 'partition')}{cut}"

    form = recognised.format
    numbers = "; numbers in texts are read" if form.numbers == "texts" else ""
    times = "" if form.kind == "csv" else f"; times in {form.timestamp_unit}"  # a table's layout was told before
    yield f"format    {form.kind}: {recognised.kind}{times}{numbers}"
    where = {"key": "the message's key", "tag": f"tag {place(form.asset_tag)}", "field": f"field {place(form.asset)}"}
    reason = recognised.reasons.get({"key": "asset_from", "tag": "asset_tag"}.get(form.asset_from, "asset"), "")
    if form.kind == "json":
        where["field"] = _place_of("asset", form, form.asset)
    yield f"asset     {where[form.asset_from]}: {reason}"
    if form.channel_tag or (form.kind == "json" and not form.values):
        named = f"tag {place(form.channel_tag)}" if form.channel_tag else _place_of("channel", form, form.channel)
        yield f"channel   {named}: {recognised.reasons.get('channel_tag' if form.channel_tag else 'channel', '')}"
    for name, lead in (("timezone", "zone"), ("quality", "quality")):
        if (found := getattr(form, name)) != getattr(Format(form.kind, asset_from=form.asset_from), name):
            yield f"{lead:<10}{place(found)}: {recognised.reasons.get(name, '')}"
    if left_out := form.select.assets.exclude:
        yield f"select    not {', '.join(map(place, left_out))}; {recognised.reasons.get('select.assets_exclude', '')}"

    if form.channel_name == "field":
        yield f"names     channels by their field alone: {recognised.reasons['channel_name']}"
    if wanted := form.select.measurements.include:
        why = recognised.reasons.get("select.measurements", "as given")
        yield f"select    measurements {', '.join(map(place, wanted))}; {why}"
    names = ", ".join(figures.assets[:_FEW]) + (", …" if len(figures.assets) > _FEW else "")
    yield f"assets    {len(figures.assets)}: {names}"
    yield f"step      {settings.windows.step_s:g} s; {figures.regular:.1%} of the readings in its rhythm"
    yield from _classes(parts, form)
    late = f"{figures.disorder:.2%} of the readings behind a later one, 99.9 % by at most {figures.late_ms / 1000:g} s"
    yield f"order     {late}, the latest by {figures.latest_ms / 1000:g} s"
    yield f"pace      {figures.rate:.4g} readings/s of the plant's time, {figures.weight:.3g} a message"

    yield f"channels  {len(figures.channels)}"
    for name, each in list(figures.channels.items())[:_LISTED]:
        texts = f", {skipped[name]:.1%} no number" if name in skipped else ""
        assets = _count(each.assets, "asset")
        yield f"          {name}: {assets}, every {each.period_ms / 1000:g} s, {each.missing:.1%} missing{texts}"
    if len(figures.channels) > _LISTED:
        yield f"          … and {len(figures.channels) - _LISTED} more"

    yield from _kinds(figures)
    rates = settings.channel_kinds().among(list(figures.channels), RATE)
    units = sum(unit(name) != "none" for name, is_rate in zip(figures.channels, rates, strict=True) if not is_rate)
    yield f"dashboard of these {_count(len(figures.assets), 'asset')} and {_count(len(figures.channels), 'channel')}"
    yield f"          {units} of the channels have the unit that their name ends with"


def _classes(parts: Sequence[Part], form: Format) -> Iterator[str]:
    """Yield lines about the classes of machines, if there are several."""
    if not parts:
        return
    told = f"told apart by {place(form.group)}" if form.group else "told apart by their names"
    yield f"classes   {len(parts)}, {told}, each with a detector of its own"
    for machines, figures in parts:
        chosen = ", ".join(map(place, (machines.groups or machines.globs)[:_FEW]))
        more = ", …" if len(machines.groups or machines.globs) > _FEW else ""
        counts = f"{_count(len(figures.assets), 'asset')}, {_count(len(figures.channels), 'channel')}"
        yield f"          {machines.name}: {chosen}{more}; {counts}, step {figures.step_ms / 1000:g} s"


def _kinds(figures: Survey) -> Iterator[str]:
    """Yield lines about channels that are left out, and others that are no plain measurement."""
    left = {name: each for name, each in figures.kinds.items() if each.read_as == IGNORE}
    if left:
        yield f"left out  {_count(len(left), 'channel')}, by select.channels_exclude"
        for name, each in list(left.items())[:_LISTED]:
            yield f"          {name}: {each.reason}"
        if len(left) > _LISTED:
            yield f"          … and {len(left) - _LISTED} more"
    for name, each in figures.kinds.items():
        if each.read_as != IGNORE and each.reason:
            yield f"note      {name}: {each.reason}{'; its change a second is read' if each.read_as == RATE else ''}"


def scattered(figures: Survey, recognised: DetectedFormat) -> str:
    """Return a sentence about assets whose messages lie in several partitions, and the repair."""
    name, parts = next(iter(figures.scattered.items()))
    form = recognised.format
    if form.asset_from == "tag":
        repair = f'in Telegraf\'s Kafka output set routing_tag = "{form.asset_tag}", which counts before routing_key'
    else:
        repair = "let the producer write the asset's name as the key of each message"
    return (
        f"the messages of {_count(len(figures.scattered), 'asset')} lie in several partitions, as those of {name} in "
        f"{' and '.join(map(str, parts[:_FEW]))}: each partition has windows of its own and would see a part of the "
        f"machine only; {repair}"
    )


def _place_of(name: str, form: Format, place_: str) -> str:
    """Return where the asset or the channel is: by a pattern, or at a place."""
    for each in form.patterns:
        if f"(?P<{name}>" in each.pattern:
            return f"part of {place(each.place)} by {shown(each.pattern, 200)}"
    return {"topic:": "the topic's name", "key:": "the message's key"}.get(place_, f"at {place(place_)}")


def remarks(
    settings: Settings,
    figures: Survey,
    skipped: Mapping[str, float],
    recognised: DetectedFormat,
    parts: Sequence[Part] = (),
) -> Iterator[str]:
    """Yield a sentence for everything unusual about the topic or left to do."""
    if not settings.recorder.enabled:
        yield "the dashboard shows what the recorder writes, which is not enabled: see [recorder] in configs/plant.toml"

    yield from _about_messages(figures, recognised)
    if figures.repeated > _SHARE:
        yield f"{figures.repeated:.1%} of the readings repeat time and value of an earlier one, which holds the value"

    texts = [
        place(name) for name in skipped if name not in figures.channels and (legal(name) or name) not in figures.kinds
    ]
    if texts:
        more = ", …" if len(texts) > _FEW else ""
        yield f"{_count(len(texts), 'field')} without a number, left out: {', '.join(texts[:_FEW])}{more}"

    step_ms = settings.windows.step_ms
    skewed = sorted((abs(skew), name) for name, skew in figures.skew_ms.items() if abs(skew) > step_ms)[::-1]
    if skewed:
        listed = ", ".join(f"{name} by {figures.skew_ms[name] / 1000:+g} s" for _, name in skewed[:_FEW])
        yield f"the clocks of {_count(len(skewed), 'asset')} differ from the others by a step or more: {listed}"

    if figures.regular < 0.5:
        yield "the readings have no steady period, as if sent when a value changes: the step is the pace of the assets"
    slow = [name for name, each in figures.channels.items() if each.hold_ms]
    if slow:
        longest = max(slow, key=lambda name: figures.channels[name].hold_ms)
        yield (
            f"{_count(len(slow), 'channel')} slower than the step: a value holds until the next one, of {longest} for "
            f"{figures.channels[longest].hold_ms / 1000:g} s at most; a longer silence is a fault of the sensor"
        )
    sparse = [name for name, each in figures.channels.items() if each.missing > _LITTLE and not each.hold_ms]
    if sparse:
        worst = max(sparse, key=lambda name: figures.channels[name].missing)
        yield (
            f"{_count(len(sparse), 'channel')} without readings for more than {_LITTLE:.0%} of the steps, {worst} for "
            f"{figures.channels[worst].missing:.0%}; these steps count as not measured"
        )

    yield from _unlike(figures, parts)


def _unlike(figures: Survey, parts: Sequence[Part]) -> Iterator[str]:
    """Yield a sentence for machines of one detector that are not alike, and for those chosen by their names."""
    for name, each in [(f"of {machines.name}, ", part) for machines, part in parts] or [("", figures)]:
        partial = [channel for channel, one in each.channels.items() if one.assets < len(each.assets)]
        if partial:
            yield (
                f"{name}{len(partial)} of {len(each.channels)} channels exist on some assets only; if these are "
                "different kinds of machine, a detector for each kind finds more ([[detectors]])"
            )
    for machines, _ in parts:
        if machines.others:
            yield (
                f"{machines.name} has {_count(len(machines.assets), 'asset')} that no class has: one detector for "
                "machines that are not alike finds little; give those that matter a detector of their own"
            )
        elif len(machines.globs) > 1:
            yield f"{machines.name} is chosen by the names of its assets: a new one must be added to the list"


def _about_messages(figures: Survey, recognised: DetectedFormat) -> Iterator[str]:
    """Yield a sentence for everything unusual about partitions, and about messages that contradict each other."""
    if figures.scattered:
        yield scattered(figures, recognised)
    for reason in reasons(figures.rejected, 3):
        yield f"dead letters: {len(figures.rejected)} of {figures.messages} messages; {reason}"

    if figures.refused:
        first, count = figures.refused[0], len(figures.refused)
        yield (
            f"{_count(figures.taken, 'reading')} of {_count(count, 'name')} skipped, since another name has become the "
            f"same id: the {first.kind} {shown(first.name)} would be {first.id}, as {shown(first.owner)} is; give them "
            "different names where they are made"
        )
    if figures.colliding > _SHARE:
        yield f"{_contradicting(figures)}; the last one counts. {_collision(recognised)}"

    left_out = recognised.reasons.get("select.assets_exclude")
    if left_out is not None:
        yield f"messages are {left_out}; if a machine sends them, name it in them or give them a topic of their own"
    if len(figures.assets) == 1 and (several := split(figures.channels)) is not None and several.certain:
        machines = list(dict.fromkeys(asset for asset, _ in several.parts.values()))
        yield (
            f"one asset only, but the names of its channels hold {len(machines)} parts that may be machines: "
            f"{', '.join(map(place, machines[:_FEW]))}. {_apart(recognised)}"
        )


def merging(figures: Survey, recognised: DetectedFormat) -> str:
    """Return why a format is refused under which more than MERGED of the readings contradict each other."""
    assets = ", ".join(map(place, figures.assets[:_FEW])) + (", …" if len(figures.assets) > _FEW else "")
    return (
        f"{_contradicting(figures)}, with the assets {assets}: machines are merged, or the times are too coarse. "
        f"{_collision(recognised)}"
    )


def _contradicting(figures: Survey) -> str:
    return f"{figures.colliding:.1%} of the readings contradict another of the same asset, channel and time"


def _apart(recognised: DetectedFormat) -> str:
    """Return how parts of the channels' names become assets."""
    if recognised.format.kind == "csv":
        return "If they are, give each a table of its own, or the long form with a column of tags"
    return 'If they are, let format.patterns find them from "name:" (docs/field-map.md)'


def _never(figures: Survey, skipped: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence about fields that hold neither numbers nor texts: nulls, nested values."""
    known = {*figures.channels, *figures.kinds}
    names = [place(name) for name in skipped if name not in known and legal(name) not in known]
    if names:
        more = ", …" if len(names) > _FEW else ""
        yield f"{_count(len(names), 'field')} without a number, left out: {', '.join(names[:_FEW])}{more}"


def _collision(recognised: DetectedFormat) -> str:
    form = recognised.format
    if form.kind == "telegraf_json" and form.timestamp_unit == "s":
        return 'Telegraf\'s JSON has whole seconds: set json_timestamp_units = "1ms" in its output'
    return "A second label may distinguish them: add it to the asset's name at the producer"


def costs(sample: Sample, figures: Survey, sums: Estimate) -> Iterator[str]:
    """Yield lines about load and memory."""
    measured = sums.measured
    yield (
        f"load      {sums.load:.2%} of a core; measured on the sample: {measured.readings_per_s:,.0f} readings/s, "
        f"{measured.windows_per_s:,.0f} windows/s per core, without the broker's client"
    )

    most = sums.base_mb + sums.assets_mb + len(sample.held) * sums.history_mb
    yield (
        f"memory    {most:.0f} MB at most: {sums.base_mb:.0f} the program at work, {sums.assets_mb:.1f} for "
        f"{len(figures.assets)} assets, {sums.history_mb:.0f} of history per partition when full"
    )


def start(settings: Settings, figures: Survey, sums: Estimate, name: str = "") -> Iterator[str]:
    """Yield lines about the time to the first scores, of the detector `name` if there are several."""
    training, lead = settings.training, f"{name}: " if name else ""
    enough = f"{training.first_steps} steps of {settings.windows.step_s:g} s"
    if sums.waiting_s:
        have = f"the topic holds {figures.span_ms / 1000:,.0f} s of them, so {_long(sums.waiting_s)} more must pass"
    else:
        have = f"the topic holds them; reading takes {_long(sums.reading_s)}"
    yield (
        f"start     {lead}the first model needs {enough}: {have}; its training takes at most {_long(sums.training_s)}. "
        "Scores begin then"
    )
    yield f"          each asset has a threshold of its own after {_long(sums.warm_s)} of scores"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _long(seconds: float) -> str:
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 else "under a second"
