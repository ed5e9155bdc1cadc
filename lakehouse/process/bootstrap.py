"""How every child of ours begins, `python -m lakehouse.process.bootstrap`: read the order, restrict, run the target.

It imports little, because what is imported before the restrictions apply is not held by them. The target may rely on
this: standard input is the parent's pipe, from which nothing but the order was read; `Startup.output` is the pipe to
the parent, and standard output leads to the log, so that what a library prints does no harm.
"""

from __future__ import annotations

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
    """What the target is given: the parent's settings, and how to say that it serves."""

    def __init__(self, *, settings: bytes, output: int, sandbox: SandboxReport | None = None) -> None:
        self.settings = settings
        self.input = 0
        self.output = output
        self.sandbox = SandboxReport() if sandbox is None else sandbox
        self.reported = False

    def report_ready(self, facts: object = None) -> None:
        """Tell the parent that this child serves; `facts` is anything that JSON can hold."""
        self._report(ReadyMessage(ready=True, sandbox=self.sandbox, facts=msgspec.Raw(msgspec.json.encode(facts))))

    def report_failure(self, reason: str) -> None:
        """Tell the parent why this child will not serve."""
        self._report(ReadyMessage(ready=False, sandbox=self.sandbox, reason=reason))

    def _report(self, line: ReadyMessage) -> None:
        self.reported = True
        data = memoryview(encode_line(line))
        while data:
            data = data[os.write(self.output, data) :]


def main() -> None:
    """Follow the order on standard input. Ends the process with the target's status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's business
    line = read_line(0)
    if not line:
        os._exit(1)  # the parent ended before it gave an order
    order = decode_start(line)
    startup = Startup(settings=bytes(order.settings), output=os.dup(1))
    os.set_inheritable(startup.output, False)
    os.dup2(2, 1)
    try:
        target = _prepare(order, startup)
        target(startup)
    except Exception as error:  # noqa: BLE001 - written to the log, told to the parent, and the process ends
        traceback.print_exc()
        if not startup.reported:
            startup.report_failure(_describe(error))
        sys.stderr.flush()
        os._exit(1)


def _prepare(order: StartMessage, startup: Startup) -> Callable[[Startup], object]:
    """Restrict this process as the order says and import the target, which is not trusted with more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, order.blocked_signals)  # threads that start later inherit it
    for name in set(os.environ) - set(order.environment):
        del os.environ[name]
    if order.python_path is not None:
        os.environ["PYTHONPATH"] = order.python_path
    for module in order.preload:
        import_module(module)
    apply_limits(order.limits)
    startup.sandbox = apply_sandbox(order.sandbox)
    if order.orphan is OrphanPolicy.KILL:  # last: a new user namespace would clear it
        set_parent_death_signal(order.parent)
    module, _, function = order.target.partition(":")
    target: Any = import_module(module)
    for name in function.split("."):
        target = getattr(target, name)
    found: Callable[[Startup], object] = target
    return found


def _describe(error: BaseException) -> str:
    """The error in one line; of a group, its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def read_line(descriptor: int) -> bytes:
    """One line, without its end and not a byte of what follows; empty at the end of the file or of the limit.

    Byte by byte would be a system call each, so a pipe's reader takes what is there: the parent sends nothing behind
    the order before it was answered.
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
