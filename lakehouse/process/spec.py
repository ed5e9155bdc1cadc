"""The specification of a child process: program, environment, limits, sandbox, restarts. Data only.

Both the parent and the child import this module, so it does not import trio.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

START_TIMEOUT = 30.0
"""Seconds. Importing a service takes a third of a second, and many times longer on a machine under load."""


class OrphanPolicy(Enum):
    """The behaviour of a child after its parent has ended for any reason."""

    KILL = "kill"
    """The kernel kills the child when the parent ends (`sandboxing.death_signal`)."""

    DRAIN = "drain"
    """The child reads the end of its standard input, finishes its work and exits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Resource limits (setrlimit(2)) of a child; None inherits the limit of the parent. Sizes are bytes.

    `address_space` counts all mapped memory, so it also bounds memory that an allocator does not account for.
    `cpu_seconds` is the processor time of the child from start to exit. Core files are always disabled.
    """

    address_space: int | None = None
    cpu_seconds: int | None = None
    file_size: int | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """Restrictions on files and network. The default restricts nothing.

    With `restrict_files`, only `read_paths`, `write_paths` (files, or whole directory trees) and the files of the
    interpreter can be opened, and no program can be executed. With `network=False` no socket can be created. A
    restriction that the kernel cannot enforce is skipped and reported in `SandboxReport`; with `required` the child
    does not start. The restrictions also apply to the child's own children.
    """

    restrict_files: bool = False
    read_paths: tuple[str, ...] = ()
    write_paths: tuple[str, ...] = ()
    network: bool = True
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxReport:
    """The result of a `Sandbox`, for each part: "enforced by ...", "not requested", or "not enforced: ..."."""

    files: str = "not requested"
    network: str = "not requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One kind of child process.

    `target` is "package.module:function", called in the child with a `bootstrap.Startup`; `preload` are modules that
    are imported before limits and sandbox apply. With `command` another program is run instead of the interpreter; it
    must implement the start protocol (`protocol`). `settings` is a JSON value for the target.

    `environment` has all variables of the child, except those with which an interpreter finds its modules; see
    `environment.select_variables`. `pass_fds` are inherited under the same numbers. `own_group` makes the child the
    leader of a process group: a terminal's Ctrl-C does not reach it, and killing it kills its own children. With
    `capture_log` its standard error is written to the parent's log at level debug and quoted in error messages;
    without, the child inherits the standard error of the parent. `cause` is a regular expression that matches the log
    line with the cause of an exit, in a group of the same name.
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
    """The delays before an ended child is started again, in seconds.

    After a child that served for at least `stable_after`, the delay is `stable_delay`. After consecutive failures, the
    delay is `initial_delay`, multiplied by `factor` for each further failure, up to `max_delay`. A failed start is a
    failure. A child that served for less than `stable_after` is a failure if `short_run_is_failure`; otherwise the
    delay after it is always `initial_delay`.
    """

    initial_delay: float = 0.1
    max_delay: float = 5.0
    factor: float = 2.0
    stable_after: float = 5.0
    stable_delay: float = 0.1
    short_run_is_failure: bool = True
