"""The commands on terminals of other encodings, and with bytes that are no text."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from lakehouse.asgi.middleware.tokens import Tokens
from lakehouse.cli import main
from lakehouse.cli.input import InputError, read_prompt, replace_undecodable
from lakehouse.cli.output import escape_unencodable, write_output
from lakehouse.config import AuthTable, values
from lakehouse.testing.upstreams import ScriptedUpstream, answer_with, open_upstream, respond
from tools.kit.matrices import spread
from tools.kit.service_with_providers import ollama

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "koi8-r", "utf-8", "utf-16", None])
@pytest.mark.parametrize("text", ["", "plain", "é", "—…", "😀", "a\udcffb", "\ud83d", "日本", "\x00\x1b"])
def test_json_stays_json_in_every_encoding(encoding: str | None, text: str) -> None:
    shown = escape_unencodable(json.dumps({"said": text}, ensure_ascii=False), encoding)
    assert json.loads(shown.encode(encoding or "utf-8").decode(encoding or "utf-8")) == {"said": text}


def test_what_the_encoding_has_is_written_as_it_is() -> None:
    assert escape_unencodable("é—😀", "utf-8") == "é—😀"
    assert escape_unencodable("é—😀", "latin-1") == "é\\u2014\\ud83d\\ude00"
    assert escape_unencodable("é—😀", "ascii") == "\\u00e9\\u2014\\ud83d\\ude00"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_writing_output(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    write_output("hé😀\udcff")
    assert raw.getvalue().decode(encoding) == escape_unencodable("hé😀\udcff\n", encoding)


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("", ""),
        ("é", "é"),
        ("a\udcffb", "a\ufffdb"),
        ("\udced\udca0\udc80", "\ufffd\ufffd\ufffd"),
        ("\udcc3\udca9", "é"),
    ],
)
def test_an_argument_can_always_be_sent(argument: str, text: str) -> None:
    assert replace_undecodable(argument) == text


def test_half_of_a_pair_in_an_argument() -> None:
    assert replace_undecodable("a\ud83d").encode()


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (b"hello", "utf-8", "hello"),
        (b"\xef\xbb\xbfhello", "utf-8", "hello"),
        (b"\xef\xbb\xbfhello", "ascii", "hello"),
        (b"a\r\nb\rc", "utf-8", "a\nb\nc"),
        (b"a\x00b", "utf-8", "a\x00b"),
        (b"\xff\xff", "utf-8", "\ufffd\ufffd"),
        (b"a\xc3", "utf-8", "a\ufffd"),
        (b"\xed\xa0\x80", "utf-8", "\ufffd\ufffd\ufffd"),
        ("é".encode(), "ascii", "é"),
        ("é".encode("latin-1"), "latin-1", "é"),
        ("é".encode("latin-1"), "ascii", "\ufffd"),
        (b"", "utf-8", ""),
    ],
)
def test_standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes, encoding: str, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding=encoding))
    assert read_prompt() == text


@pytest.mark.parametrize("codec", ["utf-16", "utf-32"])
def test_standard_input_in_another_encoding(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("hello".encode(codec)), encoding="utf-8"))
    with pytest.raises(InputError, match=f"standard input is not UTF-8 text but {codec.upper()}"):
        read_prompt()


def test_standard_input_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(_Broken()), encoding="utf-8"))
    assert main(["chat", "-"]) == 2
    assert capsys.readouterr().err == "lakehouse chat: standard input cannot be read: Bad file descriptor\n"


class _Broken(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, _: object) -> int:
        raise OSError(9, os.strerror(9))


def test_a_token_of_odd_bytes_is_compared_as_bytes() -> None:
    tokens = Tokens.load(AuthTable(), {"LAKEHOUSE_TOKEN": os.fsdecode(b"\xff\xfe")})
    assert tokens.identify(b"Bearer \xff\xfe") is not None
    assert tokens.identify(b"Bearer \xff") is None


@pytest.mark.parametrize("written", ["\udcff:1", "a\udc80.example:1"])
def test_an_address_that_is_no_name(written: str) -> None:
    with pytest.raises(ValueError, match="must have a host name that can be looked up"):
        values.address(written)


async def lakehouse(
    command: list[str | bytes], cwd: Path, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(60):
        return await trio.run_process(
            [sys.executable, "-m", "lakehouse", *command],
            check=False,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
        )


POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("command", "env", "stdin", "status", "said"),
    spread(
        [
            (["chat", "-m", "ollama/m"], {"PYTHONIOENCODING": "ascii:strict"}, b"\xff", 0, b"h\\u00e9\\ud83d\\ude00"),
            (["chat", "-m", "ollama/m", b"\xff"], {"PYTHONIOENCODING": "latin-1"}, b"", 0, b"h\xe9\\ud83d\\ude00"),
            (["chat", "-m", "ollama/m", b"\xed\xa0\x80", "--system", b"\xff"], POSIX, b"", 0, b"h\\u00e9"),
            (["chat", "--json", "-m", "ollama/m"], POSIX, b"\xef\xbb\xbfhi", 0, b'"h\\u00e9\\ud83d\\ude00"'),
            (["check"], POSIX, b"", 0, b"ti\\u00e9r"),
            (["check", "--json"], {"PYTHONIOENCODING": "ascii"}, b"", 0, b'"ti\\u00e9r"'),
            (["check", "-c", b"\xff.toml"], {}, b"", 2, b""),
            (["providers"], POSIX, b"", 0, b"answers"),
            (["serve", "--bind", b"\xff:1"], POSIX, b"", 2, b""),
            (["chat", "-m", "ollama/m"], {}, b"\xff\xfeh\x00", 2, b""),
        ],
        2,
    ),
)
async def test_no_command_ends_in_a_traceback(
    command: list[str | bytes], env: dict[str, str], stdin: bytes, status: int, said: bytes, tmp_path: Path
) -> None:
    answer = ollama("hé😀") | {"version": "1"}
    async with open_upstream(answer_with(respond(answer))) as there:
        _configure(tmp_path, there)
        ran = await lakehouse(command, tmp_path, stdin, **env)
    assert b"Traceback" not in ran.stderr
    assert ran.returncode == status, ran.stderr
    assert said in ran.stdout
    if status == 0 and "--json" in command:
        json.loads(ran.stdout)


def _configure(directory: Path, there: ScriptedUpstream) -> None:
    text = f'[chatd]\nollama_url = "{there.url}"\n[models]\n"tiér" = "ollama/m"\n'
    (directory / "lakehouse.toml").write_text(text, encoding="utf-8")


async def test_top_where_the_disk_is_full(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    requests = respond({"requests": [], "workers": 1, "silent": 0})
    sessions = respond({"sessions": [], "total": 0})
    async with open_upstream(answer_with(requests, sessions)) as there:
        script = f"exec {sys.executable} -m lakehouse top --once {there.url} > /dev/full"
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = await trio.run_process(["bash", "-c", script], check=False, cwd=tmp_path, env=env, capture_stderr=True)
    assert (ran.returncode, ran.stderr) == (
        1,
        b"lakehouse: standard output cannot be written: No space left on device\n",
    )
