"""One child process, from its start to its end: every way to fail has its sentence, and nothing is ever left of it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from lakehouse.process import launch
from lakehouse.process.child import open_child
from lakehouse.process.environment import select_variables
from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.spec import ChildSpec
from lakehouse.process.states import ChildState
from tools.kit.child_processes import assert_nothing_left, child_spec, is_alive, program_spec, wait_until
from tools.kit.matrices import spread


async def failure(spec: ChildSpec) -> str:
    """Why a child does not start."""
    with assert_nothing_left(), pytest.raises(ChildStartFailed) as caught:
        async with open_child(spec) as child:
            await child.wait_ready()
            pytest.fail("it started")
    return str(caught.value)


async def test_a_child_gets_its_settings_and_only_the_selected_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "secret")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with assert_nothing_left():
        async with open_child(
            child_spec("ready", {"rows": 7}, environment=select_variables(["TZ", "PYTHONPATH", "ABSENT"]))
        ) as child:
            assert child.state is ChildState.STARTING
            facts = msgspec.json.decode((await child.wait_ready()).facts)
            assert facts == {"environment": {"TZ": "UTC", "PYTHONPATH": "/elsewhere"}, "settings": {"rows": 7}}
            assert child.state is ChildState.READY
            environment = Path(f"/proc/{child.pid}/environ").read_bytes()
            assert b"secret" not in environment
            assert os.getpgid(child.pid) == child.pid
        assert child.state is ChildState.REAPED
        assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("refuse", "the child did not start: the disk is full"),
        ("crash", "the child did not start: its process exited with status 3 (cannot open the thing)"),
        ("defect", "the child did not start: LookupError: no such table"),
        ("defect_in_a_group", "the child did not start: LookupError: no such table"),
        ("absent", "the child did not start: AttributeError: module 'tests.process.targets' has no attribute 'absent'"),
    ],
)
async def test_the_error_of_a_failed_start_has_the_reason(target: str, sentence: str) -> None:
    assert await failure(child_spec(target)) == sentence


async def test_a_start_has_a_limit() -> None:
    sentence = await failure(child_spec("silent", start_timeout=0.5))
    assert sentence == "the child did not start: it was not ready within 0.5 s"


@pytest.mark.parametrize("written", ["hello\\n", "\\xff\\xfe\\n", '{"ready": "perhaps"}\\n', "[]\\n"])
async def test_invalid_output_fails_the_start(written: str) -> None:
    source = f"import os, time; os.write(1, {written!r}.encode('latin-1').decode('unicode_escape').encode('latin-1')); time.sleep(99)"
    assert "the child did not start: it wrote no ready line but b'" in await failure(program_spec(source))


async def test_an_endless_ready_message_is_limited() -> None:
    source = "import os\nwhile True: os.write(1, bytes(65536))"
    assert "it wrote no ready line but b'\\x00" in await failure(program_spec(source))


async def test_a_program_that_cannot_be_executed_raises_and_leaves_nothing() -> None:
    with assert_nothing_left(), pytest.raises(FileNotFoundError):
        async with open_child(ChildSpec(name="x", command=("/no/such/program",))):
            pytest.fail("it started")


async def test_the_exit_description_distinguishes_signals_from_statuses() -> None:
    with assert_nothing_left():
        async with open_child(child_spec("ready")) as child:
            await child.wait_ready()
            assert not child.has_exited()
            os.kill(child.pid, signal.SIGKILL)
            assert await child.describe_exit() == "was killed by signal 9"
            assert child.has_exited()
        async with open_child(child_spec("dies_when_ready")) as child:
            await child.wait_ready()
            assert await child.describe_exit() == "exited with status 7"


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    with assert_nothing_left():
        async with open_child(child_spec("drains", 4, blocked_signals=())) as child:
            await child.wait_ready()
            child.terminate()
            assert child.state is ChildState.DRAINING
            assert await child.wait_exit() == 4
        async with open_child(child_spec("hang", blocked_signals=())) as child:
            await child.wait_ready()
            child.terminate()
            with trio.move_on_after(0.1):
                await child.wait_exit()
            assert child.state is ChildState.DRAINING
        assert child.returncode == -signal.SIGKILL


async def test_processes_started_by_a_child_are_killed_with_it() -> None:
    with assert_nothing_left():
        async with open_child(child_spec("forks")) as child:
            inner = int((await child.wait_ready()).facts)
            assert is_alive(inner)
        await wait_until(lambda: not is_alive(inner))
        async with open_child(child_spec("forks")) as child:
            inner = int((await child.wait_ready()).facts)
            os.kill(child.pid, signal.SIGKILL)
            await child.wait_exit()
            await wait_until(lambda: not is_alive(inner))


@pytest.mark.parametrize("cancel_after", spread([0, 0.001, 0.01, 0.05, 0.1, 0.2], 3))
async def test_a_cancelled_start_leaves_nothing(cancel_after: float) -> None:
    with assert_nothing_left():
        with trio.move_on_after(cancel_after):
            async with open_child(child_spec("silent")) as child:
                await child.wait_ready()
        async with open_child(child_spec("ready")) as child:
            await child.wait_ready()


async def test_an_error_of_the_block_is_raised_without_a_group() -> None:
    with assert_nothing_left(), pytest.raises(ZeroDivisionError):
        async with open_child(child_spec("ready")) as child:
            await child.wait_ready()
            raise ZeroDivisionError


PARENT = """
import os, sys, trio
from lakehouse.process.child import open_child
from lakehouse.process.spec import OrphanPolicy
from tools.kit.child_processes import child_spec

async def main():
    async with open_child(child_spec(sys.argv[1], 0, orphan=OrphanPolicy(sys.argv[2]))) as child:
        await child.wait_ready()
        fork = os.fork() if len(sys.argv) > 3 else None  # holds the pipes open
        if fork != 0:
            os.write(1, f"{child.pid} {fork or ''}".encode())  # one write, which the test receives as a whole
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("arguments", [("ready", "kill"), ("ready", "kill", "fork"), ("drains", "drain")])
async def test_a_child_ends_when_its_parent_is_killed(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", PARENT, *arguments]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    fork: list[int] = []
    try:
        with trio.fail_after(20):
            child, *fork = map(int, (await process.stdout.receive_some()).split())
        assert len(fork) == arguments.count("fork")
        assert is_alive(child)
        process.kill()
        await wait_until(lambda: not is_alive(child))
        assert all(is_alive(pid) for pid in fork)
    finally:
        for pid in fork:
            os.kill(pid, signal.SIGKILL)
        process.kill()
        await process.wait()
        await process.stdout.aclose()


@pytest.mark.parametrize("order", [b"", b'{"parent": 1'])
async def test_an_incomplete_start_message_ends_the_process(order: bytes) -> None:
    """Its parent was killed before it had written one."""
    command = [sys.executable, *launch.PROGRAM]
    done = await trio.run_process(command, stdin=order, capture_stdout=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


async def test_a_start_without_descriptors_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0
    pipe = os.pipe

    def few() -> tuple[int, int]:
        nonlocal opened
        opened += 1
        if opened == 3:
            raise OSError(errno.EMFILE, "too many open files")
        return pipe()

    monkeypatch.setattr(launch.os, "pipe", few)
    with assert_nothing_left(), pytest.raises(OSError, match="too many open files"):
        async with open_child(child_spec("ready")):
            pytest.fail("it started")


async def test_a_start_without_a_pidfd_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(launch.os, "pidfd_open", none)
    with assert_nothing_left(), pytest.raises(OSError, match="too many open files"):
        async with open_child(child_spec("ready")):
            pytest.fail("it started")


def test_a_specification_names_one_program() -> None:
    with pytest.raises(ValueError, match="either a target or a command"):
        ChildSpec(name="x")
    with pytest.raises(ValueError, match="either a target or a command"):
        ChildSpec(name="x", target="a:b", command=("c",))
