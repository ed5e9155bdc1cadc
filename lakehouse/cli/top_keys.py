"""The keys of `lakehouse top`: one selects a session, another stops it once that is confirmed."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import trio

HELP = "up and down: select a session   s: stop it   q: quit"

_NAMES = {b"\x1b[A": "up", b"\x1bOA": "up", b"k": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"j": "down"}


@dataclass(kw_only=True)
class Selection:
    """What the keys have selected. `message` is for the last line of the screen."""

    session: str | None = None
    confirming: bool = False
    message: str = HELP
    quit: bool = False

    def press(self, key: str, sessions: Sequence[str]) -> str | None:
        """Take a key, with the sessions on the screen in their order. Returns the session that is to be stopped."""
        if self.session not in sessions:
            self.session, self.confirming = None, False
        if self.confirming:
            self.confirming, self.message = False, HELP
            return self.session if key == "y" else None
        if key == "q":
            self.quit = True
        elif key in ("up", "down") and sessions:
            self._move(1 if key == "down" else -1, sessions)
        elif key == "s":
            self.confirming = self.session is not None
            self.message = f"stop {self.session} and all of its calls? y or n" if self.confirming else HELP
        return None

    def _move(self, step: int, sessions: Sequence[str]) -> None:
        if self.session is None:
            self.session = sessions[0 if step > 0 else -1]
        else:
            at = list(sessions).index(self.session) + step
            self.session = sessions[min(max(at, 0), len(sessions) - 1)]
        self.message = HELP


@contextlib.contextmanager
def raw_keys() -> Iterator[bool]:
    """Have the terminal send each key at once for the block; false where standard input is no terminal."""
    if not sys.stdin.isatty():
        yield False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def read_keys() -> AsyncIterator[str]:
    """The keys that are pressed, inside of `raw_keys`: `up`, `down`, or the character."""
    descriptor = sys.stdin.fileno()
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        data = os.read(descriptor, 64)
        if not data:
            return
        for key in split_keys(data):
            yield key


def split_keys(data: bytes) -> Iterator[str]:
    """The keys in what a terminal has sent; a sequence of another key is left out."""
    while data:
        size = 1
        if data[:1] == b"\x1b":
            size = 3 if data[1:2] in (b"[", b"O") else 1
        key, data = data[:size], data[size:]
        if key in _NAMES:
            yield _NAMES[key]
        elif size == 1 and key.isalpha():
            yield key.decode().lower()
