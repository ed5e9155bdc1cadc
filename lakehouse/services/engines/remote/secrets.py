"""The password and the token of an engine: from `[queryd] key_file`, and from the environment what it lacks.

The file is read again when it has changed, so that a secret is replaced without a restart. Values are never printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lakehouse.core.errors import ErrUpstream
from lakehouse.services.lake.key_file import KeyFile, KeyFileError

VARIABLES: Mapping[str, tuple[str, str]] = {
    "trino": ("TRINO_PASSWORD", "TRINO_TOKEN"),
    "spark": ("", "SPARK_TOKEN"),
    "flightsql": ("FLIGHTSQL_PASSWORD", "FLIGHTSQL_TOKEN"),
}
"""The names of password and token of each engine, in the file and in the environment."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets; empty for none."""

    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def redact(self, text: str) -> str:
        """A text of the server without them."""
        for secret in (self.password, self.token):
            text = text.replace(secret, "***") if len(secret) >= SHORTEST else text
        return text


SHORTEST = 4
"""Characters of the shortest secret that is removed from texts: ordinary words would contain a shorter one."""


class SecretSource:
    """Where the secrets of one engine come from."""

    def __init__(self, engine: str, key_file: str, environment: Mapping[str, str]) -> None:
        self._names = VARIABLES[engine]
        self._file = KeyFile(key_file, environment, key="queryd.key_file")

    def load(self) -> Secrets:
        """The secrets as they are now. Raises ErrUpstream if their file cannot be read, naming the key."""
        try:
            values = self._file.load()
        except KeyFileError as error:
            raise ErrUpstream(str(error)) from None
        return Secrets(*(values.get(name, "") for name in self._names))
