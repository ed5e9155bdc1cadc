"""The JSON mode of the requests to each model: the best one that is not known to fail.

A provider declares the mode in which its models begin. When a model's provider rejects a mode, or the answer does not
match the schema, the next mode is tried and remembered for this (provider, model), so that other requests begin there.
"""

from __future__ import annotations

import re
from collections import OrderedDict

from lakehouse.chat.dialects.quirks import JSON_MODES, JsonMode
from lakehouse.chat.dialects.schema.validate import SchemaMismatch
from lakehouse.chat.providers.model_router import Target
from lakehouse.core.errors import LakehouseError
from lakehouse.core.failure_classes import ErrorClass

MAX_MODELS = 4096
"""Model names come from callers, so the number of remembered models is bounded; the least recently used is dropped."""

_REJECTING_CLASSES: tuple[ErrorClass | None, ...] = ("bad_request", "unsupported_parameter", "model_not_found")

_ABOUT_FORMAT = re.compile(
    r"response_format|json.?(schema|object|mode)|structured|schema|grammar|invalid format|no endpoints|tool_choice",
    re.IGNORECASE,
)
_ABOUT_TOOLS = re.compile(r"\btools?\b|\bfunctions?\b", re.IGNORECASE)


class JsonModeFallback:
    """The current mode of every model that has left the default mode of its provider."""

    def __init__(self) -> None:
        self._modes: OrderedDict[Target, JsonMode] = OrderedDict()

    def current_mode(self, target: Target, default: JsonMode) -> JsonMode:
        """The mode of a request to `target`; `default` is the mode in which the models of its provider begin."""
        mode = self._modes.get(target)
        if mode is None:
            return default
        self._modes.move_to_end(target)
        return mode if JSON_MODES.index(mode) > JSON_MODES.index(default) else default

    def downgrade(self, target: Target, mode: JsonMode, error: LakehouseError, *, tools: bool = False) -> bool:
        """Move `target` to the next mode if `error` shows that `mode` does not work for it. Whether it was moved.

        `tools`: the request has tools, so that an error about a tool's schema is about those.
        """
        if mode == JSON_MODES[-1] or not (isinstance(error, SchemaMismatch) or _rejects_format(error, tools=tools)):
            return False
        self._modes[target] = JSON_MODES[JSON_MODES.index(mode) + 1]
        self._modes.move_to_end(target)
        if len(self._modes) > MAX_MODELS:
            self._modes.popitem(last=False)
        return True


def _rejects_format(error: LakehouseError, *, tools: bool) -> bool:
    if error.error_class not in _REJECTING_CLASSES or error.upstream_status is None:
        return False
    if tools and _ABOUT_TOOLS.search(error.message):
        return False
    return _ABOUT_FORMAT.search(error.message) is not None
