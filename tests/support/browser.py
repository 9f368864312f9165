"""Chromium without a window, driven by its DevTools protocol."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from websockets.sync.client import ClientConnection

from server_process import TIMEOUT_SECONDS
from ws_client import connect

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
)


class Page:
    """One page. What it writes to its console as an error is collected."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self.errors: list[str] = []
        # Called with the parameters of an event, by its method.
        self.listeners: dict[str, Callable[[dict[str, Any]], object]] = {}
        for domain in ("Runtime", "Page", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """Returns the answer to one command. Raises AssertionError if it fails."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(TIMEOUT_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message)

    def evaluate(self, script: str) -> Any:
        """Returns the value of an expression. Raises AssertionError if it throws."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Returns the value of an expression once it is true. Raises AssertionError if it does not become so."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, f"{script} is {value!r}; errors: {self.errors}"
            time.sleep(0.05)
        return value

    def open(self, url: str) -> None:
        """Goes to a URL."""
        self.ask("Page.navigate", url=url)
        self.wait_for(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Hides the page behind another tab for the length of a block."""
        target = self.ask("Target.getTargetInfo")["targetInfo"]["targetId"]
        other = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.ask("Target.activateTarget", targetId=other)
        self.wait_for("document.hidden")
        yield
        self.ask("Target.activateTarget", targetId=target)
        self.wait_for("!document.hidden")
        self.ask("Target.closeTarget", targetId=other)

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(str(parameters["entry"]))
        elif method in self.listeners:
            self.listeners[method](parameters)


@contextlib.contextmanager
def browser_page() -> Iterator[Page]:
    """An empty page of a browser that ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            ["chromium", *ARGUMENTS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            port = next(found[1] for line in process.stderr if (found := re.search(r"ws://[^:]+:(\d+)/", line)))
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT_SECONDS) as answer:
                target = next(one for one in json.load(answer) if one["type"] == "page")
            with connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
                yield Page(connection)
        finally:
            process.kill()
            process.communicate()
