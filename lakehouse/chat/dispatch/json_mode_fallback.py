"""How each model is made to answer in JSON: the best way that is not yet known to fail.

A provider says on which step its models begin. A step that a model's provider refuses, or whose answer does not fit, is
left once and for all: the next one is remembered for this (provider, model), so that others need not fall again.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import get_args

from lakehouse.chat.dialects.base import SchemaLevel
from lakehouse.chat.dialects.schema.validate import SchemaMismatch
from lakehouse.chat.providers.routing import Target
from lakehouse.core.errors import LakehouseError
from lakehouse.core.failure_classes import ErrorClass

STEPS: tuple[SchemaLevel, ...] = get_args(SchemaLevel)

MAX_MODELS = 4096
"""The names of models come from callers, so what is remembered needs a bound; the longest unused is forgotten."""

_REFUSALS: tuple[ErrorClass | None, ...] = ("bad_request", "unsupported_parameter", "model_not_found")

_ABOUT_FORMAT = re.compile(
    r"response_format|json.?(schema|object|mode)|structured|schema|grammar|invalid format|no endpoints|tool_choice",
    re.IGNORECASE,
)
_ABOUT_TOOLS = re.compile(r"\btools?\b|\bfunctions?\b", re.IGNORECASE)


class JsonModeFallback:
    """The step on which each model stands that has left its first one."""

    def __init__(self) -> None:
        self._steps: OrderedDict[Target, SchemaLevel] = OrderedDict()

    def current_level(self, target: Target, first: SchemaLevel) -> SchemaLevel:
        """Where `target` stands; `first` is where its provider begins."""
        known = self._steps.get(target)
        if known is None:
            return first
        self._steps.move_to_end(target)
        return known if STEPS.index(known) > STEPS.index(first) else first

    def downgrade(self, target: Target, step: SchemaLevel, error: LakehouseError, *, tools: bool = False) -> bool:
        """Whether `error` says that `current_level` does not work for `target` and there is a lower one. It stands there now.

        `tools`: the caller brought tools, so that a refusal of a tool's schema is about those.
        """
        if step == STEPS[-1] or not (isinstance(error, SchemaMismatch) or _refuses_format(error, tools=tools)):
            return False
        self._steps[target] = STEPS[STEPS.index(step) + 1]
        self._steps.move_to_end(target)
        if len(self._steps) > MAX_MODELS:
            self._steps.popitem(last=False)
        return True


def _refuses_format(error: LakehouseError, *, tools: bool) -> bool:
    if error.error_class not in _REFUSALS or error.upstream_status is None:
        return False
    if tools and _ABOUT_TOOLS.search(error.message):
        return False
    return _ABOUT_FORMAT.search(error.message) is not None
