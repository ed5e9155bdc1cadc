"""A headless Chromium, driven over the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
PROGRAM = shutil.which("chromium")
PAGE_TIMEOUT = 20.0

_QUIET = (
    "--headless=new",
    "--no-sandbox",  # a test run may be root's, whom the sandbox refuses
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--mute-audio",
    "--password-store=basic",
    "--remote-debugging-port=0",
)


class Tab:
    """One page. `problems` is what its console complained about."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.problems: list[str] = []

    async def call(self, method: str, **params: Any) -> Any:
        return await self._browser.call(method, params, self._session)

    async def look(self, url: str, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Open an address in a window of this size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited. Raises AssertionError when the script does."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait for an expression to become true, and give its value."""
        with trio.move_on_after(PAGE_TIMEOUT):
            while True:
                try:
                    if value := await self.run(script):
                        return value
                except AssertionError:  # the page is not there yet
                    pass
                await trio.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page says {await self.run('document.body.innerText')!r}")

    async def press(self, key: str, *, ctrl: bool = False) -> None:
        """A key, as a person presses it."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" and not ctrl else {}
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 2 if ctrl else 0}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **keys, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    async def type(self, text: str) -> None:
        """Text, into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def screenshot(self, name: str) -> Path:
        """The whole page, kept among the test run's artifacts."""
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        ARTIFACTS.mkdir(exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        path.write_bytes(b64decode(shot["data"]))
        return path


class Browser:
    """A connection to the program, with a profile of its own that ends with it, and its tabs."""

    def __init__(self, stream: trio.SocketStream, url: str) -> None:
        self._stream = stream
        self._profile: str | None = None
        self._ws = WSConnection(ConnectionType.CLIENT)
        parts = urlsplit(url)
        self._hello = Request(host=parts.netloc, target=parts.path)
        self._numbers = count(1)
        self._waiting: dict[int, trio.MemorySendChannel[Any]] = {}
        self._tabs: dict[str, Tab] = {}
        self._open = trio.Event()

    async def call(self, method: str, params: dict[str, Any], session: str | None = None) -> Any:
        number = next(self._numbers)
        send, receive = trio.open_memory_channel[Any](1)
        self._waiting[number] = send
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        await self._stream.send_all(self._ws.send(TextMessage(json.dumps(message))))
        with trio.fail_after(PAGE_TIMEOUT):
            answer = await receive.receive()
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def tab(self) -> Tab:
        if self._profile is None:
            self._profile = (await self.call("Target.createBrowserContext", {"disposeOnDetach": True}))[
                "browserContextId"
            ]
        blank = {"url": "about:blank", "browserContextId": self._profile}
        target = await self.call("Target.createTarget", blank)
        attached = await self.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        tab = self._tabs[attached["sessionId"]] = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        return tab

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self._stream.send_all(self._ws.send(self._hello))
        text = ""
        while data := await self._stream.receive_some(1 << 20):
            self._ws.receive_data(data)
            for event in self._ws.events():
                match event:
                    case AcceptConnection():
                        task_status.started()
                    case Ping():
                        await self._stream.send_all(self._ws.send(event.response()))
                    case TextMessage():
                        text += event.data
                        if event.message_finished:
                            self._take(json.loads(text))
                            text = ""
                    case CloseConnection():
                        return

    def _take(self, message: dict[str, Any]) -> None:
        if waiting := self._waiting.pop(message.get("id", 0), None):
            waiting.send_nowait(message)
        tab = self._tabs.get(message.get("sessionId", ""))
        if tab is None:
            return
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            tab.problems.append(str(params["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            tab.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


@contextmanager
def chromium() -> Iterator[str]:
    """The program for the length of the block, with a profile of its own; gives the address of its DevTools."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        port = Path(profile) / "DevToolsActivePort"
        said = Path(profile) / "said"
        with said.open("wb") as log:
            command = [PROGRAM, *_QUIET, f"--user-data-dir={profile}", "about:blank"]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            ends = time.monotonic() + PAGE_TIMEOUT
            while not (port.exists() and len(lines := port.read_text().split()) == 2):
                assert process.poll() is None, f"chromium ended: {said.read_text(errors='replace')}"
                assert time.monotonic() < ends, f"chromium does not start: {said.read_text(errors='replace')}"
                time.sleep(0.02)
            yield f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        finally:
            process.kill()
            process.wait(5)


@asynccontextmanager
async def browser_at(url: str) -> AsyncIterator[Browser]:
    """A connection to the program that listens there; its tabs are closed with the block."""
    stream = await trio.open_tcp_stream("127.0.0.1", urlsplit(url).port or 0)
    async with trio.open_nursery() as nursery, stream:
        browser = Browser(stream, url)
        await nursery.start(browser.run)
        yield browser
        nursery.cancel_scope.cancel()
