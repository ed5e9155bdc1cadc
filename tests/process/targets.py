"""The targets of these tests. Each function runs in a child process."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import Call, CallError, serve_calls
from lakehouse.process.spec import SandboxReport


def sleep_forever() -> None:
    """Sleep until a signal ends this process."""
    threading.Event().wait()


def ready(startup: Startup) -> None:
    """Report readiness with facts for the parent, and keep running."""
    startup.report_ready({"environment": dict(os.environ), "settings": msgspec.json.decode(startup.settings)})
    sleep_forever()


def silent(_: Startup) -> None:
    """Never become ready."""
    sleep_forever()


def hang(startup: Startup) -> None:
    """Ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    startup.report_ready()
    sleep_forever()


def refuse(startup: Startup) -> None:
    """Report a failure of the start."""
    startup.report_failure("the disk is full")


def crash(_: Startup) -> None:
    """Exit before it is ready, with a reason in the log."""
    print("cannot open the thing", file=sys.stderr, flush=True)
    os._exit(3)


def defect(_: Startup) -> None:
    """Raise before it is ready."""
    raise LookupError("no such table")


def defect_in_a_group(_: Startup) -> None:
    """Raise as a nursery does."""
    raise ExceptionGroup("Exceptions from Trio nursery", [ExceptionGroup("inner", [LookupError("no such table")])])


def drains(startup: Startup) -> None:
    """Exit with the status of the settings on SIGTERM, or with 9 at the end of standard input."""
    status = int(startup.settings)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(status))
    startup.report_ready()
    while os.read(0, 4096):
        pass
    os._exit(9)


def dies_when_ready(startup: Startup) -> None:
    """Exit right after the report of readiness."""
    startup.report_ready()
    os._exit(7)


def forks(startup: Startup) -> None:
    """Start a process and report its id."""
    inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    startup.report_ready(inner.pid)
    sleep_forever()


def attempt(action: Callable[[], object]) -> str:
    """Return the outcome of a call: "ok" or the name of the error."""
    try:
        action()
    except (OSError, MemoryError) as error:
        return type(error).__name__ + (f" {error.errno}" if isinstance(error, OSError) else "")
    return "ok"


def _tcp(family: int) -> None:
    with socket.socket(family, socket.SOCK_STREAM):
        pass


def _ring() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).syscall(425, 1, None) < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")


def tries(startup: Startup) -> None:
    """Try operations that a sandbox may deny, and report the outcomes."""
    paths = msgspec.json.decode(startup.settings, type=dict[str, str])
    readable, writable, secret = (Path(paths[name]) for name in ("readable", "writable", "secret"))
    facts = {
        "read the readable": attempt((readable / "file").read_text),
        "write beside it": attempt(lambda: (readable / "new").write_text("x")),
        "change it": attempt(lambda: (readable / "file").write_text("x")),
        "remove it": attempt((readable / "file").unlink),
        "write the writable": attempt(lambda: (writable / "file").write_text("x")),
        "read it back": attempt((writable / "file").read_text),
        "link to the secret": attempt(lambda: (writable / "link").symlink_to(secret / "file")),
        "read the secret": attempt((secret / "file").read_text),
        "list the secret": attempt(lambda: list(secret.iterdir())),
        "read the environment": attempt(Path("/proc/self/environ").read_bytes),
        "execute": attempt(lambda: subprocess.run(["/bin/true"], check=True)),
        "signal the parent": attempt(lambda: os.kill(os.getppid(), 0)),
        "tcp": attempt(lambda: _tcp(socket.AF_INET)),
        "unix": attempt(lambda: _tcp(socket.AF_UNIX)),
        "ring": attempt(_ring),
        "import": attempt(lambda: __import__("sqlite3")),
    }
    startup.report_ready(facts)
    sleep_forever()


def measures(startup: Startup) -> None:
    """Try to exceed every limit."""
    file = Path(msgspec.json.decode(startup.settings, type=str))

    def open_many() -> None:
        for _ in range(200):
            os.dup(1)

    facts = {
        "memory": attempt(lambda: bytearray(400_000_000)),
        "file": attempt(lambda: file.write_bytes(bytes(100_000))),
        "files": attempt(open_many),
        "core": str(resource.getrlimit(resource.RLIMIT_CORE)),
    }
    startup.report_ready(facts)
    while True:  # until the limit of processor time ends it
        pass


def answers(startup: Startup) -> None:
    """Answer calls: see `answer`."""
    stopped = threading.Event()

    def handler(call: Call) -> bytes:
        stopped.clear()
        return answer(call, stopped)

    serve_calls(startup, handler, interrupt=stopped.set)


def unprotected(startup: Startup) -> None:
    """Answer calls on a kernel that cannot restrict files."""
    startup.sandbox = SandboxReport(files="not enforced: no Landlock", network="enforced by seccomp")
    answers(startup)


def answer(call: Call, stopped: threading.Event) -> bytes:
    """Handle a request: a word, and an argument."""
    word, _, rest = call.payload.partition(b" ")
    match word:
        case b"echo":
            return rest
        case b"pid":
            return str(os.getpid()).encode()
        case b"count":
            for number in range(int(rest)):
                call.send(str(number).encode())
            return b"counted"
        case b"bytes":
            return bytes(int(rest))
        case b"double":  # asks for input until its end, and sends each one twice
            while (data := call.receive()) is not None:
                call.send(data * 2)
            return b"doubled"
        case b"flood":
            while True:
                call.send(bytes(100_000))
        case b"wait":  # can be interrupted
            stopped.wait()
            raise RuntimeError("interrupted")
        case b"spin":  # holds the interpreter's lock, as one long kernel does
            sum(range(10**13))
        case b"sleep":
            time.sleep(float(rest))
        case b"exit":
            os._exit(int(rest))
        case b"raise":
            raise KeyError(rest.decode())
        case b"fail":
            raise CallError("bad request", "no column x", details={"position": 7})
        case b"exhausted":
            raise MemoryError
        case b"garbage":
            os.write(call._output, b"this is no frame, and long enough to be seen as none")
            sleep_forever()
        case b"close":
            os.closerange(0, 100)
            sleep_forever()
    return b""
