"""Loads the settings: TOML file < environment < flags, and says everything that is wrong with them at once.

1. The file is read. One that is not there is a mistake, not an empty one.
2. Variables MONITOR_SECTION__KEY and flags `section.key` are laid over it. Every variable that begins with MONITOR_
   must name a setting: a misspelt one would otherwise be ignored in silence.
3. What names no setting is refused. Its value is not shown: it may be a secret under a misspelt name.
4. Each value is held against its field. A setting with a bad value falls back to its default for the checks that
   follow, and those that concern it are left out.
5. Secrets are read from their files.
6. Settings that contradict one another are refused (configuration_checks.py and the two beside it).

Every sentence names key and value (a secret's excepted) and what would happen. It reads local files only; whether
brokers, server and store can be reached is found out by those who use them.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from monitor.settings.base import about, expected, literal, shown
from monitor.settings.checks import check_stages
from monitor.settings.process_checks import check_process
from monitor.settings.server_checks import check_servers
from monitor.settings.tree import PREFIX, Settings, fields, sections

SECRETS = {  # key of the file -> key of what it holds
    "kafka.sasl_password_file": "kafka.sasl_password",
    "kafka.ssl_key_password_file": "kafka.ssl_key_password",
    "recorder.token_file": "recorder.token",
}
_GUESS = "guessing what is meant could hide a mistake"
_IGNORED = "it would be ignored, and the default used in silence"
_CLOSE = 0.75  # likeness from which one name is taken for another misspelt; "nmae" and "name" are that much alike
_LINK = re.compile(
    PREFIX + r"([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

Tree = dict[str, Any]  # of sections, as in the file


class ConfigurationError(Exception):
    """The configuration cannot be used; `problems` says why, a sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class _Findings:
    """What is wrong so far, and which settings it touches."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._bad: set[str] = set()

    def add(self, sentence: str, *keys: str) -> None:
        self.problems.append(sentence)
        self._bad.update(keys)

    def concern(self, keys: Iterable[str]) -> bool:
        """Whether one of the keys, or its whole section, has a problem already."""
        return any(key in self._bad or key.partition(".")[0] in self._bad for key in keys)


def load(path: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """The settings in force; see the module.

    Args:
        path: The TOML file; None = there is none.
        env: The environment.
        overrides: Values by key (`windows.length`), from flags. A text is read as in the environment.

    Raises:
        ConfigurationError: With every problem found.
    """
    findings = _Findings()
    tree = {} if path is None else _file(path, findings)  # 1
    given = _environment(env, findings)
    flags = _flags(overrides, findings)
    if tree is None:  # without the file, what it would have said is unknown
        raise ConfigurationError(findings.problems)
    merged = _merge(_merge(tree, given), flags)  # 2
    settings = _build(_known(merged, findings), findings)  # 3, 4
    settings = _complete(settings, findings)  # 5
    for problem in chain(check_process(settings), check_stages(settings), check_servers(settings)):  # 6
        if not findings.concern(problem.keys):
            values = ", ".join(f"{key} = {_show(key, settings.value(key))}" for key in problem.keys)
            findings.add(f"{values}: {problem.consequence}")
    if findings.problems:
        raise ConfigurationError(findings.problems)
    return settings


def render(settings: Settings) -> str:
    """The settings in force as TOML, secrets masked."""
    lines = [f"name = {literal(settings.name)}"]
    for part, kind in sections().items():
        lines += ["", f"[{part}]"]
        lines += [f"{name} = {literal(settings.value(f'{part}.{name}'))}" for name in kind.model_fields]
    return "\n".join(lines) + "\n"


def variable(key: str) -> str:
    """The environment variable of a key."""
    return PREFIX + key.replace(".", "__").upper()


def read_secret(path: str) -> SecretStr:
    """The secret in a file, without the line end. Raises OSError, and ValueError if there is none in it."""
    text = Path(path).read_bytes().decode(errors="strict").rstrip("\r\n")
    if not text:
        raise ValueError("the file is empty")
    return SecretStr(text)


def _file(path: Path, findings: _Findings) -> Tree | None:
    """What the file says; None if it says nothing that can be read."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        findings.add(f"{path}: cannot be read ({error.strerror}); nothing it says would be in force")
    except UnicodeDecodeError as error:
        findings.add(f"{path}: not UTF-8 at byte {error.start}; nothing it says would be in force")
    except (ValueError, RecursionError) as error:  # of numbers of 5000 digits and brackets as deep, too
        findings.add(f"{path}: not TOML ({error}); nothing it says would be in force")
    return None


def _environment(env: Mapping[str, str], findings: _Findings) -> Tree:
    """What the variables say."""
    keys = {variable(key): key for key in fields()}
    tree: Tree = {}
    for name, text in sorted(env.items()):
        if name in keys:
            tree = _merge(tree, _parse(keys[name], text, findings))
        elif name.upper().startswith(PREFIX):
            close = get_close_matches(
                name.upper().removeprefix(PREFIX), [key.removeprefix(PREFIX) for key in keys], 1, _CLOSE
            )
            meant = f" (perhaps {PREFIX}{close[0]} is meant)" if close else _links(name)
            findings.add(f"{name}: no setting has this variable{meant}; {_IGNORED}", *(keys[PREFIX + x] for x in close))
    return tree


def _links(name: str) -> str:
    """A Service of Kubernetes whose name begins with "monitor" puts such variables into every pod beside it."""
    if _LINK.fullmatch(name):
        return " (Kubernetes makes such variables for a Service; set enableServiceLinks: false in the pod)"
    return ""


def _flags(overrides: Mapping[str, Any], findings: _Findings) -> Tree:
    """What the flags say."""
    tree: Tree = {}
    for key, value in overrides.items():
        if key not in fields():
            _unknown(key, findings)
        elif isinstance(value, str):
            tree = _merge(tree, _parse(key, value, findings))
        else:
            part, _, leaf = key.rpartition(".")
            tree = _merge(tree, {part: {leaf: value}} if part else {leaf: value})
    return tree


def _parse(key: str, text: str, findings: _Findings) -> Tree:
    """A text from outside the file as value of a key; lists and tables are JSON."""
    source = EnvSettingsSource(Settings)
    source.env_vars = {variable(key).lower(): text}
    try:
        return source()
    except SettingsError:
        field = fields()[key]
        example = '{"linger.ms": 5}' if expected(field).startswith("a table") else '["a", "b"]'
        findings.add(f"{key}: expected {expected(field)}, as JSON such as {example}; {about(field)['otherwise']}", key)
        return {}


def _merge(below: Tree, above: Tree) -> Tree:
    """`above` laid over `below`, setting by setting: a table of options is replaced as a whole."""
    merged = dict(below)
    for name, value in above.items():
        inner = name in sections() and isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = {**merged[name], **value} if inner else value
    return merged


def _known(tree: Tree, findings: _Findings) -> Tree:
    """The part of the tree that names settings."""
    keys, parts = fields(), sections()
    known: Tree = {}
    for name, value in tree.items():
        if name in parts and isinstance(value, dict):
            known[name] = {leaf: each for leaf, each in value.items() if f"{name}.{leaf}" in keys}
            for leaf in value.keys() - known[name].keys():
                _unknown(f"{name}.{leaf}", findings)
        elif name in parts:
            findings.add(f"{name}: expected a table, [{name}]; nothing in it would be in force", name)
        elif name in keys:
            known[name] = value
        else:
            _unknown(name, findings)
    return known


def _unknown(key: str, findings: _Findings) -> None:
    names = [*fields(), *sections()]
    leaf = key.rpartition(".")[2]
    elsewhere = [name for name in names if name.rpartition(".")[2] == leaf]
    close = elsewhere[:1] if len(elsewhere) == 1 else get_close_matches(key, names, 1, _CLOSE)
    meant = f" (perhaps {close[0]} is meant)" if close else ""
    findings.add(f"{key}: there is no such setting{meant}; {_IGNORED}", *close)


def _build(tree: Tree, findings: _Findings) -> Settings:
    """Settings of all values that fit their fields; the others are taken out of the tree."""
    try:
        return Settings(**tree)
    except ValidationError as error:
        bad = list(dict.fromkeys(".".join(map(str, fault["loc"][:2])) for fault in error.errors(include_input=False)))
    for key in bad:
        part, _, leaf = key.rpartition(".")
        value = tree[part].pop(leaf) if part else tree.pop(leaf)
        field = fields()[key]
        unit = f" {about(field)['unit']}" if about(field)["unit"] else ""
        reason = about(field)["otherwise"] or _GUESS
        findings.add(f"{key} = {shown(value, field)}: expected {expected(field)}{unit}; {reason}", key)
    return Settings(**tree)


def _complete(settings: Settings, findings: _Findings) -> Settings:
    """The settings with secrets read from their files and the recorder's group named."""
    for file_key, key in SECRETS.items():
        path, given = settings.value(file_key), settings.value(key).get_secret_value()
        if not path:
            continue
        if given:
            findings.add(
                f"{key} = {_show(key, given)}, {file_key} = {_show(file_key, path)}: both are given; "
                "the server would be shown one of them, perhaps the old one",
                key,
            )
            continue
        try:
            settings = _with(settings, key, read_secret(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8, or empty"
            findings.add(f"{file_key} = {_show(file_key, path)}: no secret read ({reason}); a login would fail", key)
    if not settings.recorder.group:
        settings = _with(settings, "recorder.group", f"{settings.source.group}-recorder")
    return settings


def _with(settings: Settings, key: str, value: Any) -> Settings:
    part, _, leaf = key.rpartition(".")
    section = getattr(settings, part).model_copy(update={leaf: value})
    return settings.model_copy(update={part: section})


def _show(key: str, value: Any) -> str:
    return shown(value, fields()[key])
