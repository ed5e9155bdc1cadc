"""The program of every child, `python -m lakehouse.process.bootstrap`: start message, restrictions, target.

Imports are few, because code that is imported before the restrictions apply runs without them. The target starts with
these descriptors: standard input is the pipe from the parent, read up to the end of the start message; `Startup.output`
is the pipe to the parent; standard output is redirected to the log, so that the prints of a library cannot break the
protocol.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec

from lakehouse.process.protocol import MAX_LINE, ReadyMessage, StartMessage, decode_start, encode_line
from lakehouse.process.sandboxing.death_signal import set_parent_death_signal
from lakehouse.process.sandboxing.rlimits import apply_limits
from lakehouse.process.sandboxing.sandbox import SandboxError, apply_sandbox
from lakehouse.process.spec import OrphanPolicy, SandboxReport


class Startup:
    """The argument of a target: the settings from the parent, and the methods that report readiness."""

    def __init__(self, *, settings: bytes, output: int, sandbox: SandboxReport | None = None) -> None:
        self.settings = settings
        self.input = 0
        self.output = output
        self.sandbox = SandboxReport() if sandbox is None else sandbox
        self.reported = False

    def report_ready(self, facts: object = None) -> None:
        """Report to the parent that this child is ready; `facts` is any value that JSON can represent."""
        self._report(ReadyMessage(ready=True, sandbox=self.sandbox, facts=msgspec.Raw(msgspec.json.encode(facts))))

    def report_failure(self, reason: str) -> None:
        """Report to the parent the reason why this child cannot start."""
        self._report(ReadyMessage(ready=False, sandbox=self.sandbox, reason=reason))

    def _report(self, line: ReadyMessage) -> None:
        self.reported = True
        data = memoryview(encode_line(line))
        while data:
            data = data[os.write(self.output, data) :]


def main() -> None:
    """Run the target of the start message on standard input. An error ends the process with status 1."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles a terminal's Ctrl-C
    line = read_line(0)
    if not line:
        os._exit(1)  # the parent ended before it sent the start message
    message = decode_start(line)
    startup = Startup(settings=bytes(message.settings), output=os.dup(1))
    os.set_inheritable(startup.output, False)
    os.dup2(2, 1)
    try:
        target = _prepare(message, startup)
        target(startup)
    except Exception as error:  # noqa: BLE001 - logged and reported to the parent; the process ends
        traceback.print_exc()
        if not startup.reported:
            startup.report_failure(_describe(error))
        sys.stderr.flush()
        os._exit(1)


def _prepare(message: StartMessage, startup: Startup) -> Callable[[Startup], object]:
    """Apply the restrictions of the start message to this process, then import the target."""
    signal.pthread_sigmask(signal.SIG_BLOCK, message.blocked_signals)  # threads that start later inherit it
    for name in set(os.environ) - set(message.environment):
        del os.environ[name]
    if message.python_path is not None:
        os.environ["PYTHONPATH"] = message.python_path
    for module in message.preload:
        import_module(module)
    apply_limits(message.limits)
    startup.sandbox = apply_sandbox(message.sandbox)
    if message.orphan is OrphanPolicy.KILL:  # last: a new user namespace would clear it
        set_parent_death_signal(message.parent)
    module, _, function = message.target.partition(":")
    gc.disable()  # what is imported stays: to look through it again and again takes a tenth of the start
    target: Any = import_module(module)
    gc.freeze()
    gc.enable()
    for name in function.split("."):
        target = getattr(target, name)
    function_of_target: Callable[[Startup], object] = target
    return function_of_target


def _describe(error: BaseException) -> str:
    """Describe an error in one line; for a group, its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def read_line(descriptor: int) -> bytes:
    """Read one line; returns an empty line at the end of the file, and a partial one when `MAX_LINE` is exceeded.

    Reads are large, not byte by byte, to save system calls. No data of a later message is lost: the parent sends
    nothing after the start message until the child has replied.
    """
    line = bytearray()
    while not line.endswith(b"\n") and len(line) <= MAX_LINE:
        data = os.read(descriptor, 65536)
        if not data:
            return b""
        line += data
    return bytes(line)


__all__ = ["SandboxError", "Startup", "main", "read_line"]

if __name__ == "__main__":
    # Under `-m` this module is called __main__; targets import it under its own name, and must find the same classes.
    import_module("lakehouse.process.bootstrap").main()
