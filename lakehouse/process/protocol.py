"""The start protocol between a parent and its child: two lines of JSON over pipes.

parent ─ standard input ──> one `StartMessage`; afterwards frames (`calls.frames`), or nothing until end of file
child  ─ standard output ─> one `ReadyMessage`;  afterwards frames, or nothing
child  ─ standard error ──> its log
"""

from __future__ import annotations

import msgspec

from lakehouse.process.spec import OrphanPolicy, ResourceLimits, Sandbox, SandboxReport

MAX_LINE = 1 << 20
"""Bytes of either line: the configuration of a service with thousands of models has about 10 KiB."""


class StartMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The first message, from the parent. `parent` is its process id, for `OrphanPolicy.KILL`."""

    parent: int
    target: str = ""
    preload: tuple[str, ...] = ()
    orphan: OrphanPolicy = OrphanPolicy.KILL
    blocked_signals: tuple[int, ...] = ()
    limits: ResourceLimits = ResourceLimits()
    sandbox: Sandbox = Sandbox()
    environment: tuple[str, ...] = ()
    """The names of the environment variables that are kept for the target."""
    python_path: str | None = None
    """PYTHONPATH for the target; the interpreter was started with a different value."""
    settings: msgspec.Raw = msgspec.Raw(b"null")


class ReadyMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of the child: ready, or the reason of a failure. `facts` is a JSON value for the parent."""

    ready: bool
    reason: str = ""
    sandbox: SandboxReport = SandboxReport()
    facts: msgspec.Raw = msgspec.Raw(b"null")


def encode_line(message: StartMessage | ReadyMessage) -> bytes:
    """Encode a message as one line: encoded JSON contains no line break."""
    return msgspec.json.encode(message) + b"\n"


def decode_start(line: bytes) -> StartMessage:
    """Decode a start message. Raises msgspec.DecodeError."""
    return msgspec.json.decode(line, type=StartMessage)


def decode_ready(line: bytes) -> ReadyMessage:
    """Decode a ready message. Raises msgspec.DecodeError, or UnicodeDecodeError for invalid UTF-8."""
    return msgspec.json.decode(line, type=ReadyMessage)
