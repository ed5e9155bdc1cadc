"""The process of the embedded model, a target of `process.bootstrap`: it runs llama.cpp only.

It is a process of its own because llama.cpp aborts its process on an internal error (`GGML_ABORT`), and because loading
a model blocks the interpreter. Standard error is llama.cpp's log.

The parent decides when the child ends. Signals for the service stay blocked in the child, so that the parent can drain
although a terminal or systemd signals all processes of the service; the child ends with SIGKILL, and at the end of its
standard input.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import xllamacpp

    from lakehouse.process.bootstrap import Startup  # the parent imports only `Settings` from here

# The demonstration model takes a millisecond per token on one thread; more threads would only spin.
DEMO_THREADS = 1

# Memory for the state of earlier prompts, which need not be processed again then. llama.cpp's default is 8 GiB.
PROMPT_CACHE_MIB = 512

ERRORS_ONLY = 1  # a log level of llama.cpp


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the server.

    `model` is a path, or None for the demonstration model; `name` is its name in /v1/models; `context` is in tokens,
    for each of `parallel` conversations. With `embeddings` the server answers requests for embeddings only, of texts of
    at most `context` tokens. `prepare` names a function, "package.module:function", that is called with the path before
    the model is loaded.
    """

    port: int
    api_key: str
    name: str
    model: str | None
    context: int
    parallel: int
    embeddings: bool = False
    prepare: str = ""


def run(startup: Startup) -> None:
    """Serve until standard input ends, or until the parent has ended."""
    settings = msgspec.json.decode(startup.settings, type=Settings)
    threading.Thread(target=exit_at_end_of_input, daemon=True).start()
    if settings.prepare and settings.model is not None:
        prepare_file(settings.prepare, settings.model)
    try:
        _server = serve(settings)  # serves as long as the object is referenced
    except RuntimeError:
        sys.exit(1)  # a thread of llama.cpp writes the reason, and an orderly exit waits for it
    startup.report_ready()
    threading.Event().wait()


def prepare_file(function: str, path: str) -> None:
    """Call the function that makes the file. Its exceptions end the process, and are the reason that is reported."""
    module, _, name = function.partition(":")
    getattr(import_module(module), name)(path)


def exit_at_end_of_input() -> None:
    """Wait until the parent closes the pipe, then end the process at once: there is nothing to save."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def serve(settings: Settings) -> xllamacpp.Server:
    """Load the model and start llama.cpp's HTTP server.

    When this returns, the model is loaded and the server accepts connections. Raises RuntimeError when llama.cpp fails;
    the cause is only in its log, on standard error.
    """
    import xllamacpp  # a hundred megabytes, which the parent, an importer of `Settings`, does not need

    params = xllamacpp.CommonParams()
    params.model.path = settings.model or create_demo_model()
    params.model_alias = {settings.name}
    params.n_parallel = settings.parallel
    params.n_ctx = settings.context * settings.parallel
    params.cache_ram_mib = 0 if settings.embeddings else PROMPT_CACHE_MIB
    if settings.embeddings:
        params.embedding = True
        params.n_batch = params.n_ubatch = settings.context  # a longer text is refused
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = count_embedding_threads()
    params.verbosity = ERRORS_ONLY
    if settings.model is None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = DEMO_THREADS
    restrict_server(params, settings)
    return xllamacpp.Server(params)


def count_embedding_threads() -> int:
    """Half of the processors: llama.cpp's threads wait for each other by spinning.

    On two busy processors a text cost 25 ms of CPU with one thread, and 150 ms with two.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


def restrict_server(params: xllamacpp.CommonParams, settings: Settings) -> None:
    """Listen on loopback, admit the parent only, and disable routes and downloads that are not used."""
    params.hostnames = ["127.0.0.1"]
    params.port = settings.port
    params.reuse_port = True  # the parent holds the port while no child listens
    params.api_keys = [
        settings.api_key
    ]  # other users of this machine, and web pages in their browsers, can connect as well
    params.cors_origins = ""
    params.cors_credentials = False
    params.offline = True
    params.ui = False
    params.endpoint_slots = False  # shows the prompts of other callers


def create_demo_model() -> str:
    """Create the demonstration model in memory and return its path. Nothing is left of it, even after SIGKILL."""
    from lakehouse.local_model import demo  # imports numpy, which is not needed to serve a file

    path = Path(f"/proc/self/fd/{os.memfd_create(demo.NAME)}")
    demo.build(path)
    return str(path)
