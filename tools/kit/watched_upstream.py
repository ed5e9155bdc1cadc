"""An upstream whose connections its owner holds: it sees when one is closed, and decides when one is answered."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress


class Upstream:
    """A listening socket, and the connections to it. Some gateways dial ahead of their requests."""

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
