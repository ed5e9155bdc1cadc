"""How long an upstream goes on after the client has gone. Here the bench is both ends, so one clock measures it."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

from tools.bench.load import Target
from tools.bench.upstream import COMPLETION, event

PORT = 9001
URL = f"http://127.0.0.1:{PORT}"
NEVER = 2.0
"""Seconds after which we no longer wait: it goes on without its client."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: str) -> bytes:
    """One piece of a chunked body."""
    data = text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


PIECE = chunk(event({"content": "piece "}))


class Upstream:
    """A listening socket at `URL`, and the connections to it. Some gateways dial ahead of their requests."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._connections: list[socket.socket] = []

    def asked(self, mark: str) -> socket.socket:
        """The connection on which a request with this mark came; any other request is answered 404."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            ready, _, _ = select.select([self._listener, *self._connections], [], [], 1)
            for sock in ready:
                if sock is self._listener:
                    self._connections.append(sock.accept()[0])
                    continue
                self._connections.remove(sock)
                sock.settimeout(5)
                if mark.encode() in _request(sock):
                    return sock
                with suppress(OSError):
                    sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                sock.close()
        raise RuntimeError("the request did not reach the upstream within 30 s")

    def close(self) -> None:
        """Close them all."""
        for sock in self._connections:
            sock.close()


@contextmanager
def watched_upstream() -> Iterator[Upstream]:
    """An upstream for the block."""
    with socket.create_server(("127.0.0.1", PORT), backlog=128) as listener, closing(Upstream(listener)) as upstream:
        yield upstream


def measure_disconnect(target: Target, upstream: Upstream, *, mark: str, streaming: bool) -> float:
    """The seconds from a client's disconnect to that of its upstream connection, at most `NEVER`.

    The client leaves while it waits for an answer, or after the first piece of one. `mark` tells this request from
    what a gateway sends again or by itself.
    """
    marked = replace(target, body=target.body.replace(b"The quick", mark.encode(), 1))
    with socket.create_connection(("127.0.0.1", target.port), timeout=30) as client:
        client.sendall(marked.encode())
        with upstream.asked(mark) as asked:
            if streaming:
                asked.sendall(HEAD + PIECE)
                while b"data:" not in client.recv(65536):
                    pass
            left = time.perf_counter()
            client.close()
            while time.perf_counter() < left + NEVER:
                if _ended(asked, keep_sending=streaming):
                    return time.perf_counter() - left
            _finish(asked, streaming=streaming)
    return NEVER


def _request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            received = sock.recv(65536)
        except OSError:
            received = b""
        if not received:
            return b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while (len(body) < int(lengths[0])) if lengths else (b"POST" in head and not body.endswith(b"0\r\n\r\n")):
        body += sock.recv(65536)
    return body


def _ended(sock: socket.socket, *, keep_sending: bool) -> bool:
    sock.settimeout(0.1)
    try:
        return not sock.recv(65536)
    except TimeoutError:
        pass
    except OSError:
        return True
    try:
        if keep_sending:
            sock.sendall(PIECE)
    except OSError:
        return True
    return False


def _finish(sock: socket.socket, *, streaming: bool) -> None:
    """End the answer well, so that nobody asks again."""
    body = json.dumps(COMPLETION).encode()
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    sock.sendall(chunk(event({}, "stop") + "data: [DONE]\n\n") + b"0\r\n\r\n" if streaming else whole)
