"""Documents about the settings, written from their fields: configs/reference.toml and docs/configuration.md.

`python -m monitor.settings.reference` writes both below the current directory; tests compare them with the code.
"""

import textwrap
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from monitor.settings.base import about, default, expected, literal
from monitor.settings.detectors import PER_DETECTOR, DetectorSection, own_fields
from monitor.settings.live import LIVE
from monitor.settings.sections import NAMED, fields, sections

REFERENCE = Path("configs/reference.toml")
PAGE = Path("docs/configuration.md")

_REFERENCE_HEAD = """\
# Every setting with its default. Your own file needs only what differs; start from plant.toml or fleet.toml.
# Written from the code by `python -m monitor.settings.reference`. docs/configuration.md has the same as tables.
"""

_PAGE_HEAD = """\
# Configuration

<!-- Written from the code by `python -m monitor.settings.reference`; do not edit. -->

The configuration is one TOML file. A setting that is not in it has the default of the tables below.
[`configs/reference.toml`](../monitor/configs/reference.toml) lists all of them. Examples to start from are
[`configs/plant.toml`](../monitor/configs/plant.toml) for one machine and
[`configs/fleet.toml`](../monitor/configs/fleet.toml) for Kubernetes. The demo runs with
[`configs/demo.toml`](../monitor/configs/demo.toml) or [`configs/demo-mixed.toml`](../monitor/configs/demo-mixed.toml).
`monitor config` prints these files.

- **Precedence.** An environment variable wins over the file, and `--set` on the command line over both.
- **Environment.** `windows.length` is `MONITOR_WINDOWS__LENGTH`: prefix, section, two underscores, key, in capitals.
  Lists and tables are JSON, such as `MONITOR_SOURCE__TOPICS='["readings"]'`.
- **Secrets** are best given as a file, such as `kafka.sasl_password_file`. systemd's `LoadCredential=` and Kubernetes'
  secret volumes provide such files. Secrets are never shown, neither in messages nor in printed settings.
- **Mistakes.** Unknown keys, unknown variables with the prefix `MONITOR_`, values out of range and combinations that
  cannot work are refused before anything is started, all in one go, with exit code 78. Each problem is one line with
  the key, the value and what was expected.
- **Reload.** The file is read again on SIGHUP, or within two seconds of a change. {live} take effect without a restart.
  If any other setting has changed, the whole change is refused ([operations.md](operations.md)).
- **Any JSON.** [field-map.md](field-map.md) explains the places of `format.kind = "json"` by examples.
- **Units.** Times are in seconds, and their keys end in `_s`. A step is one period of the grid, `windows.step_s`.
"""


def reference() -> str:
    """Return a configuration file with every setting: meaning, accepted values, unit and default."""
    lines = [_REFERENCE_HEAD, *_commented("name", fields()["name"])]
    for key in (*NAMED, "detectors"):
        lines += ["", *_commented(key, fields()[key])]
    for part, kind in sections().items():
        lines += ["", f"[{part}]", *_comment(_about(kind))]
        for name, field in kind.model_fields.items():
            lines += ["", *_commented(name, field)]
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return docs/configuration.md: a table per section."""
    head = _PAGE_HEAD.replace("{live}", ", ".join(f"`{key}`" for key in LIVE))
    lines = [head, *_table({key: field for key, field in fields().items() if "." not in key})]
    for name, kind in NAMED.items():
        lines += ["", f"## [{name}.NAME]", "", _about(kind), "", *_table(kind.model_fields)]
    lines += ["", "## [[detectors]]", "", _about(DetectorSection), "", *_table(own_fields())]
    overridable = ", ".join(f"`[detectors.{part}]`" for part in PER_DETECTOR)
    lines += ["", f"Sections of a detector, with the settings of the section of the same name: {overridable}."]
    for part, kind in sections().items():
        lines += ["", f"## [{part}]", "", _about(kind), "", *_table(kind.model_fields)]
    return "\n".join(lines) + "\n"


def _about(kind: type) -> str:
    """Return the docstring of a section as one line."""
    return " ".join((kind.__doc__ or "").split())


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _commented(name: str, field: FieldInfo) -> list[str]:
    lines = [*_comment(field.description or ""), *_comment(f"Accepts {_accepts(field)}.")]
    return [*lines, f"{name} = {literal(field.default)}"]


def _accepts(field: FieldInfo) -> str:
    """Return the values that a field accepts, with the unit and, where it is news, the consequence of others."""
    unit = f" {about(field)['unit']}" if about(field)["unit"] else ""
    secret = ", which is never shown" if field.annotation is SecretStr else ""
    otherwise = f"; otherwise {about(field)['otherwise']}" if about(field)["otherwise"] else ""
    return f"{expected(field)}{unit}{secret}{otherwise}"


def _table(rows_of: dict[str, FieldInfo]) -> list[str]:
    rows = [
        f"| `{field.alias or name}` | `{default(field)}` | {_accepts(field)} | {field.description} |"
        for name, field in rows_of.items()
    ]
    return ["| key | default | accepts | meaning |", "|---|---|---|---|", *rows]


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
