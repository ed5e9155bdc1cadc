"""Finds the keys of providers, in an environment variable or a dotenv file.

Keys are never printed; only the place where a key was found is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO

from dotenv import dotenv_values

from lakehouse.config.files import TextError, expand_home, read_text


@dataclass(frozen=True, slots=True)
class Key:
    """A secret and the place where it was found. `str` and `repr` show the place only."""

    value: str = field(repr=False)
    source: str

    def __str__(self) -> str:
        return f"key from {self.source}"


@dataclass(frozen=True, slots=True)
class Search:
    """The result of a search: the key if one was found, and a warning for the operator."""

    key: Key | None = None
    warning: str | None = None


def find_key(*, key_env: str, key_file: str, env: Mapping[str, str]) -> Search:
    """Search for the key `key_env` in `env`, then in the dotenv file `key_file`.

    A missing file is no error. A file that cannot be read, and a key that is not allowed in a header, are a warning. An
    empty value counts as no key.
    """
    if value := env.get(key_env, "").strip():
        return _check_key(value, f"${key_env}")
    if not key_file:
        return Search()
    try:
        text = read_text(expand_home(key_file))
    except (FileNotFoundError, NotADirectoryError):
        return Search()
    except OSError as error:
        return Search(warning=f"the key file {key_file} cannot be read: {error.strerror}")
    except TextError as error:
        return Search(warning=f"the key file {key_file} cannot be read: it {error}")
    except ValueError as error:
        return Search(warning=f"the path of the key file {error}")
    # No interpolation: a key may contain a dollar sign.
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    value = (found.get(key_env) or "").strip()
    return _check_key(value, f"{key_env} in {key_file}") if value else Search()


def _check_key(value: str, source: str) -> Search:
    if value.isascii() and value.isprintable() and " " not in value:
        return Search(key=Key(value, source))
    return Search(warning=f"the key from {source} is ignored: it has characters that no HTTP header can carry")


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """The different keys that were found, in the order of their variables and files, and warnings for the operator.

    `missing` are the variables for which there was none.
    """

    keys: tuple[Key, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def find_keys(variables: Sequence[str], files: Sequence[str], env: Mapping[str, str]) -> FoundKeys:
    """Search for the keys of one provider: each variable in `env`, and one that is not there in all `files`."""
    found: dict[str, Key] = {}
    warnings: list[str] = []
    missing: list[str] = []
    for variable in variables:
        searches = [find_key(key_env=variable, key_file=file, env=env) for file in files or ("",)]
        keys = [search.key for search in searches if search.key is not None]
        for key in keys:
            found.setdefault(key.value, key)
        if not keys:
            missing.append(variable)
        warnings += [search.warning for search in searches if search.warning is not None]
    return FoundKeys(tuple(found.values()), tuple(dict.fromkeys(warnings)), tuple(missing))
