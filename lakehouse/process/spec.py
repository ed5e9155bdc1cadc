"""What a child process is: its program, its environment, its limits, and how it is restarted. Data only.

The parent and the child both import this module, so it needs no trio.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

START_TIMEOUT = 30.0
"""Seconds. Importing a service takes a third of a second; a machine under load may need many times that."""


class OrphanPolicy(Enum):
    """What a child does when its parent has ended, however that ended."""

    KILL = "kill"
    """The kernel kills it with the parent (`death_signal`)."""

    DRAIN = "drain"
    """It sees the end of its standard input and finishes what it has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Resource limits (setrlimit(2)) of a child, None for the parent's own. Sizes are bytes.

    `address_space` counts everything that is mapped, so it bounds memory that an allocator does not account for.
    `cpu_seconds` is processor time over the child's whole life. A core file is never written.
    """

    address_space: int | None = None
    cpu_seconds: int | None = None
    file_size: int | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What a child may reach. By itself it restricts nothing.

    With `restrict_files` only `read_paths`, `write_paths` (files, or directories with all below them) and what the
    interpreter itself needs can be opened, and no program can be executed. With `network=False` no socket can be
    created. What the kernel cannot enforce is reported in `SandboxReport` and left out, or with `required` keeps the
    child from starting. Both stay in force for the child's own children.
    """

    restrict_files: bool = False
    read_paths: tuple[str, ...] = ()
    write_paths: tuple[str, ...] = ()
    network: bool = True
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxReport:
    """What of a `Sandbox` is in force: "enforced" and by which mechanism, "not requested", or why it is not."""

    files: str = "not requested"
    network: str = "not requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One kind of child process.

    `target` is "package.module:function", called in the child with a `bootstrap.Startup`; `preload` are modules that
    are imported before limits and sandbox apply. With `command` another program is run in the place of our
    interpreter: it has to follow the same start protocol (`protocol`). `settings` is a JSON value for the target.

    `environment` is all that the child gets, besides what an interpreter needs to find its modules; see
    `environment.pick`. `pass_fds` are inherited under the same numbers. `own_group` makes the child the leader of a
    process group: a terminal's Ctrl-C does not reach it, and killing it kills its own children. With `capture_log`
    its standard error goes to the parent's log at level debug and into error messages, else to the parent's own.
    `cause` is a regular expression for the line that says why the child ended, in a group of that name.
    """

    name: str
    target: str = ""
    command: tuple[str, ...] | None = None
    settings: bytes = b"null"
    preload: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    limits: ResourceLimits = ResourceLimits()
    sandbox: Sandbox = Sandbox()
    start_timeout: float = START_TIMEOUT
    orphan: OrphanPolicy = OrphanPolicy.KILL
    blocked_signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    own_group: bool = True
    capture_log: bool = True
    cause: str = ""

    def __post_init__(self) -> None:
        if bool(self.target) == (self.command is not None):
            raise ValueError(f"{self.name}: a child has either a target or a command")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How long to wait before a child that ended is started again, in seconds.

    A child that served for `stable_after` is followed by another one after `stable_delay`. Failures in a row are met
    with `initial_delay`, which grows by `factor` with each up to `max_delay`. A start that fails is a failure; a life
    shorter than `stable_after` is one with `short_run_is_failure`, else it is followed after `initial_delay`, always.
    """

    initial_delay: float = 0.1
    max_delay: float = 5.0
    factor: float = 2.0
    stable_after: float = 5.0
    stable_delay: float = 0.1
    short_run_is_failure: bool = True
