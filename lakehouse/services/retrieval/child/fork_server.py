"""Forks processes that can be killed at any moment, which a sandbox that forbids to run programs allows.

The server is a process itself: a copy of this one, made while it is small and has one thread. Copies that the server
makes later have neither the memory nor the threads of this process, and start in milliseconds.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lakehouse.process.sandboxing.death_signal import set_parent_death_signal

Serve = Callable[[socket.socket], None]

NUMBER = struct.Struct("<q")
FORK, KILL = b"f", b"k"
FIRST_DESCRIPTOR = 3
"""The first one that is no standard stream."""


class ForkServerEnded(Exception):
    """The server is gone, and with it the processes that it has forked."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A process, and the socket to it."""

    pid: int
    socket: socket.socket


class ForkServer:
    """For one thread at a time. The server ends with this process, and the processes that it forked end with it."""

    def __init__(self, serve: Serve) -> None:
        """`serve` is what a forked process does with the other end of its socket. This process must have one thread.

        The thread must live as long as the server.
        """
        self._control, theirs = socket.socketpair()
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            _never_return(lambda: _run(theirs, parent, serve))
        theirs.close()

    def fork(self) -> Forked:
        """Start a process. Raises OSError if the system has no room for it, ForkServerEnded."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                number = self._ask(FORK, [theirs.fileno()])
                if number < 0:
                    raise OSError(-number, os.strerror(-number))
            except BaseException:
                ours.close()
                raise
        return Forked(number, ours)

    def kill(self, forked: Forked) -> int:
        """End a process, if it has not ended. Its files are closed at return. Returns its wait status.

        Raises ForkServerEnded.
        """
        forked.socket.close()
        return self._ask(KILL + NUMBER.pack(forked.pid))

    def close(self) -> None:
        """End the server, and with it the processes that it forked."""
        self._control.close()
        os.waitpid(self._pid, 0)

    def _ask(self, order: bytes, descriptors: Sequence[int] = ()) -> int:
        try:
            socket.send_fds(self._control, [order], descriptors)
            reply = self._control.recv(NUMBER.size, socket.MSG_WAITALL)
        except ConnectionError:
            reply = b""
        if len(reply) < NUMBER.size:
            raise ForkServerEnded("the process that forks the writers of the keyword index has ended")
        return int(NUMBER.unpack(reply)[0])


def _never_return(function: Callable[[], None]) -> None:
    """The end of a forked process: it must not go on with what the original does."""
    status = 1
    try:
        function()
        status = 0
    except Exception:  # noqa: BLE001 - the process ends
        traceback.print_exc()
    finally:
        os._exit(status)


def _run(control: socket.socket, parent: int, serve: Serve) -> None:
    """Serve until the end of the socket."""
    set_parent_death_signal(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # a collection writes to every object, and a page that is written to is no longer shared
    _close_all_but(control)
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if order == FORK:
            reply = _fork(control, descriptors[0], serve)
            os.close(descriptors[0])
        elif order == KILL:
            (pid,) = NUMBER.unpack(control.recv(NUMBER.size, socket.MSG_WAITALL))
            os.kill(pid, signal.SIGKILL)  # no other process has its number before it is waited for
            reply = os.waitpid(pid, 0)[1]
        else:
            return
        control.sendall(NUMBER.pack(reply))


def _fork(control: socket.socket, descriptor: int, serve: Serve) -> int:
    """The number of the new process, or a negative error number."""
    server = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        return -(error.errno or 1)
    if not pid:
        set_parent_death_signal(server)
        control.close()
        _never_return(lambda: serve(socket.socket(fileno=descriptor)))
    return pid


def _close_all_but(kept: socket.socket) -> None:
    """Close what was inherited: who holds the other end of a socket must see when this process' original has ended."""
    os.closerange(FIRST_DESCRIPTOR, kept.fileno())
    os.closerange(kept.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
