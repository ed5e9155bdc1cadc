"""Readers of the values of `[providers.<name>]`. Each raises ValueError as those of `values` do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar, get_args

from lakehouse.config import values
from lakehouse.config.files import expand_home
from lakehouse.config.urls import BaseURL
from lakehouse.config.values import quoted

WireName = Literal["chat_completions", "responses", "messages", "ollama"]
"""The protocols of providers, by the names of their dialects."""

QuirkName = Literal[
    "api_key_header",
    "bearer_key",
    "custom_tools",
    "data_images",
    "developer_role",
    "fixed_sampling",
    "json_object",
    "json_prompt",
    "json_tool",
    "max_completion_tokens",
    "moonshot_schema",
    "moonshot_thinking",
    "no_effort",
    "no_images",
    "no_stream_usage",
    "no_user",
    "omit_empty_content",
    "openrouter_thinking",
    "placeholder_reasoning",
    "reasoning",
    "reasoning_content",
    "schema_in_prompt",
    "streams_only",
    "system_role",
    "template_thinking",
    "text_as_string",
    "think_tags",
    "unforced_tools",
    "usage_ends_stream",
]
"""The deviations that a configuration can name; what each does is in `chat.providers.named_quirks`."""

MAX_BASE_URLS = 64
MAX_KEYS = 64

_WIRES: tuple[WireName, ...] = get_args(WireName)
_QUIRKS: tuple[QuirkName, ...] = get_args(QuirkName)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
RESERVED_HEADERS = frozenset(
    [
        "accept",
        "accept-encoding",
        "anthropic-version",
        "api-key",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-api-key",
    ]
)
"""Headers that the service sets itself; those with a key come from `key_env` and `key_file`."""

Item = TypeVar("Item")


def _list(value: object, read: Callable[[object], Item], what: str, *, most: int) -> tuple[Item, ...]:
    """One value, or a list of at most `most` different ones."""
    items = value if isinstance(value, list | tuple) else [value]
    if len(items) > most:
        raise ValueError(f"must be {what} or a list of at most {most} (got {len(items)})")
    found = tuple(read(item) for item in items)
    if len(set(found)) < len(found):
        raise ValueError("must not have the same entry twice")
    return found


def base_urls(value: object) -> tuple[BaseURL, ...]:
    """One URL or a list of them. Each may have a user and a password of its own."""
    found = _list(value, values.url, "a URL", most=MAX_BASE_URLS)
    if not found:
        raise ValueError("must have at least one URL (got [])")
    return found


def weights(value: object) -> tuple[int, ...]:
    """A list of whole numbers above zero."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list of whole numbers (got {quoted(value)})")
    return tuple(values.positive_count(item) for item in value)


def wires(value: object) -> dict[str, tuple[WireName, ...]]:
    """The wires of models by pattern, from one wire, a list of them, or a table of patterns.

    The first pattern that matches a model's name decides.
    """
    table = value if isinstance(value, dict) else {"*": value}
    if not table or not all(pattern for pattern in table):
        raise ValueError(f"must be a wire, a list of wires, or a table of wires by pattern (got {quoted(value)})")
    found = {pattern: _list(item, _wire, "a wire", most=len(_WIRES)) for pattern, item in table.items()}
    if not all(found.values()):
        raise ValueError("must name at least one wire")
    return found


def _wire(value: object) -> WireName:
    for name in _WIRES:
        if value == name:
            return name
    raise ValueError(f"must be one of {', '.join(map(quoted, _WIRES))} (got {quoted(value)})")


def key_variables(value: object) -> tuple[str, ...]:
    """Names of environment variables; an empty string is none. A value is not repeated, because it may be a key."""
    return () if value == "" else _list(value, _variable, "the name of an environment variable", most=MAX_KEYS)


def _variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError("must be the name of an environment variable, or a list of names, and not the key itself")
    return value


def key_files(value: object) -> tuple[str, ...]:
    """Paths of dotenv files; an empty string is none."""
    return () if value == "" else _list(value, _path, "the path of a file", most=MAX_KEYS)


def _path(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be the path of a file or a list of paths (got {quoted(value)})")
    return expand_home(value)


def headers(value: object) -> dict[str, str]:
    """A table of header fields."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of headers (got {values.name_kind(value)})")
    found: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, text in value.items():
        try:
            found[_header_name(name)] = _header_value(text)
        except ValueError as error:
            problems[quoted(name)] = str(error)
    if problems:
        raise values.InvalidEntries(problems, found)
    return found


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("is not the name of a header")
    if name.lower() in RESERVED_HEADERS:
        raise ValueError("is set by the service itself; a key belongs into `key_env` or `key_file`")
    return name


def _header_value(value: object) -> str:
    text = values.header(value)
    if not text.isascii() or not text:
        raise ValueError("must be text in ASCII that is not empty")
    return text


def quirks(value: object) -> tuple[QuirkName, ...]:
    """A list of names of quirks."""
    if isinstance(value, str):
        raise ValueError(f"must be a list of names such as [{quoted(value)}] (got {quoted(value)})")
    return _list(value, _quirk, "the name of a quirk", most=len(_QUIRKS))


def _quirk(value: object) -> QuirkName:
    for name in _QUIRKS:
        if value == name:
            return name
    raise ValueError(f"must have names of quirks: {', '.join(_QUIRKS)} (got {quoted(value)})")


def model_names(value: object) -> tuple[str, ...]:
    """A name of a model, or a list of names."""
    return _list(value, _model_name, "a name", most=MAX_KEYS)


def _model_name(value: object) -> str:
    if not isinstance(value, str) or not is_model_name(value):
        raise ValueError(f"must be a name without white space, or a list of names (got {quoted(value)})")
    return value


def is_model_name(name: str) -> bool:
    """Whether a text may be the name of a model."""
    return bool(name) and name.isprintable() and not any(map(str.isspace, name))


_PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def is_provider_name(name: str) -> bool:
    """Whether a text may be the name of a provider: the prefix of its models, before a slash."""
    return _PROVIDER_NAME.fullmatch(name) is not None
