"""The programs in the documentation do what the documentation says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.kit.matrices import spread
from tools.kit.serve_process import run_lakehouse

ROOT = Path(__file__).parents[2]
LIBRARY = (ROOT / "docs/library.md").read_text()
BLOCKS = re.findall(r"^## (.*?)$|^```(python|sh)\n(.*?)^```", LIBRARY, re.MULTILINE | re.DOTALL)

EXPECTED = {
    "Ask a model 1": r"local \d+ \w+\n.* \(\d+ tokens\)\n",
    "Ask a model 2": r"cancelled\n",
    "Ask a model 3": r"upstream_error ollama 1\n",
    "A lake in a program 1": (
        r"3 \['DATE', 'VARCHAR', 'DOUBLE'\]\n\(\('north', 20\.25\), \('south', 5\.5\)\)\n"
        r"2026-11-27 10\.5\n2026-11-28 [\d.]+\n2026-11-28 [\d.]+\n.*\{'position': 0\}\n"
    ),
    "The service inside a trio program 1": r"listening on http://127\.0\.0\.1:\d+\n",
    "From anyio 1": r"listening on http://127\.0\.0\.1:\d+\n",
    "In another Quart-Trio application 1": r"200\n",
    "The service with views of your own 1": r"hello ready\n",
    "Testing a program that embeds Lakehouse 1": r"Hello\. \(2 requests, 0 open\)\n",
    "With the OpenAI SDK 1": r"tokens: \d+\n",
    "With curl 1": r'(data: \{"type":"content".*\n\n)+data: \{"type":"done".*\n\n',
}


def programs() -> dict[str, tuple[str, str]]:
    """Every block of code by its heading and number."""
    found: dict[str, tuple[str, str]] = {}
    heading, number = "", 0
    for title, language, code in BLOCKS:
        if title:
            heading, number = title, 0
        else:
            number += 1
            found[f"{heading} {number}"] = (language, code)
    return found


def test_every_program_is_run_here() -> None:
    assert programs().keys() == EXPECTED.keys()


def run(language: str, code: str, url: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code] if language == "python" else ["bash", "-euc", code]
    env = {**os.environ, "LAKEHOUSE_URL": url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", spread(programs(), 4))
def test_a_program_of_the_documentation(name: str, demo_service: str) -> None:
    language, code = programs()[name]
    printed = run(language, code, demo_service)
    assert re.fullmatch(EXPECTED[name], printed, re.DOTALL), printed


@pytest.fixture(scope="module")
def demo_service() -> Iterator[str]:
    """The URL of a service with the demonstration model, which all programs share."""
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")
    tables: dict[str, dict[str, object]] = {
        "chatd": {"ollama_url": "", "default": "local"},
        "chatd.local": {"demo": True},
        "observe": {"log": "off"},
    }
    with run_lakehouse(tables) as there:
        yield f"http://{there.host}:{there.port}"
