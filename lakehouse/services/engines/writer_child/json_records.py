"""The records of a JSON file, in batches: the lines of NDJSON, the elements of an array, or objects one after another.

Each batch has the place of every record: its line in NDJSON, its number in an array, from 1. Malformed text is refused
with that place. At most one record and one chunk are held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.writer_child.call_errors import too_large, unprocessable
from lakehouse.services.engines.writer_child.json_scanner import (
    MAX_DEPTH,
    ForbiddenConstant,
    Scan,
    find_lone_surrogate,
    make_scanner,
    needs_slow_scanner,
)
from lakehouse.services.engines.writer_child.json_sequence import SequenceState, skip_space
from lakehouse.services.engines.writer_child.text_chunks import TextChunks

Layout = Literal["newline_delimited", "array", "unstructured"]
"""How records stand in a file, in the words of DuckDB's `read_json`."""

Select = Callable[[Sequence[str]], "list[int] | None"]
"""Chooses among lines: the positions of those to scan, or None for all."""

MAX_RECORD = 64 * 2**20
"""Characters of one record."""

_TAIL = 16
"""An error this close to the end of a buffer may be that a value is cut there."""


@dataclass(slots=True)
class Batch:
    """Some records of a file, with their places. `matched` further ones are like others that have been seen."""

    records: list[tuple[tuple[str, object], ...]]
    places: list[int]
    matched: int = 0


class JsonRecords:
    """The records of a file, and what is known of it when they have been read."""

    def __init__(
        self, path: Path, *, lines: bool, encoding: str = "", raw: bool = False, check: Callable[[], None]
    ) -> None:
        """`lines` says that the file is NDJSON; otherwise its first character and line decide."""
        self.chunks = TextChunks(path, encoding, check=check)
        self.longest = 0
        """Characters of the longest record so far."""
        self.select: Select = _select_all
        """Which lines of NDJSON are scanned."""
        self._raw = raw
        self.layout: Layout = "newline_delimited" if lines else self._find_layout()
        self.unit = "element" if self.layout == "array" else "line"

    def _find_layout(self) -> Layout:
        text = ""
        for chunk in self.chunks:
            text += chunk
            start = text.lstrip(" \t\r\n")
            if start.startswith("["):
                return "array"
            line, end, _ = start.partition("\n")
            if end or len(text) > MAX_RECORD:
                return "newline_delimited" if _is_whole(line) else "unstructured"
        return "newline_delimited" if _is_whole(text) else "unstructured"

    def __iter__(self) -> Iterator[Batch]:
        read = {"newline_delimited": self._read_lines, "array": self._read_array, "unstructured": self._read_values}
        return read[self.layout]()

    # Lines.

    def _read_lines(self) -> Iterator[Batch]:
        rest, first = "", 1
        for chunk in self.chunks:
            head, newline, tail = chunk.rpartition("\n")
            if not newline:
                rest += chunk
                self._check_length(rest, first)
                continue
            lines = (rest + head).split("\n")
            self._check_length(max(lines, key=len), first)
            wanted = self.select(lines)
            if wanted is None:
                yield self._scan_lines(lines, range(first, first + len(lines)))
            else:
                batch = self._scan_lines([lines[number] for number in wanted], [first + number for number in wanted])
                batch.matched = len(lines) - len(wanted)
                yield batch
            rest, first = tail, first + len(lines)
        if rest:
            self._check_length(rest, first)
            yield self._scan_lines([rest], [first])

    def _scan_lines(self, lines: Sequence[str], places: Sequence[int]) -> Batch:
        batch = Batch([], [])
        text = "\n".join(lines)
        scan = self._choose_scanner(text)
        for place, line in zip(places, lines, strict=True):
            try:
                value, end = scan(line, 0)
            except (ValueError, StopIteration, RecursionError):
                start = skip_space(line, 0)
                if start == len(line):
                    continue
                value, end = self._scan(scan, line, start, place)
            if end != len(line) and skip_space(line, end) != len(line):
                raise unprocessable(f"line {place} has more than one value", line=place)
            if type(value) is not tuple:
                raise self._refuse_record(value, place)
            batch.records.append(value)
            batch.places.append(place)
        self._check_surrogates(text, batch)
        return batch

    # Arrays and objects one after another.

    def _read_array(self) -> Iterator[Batch]:
        yield from self._read_sequence(array=True)

    def _read_values(self) -> Iterator[Batch]:
        yield from self._read_sequence(array=False)

    def _read_sequence(self, *, array: bool) -> Iterator[Batch]:
        state = SequenceState(array=array)
        for chunk in self.chunks:
            state.text += chunk
            if len(state.text) < state.wanted:
                continue
            yield self._scan_sequence(state, final=False)
        yield self._scan_sequence(state, final=True)
        if array and not state.closed:
            raise unprocessable(f"the array has no end: the file is truncated behind element {state.count}")

    def _scan_sequence(self, state: SequenceState, *, final: bool) -> Batch:
        batch, text, position = Batch([], []), state.text, 0
        scan = self._choose_scanner(text)
        while (start := state.find_value(text, position)) is not None:
            place = state.place(text, start)
            scanned = self._scan_part(scan, text, start, place, final=final)
            if scanned is None:
                break
            value, position = scanned
            if position == len(text) and not final and not isinstance(value, tuple | list):
                break  # a number may go on in the next chunk
            state.accept(position)
            self._add(batch, value, place)
            self.longest = max(self.longest, position - start)
        self._check_surrogates(text[: state.position], batch)
        state.advance()
        self._check_length(state.text, state.count + 1)
        return batch

    def _scan_part(self, scan: Scan, text: str, start: int, place: int, *, final: bool) -> tuple[object, int] | None:
        """Scan a value, or None where it may go on behind the end of the buffer."""
        if final:
            return self._scan(scan, text, start, place)
        try:
            return scan(text, start)
        except json.JSONDecodeError as error:
            if error.pos + _TAIL >= len(text) or error.msg.startswith("Unterminated"):
                return None
        except StopIteration as error:
            if error.value + _TAIL >= len(text):
                return None
        except (RecursionError, ValueError):
            pass
        return self._scan(scan, text, start, place)  # which raises the refusal, or keeps a long integer

    # Both.

    def _choose_scanner(self, text: str) -> Scan:
        return make_scanner(raw=self._raw, slow=not self._raw and needs_slow_scanner(text))

    def _scan(self, scan: Scan, text: str, start: int, place: int) -> tuple[object, int]:
        try:
            return scan(text, start)
        except json.JSONDecodeError as error:
            problem = f"{error.msg[0].lower()}{error.msg[1:]} at its character {error.pos - start + 1}"
        except StopIteration as error:
            if error.value >= len(text):
                problem = "it ends too early"
            else:
                problem = f"a value is expected at its character {error.value - start + 1}"
        except RecursionError:
            raise self.too_deep(place) from None
        except ForbiddenConstant as error:
            problem = str(error)
        except ValueError:  # an integer of thousands of digits
            return self._scan(make_scanner(slow=True), text, start, place)
        raise unprocessable(f"{self.unit} {place} is not valid JSON: {problem}", line=place)

    def _add(self, batch: Batch, value: object, place: int) -> None:
        if not isinstance(value, tuple):
            raise self._refuse_record(value, place)
        batch.records.append(value)
        batch.places.append(place)

    def _refuse_record(self, value: object, place: int) -> CallError:
        hint = ": send a whole array as `format=json`" if isinstance(value, list) and self.unit == "line" else ""
        return unprocessable(f"{self.unit} {place} is {_describe(value)}, not an object{hint}", line=place)

    def _check_surrogates(self, text: str, batch: Batch) -> None:
        if "\\ud" not in text and "\\uD" not in text:
            return
        for record, place in zip(batch.records, batch.places, strict=True):
            if find_lone_surrogate(record):
                raise unprocessable(f"{self.unit} {place} has half of a surrogate pair in a string", line=place)

    def _check_length(self, text: str, place: int) -> None:
        self.longest = max(self.longest, len(text) if self.layout == "newline_delimited" else 0)
        if len(text) > MAX_RECORD:
            raise too_large(f"{self.unit} {place} is larger than {MAX_RECORD >> 20} MiB", line=place)

    def too_deep(self, place: int) -> CallError:
        """The refusal of a value that is nested too deeply."""
        return unprocessable(f"{self.unit} {place} is nested deeper than {MAX_DEPTH} levels", line=place)


def _select_all(_lines: Sequence[str]) -> None:
    return None


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _describe(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, list):
        return "an array"
    return "a string" if type(value) is str else "a number"
