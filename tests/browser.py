"""A headless Chromium controlled through its DevTools protocol over two pipes, without driver, library or port."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 60.0
PICTURES = Path("build/pictures")
DESKTOP, PHONE = (1280, 900, 1), (390, 844, 2)  # CSS pixels, and screen pixels per CSS pixel


def chromium() -> str:
    """Return the path of the program. Without it the test is skipped, but fails where CI=true."""
    found = shutil.which("chromium")
    if found is None and os.environ.get("CI") != "true":
        pytest.skip("chromium is not installed (Debian: chromium)")
    assert found is not None, "chromium is missing in CI"
    return found


class Tab:
    """A page in the browser."""

    def __init__(self, process: "subprocess.Popen[bytes]", to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._rest = b""
        self._count = 0
        self._session: str | None = None
        self.errors: list[str] = []  # script errors, and requests blocked by the content security policy
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Run a command and return its result. Events received meanwhile are recorded."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while True:
            received = self._read()
            if received.get("id") == self._count:
                assert "error" not in received, received["error"]
                result: dict[str, Any] = received["result"]
                return result
            self._record(received)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._back, 1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        one, _, self._rest = self._rest.partition(b"\0")
        received: dict[str, Any] = json.loads(one)
        return received

    def _record(self, received: dict[str, Any]) -> None:
        if received["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(received["params"]["exceptionDetails"]))
        elif received["method"] == "Log.entryAdded" and received["params"]["entry"]["level"] == "error":
            self.errors.append(received["params"]["entry"]["text"] + " " + received["params"]["entry"].get("url", ""))

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until the expression is true in the page."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, (expression, self.evaluate("document.body.innerText"), self.errors)
            time.sleep(0.1)

    def screen(self, size: tuple[int, int, int], scheme: str) -> None:
        """Emulate the screen of a desktop or a phone, light or dark."""
        width, height, scale = size
        mobile = size == PHONE
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, name: str) -> Path:
        """Save a screenshot below build/."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path = PICTURES / f"{name}.png"
        path.write_bytes(base64.b64decode(data))
        return path


@contextmanager
def tab(folder: Path) -> Iterator[Tab]:
    """Open a tab of a new browser with its profile in `folder` and without background network traffic."""
    there, to = os.pipe()
    back, here = os.pipe()

    def hand_over() -> None:  # the browser reads from 3 and writes to 4
        first, second = os.dup(there), os.dup(here)
        os.dup2(first, 3)
        os.dup2(second, 4)

    flags = "--headless=new --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
    quiet = "--disable-background-networking --disable-component-update --disable-sync --disable-default-apps"
    process = subprocess.Popen(
        [chromium(), *flags.split(), *quiet.split(), f"--user-data-dir={folder}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=hand_over,  # noqa: PLW1509 - the only way to pass these two descriptors
        pass_fds=(3, 4),
    )
    os.close(there)
    os.close(here)
    try:
        yield Tab(process, to, back)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        os.close(to)
        os.close(back)
