"""How long an upstream goes on after the client has gone. Here the bench is both ends, so one clock measures it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from tools.bench.load import Target
from tools.bench.upstream import COMPLETION, event
from tools.kit.watched_upstream import Upstream

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
