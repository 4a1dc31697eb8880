"""`monitor onboard`: looks at a topic or a file of JSON lines and writes the configuration that monitors it.

1. A sample is read (connectors/kafka/sample.py): no group is joined, nothing is committed.
2. Its format is recognised and its figures are taken (onboard/format/recognise.py, onboard/survey.py). What cannot be
   understood is refused, with what was seen and three messages.
3. Settings follow from that (onboard_settings.py). They are written only after they have loaded again.
4. The stages run on the sample for a while, to say what the topic will cost (onboard_load.py).
5. Beside the configuration come Prometheus rules that know how many assets and readings there should be, and a
   dashboard of these assets and channels (onboard_dashboard.py).

It goes by the sample: an asset or a field that is not in it is not known of.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from monitor.connectors.base import Sample
from monitor.observe.clock import wall_ms
from monitor.onboard.cost import estimate, measure
from monitor.onboard.dashboard import Language, dashboard_text
from monitor.onboard.format.bytes import example
from monitor.onboard.format.recognise import DetectedFormat, UnknownFormat, recognise, table_format
from monitor.onboard.report import costs, remarks, report
from monitor.onboard.settings import Chosen, decide, written
from monitor.onboard.survey import Survey, non_numeric, survey
from monitor.service.backends import make_sample
from monitor.settings.load import SECRETS, ConfigurationError, load
from monitor.settings.tree import Settings

_SHOWN = 3  # messages with a refusal


def onboard(base: Settings, limit: int, out: Path, language: Language, *, force: bool) -> int:
    """Write `out`, rules and dashboard from about `limit` messages; 1 if the topic is not understood.

    Raises ValueError if `out` is there already, OSError if it cannot be written, and what `build.make_sample` raises.
    """
    files = [out, out.with_suffix(".rules.yml"), out.with_suffix(".dashboard.json")]
    for path in files:
        if path.exists() and not force:
            raise ValueError(f"{path} is there already; --force replaces it")
    now = wall_ms()
    sample = make_sample(base, limit, lambda text: print(f"monitor: {text}", file=sys.stderr))  # 1
    try:
        csv = base.source.kind == "files" and base.source.format == "csv"
        recognised = table_format(sample.runs, now) if csv else recognise(sample.runs, now)  # 2
        figures = _survey(sample, recognised, now, limit)
    except UnknownFormat as refusal:
        _refuse(sample, str(refusal))
        return 1
    skipped = non_numeric(max(sample.runs, key=len), recognised.format)
    chosen = {**decide(base, recognised, figures), **_from(base)}
    try:
        settings = _write(base, chosen, out, _head(base, sample, figures))  # 3
    except ConfigurationError as error:
        print(
            "\n".join(f"monitor: what the sample shows cannot be set: {each}" for each in error.problems),
            file=sys.stderr,
        )
        return 1
    measured = measure(settings, sample.runs, figures, now)  # 4
    files[1].write_text(rules_text(settings, figures))  # 5
    files[2].write_text(dashboard_text(settings.name, figures.assets, list(figures.channels), language))
    sums = estimate(settings, figures, measured, sum(sample.held.values()))
    lines = [*report(settings, sample, recognised, figures, skipped), *costs(settings, sample, figures, sums)]
    lines += [f"look at   {remark}" for remark in remarks(settings, figures, skipped, recognised)]
    print("\n".join([*lines, *_next(base, out, files)]))
    return 0


def _survey(sample: Sample, recognised: DetectedFormat, now: int, limit: int) -> Survey:
    try:
        return survey(sample.runs, recognised.format, now)
    except ValueError as error:
        more = f"wait for more messages, or look at more than --messages {limit}"
        raise UnknownFormat(
            f"the messages are {recognised.kind}, but {error}, so the step cannot be told: {more}"
        ) from error


def _refuse(sample: Sample, reason: str) -> None:
    print(f"monitor: not understood: {reason}", file=sys.stderr)
    shown = [message for run in sample.runs for message in run if message.value][:: max(1, _total(sample) // _SHOWN)]
    for message in shown[:_SHOWN]:
        print(f"  {example(message)}", file=sys.stderr)


def _total(sample: Sample) -> int:
    return sum(map(len, sample.runs))


def _from(base: Settings) -> dict[str, Chosen]:
    """Where the messages are, as it was told on the command line or in the settings."""
    if base.source.kind == "kafka":
        return {"source.topics": Chosen(base.source.topics[:1], "the topic that was looked at")}
    return {
        "source.paths": Chosen(base.source.paths, "the file that was looked at"),
        "outputs.kind": Chosen("files", "what was read came from a file; alerts go to files in outputs.directory"),
    }


def _head(base: Settings, sample: Sample, figures: Survey) -> str:
    where = base.source.topics[0] if base.source.kind == "kafka" else ", ".join(base.source.paths)
    return (
        f"Made by monitor onboard for {where}: {figures.messages} of {sum(sample.held.values())} messages in "
        f"{len(sample.held)} partition(s) showed {len(figures.assets)} asset(s) and {len(figures.channels)} channel(s)."
    )


def _write(base: Settings, chosen: Mapping[str, Chosen], out: Path, head: str) -> Settings:
    """The settings as they load again from the file that was written. Raises ConfigurationError if they do not."""
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(written(base, chosen, head), encoding="utf-8")
        secret = {
            key: base.value(key).get_secret_value()
            for file_key, key in SECRETS.items()
            if base.value(key).get_secret_value() and not base.value(file_key)
        }
        settings = load(part, {}, secret)  # what the environment said is in the file, or a secret
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return settings


def rules_text(settings: Settings, figures: Survey) -> str:
    """Prometheus rules that hold the daemon's figures against what the sample showed."""
    job, assets = f'{{job="{settings.name}"}}', len(figures.assets)
    windows, model = assets / settings.windows.step_s, f"max(monitor_model_info{job})"
    rows = (
        ("AssetsMissing", f"sum(monitor_assets{job}) < {assets}", f"{{{{ $value }}}} of {assets} assets are known."),
        (
            "ReadingsMissing",
            f"sum(rate(monitor_readings_total{job}[15m])) < {figures.rate / 2:.6g}",
            f"Half of the {figures.rate:.4g} readings/s that the topic had when it was connected do not come.",
        ),
        (
            "ScoresMissing",
            f"sum(rate(monitor_windows_scored_total{job}[15m])) < {0.9 * windows:.6g} and {model} == 1",
            f"Fewer than nine tenths of the {windows:.4g} windows/s are scored: see monitor_windows_skipped_total.",
        ),
    )
    text = f"# Made by monitor onboard. The job is to be called {settings.name} in Prometheus' scrape configuration.\n"
    text += f"groups:\n  - name: {settings.name}-topic\n    rules:\n"
    for name, expression, summary in rows:
        text += f"      - alert: Monitor{name}\n        expr: '{expression}'\n        for: 15m\n"
        text += f"        labels:\n          severity: warning\n        annotations:\n          summary: '{summary}'\n"
    return text


def _next(base: Settings, out: Path, files: Sequence[Path]) -> Sequence[str]:
    """What to do now."""
    topics = ["          monitor topics -c " + str(out)] if base.source.kind == "kafka" else []
    return [
        f"written   {', '.join(map(str, files))}",
        f"next      monitor check -c {out}",
        *topics,
        f"          monitor run -c {out}",
    ]
