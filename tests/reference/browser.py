"""A headless Chromium that is told what to do through pipes, for tests and measurements of pages."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: Names under which distributions install it.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Where a browser is; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in a browser; use it as a context manager.

    Parameters
    ----------
    width, height : int
        Of the window [pixels].
    dark : bool
        Whether the system asks for dark colours.
    """

    def __init__(self, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        # What the browser still writes when it is ended must not fail a test.
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        here, self._write = os.pipe()
        self._read, there = os.pipe()
        command = [
            str(find()), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--remote-debugging-pipe", f"--user-data-dir={self._folder.name}", f"--window-size={width},{height}",
            "about:blank",
        ]  # fmt: skip
        # Chromium reads what it is told from file 3, and answers on file 4; neither may be one of the two before.
        pipes = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (here, there)]
        begin = (
            "import os; from sys import argv as a; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execv(a[3], a[3:])"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", begin, *map(str, pipes), *command],
            pass_fds=pipes,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (here, there, *pipes):
            os.close(end)
        self._rest = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []
        (target,) = [t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page"][:1]
        attached = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for name in ("Page.enable", "Runtime.enable", "Network.enable", "Log.enable"):
            self.ask(name)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write)
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._read)
        self._folder.cleanup()

    def _ask(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._read, 1 << 16)
            if not more:
                raise RuntimeError("the browser has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol to the page; what it answers."""
        return self._ask(method, self._session, **params)

    def before(self, script: str) -> None:
        """Run a script in every page before its own."""
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, page: Path, part: str = "") -> None:
        """Load a page from disk, and wait until its scripts have run."""
        self.visit(page.absolute().as_uri() + (f"#{part}" if part else ""))

    def visit(self, url: str) -> None:
        """Load a page from its address, and wait until its scripts have run."""
        self.ask("Page.navigate", url=url)
        scheme = url.partition("//")[0]
        self.wait(f"location.protocol === '{scheme}' && document.documentElement?.dataset.ready || ''")

    def wait(self, condition: str, most: float = 60.0) -> Any:
        """What an expression comes to in the page, once it is true; no longer than `most` [s]."""
        end = time.monotonic() + most
        while not (found := self.run(condition)):
            if time.monotonic() > end:
                raise RuntimeError(f"{condition}: did not become true in {most:g} s")
            time.sleep(0.01)
        return found

    def run(self, script: str) -> Any:
        """What an expression comes to in the page; a promise is waited for."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def key(self, key: str) -> None:
        """Press and release a key, by its name in JavaScript."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38, "Home": 36, "End": 35, "Tab": 9}
        named = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.ask("Input.insertText", text=text)

    def mouse(self, kind: str, x: float, y: float, held: bool = False) -> None:
        """Move (mouseMoved), press (mousePressed) or release (mouseReleased) the left button."""
        left = held or kind != "mouseMoved"
        button = {"button": "left", "clickCount": 1, "buttons": 1} if left else {}
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def shot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        import base64

        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def asked(self) -> list[str]:
        """Addresses that the page has loaded since it was opened."""
        self.run("1")
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Errors of scripts and of the policy of the page."""
        self.run("1")
        found = [e["params"] for e in self.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
        return [json.dumps(params) for params in found]
