"""Secrets from a dotenv file, and from the environment what the file lacks.

The file is read again when it has changed, so that secrets are replaced without a restart. Values are never printed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import StringIO

from dotenv import dotenv_values

from lakehouse.config.files import TextError, read_text


class KeyFileError(Exception):
    """The file cannot be read; the text names the configuration key."""


class KeyFile:
    """The secrets of one configuration key such as `lake.key_file`; without a path those of the environment."""

    def __init__(self, path: str, environment: Mapping[str, str], *, key: str = "lake.key_file") -> None:
        self._path = path
        self._environment = environment
        self._key = key
        self._version: tuple[int, int, int] | None = None
        self._values: Mapping[str, str] | None = None

    def load(self) -> Mapping[str, str]:
        """The values by name as they are now; the same object until they change. Raises KeyFileError."""
        version = self._find_version()
        if self._values is None or version != self._version:
            self._values, self._version = self._read(), version
        return self._values

    def _find_version(self) -> tuple[int, int, int] | None:
        if not self._path:
            return None
        try:
            found = os.stat(self._path)  # noqa: PTH116 - before each request
        except OSError as error:
            raise KeyFileError(f"{self._key} {self._path} cannot be read: {error.strerror}") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> Mapping[str, str]:
        values = dict(self._environment)
        if self._path:
            try:
                text = read_text(self._path)
            except OSError as error:
                raise KeyFileError(f"{self._key} {self._path} cannot be read: {error.strerror}") from None
            except TextError as error:
                raise KeyFileError(f"{self._key} {self._path} {error}") from None
            found = dotenv_values(stream=StringIO(text), interpolate=False)
            if found.get("AWS_ACCESS_KEY_ID"):  # with the token of another key, no signature would be valid
                values.pop("AWS_SESSION_TOKEN", None)
            values |= {name: value for name, value in found.items() if value}
        return {name: value.strip() for name, value in values.items()}
