"""An Ollama for measurements: a thread that embeds with a function of the text, and chats with one answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Embed = Callable[[str], Sequence[float]]


@contextmanager
def scripted_ollama(embed: Embed, model: str, *, answer: str = "") -> Iterator[str]:
    """Serve for the length of the block; `answer` is that to every chat. Yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            self._send({"models": [{"name": model, "model": model}], "version": "0.12.0"})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if "messages" in request:
                message = {"role": "assistant", "content": answer}
                self._send({"model": model, "message": message, "done": True, "done_reason": "stop"})
            elif "prompt" in request:
                self._send({"embedding": list(embed(request["prompt"]))})
            else:
                texts = request.get("input", [])
                texts = [texts] if isinstance(texts, str) else texts
                self._send({"model": model, "embeddings": [list(embed(text)) for text in texts]})

        def _send(self, document: object) -> None:
            content = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
