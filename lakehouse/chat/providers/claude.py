"""Quirks of Claude models: how thinking is requested, and which sampling parameters and limits they accept.

Source: Anthropic's pages on adaptive thinking, effort and extended thinking, and on what is new in Claude Opus 4.7.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase

from lakehouse.chat.dialects.quirks import Quirks

ADAPTIVE_SINCE = (4, 7)
"""From this version on, a thinking budget and any sampling parameter are rejected with a 400."""

ALWAYS_THINKING = ("fable", "mythos")
"""Families whose thinking cannot be switched off."""

ALWAYS_THINKING_SINCE = (5, 5)
"""From this version on, thinking of no family can be switched off."""

LIMITS = (
    ("claude-3-7-*", None),
    ("claude-3-5-*", 8192),
    ("claude-3-*", 4096),
    ("claude-opus-4-1*", 32_000),
    ("claude-opus-4-2025*", 32_000),
    ("claude-opus-4", 32_000),
)
"""Tokens. The largest `max_tokens` of models that reject the default of the messages dialect."""

_NAME = re.compile(r"claude-([a-z]+)(?:-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?)?")


def is_claude(model: str) -> bool:
    """Whether `model` is a Claude model, with or without a vendor prefix."""
    return "claude-" in model


def quirks_of_claude(model: str, base: Quirks) -> Quirks:
    """`base` with the quirks of `model`. A name without a version is the newest of its family."""
    limit = next((limit for pattern, limit in LIMITS if fnmatchcase(model, pattern)), None)
    base = replace(
        base,
        web_search=True,
        exclusive_sampling=True,
        max_temperature=1.0,
        forced_tools_while_thinking=False,
        default_max_tokens=limit,
    )
    named = _NAME.search(model)
    if named is None:  # claude-3-5-sonnet and older have the version before the family
        return base
    family, major, minor = named.groups()
    version = None if major is None else (int(major), int(minor or 0))
    if version is not None and version < ADAPTIVE_SINCE:
        return base
    always = family in ALWAYS_THINKING or (version is not None and version >= ALWAYS_THINKING_SINCE)
    style = "always" if always else "adaptive"
    return replace(base, messages_thinking=style, send_temperature=False)  # type: ignore[arg-type]
