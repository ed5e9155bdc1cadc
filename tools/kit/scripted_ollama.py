"""An Ollama in a thread, with one model: it embeds with a function of the text, and chats with one answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Embed = Callable[[str], Sequence[float]]
Response = tuple[int, object]
"""Status and document; a document that is text is sent as it is."""
NO_PATH: Response = 404, "404 page not found"


@dataclass(frozen=True, kw_only=True, slots=True)
class OllamaScript:
    """What the server answers. One that is `legacy` has no `/api/embed`."""

    embed: Embed
    model: str
    answer: str
    legacy: bool

    def get(self, path: str) -> Response:
        """The response to a GET."""
        if path == "/api/tags":
            return 200, {"models": [{"name": f"{self.model}:latest", "details": {"family": "nomic-bert"}}]}
        return (200, {"version": "0.12.0"}) if path == "/api/version" else NO_PATH

    def post(self, path: str, request: dict[str, Any]) -> Response:
        """The response to a POST."""
        if path not in ("/api/chat", "/api/embeddings", *(() if self.legacy else ("/api/embed",))):
            return NO_PATH
        if request["model"] != self.model:
            return 404, {"error": f'model "{request["model"]}" not found, try pulling it first'}
        if path == "/api/chat":
            message = {"role": "assistant", "content": self.answer}
            return 200, {"model": self.model, "message": message, "done": True, "done_reason": "stop"}
        if path == "/api/embeddings":
            return 200, {"embedding": list(self.embed(request["prompt"]))}
        texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
        return 200, {"model": self.model, "embeddings": [list(self.embed(text)) for text in texts]}


@contextmanager
def scripted_ollama(embed: Embed, model: str, *, answer: str = "", legacy: bool = False) -> Iterator[str]:
    """Serve for the length of the block; `answer` is that to every chat. Yields the URL."""
    script = OllamaScript(embed=embed, model=model, answer=answer, legacy=legacy)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            self._send(*script.get(self.path))

        def do_POST(self) -> None:
            self._send(*script.post(self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))

        def _send(self, status: int, document: object) -> None:
            plain = isinstance(document, str)
            content = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain" if plain else "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
