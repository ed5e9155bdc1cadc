"""Servers of vector stores: Chroma's own, from the package `chromadb`; for Qdrant, its engine behind its API.

Both can be killed and started again on the same port and files.
"""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from lakehouse.core.extras import missing_modules
from tools.kit.scaleout.processes import find_free_ports, run_server, wait_until

CHROMA = "import sys, chromadb_rust_bindings; chromadb_rust_bindings.cli(sys.argv[1:])"


@dataclass(frozen=True)
class VectorServer:
    """A server. Chroma's knows no keys."""

    kind: Literal["qdrant", "chroma"]
    url: str
    key: str


class OwnVectorServer:
    """A server of one's own, which runs, or was killed."""

    def __init__(self, address: VectorServer, command: Sequence[str], log: Path) -> None:
        self.address = address
        self._command = command
        self._log = log
        self._stack = ExitStack()

    def start(self) -> None:
        """Run the server, and wait until it answers."""
        self.process = self._stack.enter_context(run_server(self._command, self._log, stop=signal.SIGKILL))
        wait_until(self._answers, self.process, self._log)

    def kill(self) -> None:
        """End the server with SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._stack.close()

    def pause(self) -> None:
        """Stop the process without ending it: connections stay open, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the server."""
        self._stack.close()

    def _answers(self) -> bool:
        try:
            return httpx.get(self.address.url, trust_env=False).status_code < 500
        except httpx.TransportError:
            return False


def find_missing_stores() -> list[str]:
    """The modules that the servers need and that are not installed."""
    return missing_modules("qdrant_edge", "chromadb_rust_bindings")


def configure_store(folder: Path, server: VectorServer) -> dict[str, dict[str, object]]:
    """The tables of a configuration with indexes on a server, with a name and a key file of their own."""
    key_file = folder / "keys.env"
    key_file.write_text(f"QDRANT_API_KEY={server.key}\n")
    key_file.chmod(0o600)
    name = f"lake-{secrets.token_hex(4)}"
    return {
        "lake": {"key_file": str(key_file), "name": name},
        "vectord": {"store": f"{server.kind}+{server.url}"},
    }


@contextmanager
def open_qdrant(folder: Path) -> Iterator[OwnVectorServer]:
    """Qdrant's engine behind a part of its API, with a key, for the length of the block."""
    [port] = find_free_ports(1)
    key = secrets.token_hex(16)
    command = [sys.executable, "-m", "tools.kit.scaleout.qdrant_server", str(folder), str(port), key]
    with _run(VectorServer("qdrant", f"http://127.0.0.1:{port}", key), command, folder) as server:
        yield server


@contextmanager
def open_chroma(folder: Path) -> Iterator[OwnVectorServer]:
    """Chroma's server, for the length of the block."""
    [port] = find_free_ports(1)
    options = ["run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-c", CHROMA, "chroma", *options]
    with _run(VectorServer("chroma", f"http://127.0.0.1:{port}", ""), command, folder) as server:
        yield server


@contextmanager
def _run(address: VectorServer, command: Sequence[str], folder: Path) -> Iterator[OwnVectorServer]:
    folder.mkdir(parents=True)
    server = OwnVectorServer(address, command, folder.parent / f"{folder.name}.log")
    try:
        server.start()
        yield server
    finally:
        server.close()
