"""Where a provider's key comes from: a variable of the environment, else a dotenv file.

A key is never printed. What can be shown of it is where it was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO

from dotenv import dotenv_values

from lakehouse.config.files import TextError, expand, read_text


@dataclass(frozen=True, slots=True)
class Key:
    """A secret, and where it was found. Only `value` holds it; nothing that shows a key shows that."""

    value: str = field(repr=False)
    source: str

    def __str__(self) -> str:
        return f"key from {self.source}"


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for a key came to: the key, or None, and what the operator should know."""

    key: Key | None = None
    warning: str | None = None


def find_key(*, key_env: str, key_file: str, env: Mapping[str, str]) -> Search:
    """Look for the key `key_env` in `env`, then under the same name in the dotenv file `key_file`.

    A file that does not exist is no error, one that cannot be read is a warning; so is a value that no header can
    carry. An empty value counts as none.
    """
    if value := env.get(key_env, "").strip():
        return _usable(value, f"${key_env}")
    if not key_file:
        return Search()
    try:
        text = read_text(expand(key_file))
    except (FileNotFoundError, NotADirectoryError):
        return Search()
    except OSError as error:
        return Search(warning=f"the key file {key_file} cannot be read: {error.strerror}")
    except TextError as error:
        return Search(warning=f"the key file {key_file} cannot be read: it {error}")
    except ValueError as error:
        return Search(warning=f"the path of the key file {error}")
    # No interpolation: a dollar sign in a key is a dollar sign.
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    value = (found.get(key_env) or "").strip()
    return _usable(value, f"{key_env} in {key_file}") if value else Search()


def _usable(value: str, source: str) -> Search:
    if value.isascii() and value.isprintable() and " " not in value:
        return Search(key=Key(value, source))
    return Search(warning=f"the key from {source} is ignored: it has characters that no HTTP header can carry")
