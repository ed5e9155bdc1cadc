"""Answers that are Parquet files: the engine writes the file into a named pipe, from which it is sent.

The pipe gives back-pressure, and no file is kept. The engine opens it in a second thread; this thread reads it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from lakehouse.services.engines.database import quote
from lakehouse.services.engines.query_child.output import FRAME, Output


def copy_statement(query: str, pipe: str) -> str:
    """The statement that writes the rows of a query as Parquet."""
    return f"COPY ({query}\n) TO {quote(pipe)} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"


def write_parquet(run: Callable[[], object], pipe: str, output: Output) -> None:
    """Send what `run` writes into the pipe. Raises what `run` raises, and CallCancelled."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # does not wait for a writer
    keeper = os.open(pipe, os.O_WRONLY)  # until the thread has ended: no end of file before
    os.set_blocking(reader, True)
    failures: list[Exception] = []

    def write() -> None:
        try:
            run()
        except Exception as error:  # noqa: BLE001 - raised by the other thread
            failures.append(error)
        finally:
            os.close(keeper)

    thread = threading.Thread(target=write, name="parquet")
    thread.start()
    try:
        while data := os.read(reader, FRAME):
            output.write(data)
            output.flush()
    finally:
        os.close(reader)  # a thread that still writes gets EPIPE
        thread.join()
    if failures:
        raise failures[0]
