"""Load the settings: TOML file < environment < flags. Every mistake is named, all of them in one error.

1. The file is read. A missing file is a mistake, not an empty configuration.
2. Variables MONITOR_SECTION__KEY and flags `section.key` replace single settings of it. Every variable that begins with
   MONITOR_ must name a setting; otherwise a misspelt one would be ignored without a word.
   A preset of [format] gives what they leave open.
3. Unknown keys are refused. Their values are not shown: each may be a secret under a misspelt name.
4. Each value is checked against its field. A setting with a bad value gets its default for the checks that follow, and
   contradictions that involve it are not reported.
5. Secrets are read from their files.
6. Settings that contradict one another are refused (checks.py).

Each problem is one line with key and value (a secret is masked), and the consequence where that is news. Only local
files are read. Whether brokers, server and store can be reached is found out by their clients.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from monitor.core.decode.mapped.presets import filled
from monitor.settings.base import about, expected, literal, shown
from monitor.settings.checks.problem import ContradictionError
from monitor.settings.detectors import PER_DETECTOR, DetectorSection, joined, overridden, own_fields, split
from monitor.settings.sections import NAMED, PREFIX, Sections, fields, sections
from monitor.settings.tree import Settings

SECRETS = {  # key of the file -> key of the secret in it
    "kafka.sasl_password_file": "kafka.sasl_password",
    "kafka.ssl_key_password_file": "kafka.ssl_key_password",
    "recorder.token_file": "recorder.token",
    "schemas.password_file": "schemas.password",
}
_MOVED = {  # keys of earlier versions
    f"sensors.{name}": f"is given for each channel now: [channels.flow] with {name} = 1.5; the limit would be missing"
    for name in ("low", "high")
}
_IGNORED = "it would be ignored, and the default used"
_CLOSE = 0.75  # likeness from which a name is suggested for another; "nmae" and "name" are that much alike
_LINK = re.compile(
    PREFIX + r"([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

Tree = dict[str, Any]  # of sections, as in the file


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` has one line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class _Problems:
    """Problems found so far, and the settings involved."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._bad: set[str] = set()

    def add(self, line: str, *keys: str) -> None:
        self.lines.append(line)
        self._bad.update(keys)

    def involve(self, keys: Iterable[str]) -> bool:
        """Whether one of the keys, or its whole section, has a problem already."""
        return any({key, key.partition(".")[0], key.partition("[")[0]} & self._bad for key in keys)


def load(path: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Return the settings in force; see the module.

    Args:
        path: The TOML file; None = no file.
        env: The environment.
        overrides: Values by key (`windows.length`), from flags. A text is read as in the environment.

    Raises:
        ConfigurationError: With every problem found.
    """
    problems = _Problems()
    tree = {} if path is None else _read_file(path, problems)  # 1
    variables = _read_environment(env, problems)  # 2
    flags = _read_flags(overrides, problems)
    if tree is None:  # without the file its settings are unknown
        raise ConfigurationError(problems.lines)

    merged = _merge(_merge(tree, variables), flags)
    if isinstance(merged.get("format"), dict):
        merged["format"] = filled(merged["format"])
    valid = _validate(merged, problems)  # 3, 4
    valid = _override(valid, problems)
    complete = _complete(valid, problems)  # 5
    settings = _agree(complete, problems)  # 6
    if problems.lines or settings is None:
        raise ConfigurationError(problems.lines)
    return settings


def render(settings: Settings) -> str:
    """Return the settings in force as TOML, secrets masked."""
    lines = [f"{key} = {literal(settings.value(key))}" for key in fields() if "." not in key and key != "detectors"]
    for part, kind in sections().items():
        lines += ["", f"[{part}]"]
        lines += [f"{name} = {literal(settings.value(f'{part}.{name}'))}" for name in kind.model_fields]
    for detector in settings.detectors:
        given = detector.model_dump(exclude_unset=True, exclude=set(PER_DETECTOR))
        tables: dict[str, Mapping[str, Any]] = {"[[detectors]]": given}
        tables |= {f"[detectors.{part}]": own for part, own in detector.overrides().items()}
        for head, own in tables.items():
            lines += ["", head, *(f"{name} = {literal(value)}" for name, value in own.items())]
    return "\n".join(lines) + "\n"


def variable(key: str) -> str:
    """Return the environment variable of a key."""
    return PREFIX + key.replace(".", "__").upper()


def read_secret(path: str) -> SecretStr:
    """Return the secret in a file, without the line end. Raises OSError, or ValueError if the file has no secret."""
    text = Path(path).read_bytes().decode(errors="strict").rstrip("\r\n")
    if not text:
        raise ValueError("the file is empty")
    return SecretStr(text)


class _File(TomlConfigSettingsSource):
    """The settings in a file. Raises OSError if it is missing."""

    def _read_files(self, files: Any, *_: Any, **__: Any) -> Tree:
        """Return the content of the only file. The library would take one that has just vanished for an empty one."""
        return self._read_file(files)


def _read_file(path: Path, problems: _Problems) -> Tree | None:
    """Return the settings in the file; None if it cannot be read."""
    try:
        # A pipe can be read only once, and a reload reads the file again.
        if path.stat() and not path.is_file():
            problems.add(f"{path}: cannot be read (not a regular file)")
            return None
        return _File(Sections, path)()
    except OSError as error:
        problems.add(f"{path}: cannot be read ({error.strerror})")
    except UnicodeDecodeError as error:
        problems.add(f"{path}: not UTF-8 at byte {error.start}")
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:  # numbers of 5000 digits, brackets as deep
        problems.add(f"{path}: not TOML ({error})")
    return None


def _read_environment(env: Mapping[str, str], problems: _Problems) -> Tree:
    """Return the settings in the environment; a variable with our prefix that is no setting is a problem."""
    keys = {variable(key): key for key in fields()}
    for name in sorted(name for name in env if name.upper().startswith(PREFIX) and name not in keys):
        close = get_close_matches(
            name.upper().removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in keys], 1, _CLOSE
        )
        meant = f" (did you mean {PREFIX}{close[0]}?)" if close else _service_link(name)
        problems.add(f"{name}: no setting has this variable{meant}; {_IGNORED}", *(keys[PREFIX + x] for x in close))
    return _read_texts({keys[name]: text for name, text in env.items() if name in keys})


def _service_link(name: str) -> str:
    """Explain a variable that Kubernetes sets in every pod if a Service is named "monitor…"."""
    if _LINK.fullmatch(name):
        return " (Kubernetes sets such variables for a Service; set enableServiceLinks: false in the pod)"
    return ""


def _read_flags(overrides: Mapping[str, Any], problems: _Problems) -> Tree:
    """Return the settings in the flags. A value that is no text is taken as it is."""
    known = {key: value for key, value in overrides.items() if key in fields()}
    for key in overrides.keys() - known.keys():
        _add_unknown(key, problems)

    tree = _read_texts({key: value for key, value in known.items() if isinstance(value, str)})
    for key, value in known.items():
        if not isinstance(value, str):
            part, _, leaf = key.rpartition(".")
            tree = _merge(tree, {part: {leaf: value}} if part else {leaf: value})
    return tree


class _NoJson(str):
    """A text that should be a list or a table. It may hold a secret, so it is never shown."""

    __slots__ = ()


class _Texts(EnvSettingsSource):
    """Settings by key, as texts. Lists and tables are JSON."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__(Sections)
        self.env_vars = {variable(key).lower(): text for key, text in texts.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the list or table; a text that is no JSON is marked, so that the others are still read."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError):
            return _NoJson(value)


def _read_texts(texts: Mapping[str, str]) -> Tree:
    return _Texts(texts)() if texts else {}


def _merge(below: Tree, above: Tree) -> Tree:
    """Return `above` laid over `below`, setting by setting. A table of options is replaced as a whole."""
    merged = dict(below)
    for name, value in above.items():
        inner = name in sections() and isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = {**merged[name], **value} if inner else value
    return merged


def _validate(tree: Tree, problems: _Problems) -> Sections:
    """Return the sections with every value that fits its field. Other values are problems, and become the default."""
    # Not left to the library: it would take a key such as _env_file for an argument of its own.
    for name in tree.keys() - Sections.model_fields.keys():
        _add_unknown(name, problems)
        tree = _without(tree, name)

    try:
        return Sections.model_validate(tree)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)

    seen: set[str] = set()
    given = tree.get("detectors", [])
    for fault in faults:
        if fault["loc"][0] == "detectors" and len(fault["loc"]) > 1:
            _add_detector_fault(given[fault["loc"][1]], fault["loc"], str(fault["type"]), problems)
            tree = {**tree, "detectors": []}
            continue
        key = ".".join(map(str, fault["loc"][:2]))
        if key in seen:  # two items of one list
            continue
        seen.add(key)
        part, leaf = (str(fault["loc"][0]), str(fault["loc"][1])) if len(fault["loc"]) > 1 else ("", key)
        value = tree[part][leaf] if part else tree[leaf]
        if part in NAMED:
            _add_named_fault(fault["loc"], str(fault["type"]), value, problems)
        else:
            _add_fault(key, str(fault["type"]), value, problems)
        tree = {**tree, part: _without(tree[part], leaf)} if part else _without(tree, leaf)
    return Sections.model_validate(tree)


def _without(table: Mapping[str, Any], name: str) -> Tree:
    return {key: value for key, value in table.items() if key != name}


def _add_fault(key: str, kind: str, value: Any, problems: _Problems) -> None:
    """Add the problem that pydantic found with the value of `key`."""
    if kind == "extra_forbidden":
        _add_unknown(key, problems)
        return
    if key in sections():
        problems.add(f"{key}: expected a table, [{key}]", key)
        return

    field = fields()[key]
    if isinstance(value, _NoJson):
        example = '{"linger.ms": 5}' if expected(field).startswith("a table") else '["a", "b"]'
        problems.add(f"{key}: expected {expected(field)}, as JSON such as {example}", key)
        return
    problems.add(f"{key} = {shown(value, field)}: {_wanted(field)}", key)


def _add_named_fault(at: Sequence[int | str], kind: str, value: Any, problems: _Problems) -> None:
    """Add the problem that pydantic found at the path `at` of a section with a name, such as [channels.flow]."""
    part, where = str(at[0]), f"{at[0]}.{literal(str(at[1]))}"
    found = {field.alias or leaf: field for leaf, field in NAMED[part].model_fields.items()}
    key = str(at[2]) if len(at) > 2 else ""
    if key in found:
        problems.add(f"{where}.{key} = {shown(value[key], found[key])}: expected {expected(found[key])}", part)
    elif kind == "extra_forbidden":
        problems.add(f"{where}.{key}: unknown setting; expected {', '.join(found)}; {_IGNORED}", part)
    else:
        example = {"channels": 'as = "ignore"', "assets": "off = true"}[part]
        problems.add(f"{where}: expected a section, such as [{where}] with {example}", part)


def _add_detector_fault(detector: Any, at: Sequence[int | str], kind: str, problems: _Problems) -> None:
    """Add the problem that pydantic found in one of [[detectors]], at the path `at`."""
    name = str(detector.get("name", at[1]) if isinstance(detector, dict) else at[1])
    key = str(at[2]) if len(at) > 2 else ""
    field = DetectorSection.model_fields.get(key)
    if field is not None:
        line = f"{joined(name, key)} = {shown(detector[key], field)}: {_wanted(field)}"
    elif kind == "extra_forbidden":
        meant = _meant(key, list(DetectorSection.model_fields))
        line = f"{joined(name, key)}: unknown setting{meant}; {_IGNORED}"
    else:
        line = f"detectors[{name}]: expected a table, [[detectors]]"
    problems.add(line, "detectors")


def _override(valid: Sections, problems: _Problems) -> Sections:
    """Return the sections; without the detectors if one of them sets a value that does not fit."""
    bad = False
    for detector in valid.detectors:
        for part, own in detector.overrides().items():
            kind = sections()[part]
            try:
                overridden(getattr(valid, part), own)
            except ValidationError as error:
                faults = error.errors(include_input=False, include_url=False)
            else:
                continue

            bad = True
            for leaf in dict.fromkeys(str(fault["loc"][0]) for fault in faults):
                where, field = joined(detector.name, f"{part}.{leaf}"), kind.model_fields.get(leaf)
                if field is None:
                    line = f"{where}: unknown setting{_meant(leaf, list(kind.model_fields))}; {_IGNORED}"
                else:
                    line = f"{where} = {shown(own[leaf], field)}: {_wanted(field)}"
                problems.add(line, "detectors")
    return valid.model_copy(update={"detectors": ()}) if bad else valid


def _meant(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, 1, _CLOSE)
    return f" (did you mean {close[0]}?)" if close else ""


def _wanted(field: FieldInfo) -> str:
    """Return what a field expects, with the consequence of another value."""
    unit = f" {about(field)['unit']}" if about(field)["unit"] else ""
    otherwise = f"; otherwise {about(field)['otherwise']}" if about(field)["otherwise"] else ""
    return f"expected {expected(field)}{unit}{otherwise}"


def _add_unknown(key: str, problems: _Problems) -> None:
    """Add an unknown key, with the setting that was probably meant."""
    if key in _MOVED:
        problems.add(f"{key}: {_MOVED[key]}")
        return
    names = [*fields(), *sections()]
    leaf = key.rpartition(".")[2]
    elsewhere = [name for name in names if name.rpartition(".")[2] == leaf]
    close = elsewhere[:1] if len(elsewhere) == 1 else get_close_matches(key, names, 1, _CLOSE)
    meant = f" (did you mean {close[0]}?)" if close else ""
    if key.startswith("detectors."):
        meant = " (detectors are set in the file, or all together as JSON)"
    problems.add(f"{key}: unknown setting{meant}; {_IGNORED}", *close)


def _complete(valid: Sections, problems: _Problems) -> Sections:
    """Return the sections with secrets read from their files and a group for the recorder."""
    for file_key, key in SECRETS.items():
        path, secret = valid.value(file_key), valid.value(key).get_secret_value()
        if not path:
            continue
        if secret:
            problems.add(
                f"{key} = {_show(key, secret)}, {file_key} = {_show(file_key, path)}: both are given; "
                "the server would get one of them, perhaps the old one",
                key,
            )
            continue
        try:
            valid = _with(valid, key, read_secret(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8, or empty"
            problems.add(f"{file_key} = {_show(file_key, path)}: no secret read ({reason})", key)

    if not valid.recorder.group:
        valid = _with(valid, "recorder.group", f"{valid.source.group}-recorder")
    return valid


def _with(valid: Sections, key: str, value: Any) -> Sections:
    part, _, leaf = key.rpartition(".")
    section = getattr(valid, part).model_copy(update={leaf: value})
    return valid.model_copy(update={part: section})


def _agree(complete: Sections, problems: _Problems) -> Settings | None:
    """Return the settings; None if they contradict one another. A setting with a problem is not reported again."""
    try:
        return Settings.model_validate(dict(complete))
    except ValidationError as error:
        (fault,) = error.errors(include_input=False, include_url=False)
    contradictions = fault["ctx"]["error"]
    assert isinstance(contradictions, ContradictionError), "every section was valid by itself"

    for keys, consequence in contradictions.problems:
        if not problems.involve(keys):
            values = ", ".join(f"{key} = {_show(key, complete.value(key))}" for key in keys)
            problems.add(f"{values}: {consequence}")
    return None


def _show(key: str, value: Any) -> str:
    own = split(key)[1]
    return shown(value, (fields() | own_fields() if own != key else fields())[own])
