"""The bearer tokens of the service: where they come from, whose they are, and whether a request presents one."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2s
from pathlib import Path
from typing import NamedTuple

from lakehouse.config import AuthTable, ConfigError
from lakehouse.config.files import read_text
from lakehouse.core.context import DEFAULT_PRINCIPAL

_BEARER = re.compile(rb"[ \t]*bearer[ \t]+(.*?)[ \t]*", re.IGNORECASE | re.DOTALL)

# Short, so that a token that was written in the place of its name is usually refused instead of logged.
_PRINCIPAL = re.compile(r"[A-Za-z0-9._@-]{1,32}")

_FORM = "must be `token` or `name token`, with a name of at most 32 letters, digits, `.`, `_`, `-` and `@`"


class TokenEntry(NamedTuple):
    """One configured token, as bytes of the `Authorization` header, and the principal that it belongs to."""

    principal: str
    token: bytes


def parse_entry(text: str) -> TokenEntry:
    """Parse `token`, whose principal is `default`, or `name token`. Raises ValueError, without showing either."""
    words = text.split()
    if not 1 <= len(words) <= 2 or (len(words) == 2 and not _PRINCIPAL.fullmatch(words[0])):
        raise ValueError(_FORM)
    token = words[-1].encode("utf-8", "surrogateescape")  # bytes of the environment
    return TokenEntry(words[0] if len(words) == 2 else DEFAULT_PRINCIPAL, token)


class Tokens:
    """The configured tokens. Only their digests are kept, so no token can end up in a log or a traceback."""

    __slots__ = ("_principals",)

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Parse entries as `parse_entry` does, and raise what it raises."""
        self._principals = {_digest(entry.token): entry.principal for entry in map(parse_entry, entries)}

    @classmethod
    def load(cls, auth: AuthTable, env: Mapping[str, str] | None = None) -> Tokens:
        """The tokens of the environment (separated by commas) and of the file (one on each line, ``#`` for a comment).

        Raises ConfigError, with every problem: for a file that cannot be read or has no token in it, as the service
        would be open by mistake, for an entry that is malformed, and for a token that is configured twice.
        """
        problems: list[str] = []
        places: dict[bytes, str] = {}
        entries: list[str] = []
        for place, text in _located_entries(auth, os.environ if env is None else env):
            try:
                digest = _digest(parse_entry(text).token)
            except ValueError as error:
                problems.append(f"{place} {error}")
                continue
            if digest in places:
                problems.append(f"{place} has the same token as {places[digest]}")
            places.setdefault(digest, place)
            entries.append(text)
        if problems:
            raise ConfigError(problems)
        return cls(entries)

    def __len__(self) -> int:
        return len(self._principals)

    def equals(self, others: Tokens) -> bool:
        """Whether the others are the same tokens, of the same principals."""
        return self._principals == others._principals

    def identify(self, authorization: bytes) -> str | None:
        """The principal whose token an `Authorization` header carries, None when it carries none of the tokens.

        The header is compared with every token, by digest, so that the time taken reveals neither how much of a guess
        was right nor which token it was close to.
        """
        bearer = _BEARER.fullmatch(authorization)
        principal = self.identify_token(bearer[1] if bearer else b"")
        return principal if bearer is not None else None

    def identify_token(self, token: bytes) -> str | None:
        """The principal of a token that stands in a header by itself, None if it is none of the tokens. It is compared
        as in `identify`."""
        presented = _digest(token)
        principal = None
        for digest, name in self._principals.items():
            if hmac.compare_digest(digest, presented):
                principal = name
        return principal


def first_token(auth: AuthTable, env: Mapping[str, str]) -> bytes | None:
    """A token with which this machine can call its own service, None if there is none. Raises ConfigError."""
    for place, text in _located_entries(auth, env):
        try:
            return parse_entry(text).token
        except ValueError as error:
            raise ConfigError([f"{place} {error}"]) from None
    return None


def _located_entries(auth: AuthTable, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The configured entries, each with where it stands. Raises ConfigError for a file without any."""
    listed = env.get(auth.token_env, "").split(",") if auth.token_env else []
    for position, text in enumerate(listed, 1):
        if text.strip():
            yield f"auth.token_env: entry {position} of ${auth.token_env}", text.strip()
    if auth.token_file:
        path = Path(auth.token_file).expanduser()
        for number, line in _read_lines(path):
            yield f"auth.token_file: line {number} of {path}", line


def _read_lines(path: Path) -> list[tuple[int, str]]:
    try:
        lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it {error}"
        raise ConfigError([f"auth.token_file cannot be read: {path}: {reason}"]) from None
    entries = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not entries:
        raise ConfigError([f"auth.token_file has no token in it: {path}"])
    return entries


def _digest(token: bytes) -> bytes:
    return blake2s(token).digest()
