"""The commands: each module of the folder is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.cli import commands, main
from lakehouse.cli.registry import find_commands

HELLO = """
from lakehouse.cli.registry import Command


def add_options(parser):
    parser.add_argument("name")


def run(arguments):
    print(f"Hello, {arguments.name}.")
    return 3


COMMAND = Command(name="hello", help="say hello", add_options=add_options, run=run)
"""


def test_every_module_is_named_after_its_command() -> None:
    assert list(find_commands()) == [
        "ask",
        "chat",
        "check",
        "ingest",
        "launch",
        "promote",
        "providers",
        "reload",
        "run",
        "search",
        "serve",
        "sessions",
        "sql",
        "tables",
        "top",
    ]


def test_a_module_in_the_folder_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    try:
        assert main(["hello", "world"]) == 3
        assert capsys.readouterr().out == "Hello, world.\n"
        with pytest.raises(SystemExit):
            main(["--help"])
        assert "say hello" in capsys.readouterr().out
    finally:
        sys.modules.pop("lakehouse.cli.commands.hello", None)


@pytest.mark.parametrize("heavy", ["trio", "httpx", "quart", "hypercorn"])
def test_finding_the_commands_imports_nothing_large(heavy: str) -> None:
    code = f"import sys; from lakehouse.cli.registry import find_commands; find_commands(); print({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
