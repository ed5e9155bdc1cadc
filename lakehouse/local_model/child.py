"""The child process: llama.cpp and nothing else, a target of `process.bootstrap`.

It is a process of its own because llama.cpp ends its process when it meets a bug (`GGML_ABORT`), and because loading
a model holds the interpreter for as long as it takes. Standard error is llama.cpp's log.

The child lives exactly as long as its parent wants it to. Signals that are meant for the service stay blocked, so that
the parent can drain although a terminal or systemd has signalled every process of it; SIGKILL ends the child alone, and
so does the end of standard input.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import xllamacpp

    from lakehouse.process.bootstrap import Startup  # the parent imports `Settings` from here and needs no more

# Generation for the demonstration model is a millisecond a token on one thread; more would only spin.
DEMO_THREADS = 1

# llama.cpp keeps the state of earlier prompts in memory to save reading them again; by itself it takes 8 GiB.
PROMPT_CACHE_MIB = 512

ERRORS_ONLY = 1  # of llama.cpp's log levels


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve, and where.

    `model` is a path, or None for the demonstration model; `name` is what /v1/models calls it; `context` is tokens for
    each of `parallel` conversations.
    """

    port: int
    api_key: str
    name: str
    model: str | None
    context: int
    parallel: int


def run(startup: Startup) -> None:
    """Serve until standard input ends, or until the parent is gone."""
    settings = msgspec.json.decode(startup.settings, type=Settings)
    threading.Thread(target=leave_at_end_of_input, daemon=True).start()
    try:
        _server = serve(settings)  # serves as long as somebody holds it
    except RuntimeError:
        os._exit(1)  # llama.cpp has written the reason
    startup.report_ready()
    threading.Event().wait()


def leave_at_end_of_input() -> None:
    """Wait for the parent to close its end, then end the process at once: there is nothing to save."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def serve(settings: Settings) -> xllamacpp.Server:
    """Load the model and start llama.cpp's HTTP server.

    When this returns the model is loaded and the server accepts. Raises RuntimeError when llama.cpp refuses, for a
    reason that it writes to standard error alone.
    """
    import xllamacpp  # a hundred megabytes, which the parent, who reads `Settings` here, can do without

    params = xllamacpp.CommonParams()
    params.model.path = settings.model or demo_model()
    params.model_alias = {settings.name}
    params.n_parallel = settings.parallel
    params.n_ctx = settings.context * settings.parallel
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.verbosity = ERRORS_ONLY
    if settings.model is None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = DEMO_THREADS
    restrict_server(params, settings)
    return xllamacpp.Server(params)


def restrict_server(params: xllamacpp.CommonParams, settings: Settings) -> None:
    """Loopback only, for the parent only, without the routes and downloads that nobody here asks for."""
    params.hostnames = ["127.0.0.1"]
    params.port = settings.port
    params.reuse_port = True  # the parent holds the port while no child listens
    params.api_keys = [settings.api_key]  # other users of the machine, and web pages in their browsers, can connect too
    params.cors_origins = ""
    params.cors_credentials = False
    params.offline = True
    params.ui = False
    params.endpoint_slots = False  # would show one caller's prompt to another


def demo_model() -> str:
    """The path of a fresh demonstration model, in memory: nothing to clean up, not even after SIGKILL."""
    from lakehouse.local_model import demo  # numpy is not needed to serve a file

    path = Path(f"/proc/self/fd/{os.memfd_create(demo.NAME)}")
    demo.build(path)
    return str(path)
