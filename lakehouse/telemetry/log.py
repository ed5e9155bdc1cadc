"""The service's log: one line per request, and what the libraries below have to say, in one form on one stream.

`Log` needs no set-up and touches nothing global. `stdlib_to` routes the standard library's loggers into one, and is
for a program that owns its process: the command line, once, at its start.
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
from lakehouse.telemetry.access_log import AccessLogRecord, Clock, access_log_record, escaped
from lakehouse.telemetry.log_sink import Sink

Form = Literal["auto", "json", "console", "off"]
"""How lines look; `auto` is `console` on a terminal and `json` elsewhere; `off` writes no line per request."""


class Log:
    """One service's log. Run `sink.run` in a task for it to be cheap; without, each line is written at once."""

    def __init__(self, form: Form = "auto", *, stream: TextIO | None = None) -> None:
        stream = sys.stderr if stream is None else stream
        self.form = form if form != "auto" else "console" if stream.isatty() else "json"
        self.sink = Sink(structlog.BytesLogger(_unbuffered(stream)), report=self._dropped)
        self._clock = Clock()
        self._encode = msgspec.json.Encoder().encode
        self._console = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(),
            timestamp_key="time",
            sort_keys=False,
            pad_event_to=28,
            # The default shows local variables where it can, and those hold what people said and what opens doors.
            exception_formatter=structlog.dev.plain_traceback,
        )

    def record_request(self, context: RequestContext, ended: float, *, epoch: float | None = None) -> None:
        """Write the line of a flight that ended at `ended` (trio's clock). That is now, unless `epoch` says when trio's
        clock began, in seconds since 1970."""
        if self.form == "off":
            return
        said = access_log_record(context, ended=ended, when=self._clock(None if epoch is None else epoch + ended))
        self.sink.write(self._encode(said) if self.form == "json" else self._for_terminal(said))

    def timed(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """An event with the time and the order of keys that a request's line has: one of structlog's processors."""
        return {"time": self._clock(), "level": event.pop("level", None), **event}

    def render(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        """Any other event, in the same form: the last of structlog's processors."""
        if self.form == "console":
            return self._console(None, "", {**event, "event": escaped(str(event.get("event", "")))})
        return msgspec.json.encode(event, enc_hook=repr).decode()

    def _for_terminal(self, said: AccessLogRecord) -> bytes:
        shown = {name: value for name, value in msgspec.structs.asdict(said).items() if value is not None}
        event = f"{shown.pop('method')} {shown.pop('route', '') or '(no route)'} {shown.pop('status', '-')}"
        request_id = shown.pop("request_id")
        return self._console(None, "", shown | {"event": event, "request_id": request_id}).encode()

    def _dropped(self, count: int) -> bytes:
        event = {
            "time": self._clock(),
            "level": "warning",
            "event": f"{count} log lines were dropped: whoever reads this log does not keep up",
        }
        return self.render(None, "", event).encode()


@contextmanager
def stdlib_to(log: Log, *, level: int = logging.INFO) -> Iterator[None]:
    """While the block runs the standard library's loggers write to `log`: ours from `level` on, others warnings.

    Python's warnings go the same way. The loggers are put back as they were at the end.
    """
    handler = _Handler(log.sink)
    handler.setFormatter(_formatter(log))
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
    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write_from_thread(self.format(record).encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001 - logging's own rule: a record that cannot be written harms nobody
            self.handleError(record)


def _formatter(log: Log) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            log.timed,
            *([] if log.form == "console" else [structlog.processors.format_exc_info]),
            log.render,
        ],
    )


def _unbuffered(stream: TextIO) -> Any:  # noqa: ANN401 - whatever file BytesLogger takes
    """The file under a text stream, without Python's buffer where there is one to go round.

    A thread that is stuck in a buffered write holds the buffer's lock, and Python aborts at its exit when it finds it
    held (https://github.com/python/cpython/issues/87340).
    """
    try:
        return open(stream.fileno(), "wb", buffering=0, closefd=False)
    except (OSError, ValueError):  # a stream of a test or of a notebook, which is no file
        return stream.buffer
