"""Installation of the program: the torch build and its package index."""

import http.server
import os
import re
import shutil
import subprocess
import threading
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAND_IN = "2.13.0+cpu"  # as the index names its builds
PYTHON = """#!/bin/sh
case "$1 $2" in "-m pip") echo "$*" >>"$0.log"; exit 0;; esac
exec python3 "$@"
"""  # records pip's arguments and installs nothing


@pytest.mark.parametrize("path", ["Makefile", "README.md", "deploy/docker/Dockerfile", "docs/operations.md"])
def test_torch_without_cuda_is_named_everywhere(path: str) -> None:
    """Makefile, image and documents use the same index for torch, and use it for torch only."""
    text = (ROOT / path).read_text()
    assert set(re.findall(r"https://download\.pytorch\.org/\S*\w", text)) == {CPU_INDEX}
    for line in re.findall(r".*--index-url.*", text):
        assert "--no-deps" in line
        assert re.search(r" torch\b", line)


def test_uv_takes_the_same_torch() -> None:
    """For uv, pyproject.toml uses the index for torch alone, and only on Linux."""
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    (index,) = uv["index"]
    assert (index["url"], index["explicit"]) == (CPU_INDEX, True)
    assert uv["sources"] == {"torch": {"index": index["name"], "marker": "sys_platform == 'linux'"}}


@contextmanager
def index(folder: Path) -> Iterator[str]:
    """Serve `folder` as a package index."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def set_up(folder: Path, url: str) -> tuple[list[str], str]:
    """Run `make`'s installation with a pip that only records its calls. Return the calls and make's output."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = {**os.environ, "TORCH_INDEX": url, "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        ["make", ".venv/run-ready"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    return Path(f"{python}.log").read_text().splitlines(), done.stdout


def test_make_takes_torch_from_an_index_that_answers(tmp_path: Path) -> None:
    """If the index answers, torch alone is installed from it first, and then the program."""
    (tmp_path / "index/torch").mkdir(parents=True)
    with index(tmp_path / "index") as url:
        calls, output = set_up(tmp_path, url)
    assert len(calls) == 2
    assert f"--no-deps --index-url {url} torch" in calls[0]
    assert calls[1].endswith("-c constraints.txt -e .")
    assert "no torch from" not in output


def test_make_goes_on_without_the_index(tmp_path: Path) -> None:
    """If the index does not answer, make reports that within seconds and installs the program from pip's default."""
    before = time.monotonic()
    calls, output = set_up(tmp_path, "http://127.0.0.1:9/whl/cpu")
    assert time.monotonic() - before < 10
    assert [call.partition("-c ")[2] for call in calls] == ["constraints.txt -e ."]
    assert "no torch from http://127.0.0.1:9/whl/cpu" in output


def test_a_build_for_the_cpu_satisfies_the_pinned_version(tmp_path: Path) -> None:
    """Pip accepts the index's +cpu build as the version pinned in constraints.txt."""
    name = f"torch-{STAND_IN}"
    folder = tmp_path / "index/torch"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        about = f"{name}.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {STAND_IN}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{name}-py3-none-any.whl">{name}-py3-none-any.whl</a>')
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "no_proxy": "127.0.0.1"}
    with index(tmp_path / "index") as url:
        command = ["download", "--no-deps", "-c", str(ROOT / "constraints.txt"), "--index-url", url, "torch"]
        done = subprocess.run(
            [shutil.which("python3") or "python3", "-m", "pip", *command, "-d", str(tmp_path), "--no-cache-dir"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("*.whl")] == [f"{name}-py3-none-any.whl"]
