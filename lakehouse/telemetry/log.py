"""The log of the service: one line for each request, and the records of all loggers, in one format on one stream.

`Log` changes no global state. `redirect_stdlib` routes the loggers of the standard library into a
`Log`; it is for a program that owns its process, such as the command line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import msgspec
import structlog

from lakehouse.core.context import RequestContext
from lakehouse.telemetry.access_log import AccessLogRecord, Clock, escape_control_chars, make_access_log_record
from lakehouse.telemetry.log_sink import LogSink

LogFormat = Literal["auto", "json", "console", "off"]
"""The format of lines: `auto` is `console` on a terminal, else `json`; `off` writes no line for a request."""


class Log:
    """The log of one service. While `sink.run` runs in a task, lines are written together; otherwise each at once."""

    def __init__(self, log_format: LogFormat = "auto", *, stream: TextIO | None = None) -> None:
        stream = sys.stderr if stream is None else stream
        self._terminal = stream.isatty()
        self.change_format(log_format)
        self.sink = LogSink(structlog.BytesLogger(_open_unbuffered(stream)), report=self._report_dropped)
        self._clock = Clock()
        self._encode = msgspec.json.Encoder().encode
        self._console = structlog.dev.ConsoleRenderer(
            colors=self._terminal,
            timestamp_key="time",
            sort_keys=False,
            pad_event_to=28,
            # The default formatter prints local variables, which contain prompts and keys.
            exception_formatter=structlog.dev.plain_traceback,
        )

    def change_format(self, log_format: LogFormat) -> None:
        """Write the lines from now on in another format."""
        self.log_format = log_format if log_format != "auto" else "console" if self._terminal else "json"

    def write_request(self, context: RequestContext, ended: float, *, epoch: float | None = None) -> bytes | None:
        """Write the line of a request that ended at `ended` (trio's clock). Returns it if its form is JSON.

        `epoch` is the zero of trio's clock in seconds since 1970; without it the line has the present time.
        """
        if self.log_format == "off":
            return None
        if self.log_format == "json":
            line = self.encode_request(context, ended, epoch=epoch)
            self.sink.write(line)
            return line
        self.sink.write(self._render_for_terminal(self._make_record(context, ended, epoch)))
        return None

    def encode_request(self, context: RequestContext, ended: float, *, epoch: float | None = None) -> bytes:
        """The line of a request in JSON, which is also its row in the system tables."""
        return self._encode(self._make_record(context, ended, epoch))

    def _make_record(self, context: RequestContext, ended: float, epoch: float | None) -> AccessLogRecord:
        timestamp = self._clock(None if epoch is None else epoch + ended)
        return make_access_log_record(context, ended=ended, timestamp=timestamp)

    def add_time(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Add the time to an event, and order its keys as in a request's line; a processor of structlog."""
        return {"time": self._clock(), "level": event.pop("level", None), **event}

    def render(self, logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        """Render an event in the format of this log; the last processor of structlog."""
        if self.log_format == "console":
            return self._console(None, "", {**event, "event": escape_control_chars(str(event.get("event", "")))})
        shown = structlog.processors.format_exc_info(logger, method, event)
        return msgspec.json.encode(shown, enc_hook=repr).decode()

    def _render_for_terminal(self, record: AccessLogRecord) -> bytes:
        shown = {name: value for name, value in msgspec.structs.asdict(record).items() if value is not None}
        event = f"{shown.pop('method')} {shown.pop('route', '') or '(no route)'} {shown.pop('status', '-')}"
        request_id = shown.pop("request_id")
        return self._console(None, "", shown | {"event": event, "request_id": request_id}).encode()

    def _report_dropped(self, count: int) -> bytes:
        event = {
            "time": self._clock(),
            "level": "warning",
            "event": f"{count} log lines were dropped: the reader of this log is too slow",
        }
        return self.render(None, "", event).encode()


@contextmanager
def redirect_stdlib(log: Log, *, level: int = logging.INFO) -> Iterator[None]:
    """Route the standard library's loggers and Python's warnings to `log` for the length of the block.

    The loggers of this package write from `level` on, all others from WARNING. Their former state is restored.
    """
    handler = _Handler(log.sink)
    handler.setFormatter(_make_formatter(log))
    root, ours = logging.getLogger(), logging.getLogger("lakehouse")
    before = root.handlers[:], root.level, ours.level
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    ours.setLevel(level)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:], root.level, ours.level = before


class _Handler(logging.Handler):
    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write_from_thread(self.format(record).encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001 - as logging.StreamHandler does
            self.handleError(record)


def _make_formatter(log: Log) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            log.add_time,
            log.render,
        ],
    )


def _open_unbuffered(stream: TextIO) -> Any:  # noqa: ANN401 - any file that BytesLogger takes
    """The file under a text stream, without Python's buffer where the stream has a descriptor.

    A thread that is stuck in a buffered write holds the buffer's lock, and the interpreter aborts at exit when that
    lock is held (https://github.com/python/cpython/issues/87340).
    """
    try:
        return open(stream.fileno(), "wb", buffering=0, closefd=False)
    except (OSError, ValueError):  # a stream without a descriptor, of a test or a notebook
        return stream.buffer
