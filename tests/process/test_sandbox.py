"""What a sandboxed child cannot do, tried by the child itself, and what is said where the kernel cannot enforce it."""

from __future__ import annotations

import errno
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from lakehouse.process.child import open_child
from lakehouse.process.protocol import ReadyMessage
from lakehouse.process.sandboxing import landlock, rlimits, sandbox, seccomp
from lakehouse.process.sandboxing.sandbox import SandboxError, apply_sandbox
from lakehouse.process.spec import ResourceLimits, Sandbox, SandboxReport
from tools.kit.child_processes import TESTS, assert_nothing_left, child_spec

needs_landlock = pytest.mark.skipif(landlock.abi_version() < 6, reason="the kernel has no Landlock of version 6")


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """A folder to read, one to write, and one that is nobody's business, each with a file."""
    for name in ("readable", "writable", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return {name: str(tmp_path / name) for name in ("readable", "writable", "secret")}


async def tried(folders: dict[str, str], restrictions: Sandbox) -> tuple[dict[str, str], SandboxReport]:
    """What a child under these restrictions could do."""
    with assert_nothing_left():
        async with open_child(child_spec("tries", folders, sandbox=restrictions)) as child:
            line: ReadyMessage = await child.wait_ready()
    return msgspec.json.decode(line.facts, type=dict[str, str]), line.sandbox


async def test_without_restrictions_everything_can_be_done(folders: dict[str, str]) -> None:
    done, report = await tried(folders, Sandbox())
    assert report == SandboxReport(files="not requested", network="not requested")
    refused = {what: outcome for what, outcome in done.items() if outcome != "ok"}
    assert set(refused) <= {"ring"}  # which a machine may have switched off


@needs_landlock
async def test_only_the_named_folders_can_be_read_and_written(folders: dict[str, str]) -> None:
    restrictions = Sandbox(
        restrict_files=True,
        read_paths=(folders["readable"], TESTS, "/no/such/path"),
        write_paths=(folders["writable"],),
        required=True,
    )
    done, report = await tried(folders, restrictions)
    assert report.files.startswith("enforced by Landlock version ")
    denied = f"PermissionError {errno.EACCES}"
    assert done == {
        "read the readable": "ok",
        "write beside it": denied,
        "change it": denied,
        "remove it": denied,
        "write the writable": "ok",
        "read it back": "ok",
        "link to the secret": denied,
        "read the secret": denied,
        "list the secret": denied,
        "read the environment": denied,
        "execute": denied,
        "signal the parent": f"PermissionError {errno.EPERM}",
        "tcp": "ok",
        "unix": "ok",
        "ring": done["ring"],
        "import": "ok",
    }
    assert (Path(folders["secret"]) / "file").read_text() == "secret"
    assert (Path(folders["readable"]) / "file").read_text() == "readable"


@pytest.mark.skipif(not seccomp.ARCHITECTURES, reason="no table of system calls")
async def test_without_network_no_socket_can_be_made(folders: dict[str, str]) -> None:
    done, report = await tried(folders, Sandbox(network=False, required=True))
    denied = f"PermissionError {errno.EACCES}"
    assert report.network == "enforced by seccomp"
    assert (done["tcp"], done["unix"], done["ring"]) == (denied, denied, denied)
    assert done["read the secret"] == "ok"


def unavailable(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSYS, "not in this kernel")


def test_what_cannot_be_enforced_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.landlock, "restrict", unavailable)
    monkeypatch.setattr(sandbox.seccomp, "deny_sockets", unavailable)
    monkeypatch.setattr(sandbox, "_leave_network", unavailable)
    report = apply_sandbox(Sandbox(restrict_files=True, network=False))
    assert report.files == "not enforced: not in this kernel"
    assert report.network == "not enforced: seccomp: not in this kernel; network namespace: not in this kernel"
    with pytest.raises(SandboxError, match="restriction of network is not enforced: seccomp: not in this kernel"):
        apply_sandbox(Sandbox(network=False, required=True))
    with pytest.raises(SandboxError, match="restriction of files is not enforced"):
        apply_sandbox(Sandbox(restrict_files=True, required=True))


def test_a_kernel_without_landlock_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: 0)
    with pytest.raises(OSError, match="the kernel has no Landlock"):
        landlock.restrict((), (), network=True)


@pytest.mark.parametrize(
    ("version", "last"),
    [(1, "MAKE_SYM"), (2, "REFER"), (3, "TRUNCATE"), (4, "TRUNCATE"), (5, "IOCTL_DEV"), (9, "IOCTL_DEV")],
)
def test_each_version_of_landlock_handles_the_accesses_it_supports(version: int, last: str) -> None:
    handled = landlock._handled_accesses(version)
    assert handled == sum(int(access) for access in landlock.Access if access <= landlock.Access[last])


async def test_limits_hold(tmp_path: Path) -> None:
    limits = ResourceLimits(address_space=300_000_000, cpu_seconds=1, file_size=50_000, open_files=64)
    with assert_nothing_left():
        async with open_child(child_spec("measures", str(tmp_path / "file"), limits=limits)) as child:
            facts = msgspec.json.decode((await child.wait_ready()).facts)
            assert facts == {
                "memory": "MemoryError",
                "file": f"OSError {errno.EFBIG}",
                "files": f"OSError {errno.EMFILE}",
                "core": "(0, 0)",
            }
            assert await child.wait_exit() in (-signal.SIGXCPU, -signal.SIGKILL)


def test_a_limit_never_exceeds_the_present_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(rlimits.resource, "getrlimit", lambda _: (50, 100))
    monkeypatch.setattr(rlimits.resource, "setrlimit", lambda which, pair: given.update({which: pair}))
    rlimits.apply_limits(ResourceLimits(address_space=1000, open_files=20, cpu_seconds=200))
    assert given[rlimits.resource.RLIMIT_AS] == (100, 100)
    assert given[rlimits.resource.RLIMIT_NOFILE] == (20, 20)
    assert given[rlimits.resource.RLIMIT_CPU] == (100, 100)


async def test_without_seccomp_the_network_namespace_has_no_interfaces() -> None:
    source = """if True:
        from lakehouse.process.sandboxing import sandbox
        try:
            sandbox._leave_network()
        except OSError as error:
            print("not permitted:", error)
        else:
            print(*[line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]])
    """
    done = await trio.run_process([sys.executable, "-c", source], capture_stdout=True, cwd=Path(TESTS).parent)
    assert done.stdout == b"lo\n" or done.stdout.startswith(b"not permitted:")
