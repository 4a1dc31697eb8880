"""Flux's own compiler for the tests: whether a query is one, by syntax, names of functions and parameters, and types.

It comes with the language server that InfluxData publishes for browsers (npm `@influxdata/flux-lsp-browser`, MIT), a
WebAssembly module without the database: it runs no query. `.ci/run` installs it below build/, and so does

    npm install --no-save --prefix build/flux @influxdata/flux-lsp-browser@0.8.40

Where it is missing the test is skipped, but fails where the environment says CI=true.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "build/flux/node_modules/@influxdata/flux-lsp-browser"

# The package is made for bundlers, which import WebAssembly like a module. Node.js does not: its line of import is
# replaced by a variable, and views of its memory are empty until they are asked for, instead of made at the import.
_SCRIPT = """
import fs from "node:fs";
const [folder] = process.argv.slice(-1);
const glue = fs.readFileSync(`${folder}/flux-lsp-browser_bg.js`, "utf8")
  .replace(/^import \\* as wasm .*$/m, "let wasm; export const use = (made) => { wasm = made; };")
  .replace(/^let cached(Int32|Uint8)Memory0;$/gm, "let cached$1Memory0 = new $1Array(0);")
  .replace(/^cached(Int32|Uint8)Memory0 = .*$/gm, "");
const made = await import(`data:text/javascript,${encodeURIComponent(glue)}`);
const bytes = fs.readFileSync(`${folder}/flux-lsp-browser_bg.wasm`);
const { instance } = await WebAssembly.instantiate(bytes, { "./flux-lsp-browser_bg.js": made });
made.use(instance.exports);
const queries = JSON.parse(fs.readFileSync(0, "utf8"));
console.log(JSON.stringify(queries.map((text) => new made.Flux(text).is_valid())));
"""


def compiles(queries: Sequence[str]) -> list[bool]:
    """Of each query, whether the compiler takes it."""
    node = shutil.which("node")
    if node is None or not PACKAGE.is_dir():
        reason = "node is not installed" if node is None else f"{PACKAGE} is not installed (see tests/flux.py)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    command = [node, "--input-type=module", "-e", _SCRIPT, "--", str(PACKAGE)]
    done = subprocess.run(command, input=json.dumps(queries), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    found: list[bool] = json.loads(done.stdout)
    return found
