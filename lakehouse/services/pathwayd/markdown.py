"""Traces as Markdown that a person can read and edit.

    ## 0b54…                          the id
    - created: 2026-11-28T10:00:00Z
    - tags: deploy, "with, comma"
    - predecessor: "3f1c…"
    - source: object "runs/7.log"
    - retired: 2026-11-28T11:00:00Z (the reason, or the source that ended)

    ```json                           or `text`, for a content that is a text
    {"tried": "…"}
    ```

An import adds the traces whose ids are new, updates those whose content or tags differ, retires those that have a line
`retired` and were not, and leaves the rest alone: all of it in one transaction. Names are JSON strings. Dates are
written for the reader; an import does not take them over.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from lakehouse.core.errors import ErrBadRequest, ErrConflict
from lakehouse.services.pathwayd.changes import Add, Retire, Update
from lakehouse.services.pathwayd.store import TraceStore
from lakehouse.services.pathwayd.trace_rows import Row, TraceFilter
from lakehouse.services.pathwayd.traces import Retirement, RowValues, Source, check_sources, check_tags, check_uid

PAGE = 200
_EVERYTHING = TraceFilter(state="all")
_FIELD = re.compile(r"- (?P<name>tags|predecessor|source|retired|created|updated|replays): *(?P<value>.*)")
_PLAIN_TAG = re.compile(r"[\w.:/@+-]+(?: [\w.:/@+-]+)*")
_TAG = re.compile(r'\s*(?P<quoted>"(?:[^"\\]|\\.)*")\s*|(?P<plain>[^,]+)')
_NAME = r'"(?:[^"\\]|\\.)*"'
_SOURCE = re.compile(
    rf"(?P<kind>trace|object|table|request) (?P<name>{_NAME})"
    rf"(?: snapshot (?P<snapshot>{_NAME}))?(?: row (?P<row>{_NAME}|\{{.*\}}))?"
)
_FENCE = re.compile(r"(?P<ticks>`{3,})(?P<kind>json|text)")


class ImportReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What an import has done: ids that were added, updated and retired, and the number that was left alone."""

    added: list[str]
    updated: list[str]
    retired: list[str]
    unchanged: int


@dataclass(slots=True)
class Section:
    """One trace of a document that is imported. `line` is that of its heading, from 1."""

    uid: str
    line: int
    content: bytes = b""
    tags: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    predecessor: str | None = None
    retired: str | None = None


async def export_traces(store: TraceStore) -> AsyncIterator[bytes]:
    """Yield the document in pieces, in the order of creation."""
    yield b"# Traces\n"
    after = 0
    while rows := await store.read_all(_EVERYTHING, after=after, limit=PAGE):
        yield "".join(_format_trace(row) for row in rows).encode()
        after = rows[-1].number


def _format_trace(row: Row) -> str:
    lines = ["", f"## {row.uid}", "", f"- created: {_format_time(row.created)}"]
    if row.updated != row.created:
        lines.append(f"- updated: {_format_time(row.updated)}")
    if row.replays:
        lines.append(f"- replays: {row.replays}")
    if tags := msgspec.json.decode(row.tags, type=list[str]):
        lines.append("- tags: " + ", ".join(tag if _PLAIN_TAG.fullmatch(tag) else _quote(tag) for tag in tags))
    if row.predecessor is not None:
        lines.append(f"- predecessor: {_quote(row.predecessor)}")
    lines += [f"- source: {_format_source(source)}" for source in msgspec.json.decode(row.sources, type=list[Source])]
    if row.retirement is not None:
        lines.append(f"- retired: {_format_retirement(msgspec.json.decode(row.retirement, type=Retirement))}")
    return "\n".join([*lines, "", *_format_content(row.content), ""])


def _format_content(content: bytes) -> Iterator[str]:
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):  # stored by a former version: shown as it is
        kind, text = "json", content.decode(errors="replace")
    else:
        kind, text = _format_value(value, content)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    yield ticks + kind
    yield text
    yield ticks


def _format_value(value: object, content: bytes) -> tuple[str, str]:
    if isinstance(value, str):
        return "text", value
    return "json", msgspec.json.format(content, indent=2).decode()


def _format_source(source: Source) -> str:
    text = f"{source.kind} {_quote(getattr(source, source.kind))}"
    if source.snapshot != "":
        text += f" snapshot {_quote(str(source.snapshot))}"
    if source.row == "":
        return text
    row = msgspec.json.encode(source.row).decode() if isinstance(source.row, dict) else _quote(str(source.row))
    return f"{text} row {row}"


def _quote(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _format_retirement(retirement: Retirement) -> str:
    why = retirement.reason or ("" if retirement.source is None else _format_source(retirement.source))
    return _format_time(retirement.at_ns) + (f" ({' '.join(why.split())})" if why else "")


def _format_time(nanoseconds: int) -> str:
    time = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


async def import_traces(store: TraceStore, document: bytes) -> ImportReceipt:
    """Take over a document. Raises ErrBadRequest with the line at fault, and then nothing has changed."""
    try:
        sections = list(parse_document(document.decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise ErrBadRequest("the document is not UTF-8") from None
    present = {trace.uid: trace for trace in await store.select([part.uid for part in sections], _EVERYTHING)}
    changes: list[Add | Update] = []
    retirements: list[Retire] = []
    receipt = ImportReceipt(added=[], updated=[], retired=[], unchanged=0)
    unchanged = 0
    for part in sections:
        before = len(changes) + len(retirements)
        trace = present.get(part.uid)
        if trace is None:
            changes.append(_make_add(part))
            receipt.added.append(part.uid)
        elif not _is_same(bytes(trace.content), part.content) or list(trace.tags or ()) != part.tags:
            changes.append(Update(uid=part.uid, content=part.content, tags=part.tags))
            receipt.updated.append(part.uid)
        if part.retired is not None and (trace is None or not trace.retired):
            retirements.append(Retire(uid=part.uid, reason=part.retired))
        unchanged += len(changes) + len(retirements) == before
    everything = [*changes, *retirements]  # what is derived from a trace that ends is added while it has not
    retired = await store.apply_batch(everything) if everything else ()
    return msgspec.structs.replace(receipt, retired=list(retired), unchanged=unchanged)


def _make_add(part: Section) -> Add:
    return Add(
        uid=part.uid,
        content=part.content,
        tags=part.tags,
        sources=part.sources,
        predecessor=part.predecessor,
    )


def _is_same(stored: bytes, content: bytes) -> bool:
    try:
        return stored == content or _normalize(stored) == _normalize(content)
    except (msgspec.DecodeError, UnicodeDecodeError):  # stored by a former version; `content` has been decoded
        return False


def _normalize(content: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(content))


def parse_document(text: str) -> Iterator[Section]:
    """The traces of a document. Text outside of sections, and between their parts, is a note for people."""
    lines = iter(enumerate(text.split("\n"), 1))
    part: Section | None = None
    seen: set[str] = set()
    for number, line in lines:
        if line.startswith("## "):
            if part is not None:
                yield _finish(part)
            part = Section(check_uid(line[3:].strip(), f"line {number}"), number)
            if part.uid in seen:
                raise ErrConflict(f"line {number}: the trace {part.uid!r} is there twice")
            seen.add(part.uid)
        elif part is not None and (fence := _FENCE.fullmatch(line.strip())):
            part.content = _read_content(fence, number, lines)
        elif part is not None and not part.content and (found := _FIELD.match(line)):
            _read_field(part, number, found["name"], found["value"].strip())
    if part is not None:
        yield _finish(part)


def _finish(part: Section) -> Section:
    if not part.content:
        raise ErrBadRequest(f"line {part.line}: the trace {part.uid!r} has no content: a fence with `json` or `text`")
    return part


def _read_content(fence: re.Match[str], start: int, lines: Iterator[tuple[int, str]]) -> bytes:
    content: list[str] = []
    for _number, line in lines:
        if line.strip() == fence["ticks"]:
            break
        content.append(line)
    else:
        raise ErrBadRequest(f"line {start}: the fence has no end")
    text = "\n".join(content)
    if fence["kind"] == "text":
        return msgspec.json.encode(text)
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ErrBadRequest(f"line {start}: the content is not JSON: {error}") from None
    return text.encode()


def _read_field(part: Section, number: int, name: str, value: str) -> None:
    if name == "tags":
        part.tags = list(check_tags(list(_read_tags(value, number))))
    elif name == "predecessor":
        part.predecessor = check_uid(_unquote(value, number), f"line {number}")
    elif name == "retired":
        part.retired = value.partition("(")[2].removesuffix(")")
    elif name == "source":
        part.sources = list(check_sources([*part.sources, _read_source(value, number)]))


def _read_tags(value: str, number: int) -> Iterator[str]:
    for found in _TAG.finditer(value):
        if found["quoted"]:
            yield _unquote(found["quoted"], number)
        elif tag := found["plain"].strip():
            yield tag


def _read_source(value: str, number: int) -> Source:
    found = _SOURCE.fullmatch(value)
    if found is None:
        raise ErrBadRequest(f'line {number}: a source is a kind and a name in quotes: object "runs/7.log"')
    source = Source(**{found["kind"]: _unquote(found["name"], number)})
    snapshot = _unquote(found["snapshot"], number) if found["snapshot"] else ""
    return msgspec.structs.replace(source, snapshot=snapshot, row=_read_row(found["row"] or '""', number))


def _read_row(text: str, number: int) -> str | RowValues:
    try:
        return msgspec.json.decode(text, type=str | RowValues)
    except msgspec.DecodeError:
        raise ErrBadRequest(f"line {number}: {text[:80]} is neither a text in quotes nor values by column") from None


def _unquote(text: str, number: int) -> str:
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        raise ErrBadRequest(f"line {number}: {text[:80]} is not a text in quotes") from None
