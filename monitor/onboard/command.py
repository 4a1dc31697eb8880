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
from monitor.core.decode.example import example
from monitor.core.decode.select import RATE, Kinds
from monitor.observe.clock import wall_ms
from monitor.onboard.cost import estimate, measure
from monitor.onboard.dashboard import Language, dashboard_text
from monitor.onboard.format.recognise import DetectedFormat, Known, UnknownFormat, recognise, table_format
from monitor.onboard.report import MERGED, costs, merging, remarks, report, scattered
from monitor.onboard.rest import resting
from monitor.onboard.settings import Chosen, decide, written
from monitor.onboard.survey import Survey, non_numeric, survey
from monitor.service.backends import make_sample, probe_points
from monitor.settings.load import SECRETS, ConfigurationError, load
from monitor.settings.tree import Settings

_SHOWN = 3  # messages with a refusal
_DATABASE_S = 5.0  # for the database to answer


def onboard(base: Settings, limit: int, out: Path, language: Language, *, force: bool) -> int:
    """Write `out`, rules and dashboard from about `limit` messages; return 1 if the format is unknown, otherwise 0.

    Raises ValueError if a file exists already, OSError if it cannot be written, and the errors of `make_sample`.
    """
    files = [out, out.with_suffix(".rules.yml"), out.with_suffix(".dashboard.json")]
    for path in files:
        if path.exists() and not force:
            raise ValueError(f"{path} exists already; --force replaces it")

    now = wall_ms()
    sample = make_sample(base, limit, lambda text: print(f"monitor: {text}", file=sys.stderr))  # 1
    try:
        table = base.source.kind == "files" and base.source.format in {"csv", "parquet"}
        recognised = table_format(sample.runs, now) if table else recognise(sample.runs, now, _known(base))  # 2
        recognised = _selected(base, recognised)
        figures = _survey(sample, recognised, now, limit, base.windows.length)
    except UnknownFormat as refusal:
        _refuse(sample, f"{refusal}{_header_hint(base, sample)}")
        return 1

    database = probe_points(base, _DATABASE_S) if base.recorder.enabled else []  # 3
    chosen = {**decide(base, recognised, figures), **_source(base, recognised, figures), **_recorder(database)}
    try:
        settings = _write(base, chosen, out, _head(base, sample, figures))  # 4
        if rest := resting(settings, sample.runs, now):
            chosen |= rest
            settings = _write(base, chosen, out, _head(base, sample, figures))
    except ConfigurationError as error:
        print(
            "\n".join(
                f"monitor: the settings that follow from the sample are refused: {each}" for each in error.problems
            ),
            file=sys.stderr,
        )
        return 1

    measured = measure(settings, sample.runs, figures, now)  # 5
    files[1].write_text(rules_text(settings, figures))  # 6
    rates = [name for name in figures.channels if settings.channel_kinds().of(name) == RATE]
    files[2].write_text(dashboard_text(settings.name, figures.assets, list(figures.channels), language, rates))

    as_read = replace(recognised.format, kinds=settings.channel_kinds())
    skipped = non_numeric(max(sample.runs, key=len), as_read)
    sums = estimate(settings, figures, measured, sum(sample.held.values()))
    lines = [*report(settings, sample, recognised, figures, skipped), *costs(settings, sample, figures, sums)]
    lines += [f"running   {each.value}: {each.reason}" for each in rest.values()]
    lines += [f"recorder  {each.item}: {each.text}" for each in database if each.ok]
    lines += [f"look at   {remark}" for remark in remarks(settings, figures, skipped, recognised)]
    lines += [f"look at   {_unreached(each)}" for each in database if not each.ok]
    print("\n".join([*lines, *_next(base, out, files)]))
    return 0


def _survey(sample: Sample, recognised: DetectedFormat, now: int, limit: int, length: int) -> Survey:
    try:
        figures = survey(sample.runs, recognised.format, now, length)
    except ValueError as error:
        more = f"wait for more messages, or look at more than --messages {limit}"
        raise UnknownFormat(
            f"the messages are {recognised.kind}, but {error}, so the step is unknown: {more}"
        ) from error
    if figures.colliding > MERGED:
        raise UnknownFormat(merging(figures, recognised))
    return figures


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
    kinds = Kinds((*base.channel_kinds().globs, *recognised.format.kinds.globs))
    return replace(recognised, format=replace(recognised.format, select=select, kinds=kinds))


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


def _write(base: Settings, chosen: Mapping[str, Chosen], out: Path, head: str) -> Settings:
    """Write the file and return the settings that load from it. Raises ConfigurationError if they do not load."""
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(written(base, chosen, head), encoding="utf-8")
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


def rules_text(settings: Settings, figures: Survey) -> str:
    """Return Prometheus rules that compare the daemon's figures with those of the sample."""
    job, assets = f'{{job="{settings.name}"}}', len(figures.assets)
    windows, model = assets / settings.windows.step_s, f"max(monitor_model_info{job})"

    # Machines that are off need not send, and after a start their windows must fill.
    expected = 0.9 / settings.windows.step_s
    working = f'sum(monitor_assets{{job="{settings.name}", state!="off"}})'
    scored = f'sum(monitor_assets{{job="{settings.name}", state!~"off|warming"}})'
    rows = (
        # A silent asset stays in memory, so it counts as missing by its state.
        (
            "AssetsMissing",
            f'sum(monitor_assets{{job="{settings.name}", state!="silent"}}) < {assets}',
            f"{{{{ $value }}}} of {assets} assets send. The status page lists the silent ones.",
        ),
        (
            "ReadingsMissing",
            f"sum(rate(monitor_readings_total{job}[15m])) < {figures.rate / 2 / assets:.6g} * {working}",
            f"Fewer than half of the {figures.rate:.4g} readings/s of the sample arrive, for machines that run.",
        ),
        (
            "ScoresMissing",
            f"sum(rate(monitor_windows_scored_total{job}[15m])) < {expected:.6g} * {scored} and {model} == 1",
            f"Of machines that run, fewer than nine tenths of {windows:.4g} windows/s are scored: see "  # noqa: ISC004
            "monitor_windows_skipped_total.",
        ),
    )
    text = f"# Made by monitor onboard. The job in Prometheus' scrape configuration must be named {settings.name}.\n"
    text += f"groups:\n  - name: {settings.name}-topic\n    rules:\n"
    for name, expression, summary in rows:
        text += f"      - alert: Monitor{name}\n        expr: '{expression}'\n        for: 15m\n"
        text += f"        labels:\n          severity: warning\n        annotations:\n          summary: '{summary}'\n"
    return text


def _next(base: Settings, out: Path, files: Sequence[Path]) -> Sequence[str]:
    """Return the next commands to run."""
    topics = ["          monitor topics -c " + str(out)] if base.source.kind == "kafka" else []
    return [
        f"written   {', '.join(map(str, files))}",
        f"next      monitor check -c {out}",
        *topics,
        f"          monitor run -c {out}",
    ]
