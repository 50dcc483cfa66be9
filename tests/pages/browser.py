"""Debian's Chromium without a window, spoken to through a pipe.

Source: the Chrome DevTools Protocol; with ``--remote-debugging-pipe`` messages are JSON that ends
with a zero byte, read from descriptor 3 and written to 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = "chromium"
DESK, PHONE = (1280, 900), (390, 844)

_FLAGS = (
    *("--headless", "--no-first-run", "--disable-gpu", "--hide-scrollbars", "--mute-audio"),
    *("--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"),
    *("--font-render-hinting=none", "--disable-lcd-text", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions", "--lang=en"),
)
_PATIENCE = 60.0  # seconds for an answer; a busy machine starts slowly


class Browser:
    """One browser with one tab."""

    def __init__(self, folder: Path) -> None:
        to_it, ours = os.pipe()
        theirs, from_it = os.pipe()
        shell = f'exec "$@" 3<&{to_it} 4>&{from_it}'
        profile = f"--user-data-dir={folder}"
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", PROGRAM, "--remote-debugging-pipe", profile, *_FLAGS],
            pass_fds=(to_it, from_it),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it)
        os.close(from_it)
        self._out, self._in = ours, theirs
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        os.close(self._out)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def call(self, method: str, **parameters: Any) -> Any:
        """Return what one call answers; what the browser tells meanwhile goes to ``events``."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], deadline - time.monotonic())[0], "no answer"
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def wait_for(self, event: str) -> None:
        while not any(one.get("method") == event for one in self.events):
            self.events.append(self._read())

    def open(
        self, page: Path, *, size: tuple[int, int] = DESK, dark: bool = False, script: bool = True
    ) -> None:
        """Show a page as a file, and wait until it is there."""
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self.wait_for("Page.loadEventFired")

    def run(self, expression: str) -> Any:
        """Return the value of an expression on the page; of a promise what it comes to."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def tab(self) -> None:
        self.press("Tab", 9)

    def focused(self) -> str:
        """What has the keyboard: its id, or else its text."""
        found: str = self.run("document.activeElement.id || document.activeElement.innerText")
        return found

    @property
    def faults(self) -> list[str]:
        """What the page complained of, and what it asked of others than this disk."""
        found = []
        for event in self.events:
            method, told = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(told["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled":
                found.append(json.dumps(told["args"]))
            elif method == "Log.entryAdded":
                found.append(told["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = told["request"]["url"]
                if not url.startswith(("file:", "data:")):
                    found.append(f"asked for {url}")
        return found

    def picture(self, size: tuple[int, int] = DESK, scale: float = 0.5) -> bytes:
        """Return what the window shows, smaller, as WebP."""
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": scale}
        answer = self.call("Page.captureScreenshot", format="webp", quality=50, clip=clip)
        return base64.b64decode(answer["data"])

    def difference(self, one: bytes, other: bytes) -> float:
        """Return the share of picture elements that differ visibly; 1 for other sizes.

        The page has to go: it lets nobody load a picture.
        """
        self.call("Page.navigate", url="about:blank")
        sides = [
            f"data:image/webp;base64,{base64.b64encode(data).decode()}" for data in (one, other)
        ]
        found: float = self.run(_COMPARE % json.dumps(sides))
        return found

    @property
    def seconds(self) -> float:
        """Processor time of all the browser's processes so far."""
        parents: dict[int, list[int]] = {}
        used: dict[int, float] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            number = int(stat.parent.name)
            parents.setdefault(int(fields[1]), []).append(number)
            used[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        todo, total = [self._process.pid], 0.0
        while todo:
            number = todo.pop()
            total += used.get(number, 0.0)
            todo += parents.get(number, [])
        return total


_COMPARE = """(async () => {
const [a, b] = await Promise.all(%s.map(async source => {
  const image = new Image(); image.src = source; await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, image.width, image.height);
}));
if (a.width !== b.width || a.height !== b.height) return 1;
let count = 0;
for (let at = 0; at < a.data.length; at += 4) {
  const far = [0, 1, 2].reduce((sum, of) => sum + Math.abs(a.data[at + of] - b.data[at + of]), 0);
  if (far > 96) count++;
}
return count / (a.width * a.height);
})()"""


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    found = Browser(folder)
    try:
        yield found
    finally:
        found.close()
