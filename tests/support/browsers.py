"""A page in a real browser without a window, driven over the Chrome DevTools Protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Tab:
    """A page that is open."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a method of the protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get("id") == number:
                return dict(answer.get("result", {}))

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            text = key if len(key) == 1 else ""
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def reload(self) -> None:
        """Load the page anew."""
        self.call("Page.reload")
        self.wait()

    def wait(self) -> None:
        """Return once the page and its scripts are there."""
        end = time.monotonic() + 30
        while self.value("location.protocol + document.readyState") != "file:complete":
            assert time.monotonic() < end, "the page did not load"
            time.sleep(0.05)

    def picture(self, path: Path) -> None:
        """Write what the page looks like as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def open_page(page: Path, profile: Path, *, downloads: Path | None = None) -> Iterator[Tab]:
    """A local page in a browser with a profile of its own; the test is skipped where there is no browser."""
    client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    words = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--window-size=1280,900")
    process = subprocess.Popen(
        [program, *words, f"--user-data-dir={profile}", page.as_uri()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(profile, process)
        with client.connect(_address(port), max_size=2**26, proxy=None) as socket:
            tab = Tab(socket)
            if downloads is not None:
                tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
            tab.wait()
            yield tab
    finally:
        process.terminate()
        process.wait(timeout=20)


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    """The port at which the browser listens, as it writes it into its profile."""
    file, end = profile / "DevToolsActivePort", time.monotonic() + 60
    while not (file.exists() and file.read_text().strip()):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < end, "the browser did not start"
        time.sleep(0.05)
    return int(file.read_text().split()[0])


def _address(port: int) -> str:
    """The address of the page's tab."""
    end = time.monotonic() + 30
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        with opener.open(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
            tabs = [tab for tab in json.load(answer) if tab["type"] == "page" and tab["url"].startswith("file")]
        if tabs:
            return str(tabs[0]["webSocketDebuggerUrl"])
        assert time.monotonic() < end, "the browser opened no page"
        time.sleep(0.05)
