"""The start protocol between a parent and its child: two lines of JSON over pipes.

parent ─ standard input ──> one `StartMessage`; afterwards frames (`frames`), or nothing until its end of file
child  ─ standard output ─> one `ReadyMessage`;  afterwards frames, or nothing
child  ─ standard error ──> its log
"""

from __future__ import annotations

import msgspec

from lakehouse.process.spec import OrphanPolicy, ResourceLimits, Sandbox, SandboxReport

MAX_LINE = 1 << 20
"""Bytes of either line: a configuration with thousands of models is a hundredth of it."""


class StartMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told. `parent` is the process that the child is to end with."""

    parent: int
    target: str = ""
    preload: tuple[str, ...] = ()
    orphan: OrphanPolicy = OrphanPolicy.KILL
    blocked_signals: tuple[int, ...] = ()
    limits: ResourceLimits = ResourceLimits()
    sandbox: Sandbox = Sandbox()
    environment: tuple[str, ...] = ()
    """The names of the variables that the target may see."""
    python_path: str | None = None
    """What the target finds in PYTHONPATH: the interpreter was started with another value."""
    settings: msgspec.Raw = msgspec.Raw(b"null")


class ReadyMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What the child answers: it serves, or why it does not. `facts` is a JSON value for the parent."""

    ready: bool
    reason: str = ""
    sandbox: SandboxReport = SandboxReport()
    facts: msgspec.Raw = msgspec.Raw(b"null")


def encode_line(message: StartMessage | ReadyMessage) -> bytes:
    """One line; JSON has no line break of its own."""
    return msgspec.json.encode(message) + b"\n"


def decode_start(line: bytes) -> StartMessage:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(line, type=StartMessage)


def decode_ready(line: bytes) -> ReadyMessage:
    """Raises msgspec.DecodeError, or UnicodeDecodeError for bytes that are no text."""
    return msgspec.json.decode(line, type=ReadyMessage)
