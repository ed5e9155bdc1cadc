"""The JSON mode of the requests to each model: the best one that is not known to fail.

A provider declares the mode in which its models begin. When a model's provider rejects a mode, or the answer does not
match the schema, the next mode is tried and remembered for this (provider, model), so that other requests begin there.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import get_args

from lakehouse.chat.dialects.quirks import SchemaLevel
from lakehouse.chat.dialects.schema.validate import SchemaMismatch
from lakehouse.chat.providers.routing import Target
from lakehouse.core.errors import LakehouseError
from lakehouse.core.failure_classes import ErrorClass

LEVELS: tuple[SchemaLevel, ...] = get_args(SchemaLevel)

MAX_MODELS = 4096
"""Model names come from callers, so the number of remembered models is bounded; the least recently used is dropped."""

_REJECTING_CLASSES: tuple[ErrorClass | None, ...] = ("bad_request", "unsupported_parameter", "model_not_found")

_ABOUT_FORMAT = re.compile(
    r"response_format|json.?(schema|object|mode)|structured|schema|grammar|invalid format|no endpoints|tool_choice",
    re.IGNORECASE,
)
_ABOUT_TOOLS = re.compile(r"\btools?\b|\bfunctions?\b", re.IGNORECASE)


class JsonModeFallback:
    """The current level of every model that has left its first one."""

    def __init__(self) -> None:
        self._levels: OrderedDict[Target, SchemaLevel] = OrderedDict()

    def current_level(self, target: Target, first: SchemaLevel) -> SchemaLevel:
        """The level to ask `target` with; `first` is the one in which its provider begins."""
        level = self._levels.get(target)
        if level is None:
            return first
        self._levels.move_to_end(target)
        return level if LEVELS.index(level) > LEVELS.index(first) else first

    def downgrade(self, target: Target, level: SchemaLevel, error: LakehouseError, *, tools: bool = False) -> bool:
        """Move `target` to the next level if `error` shows that `level` does not work for it. Whether it was moved.

        `tools`: the request has tools, so that an error about a tool's schema is about those.
        """
        if level == LEVELS[-1] or not (isinstance(error, SchemaMismatch) or _rejects_format(error, tools=tools)):
            return False
        self._levels[target] = LEVELS[LEVELS.index(level) + 1]
        self._levels.move_to_end(target)
        if len(self._levels) > MAX_MODELS:
            self._levels.popitem(last=False)
        return True


def _rejects_format(error: LakehouseError, *, tools: bool) -> bool:
    if error.error_class not in _REJECTING_CLASSES or error.upstream_status is None:
        return False
    if tools and _ABOUT_TOOLS.search(error.message):
        return False
    return _ABOUT_FORMAT.search(error.message) is not None
