"""An Ollama in a thread, with one embedding model of 768 numbers: as much of it as the former daemon's tests had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

MODEL = "nomic-embed-text"
DIMENSION = 768


def embed(text: str) -> list[float]:
    """A vector that depends on the text only, not of unit length."""
    digest = sha256(text.encode()).digest()
    return [digest[n % 32] / 16 - 8 + n / 1024 for n in range(DIMENSION)]


class Handler(BaseHTTPRequestHandler):
    """Answers `GET /api/tags` and `POST /api/embeddings`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        models = [{"name": f"{MODEL}:latest", "details": {"family": "nomic-bert"}}]
        self._answer(*((200, {"models": models}) if self.path == "/api/tags" else (404, {"error": "not found"})))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/api/embeddings":
            self._answer(404, None)
        elif body["model"] != MODEL:
            self._answer(404, {"error": f'model "{body["model"]}" not found, try pulling it first'})
        else:
            self._answer(200, {"embedding": embed(body["prompt"])})

    def _answer(self, status: int, document: object) -> None:
        content = b"404 page not found" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain" if document is None else "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Log nothing."""


@contextmanager
def open_fake_ollama() -> Iterator[str]:
    """The URL of the server, for the length of the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
