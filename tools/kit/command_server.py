"""A process that has imported the `lakehouse` program, and runs each command in a fork of itself.

Most of the 0.35 s of a command are imports. `python -m tools.kit.command_server` reads requests from the socket that is
its standard input, and ends with it. A command has the standard streams, directory and environment of its request.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import trio

ROOT = Path(__file__).parents[2]
COMMANDS = ("chat", "check", "providers", "run", "serve", "lake.ask", "lake.ingest", "lake.search", "lake.sql")
"""Commands whose modules are imported before the first request: they import nearly all that the others import."""
MAX_REQUEST = 256 * 1024


class CommandServer:
    """The client of the process."""

    def __init__(self) -> None:
        """Start the process. It ends with this one, and does not when a test is over."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        atexit.register(self._socket.close)
        with theirs:
            arguments = [sys.executable, "-m", __name__]
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            os.posix_spawn(sys.executable, arguments, env, file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)])

    async def run(
        self, arguments: Sequence[str], *, cwd: Path, stdin: bytes, env: Mapping[str, str]
    ) -> tuple[int, bytes, bytes]:
        """Run a command to its end; its exit status and what it wrote. It is killed if this is cancelled."""
        request = json.dumps([list(arguments), str(cwd), dict(env)]).encode()
        reader, writer = os.pipe()
        try:
            with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                given.write(stdin)
                given.seek(0)
                try:
                    socket.send_fds(self._socket, [request], [given.fileno(), out.fileno(), err.fileno(), writer])
                finally:
                    os.close(writer)
                await trio.lowlevel.wait_readable(reader)
                status = os.read(reader, 16)
                out.seek(0)
                err.seek(0)
                return int(status), out.read(), err.read()
        finally:
            os.close(reader)


def serve() -> None:
    """Answer requests until the socket ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's, for the tests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for commands
    for command in COMMANDS:
        import_module(f"lakehouse.cli.{command}")
    gc.freeze()
    requests = socket.socket(fileno=0)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST, 4)
        if not request:
            return
        if os.fork() == 0:
            os._exit(watch(request, descriptors))
        for descriptor in descriptors:
            os.close(descriptor)


def watch(request: bytes, descriptors: Sequence[int]) -> int:
    """Run a command in a fork, and write its exit status into the last descriptor; kill it if nobody reads that."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, reply = descriptors
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        os._exit(run(request, streams))
    waiting = select.poll()
    waiting.register(reply, 0)  # POLLERR is always reported
    waiting.register(os.pidfd_open(pid), select.POLLIN)
    if any(events & select.POLLERR for _, events in waiting.poll()):
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(reply, str(status).encode())
    return 0


def run(request: bytes, streams: Sequence[int]) -> int:
    """Run a command as the program does, and return its exit status."""
    from lakehouse.cli import main

    arguments, cwd, env = json.loads(request)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status


if __name__ == "__main__":
    serve()
