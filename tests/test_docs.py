"""References in the documents exist: paths, names, settings, commands, links, and the walkthrough's own session."""

import ast
import doctest
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer.main

from monitor.cli import app
from monitor.settings.sections import sections
from monitor.settings.tree import Settings

ROOT = Path(__file__).parent.parent
NAMES = ("architecture", "walkthrough", "delivery", "model", "operations", "security", "recovery", "troubleshooting")
PAGES = [ROOT / "README.md", *(ROOT / f"docs/{name}.md" for name in NAMES)]
TOLERANCE = 0.3  # of numbers computed by a trained model, which differ slightly between processors
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_PATH = re.compile(r"(?:monitor|tests|docs|configs|benchmarks|deploy)/[\w./-]*")
_FILE = re.compile(r"\.(md|py|toml|json|jsonl|conf|safetensors)$")
_NUMBER = re.compile(r"-?\d+\.\d+")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a language, without the indent of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def quoted(page: Path) -> list[str]:
    """Return every `text in backticks` outside of code blocks, on one line."""
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]


@cache
def names(path: Path) -> set[str]:
    """Return the functions, classes and constants of a module, and the attributes and methods of its classes."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        found |= _defined(node)
        if isinstance(node, ast.ClassDef):
            inner = {name for each in node.body for name in _defined(each)}
            own = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and _is_self(each.value)}
            found |= {f"{node.name}.{name}" for name in inner | own}
    return found


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


@cache
def words() -> set[str]:
    """Return every word of the code and its configuration, with dotted ones both whole and in parts."""
    files = [
        *ROOT.glob("monitor/**/*.py"),
        *ROOT.glob("tests/**/*.py"),
        *ROOT.glob("configs/*.toml"),
        ROOT / "Makefile",
    ]
    dotted = {word for path in files if path != Path(__file__) for word in re.findall(r"[\w.]*\w", path.read_text())}
    return dotted | {part for word in dotted for part in word.split(".")}


@pages
def test_paths_exist(page: Path) -> None:
    """Every path of the repository named in a document exists."""
    paths = [text.partition(":")[0] for text in quoted(page) if _PATH.match(text)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pages
def test_names_are_defined_where_it_says(page: Path) -> None:
    """Every `file.py: name` in a document names something that this file defines."""
    pairs = [text.split(": ") for text in quoted(page) if re.fullmatch(r"[\w/]+\.py: [\w.]+", text)]
    assert [f"{path}: {name}" for path, name in pairs if name not in names(ROOT / path)] == []


def test_the_walkthrough_names_what_it_walks_through() -> None:
    """The walkthrough has many such pairs, so that the test above cannot be empty."""
    assert len([text for text in quoted(ROOT / "docs/walkthrough.md") if ".py: " in text]) > 50


@pages
def test_settings_exist(page: Path) -> None:
    """Every `section.key` in a document is a key of that section of the settings."""
    known = sections()
    dotted = [
        text.split(" = ")[0].split(".") for text in quoted(page) if re.fullmatch(r"[a-z]+\.[a-z_]+( = .+)?", text)
    ]
    wrong = [f"{part}.{key}" for part, key in dotted if part in known and key not in known[part].model_fields]
    assert [text for text in wrong if not (ROOT / text).exists()] == []


@pages
def test_words_are_those_of_the_code(page: Path) -> None:
    """Every single word in backticks occurs in the code or its configuration. Tests above check settings and files."""
    single = {text for text in quoted(page) if re.fullmatch(r"[A-Za-z_][\w.]*\w", text)} - words()
    strange = {text for text in single if text.partition(".")[0] not in sections() and not re.search(_FILE, text)}
    assert sorted(strange) == []


@pages
def test_commands_exist(page: Path) -> None:
    """Every command in a shell block is a make target, or a command of the program with existing options."""
    for line in "\n".join(blocks(page, "sh")).splitlines():
        program, *arguments = shlex.split(line.partition(" > ")[0])
        match Path(program).name:
            case "make":
                targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
                assert set(arguments) <= set(targets), line
            case "monitor":
                _check_ours(arguments)
            case "pip":
                cpu = f"--no-deps -c constraints.txt --index-url {CPU_INDEX} torch".split()
                assert arguments in (["install", *cpu], ["install", "-c", "constraints.txt", "."]), line
            case name:
                assert name in {"python", "python3"}, line


def _check_ours(arguments: list[str]) -> None:
    group = typer.main.get_command(app)
    commands = getattr(group, "commands", {})
    assert arguments[0] in commands or arguments[0].startswith("-"), arguments
    command = commands.get(arguments[0], group)
    if command is not group and (inner := getattr(command, "commands", {})):
        command = inner[arguments[1]]
    options = {name for parameter in command.params for name in parameter.opts}
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if option.startswith("-"):
            assert option in options, arguments
        if option in {"-c", "--config"}:
            assert (ROOT / value).exists(), arguments
        if option in {"-s", "--set"}:
            part, _, key = value.partition("=")[0].partition(".")
            assert key in sections()[part].model_fields if key else part in Settings.model_fields, arguments


def test_the_readme_has_one_command_each() -> None:
    """The README has `make demo` and `make test` in separate blocks, and names each configuration."""
    found = blocks(PAGES[0], "sh")
    assert "make demo" in found
    assert "make test" in found
    assert any("configs/plant.toml" in block for block in found)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file, and one with # to a heading in that file."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}, link


class _Close(doctest.OutputChecker):
    """A doctest checker that accepts equal text with fractions that differ by at most TOLERANCE."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if super().check_output(want, got, optionflags):
            return True
        same = _NUMBER.sub("0", want) == _NUMBER.sub("0", got)
        pairs = zip(map(float, _NUMBER.findall(want)), map(float, _NUMBER.findall(got)), strict=False)
        return same and all(abs(one - other) <= TOLERANCE * max(abs(one), abs(other)) for one, other in pairs)


def _follow(examples: list[doctest.Example], checker: doctest.OutputChecker) -> str:
    """Run a doctest and return its failures."""
    output: list[str] = []
    session = doctest.DocTest(examples, {}, "walkthrough.md", str(ROOT / "docs/walkthrough.md"), 0, None)
    doctest.DocTestRunner(checker, verbose=False).run(session, out=output.append)
    return "".join(output)


def test_the_walkthrough_is_true_up_to_the_windows() -> None:
    """The walkthrough's session before the first model gives the printed output, to the last digit."""
    examples = doctest.DocTestParser().get_examples((ROOT / "docs/walkthrough.md").read_text())
    model = next(place for place, example in enumerate(examples) if "fit(" in example.source)
    assert model > 20
    assert _follow(examples[:model], doctest.OutputChecker()) == ""


@pytest.mark.slow
def test_the_walkthrough_is_true() -> None:
    """The whole session gives the printed output, with a tolerance for numbers of the trained model."""
    assert _follow(doctest.DocTestParser().get_examples((ROOT / "docs/walkthrough.md").read_text()), _Close()) == ""
