"""`monitor onboard`: look at a topic or a file and write the configuration that monitors it.

1. Read a sample (connectors/kafka/sample.py). No group is joined, nothing is committed.
2. Detect its format and measure it (onboard/format/recognise.py, onboard/survey.py). A topic of an unknown format is
   refused, with the reason and three of its messages.
3. Try the database, if the recorder is enabled. Nothing is written to it.
4. Decide settings (onboard/settings.py). They are written only after they load without an error.
5. Run the stages on the sample for a while, to estimate the load (onboard/cost.py).
6. Write Prometheus rules that expect these numbers of assets and readings, and a dashboard of these assets and channels
   (onboard/dashboard.py).
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from monitor.connectors.base import Finding, Sample
from monitor.core.decode.bodies import SCHEMA_HEADER
from monitor.core.decode.decode import decode
from monitor.core.decode.example import example
from monitor.core.decode.select import RATE, Kinds
from monitor.core.records import Message
from monitor.core.routing import Router
from monitor.observe.clock import wall_ms
from monitor.onboard.batches import batches
from monitor.onboard.classes import divide
from monitor.onboard.cost import estimate, measure, total
from monitor.onboard.dashboard import dashboard_text
from monitor.onboard.detectors import Part, of_classes, together, twins, with_own
from monitor.onboard.format.recognise import DetectedFormat, Known, UnknownFormat, recognise, table_format
from monitor.onboard.report import MERGED, costs, merging, remarks, report, scattered, start
from monitor.onboard.rest import history, resting
from monitor.onboard.settings import Chosen, decide, of_windows, written
from monitor.onboard.survey import Readout, Survey, measured, non_numeric, read
from monitor.options import OnboardOptions
from monitor.service.backends import make_sample, probe_points
from monitor.settings.base import literal
from monitor.settings.load import SECRETS, ConfigurationError, load
from monitor.settings.tree import Settings

_SHOWN = 3  # messages with a refusal
_DATABASE_S = 5.0  # for the database to answer


def onboard(base: Settings, options: OnboardOptions) -> int:
    """Write `options.out`, rules and dashboard; return 1 if the format is unknown, otherwise 0.

    Raises ValueError if a file exists already, OSError if it cannot be written, and the errors of `make_sample`.
    """
    out, limit = options.out, options.messages
    files = [out, out.with_suffix(".rules.yml"), out.with_suffix(".dashboard.json")]
    for path in files:
        if path.exists() and not options.force:
            raise ValueError(f"{path} exists already; --force replaces it")

    now = wall_ms()
    sample = make_sample(base, limit, lambda text: print(f"monitor: {text}", file=sys.stderr))  # 1
    try:
        table = base.source.kind == "files" and base.source.format in {"csv", "parquet"}
        recognised = table_format(sample.runs, now) if table else recognise(sample.runs, now, _known(base))  # 2
        recognised = _selected(base, recognised)
        recognised, figures, parts = _survey(base, sample, recognised, now, limit)
    except UnknownFormat as refusal:
        _refuse(sample, f"{refusal}{_header_hint(base, sample)}")
        return 1

    database = probe_points(base, _DATABASE_S) if base.recorder.enabled else []  # 3
    chosen = {**decide(base, recognised, figures), **_source(base, recognised, figures), **_recorder(database)}
    if parts:
        chosen |= {**of_windows(base, parts[0].figures), "detectors": of_classes(base, parts, figures)}
    try:
        settings, machines = _configure(base, chosen, out, sample, figures, now)  # 4
    except ConfigurationError as error:
        print(
            "\n".join(
                f"monitor: the settings that follow from the sample are refused: {each}" for each in error.problems
            ),
            file=sys.stderr,
        )
        return 1

    surveys = {machines.name: part for machines, part in parts} or _by_detector(settings, sample.runs, figures, now)
    of_detector = {name: settings.of_detector(name) for name in surveys}
    held = sum(sample.held.values())
    sums = {
        name: estimate(one, surveys[name], measure(one, sample.runs, surveys[name], now), held)  # 5
        for name, one in of_detector.items()
    }
    files[1].write_text(rules_text(settings, surveys))  # 6
    rates = [name for name in figures.channels if settings.channel_kinds().of(name) == RATE]
    files[2].write_text(dashboard_text(settings.name, figures.assets, list(figures.channels), options.grafana, rates))

    as_read = replace(recognised.format, kinds=settings.channel_kinds())
    skipped = non_numeric(max(sample.runs, key=len), as_read)
    lines = [*report(settings, sample, recognised, figures, skipped, parts=parts)]
    lines += costs(sample, figures, total(list(sums.values()), list(surveys.values())))
    for name, one in of_detector.items():
        lines += start(one, surveys[name], sums[name], name if settings.detectors else "")
    for lead, own in machines.items():
        lines += [f"machines  {lead}{key} = {literal(each.value)}: {each.reason}" for key, each in own.items()]
    lines += [f"recorder  {each.item}: {each.text}" for each in database if each.ok]
    lines += [f"look at   {remark}" for remark in remarks(settings, figures, skipped, recognised, parts)]
    lines += [f"look at   {_unreached(each)}" for each in database if not each.ok]
    print("\n".join([*lines, *_next(base, out, files)]))
    return 0


def _survey(
    base: Settings, sample: Sample, recognised: DetectedFormat, now: int, limit: int
) -> tuple[DetectedFormat, Survey, Sequence[Part]]:
    """Return the figures of the sample and those of its classes of machines, no class if it has one or they were given.

    The format may now say where the messages name groups.
    """
    parts: Sequence[Part] = ()
    try:
        readout = read(sample.runs, recognised.format, now)
        figures = measured(readout, recognised.format, base.windows.length)
        if not base.detectors and len(figures.assets) > 1:
            recognised, parts = _divided(sample, recognised, readout, now, base.windows.length)
        if parts:
            figures = together([each.figures for each in parts])
    except ValueError as error:
        more = f"wait for more messages, or look at more than --messages {limit}"
        raise UnknownFormat(
            f"the messages are {recognised.kind}, but {error}, so the step is unknown: {more}"
        ) from error
    if figures.colliding > MERGED:
        raise UnknownFormat(merging(figures, recognised))
    if base.source.kind == "files":
        held = sum(sample.held.values())
        figures, parts = _whole(figures, held), [Part(each.machines, _whole(each.figures, held)) for each in parts]
    return recognised, figures, parts


def _whole(figures: Survey, held: int) -> Survey:
    """Return the figures with the time that `held` messages span. The sample of a file is its beginning."""
    return replace(figures, span_ms=max(figures.span_ms, round(1000 * held * figures.weight / figures.rate)))


def _divided(
    sample: Sample, recognised: DetectedFormat, readout: Readout, now: int, length: int
) -> tuple[DetectedFormat, Sequence[Part]]:
    """Return the classes of the machines, if there are several and each was seen at two times at least."""
    division = divide(sample.runs, readout.table, recognised.format, now)
    if len(division.classes) < 2:
        return recognised, ()
    told = recognised
    if division.group != recognised.format.group:
        why = "it tells the classes of machines apart, by their channels"
        form = replace(recognised.format, group=division.group)
        told = replace(recognised, format=form, reasons={**recognised.reasons, "group": why})
        readout = read(sample.runs, form, now)
    try:
        return told, [Part(each, measured(readout.of(each.assets), told.format, length)) for each in division.classes]
    except ValueError:  # too little of one
        return recognised, ()


def _by_detector(settings: Settings, runs: Sequence[Sequence[Message]], figures: Survey, now: int) -> dict[str, Survey]:
    """Return the figures with the assets and the rate of each detector that the user gave, or of the only one.

    Raises ValueError if no detector wants an asset of the sample.
    """
    if not settings.detectors:
        return {settings.name: figures}

    router, form = Router({each.name: each.route() for each in settings.per_detector()}), settings.message_format()
    assets: dict[str, dict[str, None]] = {name: {} for name in router.routes}
    count = dict.fromkeys(router.routes, 0)
    readings_of_all = 0
    for run in runs:
        readings = decode(run, form, now)[0]
        readings_of_all += len(readings)
        for name, part in zip(router.routes, router.route(readings).readings, strict=True):
            assets[name] |= dict.fromkeys(part.assets)
            count[name] += len(part)

    if not any(count.values()):
        raise ValueError("no detector wants an asset of the sample: compare [[detectors]] with the names of its assets")
    return {
        name: replace(figures, assets=tuple(assets[name]), rate=figures.rate * number / readings_of_all)
        for name, number in count.items()
        if number
    }


def _configure(  # noqa: PLR0917 - the parts of a run
    base: Settings, chosen: dict[str, Chosen], out: Path, sample: Sample, figures: Survey, now: int
) -> tuple[Settings, Mapping[str, Mapping[str, Chosen]]]:
    """Write the file, with what the detectors found about rest and batches, and slow twins as comments.

    Return the settings and what was found, by detector. Raises ConfigurationError.
    """
    head = _head(base, sample, figures)
    settings = _write(base, chosen, out, head)
    found: dict[str, Mapping[str, Chosen]] = {}
    for each in settings.per_detector():
        corpus = history(each, sample.runs, now)
        own = resting(each, corpus) or batches(each, corpus, figures.span_ms)
        if own and "detectors" in chosen:
            chosen["detectors"] = with_own(chosen["detectors"], each.name, own)
            found[f"{each.name}: "] = own
        elif own and not settings.detectors:
            chosen |= own
            found[""] = own
    if found:
        settings = _write(base, chosen, out, head)
    if not base.detectors and (tail := twins(settings)):
        settings = _write(base, chosen, out, head, tail)
    return settings, found


def _known(base: Settings) -> Known:
    """Return the settings of the format that the user gave and that decide what messages leave open."""
    default = type(base.format).model_fields["asset"].default
    return Known(base.format.timezone, base.format.asset if base.format.asset != default else "")


def _selected(base: Settings, recognised: DetectedFormat) -> DetectedFormat:
    """Return the format with filters and kinds that the user gave. Measurements that were given replace those proposed.

    A kind that was given counts before one that was recognised.
    """
    given = base.select.build()
    found = recognised.format.select
    select = replace(given, measurements=given.measurements or found.measurements, assets=given.assets or found.assets)
    given_kinds = base.channel_kinds()
    kinds = Kinds((*given_kinds.globs, *recognised.format.kinds.globs), given_kinds.texts)
    try:
        form = replace(recognised.format, select=select, kinds=kinds, group=base.format.group)
        form = replace(form, extra_channels=base.format.extra_channels)
    except ValueError as error:
        raise UnknownFormat(f"the messages are {recognised.kind}, but {error}") from error
    return replace(recognised, format=form)


def _refuse(sample: Sample, reason: str) -> None:
    print(f"monitor: format unknown: {reason}", file=sys.stderr)
    shown = [message for run in sample.runs for message in run if message.value][:: max(1, _total(sample) // _SHOWN)]
    for message in shown[:_SHOWN]:
        print(f"  {example(message)}", file=sys.stderr)


def _header_hint(base: Settings, sample: Sample) -> str:
    """Return what to do about messages whose schema is named in a header; empty if none is, or a registry is given."""
    named = any(name == SCHEMA_HEADER for run in sample.runs for message in run for name, _ in message.headers)
    if base.schemas.registry_url or not named:
        return ""
    return (
        f"; they name a schema in the header {SCHEMA_HEADER}: give the registry's address by --registry or "
        "schemas.registry_url"
    )


def _total(sample: Sample) -> int:
    return sum(map(len, sample.runs))


def _source(base: Settings, recognised: DetectedFormat, figures: Survey) -> dict[str, Chosen]:
    """Return the settings of the source, as given on the command line or in the configuration."""
    if base.source.kind == "kafka":
        reason = "the topic of the sample"
        if figures.scattered:
            reason += f"; {scattered(figures, recognised)}"
        return {"source.topics": Chosen(base.source.topics[:1], reason)}
    return {
        "source.paths": Chosen(base.source.paths, "the file of the sample"),
        "outputs.kind": Chosen("files", "the sample came from a file, so alerts go to files in outputs.directory"),
    }


def _recorder(database: Sequence[Finding]) -> dict[str, Chosen]:
    """Return the recorder's settings, with what the database answered as the reason."""
    if not database:
        return {}
    answer = "; ".join(f"{each.item}: {each.text}" for each in database)
    return {"recorder.enabled": Chosen(True, f"when this file was made: {answer}")}


def _unreached(finding: Finding) -> str:
    return (
        f"{finding.item}: {finding.text}. The recorder is enabled and will try again; until then no alert is in the "
        "database. Correct recorder.url, org, bucket and token_file, then run monitor check --connect"
    )


def _head(base: Settings, sample: Sample, figures: Survey) -> str:
    where = base.source.topics[0] if base.source.kind == "kafka" else ", ".join(base.source.paths)
    return (
        f"Made by monitor onboard for {where}: {figures.messages} of {sum(sample.held.values())} messages in "
        f"{len(sample.held)} partition(s) showed {len(figures.assets)} asset(s) and {len(figures.channels)} channel(s)."
    )


def _write(base: Settings, chosen: Mapping[str, Chosen], out: Path, head: str, tail: Sequence[str] = ()) -> Settings:
    """Write the file and return the settings that load from it. Raises ConfigurationError if they do not load."""
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(written(base, chosen, head, tail), encoding="utf-8")
        secret = {
            key: base.value(key).get_secret_value()
            for file_key, key in SECRETS.items()
            if base.value(key).get_secret_value() and not base.value(file_key)
        }
        settings = load(part, {}, secret)  # values of the environment are in the file, except secrets
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return settings


def rules_text(settings: Settings, surveys: Mapping[str, Survey]) -> str:
    """Return Prometheus rules that compare the daemon's figures with those of the sample, by detector.

    Assets count once for each detector, so each detector is compared with its own assets.
    """
    job, rate = f'job="{settings.name}"', sum(each.rate for each in surveys.values())
    terms, counted = [], set[str]()
    for name, each in surveys.items():
        if not counted & set(each.assets):  # the readings of twins are the same ones
            counted |= set(each.assets)
            expected = each.rate / 2 / len(each.assets)
            terms.append(f'{expected:.6g} * sum(monitor_assets{{{job}, detector="{name}", state!="off"}})')
    working = " + ".join(terms)

    rows = [
        (
            "ReadingsMissing",
            f"sum(rate(monitor_readings_total{{{job}}}[15m])) < {working}",
            f"Fewer than half of the {rate:.4g} readings/s of the sample arrive, for machines that run.",
            "",
        )
    ]
    for name, each in surveys.items():
        rows += _rules_of(
            settings.of_detector(name), f'{job}, detector="{name}"', each, name if len(surveys) > 1 else ""
        )

    text = f"# Made by monitor onboard. The job in Prometheus' scrape configuration must be named {settings.name}.\n"
    text += f"groups:\n  - name: {settings.name}-topic\n    rules:\n"
    for alert, expression, summary, detector in rows:
        text += f"      - alert: Monitor{alert}\n        expr: '{expression}'\n        for: 15m\n"
        text += "        labels:\n          severity: warning\n"
        text += f"          detector: {detector}\n" if detector else ""
        text += f"        annotations:\n          summary: '{summary}'\n"
    return text


def _rules_of(settings: Settings, labels: str, figures: Survey, name: str) -> list[tuple[str, str, str, str]]:
    """Return the rules of one detector: name, expression, summary and detector's name, empty if it is alone."""
    assets, model = len(figures.assets), f"max(monitor_model_info{{{labels}}})"
    kind = f"{name} " if name else ""
    # Machines that are off need not send, and after a start their windows must fill.
    expected = f'{0.9 / settings.windows.step_s:.6g} * sum(monitor_assets{{{labels}, state!~"off|warming"}})'
    return [
        # A silent asset stays in memory, so it counts as missing by its state.
        (
            "AssetsMissing",
            f'sum(monitor_assets{{{labels}, state!="silent"}}) < {assets}',
            f"{{{{ $value }}}} of {assets} {kind}assets send. The status page lists the silent ones.",
            name,
        ),
        (
            "ScoresMissing",
            f"sum(rate(monitor_windows_scored_total{{{labels}}}[15m])) < {expected} and {model} == 1",
            f"Of {kind}machines that run, fewer than nine tenths of {assets / settings.windows.step_s:.4g} windows/s "  # noqa: ISC004
            "are scored: see monitor_windows_skipped_total.",
            name,
        ),
    ]


def _next(base: Settings, out: Path, files: Sequence[Path]) -> Sequence[str]:
    """Return the next commands to run."""
    topics = ["          monitor topics -c " + str(out)] if base.source.kind == "kafka" else []
    return [
        f"written   {', '.join(map(str, files))}",
        f"next      monitor check -c {out}",
        *topics,
        f"          monitor run -c {out}",
    ]
