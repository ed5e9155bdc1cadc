"""What a gateway is to the bench: something that is installed, started, and asked for the same things as others."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from tools.bench.load import Target
from tools.bench.process import Running
from tools.bench.upstream import URL, WORDS

PORT = 3210
JSON = "content-type: application/json"


def conversation(model: str, *, stream: bool = False, size: int = 0) -> bytes:
    """A chat request of about one kilobyte, or with `size` more bytes of text."""
    text = WORDS[:800] + "x" * size
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}).encode()


class Peer(ABC):
    """One gateway."""

    name: str
    passes_bytes = False
    """It relays chats as they are, without looking at them."""

    def __init__(self, directory: Path, *, upstream: str = URL, port: int = PORT) -> None:
        self.upstream, self.port = upstream, port
        self.directory = directory / self.name.replace(" ", "-")
        self.directory.mkdir(parents=True, exist_ok=True)

    def install(self) -> None:  # noqa: B027 - most need nothing
        """Make it available, or raise RuntimeError saying why it is left out."""

    def version(self) -> str:
        """What is measured; empty if there is nothing to say."""
        return ""

    @abstractmethod
    def start(self, *, cores: str) -> Running:
        """Start it, one worker, at its recommended settings for production, and wait until it answers."""

    def up(self, command: list[str], *, cores: str, env: dict[str, str] | None = None) -> Running:
        """Started and answering."""
        running = Running(command, cores=cores, name=self.name, env=env, log=self.directory / "log")
        try:
            running.wait_until_ready(self.port)
        except BaseException:
            running.stop()
            raise
        return running

    def get(self, path: str = "/1k") -> Target | None:
        """A relayed request without a body; None if it has no such thing."""
        return Target(port=PORT, path=f"/v1/storage{path}")

    def post(self) -> Target | None:
        """A relayed upload."""
        return self.get("/up")

    @abstractmethod
    def chat(self, kind: str, *, size: int = 0) -> Target:
        """A chat: `whole`, or streamed as `first` (one piece), `burst` (many at once) or `slow` (ten a second)."""


def printed(command: list[str]) -> str:
    """What a command says, with its error output if it says nothing."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return (done.stdout or done.stderr).strip()


def run(command: list[str]) -> None:
    """Run a step of an installation. Raises RuntimeError with the last line it said."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cannot be installed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
