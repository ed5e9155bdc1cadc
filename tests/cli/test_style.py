"""What a model says is shown on a terminal, and obeyed by none."""

from __future__ import annotations

import io

import pytest

from lakehouse.cli.style import escape_control_chars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain text,\n\twith tabs and ünïcode ✓", "plain text,\n\twith tabs and ünïcode ✓"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x1b[2J\x1b[31m", "␛[2J␛[31m"),
        ("over\rwritten", "over␍written"),
        ("\x9b31m\x7f", "\ufffd31m\ufffd"),
    ],
)
def test_control_characters_do_nothing_on_a_terminal(said: str, shown: str) -> None:
    assert escape_control_chars(said, Terminal()) == shown


def test_a_pipe_gets_the_unchanged_text() -> None:
    assert escape_control_chars("\x1b[2J", io.StringIO()) == "\x1b[2J"
