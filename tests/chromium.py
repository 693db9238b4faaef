"""A headless Chromium for tests, driven through its DevTools protocol over a pipe: real mouse, real keys, no driver."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The browser, or None where there is none."""

_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe "
    "--no-first-run --disable-extensions --disable-background-networking --disable-component-update"
)
_PATIENCE_SECONDS = 30
_KEYS = {" ": ("Space", 32), "Enter": ("Enter", 13), "Escape": ("Escape", 27), "Tab": ("Tab", 9)} | {
    "ArrowLeft": ("ArrowLeft", 37), "ArrowUp": ("ArrowUp", 38), "ArrowRight": ("ArrowRight", 39),
    "ArrowDown": ("ArrowDown", 40), "Home": ("Home", 36), "End": ("End", 35),
}  # fmt: skip


class PageError(AssertionError):
    """The page threw, or refused what it was asked."""


class Browser:
    """One page; use as a context manager."""

    def __init__(self, profile: Path, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        assert PROGRAM is not None
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        arguments = [PROGRAM, *_OPTIONS.split(), f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, *arguments, "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = next(each for each in self.send("Target.getTargets")["targetInfos"] if each["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._out)
        os.close(self._in)
        os.killpg(self._process.pid, signal.SIGKILL)  # its own group: started above with a session of its own
        self._process.wait()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise PageError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], _PATIENCE_SECONDS)[0]:
                raise PageError(f"no word from the browser in {_PATIENCE_SECONDS} s")
            piece = os.read(self._in, 2**20)
            if not piece:
                raise PageError("the browser has gone")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def open(self, page: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.send("Page.navigate", url=page.absolute().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise PageError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self.run(condition):
            if time.monotonic() > end:
                raise PageError(f"never true: {condition}")
            time.sleep(0.03)

    def key(self, key: str, times: int = 1) -> None:
        """Press a key, given as ``KeyboardEvent.key`` says it."""
        code, number = _KEYS.get(key, (f"Key{key.upper()}", ord(key.upper()[0])))
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                more = text if kind == "keyDown" else {}
                self.send("Input.dispatchKeyEvent", type=kind, key=key, code=code, windowsVirtualKeyCode=number, **more)

    def mouse(self, kind: str, x: float, y: float, pressed: bool = True) -> None:
        """A mouse event ("Pressed", "Moved", "Released") with the left button."""
        button = {"button": "left", "buttons": 1, "clickCount": 1} if pressed else {}
        self.send("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **button)

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        x, y, width, height = self.box(selector)
        for kind in ("Pressed", "Released"):
            self.mouse(kind, x + width / 2, y + height / 2)

    def drag(self, selector: str, start: float, end: float, steps: int = 10) -> None:
        """Drag along an element, from one share of its width to another."""
        x, y, width, height = self.box(selector)
        places = [x + width * (start + (end - start) * i / steps) for i in range(steps + 1)]
        self.mouse("Pressed", places[0], y + height / 2)
        for place in places:
            self.mouse("Moved", place, y + height / 2)
        self.mouse("Released", places[-1], y + height / 2)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window."""
        found = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        asked = f"(r => [r.x, r.y, r.width, r.height])({found})"
        x, y, width, height = self.run(asked)
        return x, y, width, height

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """What the page threw or wrote to its log as errors, and what it asked a network for."""
        self.run("0")
        said = []
        for event in self.events:
            method, told = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                said.append(str(told["exceptionDetails"]))
            elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                said.append(str(told["entry"]["text"]))
            elif method == "Network.requestWillBeSent":
                url = str(told["request"]["url"])
                if not url.startswith(("file:", "data:", "blob:", "about:")):
                    said.append(url)
        return said


@contextmanager
def browser(profile: Path, **options: Any) -> Iterator[Browser]:
    """A browser with a fresh profile, which is gone afterwards."""
    with Browser(profile, **options) as started:
        yield started
