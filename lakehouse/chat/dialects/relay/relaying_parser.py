"""Parser of a stream that is passed on as it came.

The dialect's own parser reads every event first, so that usage, ends and errors are found as in any other stream. An
event that it rejects is not passed on, and nothing after it is.
"""

from __future__ import annotations

import re
from typing import ClassVar

from lakehouse.chat.dialects.base import MAX_LINE, StreamParser
from lakehouse.chat.dialects.decoding.delegating_parser import DelegatingParser
from lakehouse.chat.dialects.relay.model_renamer import ModelRenamer
from lakehouse.chat.dialects.relay.rules import RelayRules
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta, RelayedPiece
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure

MAX_RUNS = 8
"""Runs of events with text only that are looked for in the bytes of one read, so that searching stays cheap."""

_BLANKS = (b"\n\n", b"\n\r\n")
_BLANK_LINE = re.compile(rb"\n\r?\n")


class RelayingParser(DelegatingParser):
    """Returns the events of a stream of server-sent events as `RelayedPiece`s.

    An event is held back until the answer makes progress: events without content do not begin an answer, nor do they
    keep a silent one alive. What is held back when the stream fails is dropped. The end mark is returned by `flush`,
    and what follows it is read for usage and cost only. Comments are dropped: they keep the connection to the provider
    alive, and the one to the client has its own.

    From an event that is not well-formed on, the deltas of `inner` are returned instead, beginning with those that were
    held back. Raises as `inner`, which must not have read anything yet.
    """

    event_end: ClassVar[bytes] = b"\n\n"
    """What completes the last event of a stream."""
    event_ends: ClassVar[tuple[bytes, ...]] = _BLANKS

    def __init__(
        self, inner: StreamParser, rules: RelayRules, renamer: ModelRenamer, *, withholds: bool, include_usage: bool
    ) -> None:
        """`withholds`: the client is not sent the events that `rules.is_withheld` selects. `include_usage`: it asked
        for the usage."""
        super().__init__(inner)
        self._rules = rules
        self._checker = rules.make_checker(include_usage=include_usage)
        self._renamer = renamer
        self._withholds = withholds
        self._relays = True
        self._progressed = False
        self._open = bytearray()  # the beginning of an event
        self._held: list[bytes] = []
        self._held_deltas: list[Delta] = []
        self._held_size = 0
        self._answer: ProviderAnswer | None = None

    @property
    def made_progress(self) -> bool:
        """True if the last `feed` consumed part of the answer, which may be held back."""
        return self._progressed

    def feed(self, data: bytes) -> list[Delta]:
        """Parse the next bytes and return the events that may be passed on."""
        self._progressed = False
        if not self._relays or self.has_pending_error:
            return self._feed_inner(self._take_open() + data)
        if self._open or not data.endswith(self.event_end):
            data = self._take_whole_events(data)
        if not data:
            return []
        if not self._held and (renamed := self._read_run(data)) is not None:
            return [RelayedPiece(renamed)]
        return self._read_events(data)

    def flush(self) -> list[Delta]:
        """Return what was held back and the end of the stream. Raises as `end`."""
        if self._answer is not None:
            return []
        rest = self._take_open()
        deltas: list[Delta] = []
        if rest.strip():
            rest += b"\n" if rest.endswith(b"\n") else self.event_end
            deltas += self._read_events(rest) if self._relays else self._feed_inner(rest)
        last = self._inner.flush()
        answer = self._inner.end()
        if self._relays and (self._rules.end_mark is None or not self._checker.check_end(answer)):
            deltas += self._rebuild()
        if self._relays:
            end = b"" if self.finished else self._rules.end_mark or b""
            deltas.append(RelayedPiece(b"".join([*self._held, end])))
        else:
            deltas += last
        self._answer = answer
        return deltas

    def end(self) -> ProviderAnswer:
        """Return the whole answer."""
        self.flush()
        return self._answer or self._inner.end()

    def _take_whole_events(self, data: bytes) -> bytes:
        """Return the events that are complete with `data`; the rest is kept, at most `MAX_LINE` bytes."""
        kept = self._open
        searched = max(len(kept) - 2, 0)
        kept += data
        ends = self.event_ends
        end = max([found + len(blank) for blank in ends if (found := kept.rfind(blank, searched)) >= 0], default=0)
        events = bytes(kept[:end])
        del kept[:end]
        if len(kept) > MAX_LINE:
            raise self._build_too_large_error()
        return events

    def _read_run(self, data: bytes) -> bytes | None:
        """Read whole events with text only, and return them with the client's name of the model; None: nothing was
        read, because they are of another kind or differ in more than their text."""
        renamed = self._renamer.rename_equal_events(data, self.event_end)
        if renamed is None or not self._inner.feed_text(data):
            return None
        self._progressed = True
        return renamed

    def _read_events(self, data: bytes) -> list[Delta]:
        passed: list[bytes] = []
        events = self._split(data)
        position, runs_left = 0, MAX_RUNS
        while position < len(events):
            count = self._inner.count_text_events(events, position) if runs_left and not self._held else 0
            if count > 1:
                runs_left -= 1
                if (renamed := self._read_run(b"".join(events[position : position + count]))) is not None:
                    passed.append(renamed)
                    position += count
                    continue
            try:
                passed += self._read_event(events[position])
            except LakehouseError:
                if not passed:
                    raise
                break  # the next call raises it
            position += 1
            if not self._relays:
                return [*_join(passed), *self._rebuild(), *self._feed_rest(b"".join(events[position:]))]
        return _join(passed)

    def _read_event(self, event: bytes) -> list[bytes]:
        """Read one event, and return what may be passed on now: nothing, or what was held back and the event. Raises as
        `inner`."""
        was_finished = self.finished
        deltas = self._inner.feed(event)
        self._progressed |= self._inner.made_progress
        if was_finished:
            return []
        self._hold(event, deltas)
        progressed = bool(deltas) or self._inner.made_progress
        if not self._relays or not progressed or self.finished or self._checker.holds:
            return []
        held = self._held
        self._release()
        return held

    def _feed_rest(self, rest: bytes) -> list[Delta]:
        """Return the deltas of what arrived together with the event from which on the stream is rebuilt."""
        try:
            return self._feed_inner(rest)
        except LakehouseError:
            return []  # the next call raises it

    def _feed_inner(self, data: bytes) -> list[Delta]:
        deltas = self._inner.feed(data)
        self._progressed |= self._inner.made_progress
        return deltas

    def _take_open(self) -> bytes:
        data = bytes(self._open)
        self._open.clear()
        return data

    def _hold(self, event: bytes, deltas: list[Delta]) -> None:
        self._held_deltas += deltas
        if self._is_ignored(event) or (self._withholds and self._rules.is_withheld(event)):
            return
        self._held.append(self._rename(event))
        self._held_size += len(event)
        if self._held_size > MAX_LINE or not self._checker.check(event):
            self._relays = False

    def _split(self, data: bytes) -> list[bytes]:
        """Return the events in `data`, which ends with one."""
        return _split_events(data)

    def _is_ignored(self, event: bytes) -> bool:
        """Return whether an event is for the connection to the provider, and for no client."""
        return _is_comment(event)

    def _rename(self, event: bytes) -> bytes:
        """Return an event with the client's name of the model."""
        return self._renamer.rename_event(event)

    def _rebuild(self) -> list[Delta]:
        """Return the deltas of what was held back, and relay nothing more."""
        self._relays = False
        deltas = self._held_deltas
        self._release()
        return deltas

    def _release(self) -> None:
        self._held, self._held_deltas, self._held_size = [], [], 0

    def _build_too_large_error(self) -> LakehouseError:
        message = f"an event of the stream is over the bound of {MAX_LINE} bytes"
        return make_failure("upstream_error", message, upstream_status=200, retryable=False)


def _join(events: list[bytes]) -> list[Delta]:
    return [RelayedPiece(b"".join(events))] if events else []


def _is_comment(event: bytes) -> bool:
    """Return whether an event consists of comments and blank lines."""
    return event.lstrip().startswith(b":") and all(line[:1] in (b"", b":") for line in event.splitlines())


def _split_events(data: bytes) -> list[bytes]:
    """Return the events in `data`, which ends with a blank line. A second blank line belongs to either side."""
    ends = [found.end() for found in _BLANK_LINE.finditer(data)]
    ends[-1] = len(data)
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
