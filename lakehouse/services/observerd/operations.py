"""What is recorded: an operation with its outcome. The names are those of the system that this one replaces."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from lakehouse.core.errors import ErrBadRequest, ErrTooLarge
from lakehouse.core.rfc3339 import format_time

MAX_INBOX_BODY = 8 * 1024
"""Bytes of the body of a message, in UTF-8."""
MAX_INBOX_FIELD = 256
"""Characters of each other field of a message; more are cut."""


MAX_SUMMARY = 4_000
"""Characters of a summary and of an error; more are cut, so that the operations in memory have a bound."""
MAX_NAME = 1_024
"""Characters of each other text; more are cut, too."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. The optional fields are left out of answers where they were not given, or given as null."""

    endpoint: str = ""
    timestamp: str = ""
    source: str = ""
    input_summary: str = ""
    output_summary: str = ""
    success: bool = False
    duration_ms: float = 0
    error: str | msgspec.UnsetType | None = msgspec.UNSET
    staffer_id: str | msgspec.UnsetType | None = msgspec.UNSET
    sig_hash: str | msgspec.UnsetType | None = msgspec.UNSET
    event_kind: str | msgspec.UnsetType | None = msgspec.UNSET
    role: str | msgspec.UnsetType | None = msgspec.UNSET
    city: str | msgspec.UnsetType | None = msgspec.UNSET
    state: str | msgspec.UnsetType | None = msgspec.UNSET
    count: int | msgspec.UnsetType | None = msgspec.UNSET
    rescue_attempted: bool | msgspec.UnsetType | None = msgspec.UNSET
    rescue_succeeded: bool | msgspec.UnsetType | None = msgspec.UNSET


OPTIONAL = tuple(
    name
    for name, default in zip(Operation.__struct_fields__, Operation.__struct_defaults__, strict=True)
    if default is msgspec.UNSET
)
"""The names of the optional fields."""

SUMMARIES = frozenset({"input_summary", "output_summary", "error"})


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message to the inbox."""

    type: Literal["email", "sms"]
    body: str = ""
    sender: str = ""
    subject: str = ""
    priority: Literal["urgent", "high", "medium", "low"] = "medium"
    tag: str = ""


def complete(operation: Operation) -> Operation:
    """Fill in the time and the source. Raises ErrBadRequest without an endpoint."""
    if not operation.endpoint:
        raise ErrBadRequest("`endpoint` is required and must not be empty", field="endpoint")
    changes: dict[str, object] = {name: msgspec.UNSET for name in OPTIONAL if getattr(operation, name) is None}
    for name in Operation.__struct_fields__:
        text, most = getattr(operation, name), MAX_SUMMARY if name in SUMMARIES else MAX_NAME
        if isinstance(text, str) and len(text) > most:
            changes[name] = text[:most] + "…"
    if not operation.timestamp:
        changes["timestamp"] = _now()
    if not operation.source:
        changes["source"] = "mcp"
    return msgspec.structs.replace(operation, **changes)


def record_message(message: Message) -> Operation:
    """The operation that records a message. Raises ErrBadRequest for an empty body, ErrTooLarge for a long one."""
    if not message.body.strip():
        raise ErrBadRequest("`body` is required and must not be empty", field="body")
    if len(message.body.encode()) > MAX_INBOX_BODY:
        raise ErrTooLarge(f"`body` may have at most {MAX_INBOX_BODY} bytes", field="body")
    sender, subject, tag = (_flatten(text)[:MAX_INBOX_FIELD] for text in (message.sender, message.subject, message.tag))
    return Operation(
        endpoint="/observer/inbox",
        timestamp=_now(),
        source="inbox",
        input_summary=f"{message.type} from {sender or 'unknown'}: {subject}",
        output_summary=_flatten(message.body),
        success=True,
        event_kind=message.type,
        role=message.priority,
        sig_hash=tag or msgspec.UNSET,
    )


def _flatten(text: str) -> str:
    return " ".join(text.replace("\r", "\n").split("\n"))


def _now() -> str:
    return format_time(datetime.now(UTC))
