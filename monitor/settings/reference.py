"""The pages about the settings, made from their fields: configs/reference.toml and docs/configuration.md.

`python -m monitor.settings.reference` writes both below the current directory; tests compare them with the code.
"""

import textwrap
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from monitor.settings.base import about, expected, literal
from monitor.settings.live import LIVE
from monitor.settings.tree import Settings, sections

REFERENCE = Path("configs/reference.toml")
PAGE = Path("docs/configuration.md")

_REFERENCE_HEAD = """\
# Every setting with its default. A file of your own needs only what differs; start from plant.toml or fleet.toml.
# Written from the code by `python -m monitor.settings.reference`; docs/configuration.md says the same at length.
"""

_PAGE_HEAD = """\
# Configuration

<!-- Written from the code by `python -m monitor.settings.reference`; do not edit. -->

One TOML file says everything. What is not said in it has the default of the tables below, which is also what
[`configs/reference.toml`](../configs/reference.toml) lists. [`configs/plant.toml`](../configs/plant.toml) is a start
for one box, [`configs/fleet.toml`](../configs/fleet.toml) for Kubernetes, and
[`configs/demo.toml`](../configs/demo.toml) is what the demo runs with.

- **Order.** A variable of the environment wins over the file, a flag of the command line over both.
- **Environment.** `windows.length` is `MONITOR_WINDOWS__LENGTH`: prefix, section, two underscores, key, in capitals.
  Lists and tables are JSON, such as `MONITOR_SOURCE__TOPICS='["readings"]'`.
- **Secrets** are best given as a file, such as `kafka.sasl_password_file`; systemd's `LoadCredential=` and Kubernetes'
  secret volumes make such files. They are never shown, neither in messages nor in the settings that are printed.
- **Mistakes.** Unknown keys, unknown variables that begin with `MONITOR_`, values out of range and combinations that
  cannot work are all refused together before anything is started, with exit code 78. Each is one sentence that names
  the key, the value and what would have happened.
- **Reload.** On SIGHUP, or within two seconds of its change, the file is read again; {live} take effect without a
  restart. Any other change is refused, and then nothing changes ([operations.md](operations.md)).
- **Units.** Times are in seconds, keys for them end in `_s`. A step is one period of the grid, `windows.step_s`.
"""


def reference() -> str:
    """Every setting, its default, unit, range and meaning, as a configuration file."""
    lines = [_REFERENCE_HEAD, *_commented("name", Settings.model_fields["name"])]
    for part, kind in sections().items():
        lines += ["", f"[{part}]", *_comment(_about(kind))]
        for name, field in kind.model_fields.items():
            lines += ["", *_commented(name, field)]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The same as a page for people."""
    head = _PAGE_HEAD.replace("{live}", ", ".join(f"`{key}`" for key in LIVE))
    lines = [head, *_table({"name": Settings.model_fields["name"]})]
    for part, kind in sections().items():
        lines += ["", f"## [{part}]", "", _about(kind), "", *_table(kind.model_fields)]
    return "\n".join(lines) + "\n"


def _about(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _commented(name: str, field: FieldInfo) -> list[str]:
    lines = [*_comment(field.description or ""), *_comment(f"Accepts {_accepts(field)}.")]
    return [*lines, f"{name} = {literal(field.default)}"]


def _accepts(field: FieldInfo) -> str:
    """What a field accepts, with the unit."""
    unit = about(field)["unit"]
    secret = ", which is never shown" if field.annotation is SecretStr else ""
    return f"{expected(field)}{f' {unit}' if unit else ''}{secret}"


def _table(fields: dict[str, FieldInfo]) -> list[str]:
    rows = [
        f"| `{name}` | `{literal(field.default)}` | {_accepts(field)} | {field.description} |"
        for name, field in fields.items()
    ]
    return ["| key | default | accepts | meaning |", "|---|---|---|---|", *rows]


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
